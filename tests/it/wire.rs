//! A connection that speaks any API in any version, one request at a time.

use std::io::{Read, Write};
use std::net::TcpStream;

use ringlog_wire::{ApiKey, Message, Reader, RequestHeader, decode_response_header, frame};

use crate::node::{Node, PATIENCE};

pub(crate) struct Wire {
    stream: TcpStream,
    correlation_id: i32,
}

/// A response in the version of its request.
pub(crate) struct Response {
    api: ApiKey,
    version: i16,
    frame: Vec<u8>,
}

impl Wire {
    pub(crate) fn connect(node: &Node) -> Wire {
        let stream = TcpStream::connect(node.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Wire { stream, correlation_id: 0 }
    }

    /// Sends a request and waits for its response.
    pub(crate) fn ask<'a, M: Message<'a>>(&mut self, version: i16, request: &M) -> Response {
        self.correlation_id += 1;
        let api = ApiKey::from_number(M::API_KEY).unwrap();
        let header = RequestHeader {
            api,
            version,
            correlation_id: self.correlation_id,
            client_id: Some("it".into()),
        };
        let chunks = frame::encode_request(&header, request)
            .unwrap_or_else(|error| panic!("{api:?} {version}: {error}"));
        self.stream.write_all(&frame::concat(&chunks)).unwrap();
        let mut length = [0; 4];
        self.stream
            .read_exact(&mut length)
            .unwrap_or_else(|error| panic!("{api:?} {version}: no answer: {error}"));
        let mut frame = vec![0; i32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut frame).unwrap();
        let response = Response { api, version, frame };
        assert_eq!(response.header().1, self.correlation_id, "{api:?} {version}");
        response
    }
}

impl Response {
    fn header(&self) -> (Reader<'_>, i32) {
        let mut reader = Reader::new(&self.frame);
        let correlation_id = decode_response_header(&mut reader, self.api, self.version).unwrap();
        (reader, correlation_id)
    }

    /// The body; nothing follows it.
    pub(crate) fn body<'a, M: Message<'a>>(&'a self) -> M {
        let (api, version) = (self.api, self.version);
        assert_eq!(M::API_KEY, api.number());
        let (mut reader, _) = self.header();
        let body = M::decode(&mut reader, version)
            .unwrap_or_else(|error| panic!("{api:?} {version}: {error}"));
        assert_eq!(reader.remaining(), 0, "{api:?} {version}: bytes follow the response");
        body
    }
}
