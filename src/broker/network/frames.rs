//! Cutting a connection's byte stream into request frames.
//!
//! A frame is a 4-byte big-endian length and that many bytes. Small frames are copied out of the
//! shard's receive buffer; a frame that is not whole in it is received straight into its own
//! pooled buffer. Memory follows the bytes that have arrived, not the length that is claimed: only
//! a peer that has sent a frame as large before gets the buffer for it at once. A large frame is
//! received when there is memory for all of it (`request_memory`), and one that brings no records
//! is not received if it is larger than any such request has reason to be.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use ringlog_runtime::{RecvBuf, Runtime, Stream};

use crate::network::request_memory::{
    self, CONTROL_BYTES_MAX, Claim, RequestMemory, SMALL_BYTES_MAX, STALL_TIME_MAX,
};

/// A large frame's buffer starts at this size and doubles as its bytes arrive.
const FRAME_BUFFER_BYTES_FIRST: usize = 1 << 20;

/// However large its frames were: no peer gets more than this before it has sent as much.
const FRAME_BUFFER_BYTES_TRUSTED_MAX: usize = 8 << 20;

/// With this much of a large frame at hand, it is received at once; with less, some of it first.
const HEAD_BYTES_MIN: usize = 8 << 10;

/// How long a started frame may take, plus a second for each MiB of it.
const FRAME_TIME_MAX: Duration = Duration::from_secs(30);

/// Why a connection ends while a frame is being read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The claimed length is negative or above `socket.request.max.bytes`.
    #[error("a frame of {0} bytes; allowed are 0 to {1} (socket.request.max.bytes)")]
    Length(i32, usize),
    /// The length is more than a request of this API may have.
    #[error("a frame of {0} bytes for API {1}; allowed are {CONTROL_BYTES_MAX}")]
    LengthOfApi(usize, i16),
    /// The peer went away inside a frame.
    #[error("the peer closed the connection inside a frame, after {0} of {1} bytes")]
    CutShort(usize, usize),
    /// The frame did not arrive in time.
    #[error("a frame of {0} bytes did not arrive within {1:?}")]
    TooSlow(usize, Duration),
    /// Nothing of the frame has arrived for a while, and others need its memory.
    #[error("nothing came of a frame of {0} bytes for {STALL_TIME_MAX:?} while others waited")]
    Stalled(usize),
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// A request as it came, without its length prefix.
pub(crate) struct Frame {
    pub(crate) bytes: Bytes,
    /// The memory it has claimed, if it is a large one.
    pub(crate) claim: Option<Claim>,
}

/// Reads the frames of one connection.
pub(crate) struct FrameReader {
    rt: Runtime,
    stream: Stream,
    memory: Rc<RequestMemory>,
    frame_bytes_max: usize,
    /// Bytes received and not yet consumed, from `unread_at`.
    unread: Option<RecvBuf>,
    unread_at: usize,
    /// What the next large frame's buffer starts at.
    buffer_bytes_first: usize,
}

