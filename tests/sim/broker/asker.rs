//! A client that asks one thing after the other, and panics where it is not answered.

use std::time::Duration;

use bytes::Bytes;
use ringlog_runtime::{Piece, Runtime, Stream};
use ringlog_types::Uuid;
use ringlog_wire::{ApiKey, Message, frame};
use ringlog_wire_client::Dialogue;

/// Far more virtual time than any of it takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);

/// A client's connection.
pub(super) struct Asker {
    rt: Runtime,
    stream: Stream,
    dialogue: Dialogue,
    /// Of the topic that is asked about.
    pub(super) topic_id: Uuid,
    /// What every answer says that has a place for it, if that is known.
    pub(super) throttle_time_ms: Option<i32>,
}

impl Asker {
    pub(super) async fn connect(rt: &Runtime, server: (std::net::IpAddr, u16)) -> Asker {
        let stream = loop {
            match rt.connect(server.into()).await {
                Ok(stream) => break stream,
                Err(_) => rt.sleep(Duration::from_millis(10)).await,
            }
        };
        let dialogue = Dialogue::new(Some("sim"), 0);
        Asker { rt: rt.clone(), stream, dialogue, topic_id: Uuid::ZERO, throttle_time_ms: None }
    }

    pub(super) async fn ask<'a, M: Message<'a>>(&mut self, version: i16, request: &M) -> Told {
        let request = self.dialogue.request(version, request);
        self.stream.send(vec![Piece::Bytes(request)]).await.expect("it is sent");
        loop {
            if let Some(frame) = self.dialogue.answer().expect("it is due") {
                return Told { version, frame, throttle_time_ms: self.throttle_time_ms };
            }
            let bytes = self.rt.timeout(PATIENCE, self.stream.recv()).await;
            let bytes = bytes.expect("an answer").expect("the connection stands");
            assert!(!bytes.is_empty(), "{} {version}: the node hangs up", M::NAME);
            self.dialogue.receive(&bytes);
        }
    }
}

/// An answer.
pub(super) struct Told {
    version: i16,
    frame: Bytes,
    throttle_time_ms: Option<i32>,
}

impl Told {
    pub(super) fn decode<'a, M: Message<'a>>(&'a self) -> M {
        let api = ApiKey::from_number(M::API_KEY).expect("an answer's");
        let answer = frame::decode_response::<M>(&self.frame, api, self.version);
        let answer = answer.expect("well formed").1;
        if self.throttle_time_ms.is_some() && api.has_throttle_time(self.version) {
            assert_eq!(answer.throttle_time_ms(), self.throttle_time_ms, "{api:?}");
        }
        answer
    }
}
