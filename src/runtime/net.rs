//! Sockets: listeners, streams, and the pieces that are sent.

use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use bytes::Bytes;

use crate::fallback::{FallbackListener, FallbackStream};
use crate::sim::{SimListener, SimStream};
use crate::uring::{LentBuf, UringListener, UringStream};
use crate::{File, IoBuf, tcp};

/// What is sent: bytes in memory, or a part of a file that goes to the socket without being
/// copied into the process.
///
/// A page of a file that waits in a socket still belongs to the file: it must not be overwritten
/// through the page cache, cut off in the middle or punched out until the peer has it.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Bytes in memory.
    Bytes(Bytes),
    /// `len` bytes of a file from `pos` on. If the file ends before that, the send fails.
    File {
        /// Which file; opened for reading.
        file: File,
        /// Where the part begins.
        pos: u64,
        /// How long it is.
        len: usize,
    },
}

impl Piece {
    /// How many bytes it stands for.
    pub fn len(&self) -> usize {
        match self {
            Piece::Bytes(bytes) => bytes.len(),
            Piece::File { len, .. } => *len,
        }
    }

    /// Whether it stands for none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Bytes> for Piece {
    fn from(bytes: Bytes) -> Piece {
        Piece::Bytes(bytes)
    }
}

/// Bytes that were received. Empty at the end of the stream.
///
/// The memory is lent by the shard: keep it no longer than it takes to read.
pub struct RecvBuf {
    memory: RecvMemory,
    /// Bytes at the start that were taken already.
    taken: usize,
}

enum RecvMemory {
    Lent(LentBuf),
    Pooled(IoBuf),
    Shared(Bytes),
}

impl RecvBuf {
    pub(crate) fn lent(buf: LentBuf) -> RecvBuf {
        RecvBuf { memory: RecvMemory::Lent(buf), taken: 0 }
    }

    pub(crate) fn pooled(buf: IoBuf) -> RecvBuf {
        RecvBuf { memory: RecvMemory::Pooled(buf), taken: 0 }
    }

    pub(crate) fn shared(bytes: Bytes) -> RecvBuf {
        RecvBuf { memory: RecvMemory::Shared(bytes), taken: 0 }
    }

    /// The end of the stream.
    pub(crate) fn end() -> RecvBuf {
        RecvBuf::shared(Bytes::new())
    }

    /// The bytes after the first `n`.
    pub(crate) fn after(mut self, n: usize) -> RecvBuf {
        assert!(n <= self.len());
        self.taken += n;
        self
    }
}

impl Deref for RecvBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let bytes: &[u8] = match &self.memory {
            RecvMemory::Lent(buf) => buf,
            RecvMemory::Pooled(buf) => buf,
            RecvMemory::Shared(bytes) => bytes,
        };
        &bytes[self.taken..]
    }
}

/// A socket that accepts connections. Dropping it stops that.
pub struct Listener(ListenerKind);

pub(crate) enum ListenerKind {
    Uring(UringListener),
    Fallback(FallbackListener),
    Sim(SimListener),
}

impl Listener {
    pub(crate) fn new(kind: ListenerKind) -> Listener {
        Listener(kind)
    }

    /// The address it listens on, with the port the system chose if none was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        match &self.0 {
            ListenerKind::Uring(l) => l.local_addr(),
            ListenerKind::Fallback(l) => l.local_addr(),
            ListenerKind::Sim(l) => l.local_addr,
        }
    }

    /// How many bytes the system holds at most for each connection accepted from now on, until its
    /// peer has them; the system lowers it to its own limit (`net.core.wmem_max`) and makes room
    /// for twice as much with its bookkeeping. Untold, it holds more and more of a connection that
    /// is not read as fast as it is sent to. The simulation has a bound of its own.
    ///
    /// # Errors
    /// The system refuses.
    pub fn set_send_buffer_bytes(&self, bytes: usize) -> io::Result<()> {
        match &self.0 {
            ListenerKind::Uring(l) => l.set_send_buffer_bytes(bytes),
            ListenerKind::Fallback(l) => l.set_send_buffer_bytes(bytes),
            ListenerKind::Sim(_) => Ok(()),
        }
    }

    pub(crate) async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (kind, peer) = match &self.0 {
            ListenerKind::Uring(l) => {
                let (stream, peer) = l.accept().await?;
                (StreamKind::Uring(stream), peer)
            }
            ListenerKind::Fallback(l) => {
                let (stream, peer) = l.accept().await?;
                (StreamKind::Fallback(stream), peer)
            }
            ListenerKind::Sim(l) => {
                let (stream, peer) = l.accept().await?;
                (StreamKind::Sim(stream), peer)
            }
        };
        Ok((Stream::new(kind), peer))
    }
}

/// A connection. Clones are the same connection; it is closed when the last one is dropped and
/// its operations have completed.
///
/// One `recv` or `recv_into` and one `send` may be in flight at once.
#[derive(Clone)]
pub struct Stream(Rc<StreamKind>);

