//! Cutting a connection's byte stream into request frames.
//!
//! A frame is a 4-byte big-endian length and that many bytes. A frame that has arrived whole is
//! copied out of the shard's receive buffer; any other is received straight into a pooled buffer of
//! its own, which doubles as its bytes arrive. Its memory is claimed before each step
//! (`request_memory`), so a length that was only announced holds nothing and keeps nobody waiting.
//! Only a peer that has sent a frame as large before, in good time, gets the buffer for it at once.
//! One that brings no records is not received if it is larger than any such request has reason to
//! be.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use ringlog_runtime::{BufferPool, Instant, RecvBuf, Runtime, Stream};

use crate::network::lane::Standing;
use crate::network::pace::{self, Record};
use crate::network::request_memory::{CONTROL_BYTES_MAX, Claim, MemoryNeed, RequestMemory};
use crate::network::work::Service;

/// The first buffer of a frame whose peer is not known to move.
const FRAME_BUFFER_BYTES_FIRST: usize = 16 << 10;
/// The same for one that is.
const FRAME_BUFFER_BYTES_KNOWN: usize = 1 << 20;
/// However large its frames were: no peer gets more than this before it has sent as much.
const FRAME_BUFFER_BYTES_KNOWN_MAX: usize = 8 << 20;

/// How long a started frame may take, plus a second for each MiB of it. Time in which it waits for
/// memory does not count.
const FRAME_TIME_MAX: Duration = Duration::from_secs(30);
/// How often a frame that is arriving is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

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
    /// Others need its memory, and it does not move on.
    #[error("a frame of {0} bytes came too slowly while others waited for memory")]
    TooSlowForOthers(usize),
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// A request as it came, without its length prefix.
pub(crate) struct Frame {
    pub(crate) bytes: Bytes,
    /// The memory it has claimed, if it did not arrive at once.
    pub(crate) claim: Option<Claim>,
}

/// A frame of which little is known yet: its length, and what it is.
pub(crate) struct Begun {
    length: usize,
    /// The claim of its API.
    pub(crate) need: MemoryNeed,
    /// The key's bytes, if they were taken out of the stream: the frame is not here whole.
    key: Option<[u8; 2]>,
}

/// Bytes received and not yet consumed.
enum Unread {
    /// In a buffer that belongs to all connections of the shard.
    Lent(RecvBuf),
    /// In memory of their own.
    Kept(Bytes, #[expect(dead_code, reason = "it is held")] Claim),
}

/// Reads the frames of one connection.
pub(crate) struct FrameReader {
    rt: Runtime,
    stream: Stream,
    service: Rc<dyn Service>,
    memory: Rc<RequestMemory>,
    record: Rc<Record>,
    frame_bytes_max: usize,
    unread: Option<Unread>,
    /// Of `unread`, so many were consumed.
    unread_at: usize,
    /// The first size of the next frame's buffer, if the peer is known to move.
    buffer_bytes_known: usize,
}

impl FrameReader {
    pub(crate) fn new(
        rt: Runtime,
        stream: Stream,
        service: Rc<dyn Service>,
        memory: Rc<RequestMemory>,
        record: Rc<Record>,
        frame_bytes_max: usize,
    ) -> FrameReader {
        FrameReader {
            rt,
            stream,
            service,
            memory,
            record,
            frame_bytes_max,
            unread: None,
            unread_at: 0,
            buffer_bytes_known: FRAME_BUFFER_BYTES_KNOWN,
        }
    }

    /// Whether everything that was received has been given out as frames.
    pub(crate) fn is_drained(&self) -> bool {
        self.unread.is_none()
    }

    /// Gives back the shard's buffer before a wait: what is unread moves to memory of its own.
    pub(crate) fn keep_unread(&mut self) {
        if matches!(self.unread, Some(Unread::Lent(_))) {
            let bytes = Bytes::copy_from_slice(self.unread_bytes());
            let claim = self.memory.force(bytes.len());
            self.unread = Some(Unread::Kept(bytes, claim));
            self.unread_at = 0;
        }
    }

    /// The beginning of the next frame; `None` when the peer closed between frames.
    pub(crate) async fn begin(&mut self) -> Result<Option<Begun>, FrameError> {
        let Some(length) = self.length().await? else { return Ok(None) };
        let unread = self.unread_bytes();
        let (api_key, key) = if unread.len() >= length || length < 2 {
            let api_key = unread.first_chunk().filter(|_| length >= 2);
            (api_key.map_or(-1, |key| i16::from_be_bytes(*key)), None)
        } else {
            let deadline = self.rt.now() + time_max(length);
            let key = self.before(deadline, length, async |frames| frames.fixed().await).await?;
            let Some(key) = key else { return Err(FrameError::CutShort(0, length)) };
            (i16::from_be_bytes(key), Some(key))
        };
        let need = self.service.memory_need(api_key);
        if length > CONTROL_BYTES_MAX && !need.brings_records() {
            return Err(FrameError::LengthOfApi(length, api_key));
        }
        Ok(Some(Begun { length, need, key }))
    }

