//! Listeners and streams of a fallback shard.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use bytes::{Buf, Bytes};
use rustix::io::Errno;
use rustix::net::{
    self, AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketFlags,
    SocketType, sockopt,
};

use super::Fallback;
use super::sockets::{Side, Socket, Sockets};
use crate::address::canonical;
use crate::{BufferPool, File, IoBuf, Piece, RecvBuf};

/// Room for one receive. Taken from the pool when the socket is readable.
const RECV_BYTES: usize = 64 * 1024;

/// Connections the kernel queues before they are accepted.
const BACKLOG: i32 = 4096;

/// The most bytes one `sendfile` moves: it runs on the shard's own thread, and may wait for the
/// disk there, which is the price of this backend.
const SENDFILE_BYTES_MAX: usize = 256 * 1024;

/// Slices handed to one `sendmsg`.
const SLICES_MAX: usize = 64;

impl Fallback {
    pub(crate) fn listen(&self, addr: SocketAddr) -> io::Result<FallbackListener> {
        let fd = new_socket(addr)?;
        sockopt::set_socket_reuseaddr(&fd, true)?;
        sockopt::set_socket_reuseport(&fd, true)?;
        if addr.is_ipv6() && addr.ip().is_unspecified() {
            sockopt::set_ipv6_v6only(&fd, false)?;
        }
        net::bind(&fd, &addr)?;
        net::listen(&fd, BACKLOG)?;
        let local_addr = socket_addr(net::getsockname(&fd)?)?;
        let (sockets, buffers) = (Rc::clone(&self.sockets), self.buffers.clone());
        Ok(FallbackListener { socket: Socket::new(&sockets, fd)?, local_addr, sockets, buffers })
    }

    pub(crate) async fn connect(&self, addr: SocketAddr) -> io::Result<FallbackStream> {
        let fd = new_socket(addr)?;
        let started = net::connect(&fd, &addr);
        let stream = FallbackStream::new(&self.sockets, &self.buffers, fd, addr)?;
        match started {
            Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let connected = |fd: BorrowedFd<'_>| {
            sockopt::socket_error(fd)??;
            match net::getpeername(fd) {
                Err(Errno::NOTCONN) => Err(Errno::AGAIN),
                other => other.map(|_| ()),
            }
        };
        stream.socket.when_ready(Side::Write, connected).await?;
        Ok(stream)
    }

    /// A stream of a socket that another shard had.
    pub(crate) fn take_over(&self, fd: OwnedFd, peer: SocketAddr) -> io::Result<FallbackStream> {
        FallbackStream::new(&self.sockets, &self.buffers, fd, peer)
    }
}

fn new_socket(addr: SocketAddr) -> io::Result<OwnedFd> {
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(net::socket_with(family, SocketType::STREAM, flags, None)?)
}

fn socket_addr(addr: net::SocketAddrAny) -> io::Result<SocketAddr> {
    Ok(SocketAddr::try_from(addr)?)
}

pub(crate) struct FallbackListener {
    socket: Socket,
    local_addr: SocketAddr,
    sockets: Rc<Sockets>,
    buffers: BufferPool,
}

impl FallbackListener {
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    pub(crate) fn set_send_buffer_bytes(&self, bytes: usize) -> io::Result<()> {
        // Accepted sockets inherit it.
        Ok(sockopt::set_socket_send_buffer_size(&self.socket, bytes)?)
    }

    pub(crate) async fn accept(&self) -> io::Result<(FallbackStream, SocketAddr)> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let accept = |fd: BorrowedFd<'_>| match net::acceptfrom_with(fd, flags) {
            // Gone before it was accepted, as if it had never come.
            Err(Errno::CONNABORTED) => Err(Errno::INTR),
            other => other,
        };
        let (fd, peer) = self.socket.when_ready(Side::Read, accept).await?;
        let peer = canonical(socket_addr(peer.ok_or(Errno::INVAL)?)?);
        Ok((FallbackStream::new(&self.sockets, &self.buffers, fd, peer)?, peer))
    }
}

pub(crate) struct FallbackStream {
    socket: Socket,
    peer_addr: SocketAddr,
    buffers: BufferPool,
}

impl FallbackStream {
    fn new(
        sockets: &Rc<Sockets>,
        buffers: &BufferPool,
        fd: OwnedFd,
        peer_addr: SocketAddr,
    ) -> io::Result<FallbackStream> {
        sockopt::set_tcp_nodelay(&fd, true)?;
        let socket = Socket::new(sockets, fd)?;
        Ok(FallbackStream { socket, peer_addr, buffers: buffers.clone() })
    }

    pub(crate) fn peer_addr(&self) -> SocketAddr {
        self.peer_addr
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// A descriptor of the same socket.
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        self.socket.as_fd().try_clone_to_owned()
    }