pub(crate) enum StreamKind {
    Uring(UringStream),
    Fallback(FallbackStream),
    Sim(SimStream),
}

impl Stream {
    pub(crate) fn new(kind: StreamKind) -> Stream {
        Stream(Rc::new(kind))
    }

    /// Some bytes, or none at the end of the stream. While it waits it holds no memory; giving up
    /// loses no bytes.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn recv(&self) -> io::Result<RecvBuf> {
        match &*self.0 {
            StreamKind::Uring(stream) => stream.recv().await,
            StreamKind::Fallback(stream) => stream.recv().await,
            StreamKind::Sim(stream) => stream.recv().await,
        }
    }

    /// Appends bytes to `buf` until there are `until` in it. Giving up shuts the stream down.
    ///
    /// # Errors
    /// `UnexpectedEof` if the stream ends before that; the buffer then has what came.
    ///
    /// # Panics
    /// If the buffer cannot hold so many.
    pub async fn recv_into(&self, buf: IoBuf, until: usize) -> (io::Result<()>, IoBuf) {
        assert!(until <= buf.capacity(), "{until} bytes into {}", buf.capacity());
        match &*self.0 {
            StreamKind::Uring(stream) => stream.recv_into(buf, until).await,
            StreamKind::Fallback(stream) => stream.recv_into(buf, until).await,
            StreamKind::Sim(stream) => stream.recv_into(buf, until).await,
        }
    }

    /// Sends all the pieces, in order. Giving up shuts the stream down.
    ///
    /// # Errors
    /// The connection is broken, or a file could not be read or ends too early; some of the
    /// pieces may have been sent.
    pub async fn send(&self, pieces: Vec<Piece>) -> io::Result<()> {
        match &*self.0 {
            StreamKind::Uring(stream) => stream.send(pieces).await,
            StreamKind::Fallback(stream) => stream.send(pieces).await,
            StreamKind::Sim(stream) => stream.send(pieces).await,
        }
    }

    /// How far the connection has come. Two equal answers mean that nothing has moved between
    /// them; a broken connection has always come as far as this.
    pub fn progress(&self) -> Progress {
        match &*self.0 {
            StreamKind::Uring(stream) => tcp::progress(stream.fd()),
            StreamKind::Fallback(stream) => tcp::progress(stream.fd()),
            StreamKind::Sim(stream) => stream.progress(),
        }
    }

    /// Whether the peer sends no more, however much of what it sent is still to be received. Not
    /// every end is seen: a peer that vanished without a word is there as far as anyone knows.
    pub fn has_peer_ended(&self) -> bool {
        match &*self.0 {
            StreamKind::Uring(stream) => tcp::has_ended(stream.fd()),
            StreamKind::Fallback(stream) => tcp::has_ended(stream.fd()),
            StreamKind::Sim(stream) => stream.has_peer_ended(),
        }
    }

    /// Ends the connection in both directions: what waits for it finishes.
    pub fn shutdown(&self) {
        match &*self.0 {
            StreamKind::Uring(stream) => stream.shutdown(),
            StreamKind::Fallback(stream) => stream.shutdown(),
            StreamKind::Sim(stream) => stream.shutdown(),
        }
    }

    /// Ends the direction that is received: what waits for it finishes, as do later receives when
    /// all that has arrived is received. Sending goes on.
    pub fn shutdown_read(&self) {
        match &*self.0 {
            StreamKind::Uring(stream) => stream.shutdown_read(),
            StreamKind::Fallback(stream) => stream.shutdown_read(),
            StreamKind::Sim(stream) => stream.shutdown_read(),
        }
    }

    /// The same connection for another shard, which [`Runtime::take_over`](crate::Runtime) makes
    /// a stream of. This stream is of no use afterwards, and has nothing in flight before.
    ///
    /// # Errors
    /// `Unsupported` in the simulation; `ResourceBusy` while bytes that were received wait here;
    /// no descriptor is left. The stream is as it was.
    pub fn hand_over(&self) -> io::Result<HandedOver> {
        let descriptor = match &*self.0 {
            StreamKind::Uring(stream) => stream.descriptor()?,
            StreamKind::Fallback(stream) => stream.descriptor()?,
            StreamKind::Sim(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(HandedOver { descriptor, peer_addr: self.peer_addr() })
    }

    /// The other end's address.
    pub fn peer_addr(&self) -> SocketAddr {
        match &*self.0 {
            StreamKind::Uring(stream) => stream.peer_addr(),
            StreamKind::Fallback(stream) => stream.peer_addr(),
            StreamKind::Sim(stream) => stream.peer_addr,
        }
    }
}

/// Bytes that have gone through a connection, by the count of the network: they move on while one
/// operation of many bytes is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Sent, and the peer's system has them.
    pub sent: u64,
    /// Received by this system.
    pub received: u64,
}

/// A connection on its way from one shard to another. Dropping it closes it.
#[derive(Debug)]
pub struct HandedOver {
    pub(crate) descriptor: OwnedFd,
    pub(crate) peer_addr: SocketAddr,
}
