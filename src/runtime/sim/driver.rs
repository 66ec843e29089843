//! The simulated driver of one shard: the runtime's surface on the world's disks and network.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::PlantedBug;
use super::faults::{DirTrouble, DiskOp};
use super::network::{EndpointId, ListenerId, Network, Token};
use super::reply::{Answer, reply};
use super::world::{NetWait, Work, World};
use crate::driver::Unparker;
use crate::{Instant, IoBuf, Piece, Progress, RecvBuf};

/// One shard's way into the world.
#[derive(Clone)]
pub(crate) struct SimDriver {
    world: Rc<RefCell<World>>,
    node: usize,
    /// Set when the shard has something to do besides its ready tasks.
    runnable: Arc<AtomicBool>,
}

/// How many bytes one `recv` gives at most.
const RECV_BYTES_MAX: usize = 64 * 1024;

impl SimDriver {
    pub(super) fn new(world: &Rc<RefCell<World>>, node: usize) -> SimDriver {
        SimDriver { world: Rc::clone(world), node, runnable: Arc::default() }
    }

    pub(crate) fn unparker(&self) -> Unparker {
        Unparker::Sim(Arc::clone(&self.runnable))
    }

    pub(super) fn runnable(&self) -> &AtomicBool {
        &self.runnable
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::from_nanos(self.world.borrow().now)
    }

    pub(crate) fn wall_clock_ms(&self) -> i64 {
        self.world.borrow().wall_clock_ms()
    }

    pub(crate) fn random_u64(&self) -> u64 {
        self.world.borrow_mut().prng.next_u64()
    }

    pub(crate) fn planted(&self, bug: PlantedBug) -> bool {
        self.world.borrow().nodes[self.node].planted == Some(bug)
    }

    pub(crate) fn reads_well_by_page(&self) -> bool {
        self.world.borrow().reads_well_by_page
    }

    /// Starts a disk operation on what is at a path.
    pub(super) fn submit(&self, at: &Path, op: DiskOp, durable: bool, work: Work) {
        self.world.borrow_mut().submit(self.node, at, op, durable, work);
    }

    pub(super) fn disk_ignores_dsync(&self) -> bool {
        self.world.borrow().nodes[self.node].disk.model.ignores_dsync
    }

    pub(super) fn trouble_at(&self, at: &Path) -> Option<DirTrouble> {
        self.world.borrow().nodes[self.node].trouble_at(at)
    }

    /// Calls the network, unless the node is down: what its destructors do then, nobody sees.
    fn farewell(&self, call: impl FnOnce(&mut Network)) {
        let mut world = self.world.borrow_mut();
        if world.nodes[self.node].up {
            world.with_network(call);
        }
    }

    fn start(&self, wait: NetWait, start: impl FnOnce(&mut Network, Token)) -> Token {
        self.world.borrow_mut().start_net(self.node, wait, start)
    }

    pub(crate) fn listen(&self, addr: SocketAddr) -> io::Result<SimListener> {
        let mut world = self.world.borrow_mut();
        let (id, local_addr) = world.with_network(|network| network.listen(self.node, addr))?;
        Ok(SimListener { driver: self.clone(), id, local_addr })
    }

    pub(crate) async fn connect(&self, to: SocketAddr) -> io::Result<SimStream> {
        let (reply, answer) = reply();
        let node = self.node;
        let token =
            self.start(NetWait::Establish(reply), |network, t| network.connect(node, to, t));
        let establish = Establish { driver: self, answer, listener: None, token, done: false };
        let (endpoint, peer) = establish.await?;
        Ok(SimStream::new(self.clone(), endpoint, peer))
    }
}

/// Waits for a connection. Given up, a connect leaves none behind, and an accept takes none.
struct Establish<'a> {
    driver: &'a SimDriver,
    answer: Answer<io::Result<(EndpointId, SocketAddr)>>,
    listener: Option<ListenerId>,
    token: Token,
    done: bool,
}

impl Future for Establish<'_> {
    type Output = io::Result<(EndpointId, SocketAddr)>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = Pin::new(&mut self.answer).poll(cx);
        self.done |= result.is_ready();
        result
    }
}

impl Drop for Establish<'_> {
    fn drop(&mut self) {
        if !self.done {
            let got = self.answer.take().and_then(Result::ok).map(|(endpoint, _)| endpoint);
            let mut world = self.driver.world.borrow_mut();
            match self.listener {
                Some(listener) => world.cancel_accept(listener, self.token, got),
                None => world.cancel_connect(self.token, got),
            }
        }
    }
}

/// A listening address of a node; dropping it refuses what waits in its backlog.
pub(crate) struct SimListener {
    driver: SimDriver,
    id: ListenerId,
    pub(crate) local_addr: SocketAddr,
}

impl SimListener {
    pub(crate) async fn accept(&self) -> io::Result<(SimStream, SocketAddr)> {
        let (reply, answer) = reply();
        let (driver, id) = (&self.driver, self.id);
        let token = driver.start(NetWait::Establish(reply), |network, t| network.accept(id, t));
        let establish = Establish { driver, answer, listener: Some(id), token, done: false };
        let (endpoint, peer) = establish.await?;
        Ok((SimStream::new(driver.clone(), endpoint, peer), peer))
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.driver.farewell(|network| network.close_listener(self.id));
    }
}

