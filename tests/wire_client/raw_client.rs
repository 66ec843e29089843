//! A [`Dialogue`] over a socket that blocks. What goes wrong panics: it is a test's failure.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::Duration;

use bytes::Bytes;
use ringlog_wire::{ApiKey, DecodeError, Message, Reader, decode_response_header};

use crate::dialogue::{Dialogue, api_of};

/// How long anything may take that has to happen, on a machine that does much else.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A connection on which requests may be sent before earlier ones are answered.
pub struct RawClient {
    stream: TcpStream,
    dialogue: Dialogue,
}

/// An answer's frame, to be decoded in the version of its request.
#[derive(Debug)]
pub struct Answer {
    api: ApiKey,
    version: i16,
    bytes: Bytes,
}

impl RawClient {
    /// A new connection.
    pub fn connect(to: impl ToSocketAddrs) -> RawClient {
        let stream = TcpStream::connect(to).expect("somebody listens there");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        stream.set_nodelay(true).expect("a TCP socket can");
        RawClient { stream, dialogue: Dialogue::new(None, 0) }
    }

    /// Says who asks, from the next request on.
    pub fn set_client_id(&mut self, client_id: &'static str) {
        self.dialogue.set_client_id(Some(client_id));
    }

    /// Sends a request and waits for its answer.
    pub fn ask<'a, M: Message<'a>>(&mut self, version: i16, request: &M) -> Answer {
        let api = api_of::<M>();
        let sent = self.send(version, request);
        sent.unwrap_or_else(|error| panic!("{api:?} {version}: not taken: {error}"));
        let answer = self.receive::<M>(version);
        answer.unwrap_or_else(|| panic!("{api:?} {version}: hung up on"))
    }

    /// Sends a request.
    pub fn send<'a, M: Message<'a>>(&mut self, version: i16, request: &M) -> std::io::Result<()> {
        let frame = self.encode(version, request);
        self.send_frame(&frame)
    }

    /// Sends bytes as they are.
    pub fn send_frame(&mut self, frame: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(frame)
    }

    /// The frame of a request, the next in turn, whose answer will be awaited.
    pub fn encode<'a, M: Message<'a>>(&mut self, version: i16, request: &M) -> Vec<u8> {
        self.dialogue.request(version, request).to_vec()
    }

    /// The next answer, which is one to a request `M`; nothing if the broker hangs up.
    pub fn receive<'a, M: Message<'a>>(&mut self, version: i16) -> Option<Answer> {
        let api = api_of::<M>();
        let mut chunk = [0; 64 << 10];
        loop {
            match self.dialogue.answer() {
                Ok(Some(bytes)) => return Some(Answer { api, version, bytes }),
                Ok(None) => {}
                Err(error) => panic!("{api:?} {version}: {error}"),
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(read) => self.dialogue.receive(&chunk[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    panic!("{api:?} {version}: no answer in {PATIENCE:?}")
                }
                Err(_) => return None,
            }
        }
    }

    /// Whether nothing has arrived that was not received.
    pub fn is_silent(&self) -> bool {
        self.stream.set_nonblocking(true).expect("a socket can");
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).expect("a socket can");
        peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Ends this side of the connection; the other side's answers still arrive.
    pub fn finish(&self) {
        drop(self.stream.shutdown(Shutdown::Write));
    }
}

impl Answer {
    /// How many bytes it has, with its header.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The body; nothing follows it.
    pub fn decode<'a, M: Message<'a>>(&'a self) -> M {
        let (api, version) = (self.api, self.version);
        assert_eq!(M::API_KEY, api.number(), "{api:?} was asked");
        let decode = || -> Result<(M, usize), DecodeError> {
            let mut reader = Reader::new(&self.bytes);
            decode_response_header(&mut reader, api, version)?;
            Ok((M::decode(&mut reader, version)?, reader.remaining()))
        };
        let (body, rest) = decode().unwrap_or_else(|error| panic!("{api:?} {version}: {error}"));
        assert_eq!(rest, 0, "{api:?} {version}: bytes follow the body");
        body
    }
}
