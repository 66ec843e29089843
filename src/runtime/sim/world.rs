//! Everything outside the tasks: virtual time, the nodes' disks, the network, and the operations
//! in flight on them.
//!
//! The world never calls into a task. Giving an answer collects the waker of the task that waits
//! for it; the simulation wakes those once the world is no longer borrowed. An operation belongs
//! to an incarnation of its node: what it would have answered after a crash is thrown away.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use rustix::io::Errno;

use super::disk::{Disk, OpenFile, Write};
use super::events::{EventQueue, Trace};
use super::faults::{DirTrouble, DiskOp, FaultPlan, Verdict};
use super::network::{Done, EndpointId, ListenerId, NetEvent, Network, Output, Token};
use super::reply::Reply;
use super::{PlantedBug, Prng, SimOptions};
use crate::IoBuf;

pub(crate) enum Event {
    /// A disk operation completes.
    Disk(u64),
    Net(NetEvent),
    NetDone(Token, Done),
}

/// Takes effect on the disk, or on a fault does not, and answers. The time is the wall clock's.
pub(crate) type Apply = Box<dyn FnOnce(&mut Disk, Option<Errno>, i64) -> Option<Waker>>;

/// What a disk operation does when it completes.
pub(crate) enum Work {
    Read {
        file: Arc<OpenFile>,
        pos: u64,
        buf: IoBuf,
        reply: Reply<(io::Result<usize>, IoBuf)>,
    },
    Write {
        file: Arc<OpenFile>,
        pos: u64,
        parts: Vec<Bytes>,
        durable: bool,
        reply: Reply<io::Result<()>>,
    },
    Sync {
        file: Arc<OpenFile>,
        reply: Reply<io::Result<()>>,
    },
    SyncDir {
        path: PathBuf,
        reply: Reply<io::Result<()>>,
    },
    /// Everything else: the closure gets the fault, if there is one, and answers by itself.
    Other(Apply),
}

struct InFlight {
    node: usize,
    work: Work,
    /// The disk's change number at the submission.
    submitted: u64,
    fault: Option<Errno>,
    crash_after: bool,
}

/// Who waits for an operation of the network.
pub(crate) enum NetWait {
    /// An accept or a connect.
    Establish(Reply<io::Result<(EndpointId, SocketAddr)>>),
    /// Nobody any more: what this accept gets goes back to its listener.
    AcceptGivenUp(ListenerId),
    Recv(EndpointId, Reply<io::Result<Bytes>>),
    Send(Reply<io::Result<()>>),
}

pub(crate) struct NodeState {
    pub(crate) name: String,
    pub(crate) disk: Disk,
    pub(crate) plan: FaultPlan,
    /// Directories in trouble.
    pub(crate) troubles: Vec<(PathBuf, DirTrouble)>,
    /// Operations of hung directories.
    held: Vec<u64>,
    /// Whether a program runs on it; what it does otherwise has no effect.
    pub(crate) up: bool,
    /// The mistake its program makes.
    pub(crate) planted: Option<PlantedBug>,
}

impl NodeState {
    pub(crate) fn new(name: &str, disk: Disk) -> NodeState {
        NodeState {
            name: name.to_string(),
            disk,
            plan: FaultPlan::default(),
            troubles: Vec::new(),
            held: Vec::new(),
            up: false,
            planted: None,
        }
    }

    pub(crate) fn trouble_at(&self, at: &Path) -> Option<DirTrouble> {
        let here = self.troubles.iter().find(|(path, _)| at.starts_with(path));
        here.map(|(_, trouble)| *trouble)
    }
}

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) prng: Prng,
    pub(crate) trace: Trace,
    pub(crate) options: SimOptions,
    pub(crate) nodes: Vec<NodeState>,
    pub(crate) events: EventQueue<Event>,
    pub(crate) network: Network,
    in_flight: BTreeMap<u64, InFlight>,
    net_waits: BTreeMap<Token, (usize, NetWait)>,
    next_key: u64,
    /// Tasks to wake when the world is released.
    pub(crate) wakers: Vec<Waker>,
    /// Nodes whose fault plan says that they lose power now.
    pub(crate) crash_now: Vec<usize>,
    /// What [`crate::Runtime::reads_well_by_page`] says of all files: true for one seed in four.
    pub(crate) reads_well_by_page: bool,
}

impl World {
    pub(crate) fn new(seed: u64, options: SimOptions) -> World {
        let mut prng = Prng::new(seed);
        let network = Network::new(options.network.clone(), prng.fork());
        World {
            now: 1_000_000,
            trace: Trace::new(seed),
            prng,
            options,
            nodes: Vec::new(),
            events: EventQueue::new(),
            network,
            in_flight: BTreeMap::new(),
            net_waits: BTreeMap::new(),
            next_key: 0,
            wakers: Vec::new(),
            crash_now: Vec::new(),
            reads_well_by_page: seed % 4 == 3,
        }
    }

    pub(crate) fn wall_clock_ms(&self) -> i64 {
        self.options.wall_clock_ms + (self.now / 1_000_000) as i64
    }

