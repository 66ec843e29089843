//! Requests and answers of one connection, as bytes: numbers the requests, cuts the answers out of
//! what arrives, and sees to their order. Does no input or output.

use std::collections::VecDeque;
use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use ringlog_wire::{ApiKey, Message, RequestHeader, frame};

/// The longest answer that is waited for, in bytes. A length beyond it is no length.
const ANSWER_BYTES_MAX: usize = 1 << 30;

/// One connection's requests and answers.
#[derive(Debug)]
pub struct Dialogue {
    client_id: Option<&'static str>,
    correlation_id: i32,
    /// Those of the requests without an answer, oldest first.
    awaited: VecDeque<i32>,
    received: BytesMut,
}

/// An answer that is not the one that is due.
#[derive(Debug, PartialEq, Eq)]
pub struct OutOfOrder(String);

impl fmt::Display for OutOfOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Dialogue {
    /// A connection's beginning; its first request has the number after `correlation_id`.
    pub fn new(client_id: Option<&'static str>, correlation_id: i32) -> Dialogue {
        let (awaited, received) = (VecDeque::new(), BytesMut::new());
        Dialogue { client_id, correlation_id, awaited, received }
    }

    /// Says who asks, from the next request on.
    pub fn set_client_id(&mut self, client_id: Option<&'static str>) {
        self.client_id = client_id;
    }

    /// The frame of the next request.
    ///
    /// # Panics
    /// If the message is not a request, or has a field that the version lacks.
    pub fn request<'a, M: Message<'a>>(&mut self, version: i16, request: &M) -> Bytes {
        self.correlation_id += 1;
        let header = RequestHeader {
            api: api_of::<M>(),
            version,
            correlation_id: self.correlation_id,
            client_id: self.client_id.map(Into::into),
        };
        let chunks = frame::encode_request(&header, request)
            .unwrap_or_else(|error| panic!("{} {version}: {error}", M::NAME));
        self.awaited.push_back(self.correlation_id);
        frame::concat(&chunks)
    }

    /// Takes bytes that have arrived.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// The next answer without its length, when all of it has arrived.
    ///
    /// # Errors
    /// It is not the one to the oldest request without one.
    pub fn answer(&mut self) -> Result<Option<Bytes>, OutOfOrder> {
        let Some(length) = self.received.first_chunk() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if length > ANSWER_BYTES_MAX {
            return Err(OutOfOrder(format!("an answer of {length} bytes")));
        }
        if self.received.len() < frame::PREFIX_BYTES + length {
            return Ok(None);
        }
        self.received.advance(frame::PREFIX_BYTES);
        let answer = self.received.split_to(length).freeze();
        let answered = answer.first_chunk().map(|id| i32::from_be_bytes(*id));
        let expected = self.awaited.pop_front();
        match expected.is_some() && answered == expected {
            true => Ok(Some(answer)),
            false => Err(OutOfOrder(format!("{answered:?} is answered, due is {expected:?}"))),
        }
    }
}

/// The API of a request's or an answer's type.
pub(crate) fn api_of<'a, M: Message<'a>>() -> ApiKey {
    ApiKey::from_number(M::API_KEY).expect("a request's or an answer's")
}

#[cfg(test)]
mod tests {
    use ringlog_wire::messages::metadata_request::MetadataRequest;

    use super::*;

    /// An answer with nothing but its number.
    fn bare(id: i32) -> Vec<u8> {
        [4i32.to_be_bytes(), id.to_be_bytes()].concat()
    }

    fn asked_twice() -> Dialogue {
        let mut dialogue = Dialogue::new(Some("me"), 41);
        let first = dialogue.request(1, &MetadataRequest::default());
        assert_eq!(first[4..14], [0, 3, 0, 1, 0, 0, 0, 42, 0, 2]);
        dialogue.request(1, &MetadataRequest::default());
        dialogue
    }

    #[test]
    fn answers_come_in_pieces_and_in_order() {
        let mut dialogue = asked_twice();
        for byte in bare(42) {
            assert_eq!(dialogue.answer(), Ok(None));
            dialogue.receive(&[byte]);
        }
        dialogue.receive(&bare(43)[..6]);
        assert_eq!(dialogue.answer(), Ok(Some(42i32.to_be_bytes().to_vec().into())));
        assert_eq!(dialogue.answer(), Ok(None));
        dialogue.receive(&bare(43)[6..]);
        assert_eq!(dialogue.answer(), Ok(Some(43i32.to_be_bytes().to_vec().into())));
        assert_eq!(dialogue.answer(), Ok(None));
    }

    #[test]
    fn an_answer_out_of_order_or_to_nothing_is_refused() {
        let mut dialogue = asked_twice();
        dialogue.receive(&bare(43));
        assert!(dialogue.answer().is_err());
        let mut silent = Dialogue::new(None, 0);
        silent.receive(&bare(0));
        assert!(silent.answer().is_err());
        let mut endless = asked_twice();
        endless.receive(&[0xff; 4]);
        assert!(endless.answer().is_err());
    }
}
