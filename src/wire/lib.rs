//! Kafka's wire protocol: frames, headers, primitives, and every message in every version that
//! Kafka 3.9 or 4.3 knows. Pure: no I/O, no clock.
//!
//! Invariants:
//! - Bytes from outside never panic, and nothing is allocated by a count that the bytes at hand
//!   cannot hold.
//! - Decoded messages borrow from the received bytes; records and strings are never copied.
//! - `messages/` and `api_key.rs` are written by `ringlog-wire-generator` from `schema/`; a test
//!   fails when they are not what it would write.

#[expect(clippy::too_many_lines, reason = "generated")]
mod api_key;
mod error;
mod header;
mod message;
#[expect(clippy::too_many_lines, reason = "generated")]
pub mod messages;
mod reader;
mod records;
mod varint;
mod writer;

pub mod fetch;
pub mod frame;
pub mod produce;

pub use api_key::{ApiKey, ApiSpec, ListenerKind};
pub use error::{DecodeError, EncodeError};
pub use header::{RequestHeader, decode_response_header, encode_response_header};
pub use message::Message;
pub use reader::{Reader, text};
pub use records::Records;
pub use writer::{Body, Chunk, Encoded, Tags, Writer};