    fn key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    /// Starts a disk operation of a node.
    pub(crate) fn submit(&mut self, node: usize, at: &Path, op: DiskOp, durable: bool, work: Work) {
        let state = &mut self.nodes[node];
        if !state.up {
            // A destructor of a dead node: nobody hears the answer.
            return;
        }
        let verdict = state.plan.judge(op, &mut self.prng);
        let submitted = state.disk.sequence();
        let mut delay = self.options.timing.draw(op, durable, &mut self.prng);
        if self.prng.chance(state.plan.chances.slow) {
            delay *= 1_000;
        }
        if let Work::Write { file, pos, parts, .. } = &work {
            self.check_overlap(node, file, *pos, parts);
        }
        let key = self.key();
        self.trace.note(0x10 + op as u64, key ^ delay << 20);
        let trouble = self.nodes[node].trouble_at(at);
        let fault = match verdict {
            Verdict::Fail(why) => Some(why),
            _ if op == DiskOp::Allocate && trouble == Some(DirTrouble::Full) => Some(Errno::NOSPC),
            _ => None,
        };
        if verdict == Verdict::CrashBefore {
            self.crash_now.push(node);
        }
        let crash_after = verdict == Verdict::CrashAfter;
        self.in_flight.insert(key, InFlight { node, work, submitted, fault, crash_after });
        match trouble {
            Some(DirTrouble::Hung) => self.nodes[node].held.push(key),
            _ => self.events.schedule(self.now + delay, Event::Disk(key)),
        }
    }

    /// Begins or ends the trouble of a directory. What hung goes on.
    pub(crate) fn set_trouble(&mut self, node: usize, at: &Path, trouble: Option<DirTrouble>) {
        let state = &mut self.nodes[node];
        state.troubles.retain(|(path, _)| path != at);
        state.troubles.extend(trouble.map(|trouble| (at.to_owned(), trouble)));
        if !state.troubles.iter().any(|(_, trouble)| *trouble == DirTrouble::Hung) {
            for key in std::mem::take(&mut state.held) {
                self.events.schedule(self.now + 1, Event::Disk(key));
            }
        }
    }

    /// Two direct writes of the same bytes in flight at once have no defined outcome on Linux:
    /// a program that makes them is wrong whatever this run would show.
    fn check_overlap(&self, node: usize, file: &Arc<OpenFile>, pos: u64, parts: &[Bytes]) {
        let end = pos + total(parts);
        for other in self.in_flight.values().filter(|o| o.node == node) {
            if let Work::Write { file: f, pos: p, parts, .. } = &other.work {
                let apart = !f.same_direct(file) || *p >= end || p + total(parts) <= pos;
                assert!(apart, "overlapping direct writes in flight: {pos}..{end} and from {p}");
            }
        }
    }

    /// Completes a disk operation, unless its node crashed since.
    pub(crate) fn complete(&mut self, key: u64) {
        let Some(op) = self.in_flight.remove(&key) else { return };
        let now_ms = self.wall_clock_ms();
        let InFlight { node, work, submitted, fault, crash_after } = op;
        let disk = &mut self.nodes[node].disk;
        let prng = &mut self.prng;
        let (waker, result) = match work {
            Work::Read { file, pos, mut buf, reply } => {
                let result = match fault {
                    Some(why) => Err(why.into()),
                    None => buf.fill_with(|out| disk.read(&file, pos, out)),
                };
                let note = result.as_ref().map_or(u64::MAX, |n| *n as u64);
                (reply.give((result, buf)), note)
            }
            Work::Write { file, pos, parts, durable, reply } => {
                let write = Write { pos, parts: &parts, durable, submitted };
                let result = match fault {
                    // The system has not begun it.
                    Some(Errno::CANCELED) => Err(Errno::CANCELED.into()),
                    Some(why) => {
                        disk.fail_write(&file, write, prng);
                        Err(why.into())
                    }
                    None => disk.write(&file, write, now_ms),
                };
                let note = u64::from(result.is_ok());
                (reply.give(result), note)
            }
            Work::Sync { file, reply } => {
                let result = match fault {
                    Some(Errno::CANCELED) => Err(Errno::CANCELED.into()),
                    Some(why) => {
                        disk.fail_sync(&file, submitted, prng);
                        Err(why.into())
                    }
                    None => disk.sync(&file, submitted),
                };
                let note = u64::from(result.is_ok());
                (reply.give(result), note)
            }
            Work::SyncDir { path, reply } => {
                let result = match fault {
                    Some(why) => Err(why.into()),
                    None => disk.sync_dir(&path, submitted),
                };
                let note = u64::from(result.is_ok());
                (reply.give(result), note)
            }
            Work::Other(apply) => (apply(disk, fault, now_ms), 2),
        };
        self.trace.note(key, result);
        self.wakers.extend(waker);
        if crash_after {
            self.crash_now.push(node);
        }
    }

