//! Kafka's names as Rust writes them.

/// `TopicData` → `topic_data`; a word of capitals is one word, and so is `KRaft`.
pub(crate) fn snake(name: &str) -> String {
    let name = name.replace("KRaft", "Kraft");
    let chars: Vec<char> = name.chars().collect();
    let mut snake = String::with_capacity(name.len() + 8);
    for (index, char) in chars.iter().enumerate() {
        let starts_word = index > 0
            && char.is_ascii_uppercase()
            && (!chars[index - 1].is_ascii_uppercase()
                || chars.get(index + 1).is_some_and(char::is_ascii_lowercase));
        if starts_word {
            snake.push('_');
        }
        snake.push(char.to_ascii_lowercase());
    }
    snake
}

/// The name of a struct's field.
pub(crate) fn field(name: &str) -> String {
    let snake = snake(name);
    match snake.as_str() {
        "type" | "match" | "in" | "as" | "ref" | "move" => format!("r#{snake}"),
        _ => snake,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        for (name, expected) in [
            ("TopicData", "topic_data"),
            ("V3AndBelowTopics", "v3_and_below_topics"),
            ("KRaftVersionRecord", "kraft_version_record"),
            ("topicId", "topic_id"),
            ("ISRChange", "isr_change"),
        ] {
            assert_eq!(snake(name), expected);
        }
        assert_eq!(field("Type"), "r#type");
    }
}
