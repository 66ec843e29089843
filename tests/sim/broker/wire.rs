//! A client's connection over the simulated network, and what every client has at hand.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use ringlog_runtime::sim::Prng;
use ringlog_runtime::{Piece, Runtime, Stream};
use ringlog_wire::{ApiKey, Message, frame};
use ringlog_wire_client::Dialogue;

use super::history::Plan;
use super::ledger::Ledger;

/// Faults end long before: a request without an answer by then will never have one.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

/// What the clients of a machine share.
#[derive(Clone)]
pub(super) struct Bench {
    pub rt: Runtime,
    pub server: SocketAddr,
    pub ledger: Rc<Ledger>,
    pub plan: Rc<Plan>,
    pub prng: Rc<RefCell<Prng>>,
}

/// The connection is of no use any more. What was asked may have been done, or not.
#[derive(Debug)]
pub(super) struct Lost;

impl Bench {
    pub(super) fn below(&self, bound: u64) -> u64 {
        self.prng.borrow_mut().below(bound)
    }

    pub(super) fn pick<T: Copy>(&self, items: &[T]) -> T {
        *self.prng.borrow_mut().pick(items)
    }

    pub(super) async fn pause(&self, micros: u64) {
        let time = self.below(micros);
        self.rt.sleep(Duration::from_micros(time)).await;
    }

    /// Keeps what is wrong, which ends the history.
    pub(super) fn check<T>(&self, result: Result<T, String>) -> Result<T, Lost> {
        result.map_err(|why| self.ledger.violate(why)).map_err(|()| Lost)
    }

    pub(super) fn wrong<T>(&self, why: impl Into<String>) -> Result<T, Lost> {
        self.check(Err(why.into()))
    }

    /// An answer's body.
    pub(super) fn decode<'a, M: Message<'a>>(
        &self,
        answer: &'a Bytes,
        version: i16,
    ) -> Result<M, Lost> {
        let decoded = frame::decode_response::<M>(answer, api_of::<M>(), version);
        let why = |error| format!("{} version {version} is malformed: {error}", M::NAME);
        self.check(decoded.map(|(_, message)| message).map_err(why))
    }
}

fn api_of<'a, M: Message<'a>>() -> ApiKey {
    ApiKey::from_number(M::API_KEY).expect("a request's or an answer's")
}

/// A connection on which requests may be sent before earlier ones are answered.
pub(super) struct Connection {
    bench: Bench,
    stream: Stream,
    dialogue: Dialogue,
}

impl Connection {
    pub(super) async fn open(bench: &Bench) -> Result<Connection, Lost> {
        let Ok(stream) = bench.rt.connect(bench.server).await else {
            bench.pause(10_000).await;
            return Err(Lost);
        };
        let dialogue = Dialogue::new(Some("sim"), bench.below(1_000) as i32);
        Ok(Connection { bench: bench.clone(), stream, dialogue })
    }

    pub(super) async fn send<'a, M: Message<'a>>(
        &mut self,
        version: i16,
        request: &M,
    ) -> Result<(), Lost> {
        let request = self.dialogue.request(version, request);
        let sending = self.stream.send(vec![Piece::Bytes(request)]);
        match self.bench.rt.timeout(ANSWER_TIME_MAX, sending).await {
            Ok(sent) => sent.map_err(|_| Lost),
            Err(_) => self.bench.wrong("a request is not taken"),
        }
    }

    /// The answer to the oldest request without one. Any other is out of order.
    pub(super) async fn receive(&mut self) -> Result<Bytes, Lost> {
        loop {
            let answer = self.dialogue.answer().map_err(|error| error.to_string());
            if let Some(answer) = self.bench.check(answer)? {
                return Ok(answer);
            }
            let bytes = self.bench.rt.timeout(ANSWER_TIME_MAX, self.stream.recv()).await;
            match bytes {
                Ok(Ok(bytes)) if !bytes.is_empty() => self.dialogue.receive(&bytes),
                Ok(_) => return Err(Lost),
                Err(_) => return self.bench.wrong("a request is not answered"),
            }
        }
    }

    pub(super) async fn ask<'a, M: Message<'a>>(
        &mut self,
        version: i16,
        request: &M,
    ) -> Result<Bytes, Lost> {
        self.send(version, request).await?;
        self.receive().await
    }
}