    /// Takes the node down. With `lose_power` the disk keeps what was durable and some of the
    /// rest; without, the process alone is gone.
    pub(crate) fn take_down(&mut self, node: usize, lose_power: bool) {
        self.trace.note(0x50 + u64::from(lose_power), node as u64);
        self.nodes[node].up = false;
        self.nodes[node].held.clear();
        // One that was due is this one, not one of the next life.
        self.crash_now.retain(|due| *due != node);
        let keys: Vec<u64> =
            self.in_flight.iter().filter(|(_, o)| o.node == node).map(|(k, _)| *k).collect();
        let mut writes = Vec::new();
        for key in keys {
            match self.in_flight.remove(&key).expect("just listed").work {
                Work::Write { file, pos, parts, .. } => {
                    let mut pos = pos;
                    for bytes in parts {
                        let len = bytes.len() as u64;
                        writes.push((Arc::clone(&file), pos, bytes));
                        pos += len;
                    }
                }
                // A name changed in flight may have changed: half of them have.
                Work::Other(apply) if self.prng.chance(0.5) => {
                    apply(&mut self.nodes[node].disk, None, 0);
                }
                _ => {}
            }
        }
        self.net_waits.retain(|_, (n, _)| *n != node);
        self.with_network(|network| network.crash(node));
        let disk = &mut self.nodes[node].disk;
        match lose_power {
            true => disk.crash(writes, &mut self.prng),
            false => disk.kill(),
        }
    }

    /// Calls the network and takes what it asks for.
    pub(crate) fn with_network<R>(&mut self, call: impl FnOnce(&mut Network) -> R) -> R {
        self.network.set_now(self.now);
        let result = call(&mut self.network);
        while let Some(output) = self.network.out.pop_front() {
            match output {
                Output::At(at, event) => self.events.schedule(at, Event::Net(event)),
                Output::Done(token, done) => {
                    let at = self.now + self.prng.between(500..=15_000);
                    self.events.schedule(at, Event::NetDone(token, done));
                }
            }
        }
        result
    }

    /// Registers a wait and starts its operation.
    pub(crate) fn start_net(
        &mut self,
        node: usize,
        wait: NetWait,
        start: impl FnOnce(&mut Network, Token),
    ) -> Token {
        let token = self.key();
        if self.nodes[node].up {
            self.net_waits.insert(token, (node, wait));
            self.with_network(|network| start(network, token));
        }
        token
    }

    /// Gives the outcome of a network operation to whoever waits.
    pub(crate) fn net_done(&mut self, token: Token, done: Done) {
        let wait = self.net_waits.remove(&token).map(|(_, wait)| wait);
        let waker = match (wait, done) {
            (Some(NetWait::Establish(reply)), Done::Established(id, peer)) => {
                reply.give(Ok((id, peer)))
            }
            (Some(NetWait::Recv(id, reply)), Done::Received) => {
                let bytes = self.network.take_received(id, token);
                self.trace.note(0x30, bytes.len() as u64);
                reply.give(Ok(bytes))
            }
            (Some(NetWait::Send(reply)), Done::Sent) => reply.give(Ok(())),
            (Some(NetWait::Establish(reply)), Done::Failed(why)) => reply.give(Err(why.into())),
            (Some(NetWait::Recv(_, reply)), Done::Failed(why)) => reply.give(Err(why.into())),
            (Some(NetWait::Send(reply)), Done::Failed(why)) => reply.give(Err(why.into())),
            (Some(NetWait::AcceptGivenUp(listener)), Done::Established(id, _)) => {
                self.with_network(|network| network.give_back(listener, id));
                None
            }
            (Some(NetWait::AcceptGivenUp(_)), _) => None,
            // Nobody waits for a connect any more: its connection is closed.
            (None, Done::Established(id, _)) => {
                self.with_network(|network| network.close(id));
                None
            }
            (None, _) => None,
            (Some(_), _) => unreachable!("an answer of another kind than the question"),
        };
        self.trace.note(0x31, token);
        self.wakers.extend(waker);
    }

    /// A receive was given up. What it would have got, or got, stays in the stream.
    pub(crate) fn cancel_recv(&mut self, id: EndpointId, token: Token, got: Option<Bytes>) {
        self.net_waits.remove(&token);
        self.with_network(|network| {
            network.cancel_recv(id, token);
            if let Some(bytes) = got {
                network.put_back(id, bytes);
            }
        });
    }

    /// A connect was given up; a connection it got is closed.
    pub(crate) fn cancel_connect(&mut self, token: Token, got: Option<EndpointId>) {
        self.net_waits.remove(&token);
        if let Some(id) = got {
            self.with_network(|network| network.close(id));
        }
    }

    /// An accept was given up. A connection it got, or will get, is for the next one.
    pub(crate) fn cancel_accept(
        &mut self,
        listener: ListenerId,
        token: Token,
        got: Option<EndpointId>,
    ) {
        if let Some(id) = got {
            self.with_network(|network| network.give_back(listener, id));
        } else if self.network.cancel_accept(listener, token) {
            self.net_waits.remove(&token);
        } else if let Some((_, wait)) = self.net_waits.get_mut(&token) {
            *wait = NetWait::AcceptGivenUp(listener);
        }
    }
}

fn total(parts: &[Bytes]) -> u64 {
    parts.iter().map(|b| b.len() as u64).sum()
}
