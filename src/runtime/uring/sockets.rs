//! Listeners and streams.
//!
//! Connected sockets are in non-blocking mode for the sake of splices into them, in which the shard
//! would sleep. Receives and sends on the ring do not look at the mode, but at their own flags, and
//! wait for as long as it takes. Every operation holds the socket, so that its descriptor cannot be
//! closed, and its number given to another, before the operation has completed.

#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::task::Poll;

use io_uring::types::Fd;
use io_uring::{cqueue, opcode, squeue};
use rustix::net::{Shutdown, sockopt};
use socket2::{Domain, SockAddr, Type};

use super::Uring;
use super::lent::{BUFFER_BYTES, GROUP, LentBuf};
use super::operation::{Finished, Operation};
use super::payload::Payload;
use super::ring::Ring;
use crate::address::{canonical, take_both_families};
use crate::{IoBuf, RecvBuf};

/// Connections the kernel queues before they are accepted.
const BACKLOG: i32 = 4096;

impl Uring {
    pub(crate) fn listen(&self, addr: SocketAddr) -> io::Result<UringListener> {
        let socket = socket2::Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        // Accepted sockets inherit it.
        socket.set_tcp_nodelay(true)?;
        take_both_families(&socket, addr)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        let local_addr = socket.local_addr()?;
        let local_addr = local_addr.as_socket().expect("an internet socket has such an address");
        let (ring, socket) = (Rc::clone(&self.ring), Rc::new(OwnedFd::from(socket)));
        Ok(UringListener { ring, socket, accepting: RefCell::default(), local_addr })
    }

    pub(crate) async fn connect(&self, addr: SocketAddr) -> io::Result<UringStream> {
        let socket = socket2::Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
        socket.set_tcp_nodelay(true)?;
        let socket = Socket::new(socket.into(), addr);
        let payload =
            Payload::Connect { socket: Rc::clone(&socket), address: Box::new(addr.into()) };
        let connected = self.ring.start(payload, |payload| {
            let Payload::Connect { socket, address } = payload else { unreachable!("made above") };
            let address: &SockAddr = address;
            opcode::Connect::new(socket.as_fd(), address.as_ptr().cast(), address.len()).build()
        });
        connected.await.result?;
        // Only now: in this mode connecting would not wait.
        rustix::io::ioctl_fionbio(&socket.fd, true)?;
        Ok(UringStream { ring: Rc::clone(&self.ring), socket })
    }

    /// A stream of a socket that another shard had; it is in the right mode already.
    pub(crate) fn take_over(&self, fd: OwnedFd, peer_addr: SocketAddr) -> UringStream {
        UringStream { ring: Rc::clone(&self.ring), socket: Socket::new(fd, peer_addr) }
    }
}

/// A socket that accepts: one connection at a time, so that none takes a descriptor before there
/// is a place for it.
pub(crate) struct UringListener {
    ring: Rc<Ring>,
    socket: Rc<OwnedFd>,
    /// An accept whose future was dropped: the next one takes it over, so that no connection is
    /// lost.
    accepting: RefCell<Option<Operation>>,
    local_addr: SocketAddr,
}

impl UringListener {
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    pub(crate) fn set_send_buffer_bytes(&self, bytes: usize) -> io::Result<()> {
        // Accepted sockets inherit it.
        Ok(sockopt::set_socket_send_buffer_size(&self.socket, bytes)?)
    }

    pub(crate) async fn accept(&self) -> io::Result<(UringStream, SocketAddr)> {
        loop {
            let operation = self.accepting.take().unwrap_or_else(|| self.start_accept());
            let accepted = Kept { place: &self.accepting, operation: Some(operation) }.await;
            // SAFETY: the kernel has just made this descriptor for us, and nobody else has it.
            let fd = unsafe { OwnedFd::from_raw_fd(accepted.result? as RawFd) };
            // A peer may be gone before we look; that is no failure of the listener.
            let Some(peer) = peer_of(&fd) else { continue };
            let socket = Socket::new(fd, peer);
            return Ok((UringStream { ring: Rc::clone(&self.ring), socket }, peer));
        }
    }