    /// Some bytes; none at the end of the stream.
    pub(crate) async fn recv(&self) -> io::Result<RecvBuf> {
        let receive = |fd: BorrowedFd<'_>| {
            let mut buf = self.buffers.get(RECV_BYTES);
            let (n, _) = net::recv(fd, buf.spare_mut(), RecvFlags::DONTWAIT)?;
            buf.advance(n);
            Ok(RecvBuf::pooled(buf))
        };
        self.socket.when_ready(Side::Read, receive).await
    }

    /// Receives behind what is in `buf` until it holds `until` bytes.
    pub(crate) async fn recv_into(&self, mut buf: IoBuf, until: usize) -> (io::Result<()>, IoBuf) {
        assert!(until <= buf.capacity(), "{until} bytes into {}", buf.capacity());
        let whole = Whole { stream: self, done: Cell::new(buf.len() >= until) };
        while buf.len() < until {
            let missing = until - buf.len();
            let receive = |fd: BorrowedFd<'_>| {
                let (n, _) = net::recv(fd, &mut buf.spare_mut()[..missing], RecvFlags::DONTWAIT)?;
                buf.advance(n);
                Ok(n)
            };
            let result = match self.socket.when_ready(Side::Read, receive).await {
                Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                other => other,
            };
            if let Err(e) = result {
                whole.done.set(true);
                return (Err(e), buf);
            }
        }
        whole.done.set(true);
        (Ok(()), buf)
    }

    /// Sends all the pieces.
    pub(crate) async fn send(&self, pieces: Vec<Piece>) -> io::Result<()> {
        let whole = Whole { stream: self, done: Cell::new(false) };
        let result = self.send_pieces(pieces).await;
        whole.done.set(true);
        result
    }

    async fn send_pieces(&self, pieces: Vec<Piece>) -> io::Result<()> {
        let mut bytes = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Bytes(piece) => bytes.push(piece),
                Piece::File { file, pos, len } => {
                    self.send_bytes(&mut bytes, true).await?;
                    let sent = self.send_file(&file, pos, len).await;
                    sent.inspect_err(|error| {
                        let of_disk = error.raw_os_error() == Some(Errno::IO.raw_os_error());
                        if of_disk || error.kind() == io::ErrorKind::UnexpectedEof {
                            file.note_unreadable();
                        }
                    })?;
                }
            }
        }
        self.send_bytes(&mut bytes, false).await
    }

    /// Sends and empties `bytes`. With `more` to come the kernel may wait to fill a packet.
    async fn send_bytes(&self, bytes: &mut Vec<Bytes>, more: bool) -> io::Result<()> {
        let mut first = 0;
        let mut flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        flags.set(SendFlags::MORE, more);
        loop {
            while bytes.get(first).is_some_and(Bytes::is_empty) {
                first += 1;
            }
            if first == bytes.len() {
                bytes.clear();
                return Ok(());
            }
            let left = &bytes[first..];
            let send = |fd: BorrowedFd<'_>| {
                let slices: smallvec::SmallVec<[IoSlice<'_>; 16]> =
                    left.iter().take(SLICES_MAX).map(|b| IoSlice::new(b)).collect();
                net::sendmsg(fd, &slices, &mut SendAncillaryBuffer::default(), flags)
            };
            let mut sent = self.socket.when_ready(Side::Write, send).await?;
            while sent > 0 {
                let n = sent.min(bytes[first].len());
                bytes[first].advance(n);
                sent -= n;
                first += usize::from(bytes[first].is_empty());
            }
        }
    }

    async fn send_file(&self, file: &File, mut pos: u64, mut len: usize) -> io::Result<()> {
        while len > 0 {
            let send = |fd: BorrowedFd<'_>| {
                let mut at = pos;
                let n = len.min(SENDFILE_BYTES_MAX);
                rustix::fs::sendfile(fd, file.fd(), Some(&mut at), n)
            };
            match self.socket.when_ready(Side::Write, send).await {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    pos += n as u64;
                    len -= n;
                }
                // The file system cannot; then by way of a buffer.
                Err(e) if e.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                    let n = self.copy_piece(file, pos, len).await?;
                    pos += n as u64;
                    len -= n;
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    async fn copy_piece(&self, file: &File, pos: u64, len: usize) -> io::Result<usize> {
        let mut buf = self.buffers.get(len.min(SENDFILE_BYTES_MAX));
        let room = len.min(buf.capacity());
        buf.fill_with(|out| super::file_calls::read_at(file.fd(), &mut out[..room], pos))?;
        match buf.len() {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                self.send_bytes(&mut vec![buf.freeze()], true).await?;
                Ok(n)
            }
        }
    }

    /// Ends both directions: what waits finishes.
    pub(crate) fn shutdown(&self) {
        // Fails only when the connection has ended already.
        let _ = net::shutdown(&self.socket, Shutdown::Both);
    }

    pub(crate) fn shutdown_read(&self) {
        // Fails only when the connection has ended already.
        let _ = net::shutdown(&self.socket, Shutdown::Read);
    }
}

/// Shuts the stream down when a transfer is given up halfway: nobody could tell where it stopped.
struct Whole<'a> {
    stream: &'a FallbackStream,
    done: Cell<bool>,
}

impl Drop for Whole<'_> {
    fn drop(&mut self) {
        if !self.done.get() {
            self.stream.shutdown();
        }
    }
}
