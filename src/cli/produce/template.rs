//! Makes records of lines: keys, headers, tombstones.

use std::sync::Arc;

use bytes::Bytes;
use ringlog_client::ProducerRecord;

use super::ProduceArgs;

/// Makes records of lines.
pub(super) struct Template {
    topic: Arc<str>,
    partition: Option<i32>,
    key: Option<Bytes>,
    key_separator: Option<Vec<u8>>,
    null_value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Bytes>)>,
}

impl Template {
    pub(super) fn new(args: &ProduceArgs) -> Template {
        let header = |(key, value): &(String, String)| {
            (key.clone(), Some(Bytes::from(value.clone().into_bytes())))
        };
        Template {
            topic: args.topic.as_str().into(),
            partition: args.partition,
            key: args.key.clone().map(|key| Bytes::from(key.into_bytes())),
            key_separator: args.key_separator.clone().map(String::into_bytes),
            null_value: args.null_value.clone().map(String::into_bytes),
            headers: args.header.iter().map(header).collect(),
        }
    }

    pub(super) fn record(&self, line: Bytes) -> Result<ProducerRecord, String> {
        let (key, value) = match &self.key_separator {
            None => (self.key.clone(), line),
            Some(separator) => {
                let place = line.windows(separator.len()).position(|part| part == separator);
                let Some(place) = place else {
                    let text = String::from_utf8_lossy(&line[..line.len().min(60)]).into_owned();
                    return Err(format!("no key separator in the line {text:?}"));
                };
                (Some(line.slice(..place)), line.slice(place + separator.len()..))
            }
        };
        let is_null = self.null_value.as_deref() == Some(&*value);
        Ok(ProducerRecord {
            topic: self.topic.clone(),
            partition: self.partition,
            key,
            value: (!is_null).then_some(value),
            headers: self.headers.clone(),
            timestamp: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::parsed;
    use super::*;

    #[test]
    fn lines_become_records() {
        let args = parsed("ringlog produce t -k : --null-value NULL -H a=b");
        let template = Template::new(&args);
        let record = template.record(Bytes::from_static(b"k:v:w")).unwrap();
        assert_eq!(record.key.as_deref(), Some(&b"k"[..]));
        assert_eq!(record.value.as_deref(), Some(&b"v:w"[..]));
        assert_eq!(record.headers, [("a".to_owned(), Some(Bytes::from_static(b"b")))]);
        assert_eq!(template.record(Bytes::from_static(b"k:NULL")).unwrap().value, None);
        assert!(template.record(Bytes::from_static(b"no separator")).is_err());
        let plain = Template::new(&parsed("ringlog produce t --key x"));
        assert_eq!(plain.record(Bytes::new()).unwrap().key.as_deref(), Some(&b"x"[..]));
    }
}