    fn start_accept(&self) -> Operation {
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        self.ring.start(Payload::Accept { listener: Rc::clone(&self.socket) }, |payload| {
            let Payload::Accept { listener } = payload else { unreachable!("made above") };
            let fd = Fd(listener.as_raw_fd());
            opcode::Accept::new(fd, std::ptr::null_mut(), std::ptr::null_mut()).flags(flags).build()
        })
    }
}

fn peer_of(fd: &OwnedFd) -> Option<SocketAddr> {
    rustix::net::getpeername(fd).ok()??.try_into().ok().map(canonical)
}

/// A connected socket; shared by its stream and the operations on it.
pub(super) struct Socket {
    fd: OwnedFd,
    peer_addr: SocketAddr,
    /// A receive whose future was dropped: the next receive takes it over, so that no bytes are
    /// lost.
    receiving: RefCell<Option<Operation>>,
    /// Bytes received and not wanted by the receive that got them.
    left_over: RefCell<Option<RecvBuf>>,
    /// The last receive saw that there are more bytes: the next one need not wait first.
    has_more: Cell<bool>,
}

impl Socket {
    fn new(fd: OwnedFd, peer_addr: SocketAddr) -> Rc<Socket> {
        Rc::new(Socket {
            fd,
            peer_addr,
            receiving: RefCell::default(),
            left_over: RefCell::default(),
            has_more: Cell::new(true),
        })
    }

    pub(super) fn as_fd(&self) -> Fd {
        Fd(self.fd.as_raw_fd())
    }

    pub(super) fn borrow(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn shutdown(&self, how: Shutdown) {
        // It fails only if the connection is gone anyway.
        let _ = rustix::net::shutdown(&self.fd, how);
    }
}

/// One end of a connection.
pub(crate) struct UringStream {
    pub(super) ring: Rc<Ring>,
    pub(super) socket: Rc<Socket>,
}

impl UringStream {
    pub(crate) async fn recv(&self) -> io::Result<RecvBuf> {
        if let Some(bytes) = self.socket.left_over.take() {
            return Ok(bytes);
        }
        let mut operation = self.socket.receiving.take().unwrap_or_else(|| self.start_recv());
        loop {
            let finished = Kept { place: &self.socket.receiving, operation: Some(operation) }.await;
            let flags = finished.flags;
            self.socket.has_more.set(cqueue::sock_nonempty(flags));
            match finished.result {
                Ok(n) => return Ok(self.received(finished.payload, n as usize, flags)),
                // Every buffer is lent out. There are bytes, so this one is not held for long.
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {
                    let buf = self.ring.buffers.get(BUFFER_BYTES);
                    operation = self.start_recv_into(buf, BUFFER_BYTES, 0);
                }
                Err(e) if e.raw_os_error() == Some(libc::EINTR) => operation = self.start_recv(),
                Err(e) => return Err(e),
            }
        }
    }

    fn received(&self, payload: Payload, n: usize, flags: u32) -> RecvBuf {
        match (payload, cqueue::buffer_select(flags)) {
            (Payload::RecvInto { mut buf, .. }, _) => {
                buf.advance(n);
                RecvBuf::pooled(buf)
            }
            (_, Some(id)) => {
                let lent = LentBuf::new(Rc::clone(&self.ring), id, n);
                if n == 0 { RecvBuf::end() } else { RecvBuf::lent(lent) }
            }
            (_, None) => RecvBuf::end(),
        }
    }

    fn start_recv(&self) -> Operation {
        let fd = self.socket.as_fd();
        let mut entry =
            opcode::Recv::new(fd, std::ptr::null_mut(), BUFFER_BYTES as u32).buf_group(GROUP);
        if !self.socket.has_more.get() {
            // Wait first: an attempt would find nothing.
            entry = entry.ioprio(RECVSEND_POLL_FIRST);
        }
        let entry = entry.build().flags(squeue::Flags::BUFFER_SELECT);
        self.ring.start(Payload::Recv { _socket: Rc::clone(&self.socket) }, |_| entry)
    }

