//! Java's durations as text (`Duration.parse`).

/// Whether Java's `Duration.parse` takes the text, and it is not below zero: `PnDTnHnMn.nS`, in
/// any case, each number with a sign of its own.
pub(crate) fn is_duration(text: &str) -> bool {
    let text = text.to_ascii_uppercase();
    let (negated, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(&text)),
    };
    let Some(rest) = rest.strip_prefix('P') else { return false };
    let (days, times) = match rest.split_once('T') {
        Some((days, times)) if !times.is_empty() => (days, times),
        Some(_) => return false,
        None => (rest, ""),
    };
    let days = numbers(days, &[('D', 86_400.0)]);
    let times = numbers(times, &[('H', 3600.0), ('M', 60.0), ('S', 1.0)]);
    match (days, times) {
        _ if rest.is_empty() => false,
        (Some(days), Some(times)) if negated => days + times <= 0.0,
        (Some(days), Some(times)) => days + times >= 0.0,
        _ => false,
    }
}

/// The sum (in seconds) of numbers with these units, each at most once and in this order.
fn numbers(mut text: &str, units: &[(char, f64)]) -> Option<f64> {
    let mut sum = 0.0;
    for (unit, factor) in units {
        let Some((number, rest)) = text.split_once(*unit) else { continue };
        let number = number.replace(',', ".");
        let digits = number.strip_prefix(['-', '+']).unwrap_or(&number);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let is_number = !whole.is_empty() && all_digits(whole) && all_digits(fraction);
        let has_fraction = digits.contains('.');
        if !is_number || fraction.len() > 9 || (has_fraction && *unit != 'S') {
            return None;
        }
        sum += number.trim_end_matches('.').parse::<f64>().ok()? * factor;
        text = rest;
    }
    text.is_empty().then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Taken and refused by Apache Kafka 4.3.1 behind `by_duration:`.
    #[test]
    fn durations_are_javas() {
        for text in ["PT1H", "pt1h", "P1DT2.5S", "PT0S", "P1D", "-PT-1H", "PT-1H90M"] {
            assert!(is_duration(text), "{text}");
        }
        for text in
            ["", "P", "PT", "-PT1H", "1H", "PT1.5H", "PT1H1D", "P1H", "PTS", "PT1S1M", "PT-1H"]
        {
            assert!(!is_duration(text), "{text}");
        }
    }
}