impl FrameReader {
    pub(crate) fn new(
        rt: Runtime,
        stream: Stream,
        memory: Rc<RequestMemory>,
        frame_bytes_max: usize,
    ) -> FrameReader {
        FrameReader {
            rt,
            stream,
            memory,
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

    /// The next frame, or `None` when the peer closed between frames.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(length) = self.length().await? else { return Ok(None) };
        if request_memory::is_large(length) {
            return self.large(length).await.map(Some);
        }
        let unread = self.unread_bytes();
        let bytes = if unread.len() >= length {
            let bytes = Bytes::copy_from_slice(&unread[..length]);
            self.consume(length);
            bytes
        } else {
            self.in_time(length, async |frames| frames.rest_of_frame(&[], length).await).await?
        };
        Ok(Some(Frame { bytes, claim: None }))
    }

    /// Reads the length prefix and checks it.
    async fn length(&mut self) -> Result<Option<usize>, FrameError> {
        let Some(prefix) = self.fixed().await? else { return Ok(None) };
        let length = i32::from_be_bytes(prefix);
        match usize::try_from(length) {
            Ok(length) if length <= self.frame_bytes_max => Ok(Some(length)),
            _ => Err(FrameError::Length(length, self.frame_bytes_max)),
        }
    }

    /// So many bytes; `None` if the stream ends before them.
    async fn fixed<const LEN: usize>(&mut self) -> Result<Option<[u8; LEN]>, FrameError> {
        let mut bytes = [0u8; LEN];
        let mut filled = 0;
        while filled < LEN {
            if self.unread_bytes().is_empty() {
                let received = self.stream.recv().await?;
                if received.is_empty() {
                    return match filled {
                        0 => Ok(None),
                        _ => Err(FrameError::CutShort(filled, LEN)),
                    };
                }
                self.unread = Some(received);
                self.unread_at = 0;
            }
            let unread = self.unread_bytes();
            let taken = unread.len().min(LEN - filled);
            bytes[filled..filled + taken].copy_from_slice(&unread[..taken]);
            filled += taken;
            self.consume(taken);
        }
        Ok(Some(bytes))
    }

    /// A large frame, whose length was read: first what it is, then the memory for it.
    async fn large(&mut self, length: usize) -> Result<Frame, FrameError> {
        let key = self.in_time(length, async |frames| frames.fixed::<2>().await).await?;
        let Some(key) = key else { return Err(FrameError::CutShort(0, length)) };
        let api_key = i16::from_be_bytes(key);
        if length > CONTROL_BYTES_MAX && !request_memory::brings_records(api_key) {
            return Err(FrameError::LengthOfApi(length, api_key));
        }
        let mut head = Bytes::copy_from_slice(&key);
        if self.unread_bytes().len() < HEAD_BYTES_MIN {
            let receive =
                async |frames: &mut FrameReader| frames.rest_of_frame(&key, SMALL_BYTES_MAX).await;
            head = self.in_time(length, receive).await?;
        }
        let claim = self.memory.clone().claim(api_key, length).await;
        let bytes = self.in_time(length, async |frames| frames.rest_of_frame(&head, length).await);
        Ok(Frame { bytes: bytes.await?, claim: Some(claim) })
    }

    /// Receives something of a frame of that length, but waits neither too long nor, while others
    /// wait for memory, for a peer that has stopped.
    async fn in_time<T>(
        &mut self,
        length: usize,
        receive: impl AsyncFnOnce(&mut FrameReader) -> Result<T, FrameError>,
    ) -> Result<T, FrameError> {
        let limit = FRAME_TIME_MAX + Duration::from_secs((length >> 20) as u64);
        let (rt, stream, memory) = (self.rt.clone(), self.stream.clone(), self.memory.clone());
        let deadline = rt.now() + limit;
        let mut received = None;
        let mut receiving = pin!(receive(self));
        loop {
            let wait = (STALL_TIME_MAX / 2).min(deadline - rt.now());
            if let Ok(result) = rt.timeout(wait, receiving.as_mut()).await {
                return result;
            }
            if rt.now() >= deadline {
                return Err(FrameError::TooSlow(length, limit));
            }
            let received_now = stream.progress().received;
            if memory.is_short() && received == Some(received_now) {
                return Err(FrameError::Stalled(length));
            }
            received = Some(received_now);
        }
    }

    /// Receives what is missing of a frame that has begun with `head`.
    async fn rest_of_frame(&mut self, head: &[u8], length: usize) -> Result<Bytes, FrameError> {
        let mut buffer = self.rt.buffers().get(length.min(self.buffer_bytes_first));
        buffer.extend_from_slice(head);
        let unread = self.unread_bytes();
        let taken = unread.len().min(length - head.len());
        buffer.extend_from_slice(&unread[..taken]);
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