    fn start_recv_into(&self, buf: IoBuf, until: usize, flags: i32) -> Operation {
        let payload = Payload::RecvInto { socket: Rc::clone(&self.socket), buf };
        self.ring.start(payload, |payload| {
            let Payload::RecvInto { socket, buf } = payload else { unreachable!("made above") };
            let wanted = until - buf.len();
            let spare = &mut buf.spare_mut()[..wanted];
            let fd = socket.as_fd();
            opcode::Recv::new(fd, spare.as_mut_ptr(), wanted as u32).flags(flags).build()
        })
    }

    pub(crate) async fn recv_into(&self, buf: IoBuf, until: usize) -> (io::Result<()>, IoBuf) {
        let guard = ShutdownOnDrop(&self.socket);
        let done = self.recv_until(buf, until).await;
        guard.defuse();
        done
    }

    async fn recv_until(&self, mut buf: IoBuf, until: usize) -> (io::Result<()>, IoBuf) {
        // What an earlier receive got, or may still get, comes first.
        let pending =
            self.socket.receiving.borrow().is_some() || self.socket.left_over.borrow().is_some();
        if pending && buf.len() < until {
            match self.recv().await {
                Ok(bytes) if bytes.is_empty() => return (Err(eof()), buf),
                Ok(bytes) => {
                    let taken = bytes.len().min(until - buf.len());
                    buf.extend_from_slice(&bytes[..taken]);
                    if taken < bytes.len() {
                        *self.socket.left_over.borrow_mut() = Some(bytes.after(taken));
                    }
                }
                Err(e) => return (Err(e), buf),
            }
        }
        while buf.len() < until {
            let finished = self.start_recv_into(buf, until, libc::MSG_WAITALL).await;
            let Payload::RecvInto { buf: returned, .. } = finished.payload else {
                unreachable!("an operation keeps its payload")
            };
            buf = returned;
            self.socket.has_more.set(cqueue::sock_nonempty(finished.flags));
            match finished.result {
                Ok(0) => return (Err(eof()), buf),
                Ok(n) => buf.advance(n as usize),
                Err(e) if e.raw_os_error() == Some(libc::EINTR) => {}
                Err(e) => return (Err(e), buf),
            }
        }
        (Ok(()), buf)
    }

    pub(crate) fn shutdown(&self) {
        self.socket.shutdown(Shutdown::Both);
    }

    pub(crate) fn shutdown_read(&self) {
        self.socket.shutdown(Shutdown::Read);
    }

    /// A descriptor of the same socket, if no byte of it is here.
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        let receives = self.socket.receiving.borrow().is_some();
        if receives || self.socket.left_over.borrow().is_some() {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        self.socket.fd.try_clone()
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.fd.as_fd()
    }

    pub(crate) fn peer_addr(&self) -> SocketAddr {
        self.socket.peer_addr
    }
}

impl Drop for UringStream {
    fn drop(&mut self) {
        // The operation holds the socket: without this an idle connection would never be closed.
        let operation = self.socket.receiving.take();
        drop(operation);
        self.socket.left_over.take();
    }
}

/// `IORING_RECVSEND_POLL_FIRST`.
const RECVSEND_POLL_FIRST: u16 = 1;

fn eof() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

/// Shuts the stream down unless it was defused: an operation was given up halfway.
pub(super) struct ShutdownOnDrop<'a>(pub(super) &'a Socket);

impl ShutdownOnDrop<'_> {
    pub(super) fn defuse(self) {
        std::mem::forget(self);
    }
}

impl Drop for ShutdownOnDrop<'_> {
    fn drop(&mut self) {
        self.0.shutdown(Shutdown::Both);
    }
}

/// An operation that is left behind in its place when it is given up, for the next of its kind.
struct Kept<'a> {
    place: &'a RefCell<Option<Operation>>,
    operation: Option<Operation>,
}

impl Future for Kept<'_> {
    type Output = Finished;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Finished> {
        let operation = self.operation.as_mut().expect("polled after its end");
        let finished = std::task::ready!(std::pin::Pin::new(operation).poll(cx));
        self.operation = None;
        Poll::Ready(finished)
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        if let Some(operation) = self.operation.take() {
            *self.place.borrow_mut() = Some(operation);
        }
    }
}