/// One end of a connection; closed on drop.
pub(crate) struct SimStream {
    driver: SimDriver,
    endpoint: EndpointId,
    pub(crate) peer_addr: SocketAddr,
    shut: Cell<bool>,
}

impl SimStream {
    fn new(driver: SimDriver, endpoint: EndpointId, peer_addr: SocketAddr) -> SimStream {
        SimStream { driver, endpoint, peer_addr, shut: Cell::new(false) }
    }

    pub(crate) fn progress(&self) -> Progress {
        self.driver.world.borrow_mut().with_network(|network| network.progress(self.endpoint))
    }

    pub(crate) fn has_peer_ended(&self) -> bool {
        self.driver.world.borrow_mut().with_network(|network| network.has_peer_ended(self.endpoint))
    }

    /// Some bytes; none mean the end of the stream. Giving the future up loses none.
    pub(crate) async fn recv(&self) -> io::Result<RecvBuf> {
        Ok(RecvBuf::shared(self.recv_max(RECV_BYTES_MAX).await?))
    }

    fn recv_max(&self, max: usize) -> Recv {
        let (reply, answer) = reply();
        let id = self.endpoint;
        let wait = NetWait::Recv(id, reply);
        let token = self.driver.start(wait, |network, t| network.recv(id, t, max));
        Recv { driver: self.driver.clone(), endpoint: id, token, answer, done: false }
    }

    /// Receives behind what is in `buf` until it holds `until` bytes.
    pub(crate) async fn recv_into(&self, mut buf: IoBuf, until: usize) -> (io::Result<()>, IoBuf) {
        assert!(until <= buf.capacity(), "{until} bytes into {}", buf.capacity());
        let whole = Whole::new(self);
        while buf.len() < until {
            match self.recv_max(until - buf.len()).await {
                Ok(bytes) if bytes.is_empty() => {
                    whole.done.set(true);
                    return (Err(io::ErrorKind::UnexpectedEof.into()), buf);
                }
                Ok(bytes) => buf.extend_from_slice(&bytes),
                Err(e) => {
                    whole.done.set(true);
                    return (Err(e), buf);
                }
            }
        }
        whole.done.set(true);
        (Ok(()), buf)
    }

    /// Sends all the pieces. The bytes of files are read as they are queued.
    pub(crate) async fn send(&self, pieces: Vec<Piece>) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(pieces.len());
        for piece in pieces {
            bytes.push(match piece {
                Piece::Bytes(bytes) => bytes,
                Piece::File { file, pos, len } => {
                    let read = self.read_piece(file.sim(), pos, len);
                    read.inspect_err(|_| file.note_unreadable())?
                }
            });
        }
        let (reply, answer) = reply();
        let id = self.endpoint;
        let whole = Whole::new(self);
        self.driver.start(NetWait::Send(reply), |network, t| network.send(id, t, bytes));
        let result = answer.await;
        whole.done.set(true);
        result
    }

    fn read_piece(&self, file: &super::disk::OpenFile, pos: u64, len: usize) -> io::Result<Bytes> {
        let mut world = self.driver.world.borrow_mut();
        let mut out = vec![0; len];
        let n = world.nodes[self.driver.node].disk.read_cached(file, pos, &mut out)?;
        match n == len {
            true => Ok(out.into()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    pub(crate) fn shutdown(&self) {
        if !self.shut.replace(true) {
            self.driver.farewell(|network| network.shutdown(self.endpoint));
        }
    }

    pub(crate) fn shutdown_read(&self) {
        self.driver.farewell(|network| network.shutdown_read(self.endpoint));
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.driver.farewell(|network| network.close(self.endpoint));
    }
}

/// Shuts the stream down when a transfer is given up halfway: nobody could tell where it stopped.
struct Whole<'a> {
    stream: &'a SimStream,
    done: Cell<bool>,
}

impl Whole<'_> {
    fn new(stream: &SimStream) -> Whole<'_> {
        Whole { stream, done: Cell::new(false) }
    }
}

impl Drop for Whole<'_> {
    fn drop(&mut self) {
        if !self.done.get() {
            self.stream.shutdown();
        }
    }
}

pub(crate) struct Recv {
    driver: SimDriver,
    endpoint: EndpointId,
    token: Token,
    answer: Answer<io::Result<Bytes>>,
    done: bool,
}

impl Future for Recv {
    type Output = io::Result<Bytes>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let result = Pin::new(&mut self.answer).poll(cx);
        self.done |= result.is_ready();
        result
    }
}

impl Drop for Recv {
    fn drop(&mut self) {
        if !self.done {
            let got = self.answer.take().and_then(Result::ok);
            let mut world = self.driver.world.borrow_mut();
            world.cancel_recv(self.endpoint, self.token, got);
        }
    }
}