    /// The whole of a frame that has begun.
    pub(crate) async fn finish(&mut self, begun: Begun) -> Result<Frame, FrameError> {
        let length = begun.length;
        let unread = self.unread_bytes();
        if begun.key.is_none() && unread.len() >= length {
            let bytes = Bytes::copy_from_slice(&unread[..length]);
            self.consume(length);
            self.record.note(length, Duration::ZERO);
            return Ok(Frame { bytes, claim: None });
        }
        self.receive(begun).await
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
                self.unread = Some(Unread::Lent(received));
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

    /// Receives a frame as it comes, into memory that is claimed step by step.
    async fn receive(&mut self, begun: Begun) -> Result<Frame, FrameError> {
        let Begun { length, need, key } = begun;
        let standing = self.record.standing();
        let claim = self.memory.arriving(need, length, standing);
        let head = key.as_ref().map_or(&[][..], |key| &key[..]);
        let here = head.len() + self.unread_bytes().len();
        let first = match standing {
            Standing::Known if !self.memory.is_short() => self.buffer_bytes_known,
            _ => FRAME_BUFFER_BYTES_FIRST.max(here.next_power_of_two()),
        };
        let mut capacity = length.min(first);
        claim.grow(BufferPool::block_bytes(capacity), standing).await;
        let mut buffer = self.rt.buffers().get(capacity);
        buffer.extend_from_slice(head);
        let taken = self.unread_bytes().len().min(capacity - head.len());
        buffer.extend_from_slice(&self.unread_bytes()[..taken]);
        self.consume(taken);
        let mut arrival = Arrival::begin(length, self.rt.now());
        loop {
            let (outcome, filled) = {
                let receiving = self.stream.recv_into(buffer, length.min(capacity));
                self.watch(&mut arrival, &claim, standing, receiving).await?
            };
            buffer = filled;
            if let Err(error) = outcome {
                return Err(match error.kind() {
                    std::io::ErrorKind::UnexpectedEof => FrameError::CutShort(buffer.len(), length),
                    _ => error.into(),
                });
            }
            if buffer.len() == length {
                break;
            }
            capacity = length.min(capacity * 2);
            let begun = self.rt.now();
            claim.grow(BufferPool::block_bytes(capacity), standing).await;
            arrival.waited_for_us(self.rt.now() - begun);
            let mut larger = self.rt.buffers().get(capacity);
            larger.extend_from_slice(&buffer);
            buffer = larger;
        }
        self.record.note(length, arrival.time(self.rt.now()));
        let known = length.min(FRAME_BUFFER_BYTES_KNOWN_MAX);
        self.buffer_bytes_known = self.buffer_bytes_known.max(known);
        Ok(Frame { bytes: buffer.freeze(), claim: Some(claim) })
    }

    /// Waits for a receive, but neither too long nor, while others wait for memory, for a peer
    /// that hardly moves.
    async fn watch<T>(
        &self,
        arrival: &mut Arrival,
        claim: &Claim,
        standing: Standing,
        receiving: impl Future<Output = T>,
    ) -> Result<T, FrameError> {
        let mut receiving = pin!(receiving);
        loop {
            if let Ok(received) = self.rt.timeout(LOOK_INTERVAL, receiving.as_mut()).await {
                return Ok(received);
            }
            let now = self.rt.now();
            let received = self.stream.progress().received;
            let (held_for, moved) = arrival.look(now, received);
            let is_slow = pace::is_too_slow(standing, claim.bytes(), held_for, moved);
            if is_slow && self.memory.is_short() {
                return Err(FrameError::TooSlowForOthers(arrival.length));
            }
            if arrival.time(now) >= time_max(arrival.length) {
                return Err(FrameError::TooSlow(arrival.length, time_max(arrival.length)));
            }
        }
    }

    /// Receives something of a frame of that length before the deadline.
    async fn before<T>(
        &mut self,
        deadline: Instant,
        length: usize,
        receive: impl AsyncFnOnce(&mut FrameReader) -> Result<T, FrameError>,
    ) -> Result<T, FrameError> {
        let rt = self.rt.clone();
        let received = rt.timeout(deadline - rt.now(), pin!(receive(self))).await;
        received.unwrap_or(Err(FrameError::TooSlow(length, time_max(length))))
    }

    fn unread_bytes(&self) -> &[u8] {
        let bytes: &[u8] = match &self.unread {
            Some(Unread::Lent(bytes)) => bytes,
            Some(Unread::Kept(bytes, _)) => bytes,
            None => &[],
        };
        &bytes[self.unread_at..]
    }

    fn consume(&mut self, bytes: usize) {
        self.unread_at += bytes;
        // The buffer belongs to all connections of the shard: give it back when it is empty.
        if self.unread_bytes().is_empty() {
            self.unread = None;
            self.unread_at = 0;
        }
    }
}

/// How long a frame of so many bytes may take.
fn time_max(length: usize) -> Duration {
    FRAME_TIME_MAX + Duration::from_secs((length >> 20) as u64)
}

/// How a frame comes along, without the time in which it waited for us.
struct Arrival {
    length: usize,
    begun: Instant,
    /// In which it waited for memory.
    waited: Duration,
    /// When it was first looked at, and what had come over the connection by then.
    first_look: Option<(Instant, u64)>,
}

impl Arrival {
    fn begin(length: usize, now: Instant) -> Arrival {
        Arrival { length, begun: now, waited: Duration::ZERO, first_look: None }
    }

    fn waited_for_us(&mut self, waited: Duration) {
        self.waited += waited;
        // How bytes came before says nothing of how they come now.
        if waited >= LOOK_INTERVAL {
            self.first_look = None;
        }
    }

    /// Since the first look: how long it had, and how many bytes have come.
    fn look(&mut self, now: Instant, received: u64) -> (Duration, u64) {
        let (first, had) = *self.first_look.get_or_insert((now, received));
        (now - first, received.saturating_sub(had))
    }

    fn time(&self, now: Instant) -> Duration {
        (now - self.begun).saturating_sub(self.waited)
    }
}
