//! Cutting a connection's byte stream into request frames.
//!
//! A frame is a 4-byte big-endian length and that many bytes. Small frames are copied out of the
//! shard's receive buffer; a frame that is not whole in it is received straight into its own
//! pooled buffer. Memory follows the bytes that have arrived, not the length that is claimed: only
//! a peer that has sent a frame as large before gets the buffer for it at once.

use std::time::Duration;

use bytes::Bytes;
use ringlog_runtime::{RecvBuf, Runtime, Stream};

/// A large frame's buffer starts at this size and doubles as its bytes arrive.
const FRAME_BUFFER_BYTES_FIRST: usize = 1 << 20;

/// However large its frames were: no peer gets more than this before it has sent as much.
const FRAME_BUFFER_BYTES_TRUSTED_MAX: usize = 8 << 20;

/// How long a started frame may take, plus a second for each MiB of it.
const FRAME_TIME_MAX: Duration = Duration::from_secs(30);

/// Why a connection ends while a frame is being read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The claimed length is negative or above `socket.request.max.bytes`.
    #[error("a frame of {0} bytes; allowed are 0 to {1} (socket.request.max.bytes)")]
    Length(i32, usize),
    /// The peer went away inside a frame.
    #[error("the peer closed the connection inside a frame, after {0} of {1} bytes")]
    CutShort(usize, usize),
    /// The frame did not arrive in time.
    #[error("a frame of {0} bytes did not arrive within {1:?}")]
    TooSlow(usize, Duration),
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Reads the frames of one connection.
pub(crate) struct FrameReader {
    rt: Runtime,
    stream: Stream,
    frame_bytes_max: usize,
    /// Bytes received and not yet consumed, from `unread_at`.
    unread: Option<RecvBuf>,
    unread_at: usize,
    /// What the next large frame's buffer starts at.
    buffer_bytes_first: usize,
}

impl FrameReader {
    pub(crate) fn new(rt: Runtime, stream: Stream, frame_bytes_max: usize) -> FrameReader {
        FrameReader {
            rt,
            stream,
            frame_bytes_max,
            unread: None,
            unread_at: 0,
            buffer_bytes_first: FRAME_BUFFER_BYTES_FIRST,
        }
    }

    /// Whether everything that was received has been given out as frames.
    pub(crate) fn is_drained(&self) -> bool {
        self.unread.is_none()
    }

    /// The next frame without its length prefix, or `None` when the peer closed between frames.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(length) = self.length().await? else { return Ok(None) };
        let unread = self.unread_bytes();
        if unread.len() >= length {
            let frame = Bytes::copy_from_slice(&unread[..length]);
            self.consume(length);
            return Ok(Some(frame));
        }
        let limit = FRAME_TIME_MAX + Duration::from_secs((length >> 20) as u64);
        match self.rt.clone().timeout(limit, self.rest_of_frame(length)).await {
            Ok(frame) => frame.map(Some),
            Err(_) => Err(FrameError::TooSlow(length, limit)),
        }
    }

    /// Reads the length prefix and checks it.
    async fn length(&mut self) -> Result<Option<usize>, FrameError> {
        let mut prefix = [0u8; 4];
        let mut filled = 0;
        while filled < prefix.len() {
            if self.unread_bytes().is_empty() {
                let received = self.stream.recv().await?;
                if received.is_empty() {
                    return match filled {
                        0 => Ok(None),
                        _ => Err(FrameError::CutShort(filled, prefix.len())),
                    };
                }
                self.unread = Some(received);
                self.unread_at = 0;
            }
            let unread = self.unread_bytes();
            let taken = unread.len().min(prefix.len() - filled);
            prefix[filled..filled + taken].copy_from_slice(&unread[..taken]);
            filled += taken;
            self.consume(taken);
        }
        let length = i32::from_be_bytes(prefix);
        match usize::try_from(length) {
            Ok(length) if length <= self.frame_bytes_max => Ok(Some(length)),
            _ => Err(FrameError::Length(length, self.frame_bytes_max)),
        }
    }

    /// Receives what is missing of a frame that has begun.
    async fn rest_of_frame(&mut self, length: usize) -> Result<Bytes, FrameError> {
        let mut buffer = self.rt.buffers().get(length.min(self.buffer_bytes_first));
        let unread = self.unread_bytes();
        let taken = unread.len();
        buffer.extend_from_slice(unread);
        self.consume(taken);
        loop {
            let until = length.min(buffer.capacity());
            let (outcome, filled) = self.stream.recv_into(buffer, until).await;
            buffer = filled;
            if let Err(error) = outcome {
                return Err(match error.kind() {
                    std::io::ErrorKind::UnexpectedEof => FrameError::CutShort(buffer.len(), length),
                    _ => error.into(),
                });
            }
            if buffer.len() == length {
                let trusted = length.min(FRAME_BUFFER_BYTES_TRUSTED_MAX);
                self.buffer_bytes_first = self.buffer_bytes_first.max(trusted);
                return Ok(buffer.freeze());
            }
            let mut larger = self.rt.buffers().get(length.min(buffer.capacity() * 2));
            larger.extend_from_slice(&buffer);
            buffer = larger;
        }
    }

    fn unread_bytes(&self) -> &[u8] {
        self.unread.as_ref().map_or(&[], |unread| &unread[self.unread_at..])
    }

    fn consume(&mut self, bytes: usize) {
        self.unread_at += bytes;
        // The buffer belongs to all connections of the shard: give it back when it is empty.
        if self.unread.as_ref().is_some_and(|unread| unread.len() == self.unread_at) {
            self.unread = None;
            self.unread_at = 0;
        }
    }
}
