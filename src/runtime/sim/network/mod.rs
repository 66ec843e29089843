//! The simulated network: listeners, and streams that delay, chop up, stall and cut.
//!
//! A stream is a pair of endpoints. Bytes sent by one wait in the other's `transit` until their
//! time, then in its `inbox` until they are received; the two together are bounded by the window,
//! beyond which a send waits (back-pressure). Order within a direction is kept, as TCP keeps it.
//! The network decides nothing about time but asks for it: every call may push [`Output`]s, the
//! operations that finished and the moments at which it wants to be called again.

mod endpoint;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;

use rustix::io::Errno;

use self::endpoint::Endpoint;
use super::Prng;

/// How the simulated network behaves, apart from partitions and cuts.
#[derive(Clone, Debug)]
pub struct NetworkModel {
    /// One way, in nanoseconds.
    pub latency_ns: RangeInclusive<u64>,
    /// How likely a segment is late by up to a hundred times that.
    pub slow_chance: f64,
    /// The largest piece a receiver gets at once; pieces are of random size below it.
    pub segment_bytes_max: usize,
    /// Sent and not yet received bytes of one direction, beyond which a send waits.
    pub window_bytes: usize,
    /// After how long connecting to an unreachable node fails.
    pub connect_timeout_ns: u64,
    /// Connections that wait to be accepted, beyond which one is refused.
    pub backlog: usize,
}

impl Default for NetworkModel {
    fn default() -> NetworkModel {
        NetworkModel {
            latency_ns: 20_000..=300_000,
            slow_chance: 0.01,
            segment_bytes_max: 16 * 1024,
            window_bytes: 256 * 1024,
            connect_timeout_ns: 3_000_000_000,
            backlog: 128,
        }
    }
}

/// Names an operation that the network will finish later.
pub(crate) type Token = u64;
pub(crate) type EndpointId = u64;
pub(crate) type ListenerId = u64;
pub(crate) type NodeIndex = usize;

/// How an operation ended.
#[derive(Debug)]
pub(crate) enum Done {
    /// A connection, with the address of its other end.
    Established(EndpointId, SocketAddr),
    /// The bytes are taken with [`Network::take_received`].
    Received,
    Sent,
    Failed(Errno),
}

#[derive(Debug)]
pub(crate) enum NetEvent {
    /// Segments are due at an endpoint.
    Arrive(EndpointId),
    /// A connection request reaches its target.
    Request {
        token: Token,
        from: NodeIndex,
        to: SocketAddr,
    },
    Refuse {
        token: Token,
        why: Errno,
    },
}

pub(crate) enum Output {
    Done(Token, Done),
    At(u64, NetEvent),
}

struct Listener {
    node: NodeIndex,
    addr: SocketAddr,
    backlog: VecDeque<EndpointId>,
    waiting: VecDeque<Token>,
}

pub(crate) struct Network {
    model: NetworkModel,
    prng: Prng,
    now: u64,
    next_id: u64,
    next_port: u16,
    listeners: BTreeMap<ListenerId, Listener>,
    endpoints: BTreeMap<EndpointId, Endpoint>,
    /// Ordered pairs between which nothing passes.
    partitions: BTreeSet<(NodeIndex, NodeIndex)>,
    pub(crate) out: VecDeque<Output>,
}

/// The address of a node: 10.x.y.z for its number, from 1.
pub(crate) fn node_ip(node: NodeIndex) -> IpAddr {
    let n = (node + 1) as u32;
    IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | (n & 0x00ff_ffff)))
}

impl Network {
    pub(crate) fn new(model: NetworkModel, prng: Prng) -> Network {
        Network {
            model,
            prng,
            now: 0,
            next_id: 1,
            next_port: 32_768,
            listeners: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            partitions: BTreeSet::new(),
            out: VecDeque::new(),
        }
    }

    /// Tells the time before any other call of this moment.
    pub(crate) fn set_now(&mut self, now: u64) {
        self.now = now;
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn port(&mut self) -> u16 {
        self.next_port = if self.next_port == u16::MAX { 32_768 } else { self.next_port + 1 };
        self.next_port
    }

    fn delay(&mut self) -> u64 {
        let latency = self.prng.between(self.model.latency_ns.clone());
        match self.prng.chance(self.model.slow_chance) {
            true => latency * self.prng.between(2..=100),
            false => latency,
        }
    }

    /// Several listeners of a node may share a port (`SO_REUSEPORT`).
    pub(crate) fn listen(
        &mut self,
        node: NodeIndex,
        mut addr: SocketAddr,
    ) -> Result<(ListenerId, SocketAddr), Errno> {
        let ip = addr.ip();
        if !(ip.is_unspecified() || ip.is_loopback() || ip == node_ip(node)) {
            return Err(Errno::ADDRNOTAVAIL);
        }
        if addr.port() == 0 {
            addr.set_port(self.port());
        }
        let id = self.id();
        let (backlog, waiting) = (VecDeque::new(), VecDeque::new());
        self.listeners.insert(id, Listener { node, addr, backlog, waiting });
        Ok((id, addr))
    }

    pub(crate) fn close_listener(&mut self, id: ListenerId) {
        let Some(listener) = self.listeners.remove(&id) else { return };
        for endpoint in listener.backlog {
            self.vanish(endpoint);
        }
        for token in listener.waiting {
            self.out.push_back(Output::Done(token, Done::Failed(Errno::BADF)));
        }
    }

    pub(crate) fn accept(&mut self, id: ListenerId, token: Token) {
        let Some(listener) = self.listeners.get_mut(&id) else {
            self.out.push_back(Output::Done(token, Done::Failed(Errno::BADF)));
            return;
        };
        listener.waiting.push_back(token);
        self.match_accepts(id);
    }

    fn match_accepts(&mut self, id: ListenerId) {
        let Some(listener) = self.listeners.get_mut(&id) else { return };
        while !listener.waiting.is_empty() && !listener.backlog.is_empty() {
            let token = listener.waiting.pop_front().expect("checked above");
            let endpoint = listener.backlog.pop_front().expect("checked above");
            let peer = self.endpoints[&endpoint].peer_addr;
            self.out.push_back(Output::Done(token, Done::Established(endpoint, peer)));
        }
    }

    pub(crate) fn connect(&mut self, from: NodeIndex, to: SocketAddr, token: Token) {
        let at = self.now + self.delay();
        self.out.push_back(Output::At(at, NetEvent::Request { token, from, to }));
    }

    /// Gives an accept up. False if it was not waiting any more: a connection, or the news that
    /// there will be none, is on its way to it.
    pub(crate) fn cancel_accept(&mut self, id: ListenerId, token: Token) -> bool {
        let Some(listener) = self.listeners.get_mut(&id) else { return false };
        let before = listener.waiting.len();
        listener.waiting.retain(|t| *t != token);
        listener.waiting.len() < before
    }

    /// Takes back a connection that an accept got which was given up: the next one gets it.
    pub(crate) fn give_back(&mut self, id: ListenerId, endpoint: EndpointId) {
        match self.listeners.get_mut(&id) {
            Some(listener) => {
                listener.backlog.push_front(endpoint);
                self.match_accepts(id);
            }
            None => self.vanish(endpoint),
        }
    }

    /// Takes an event it asked for.
    pub(crate) fn event(&mut self, event: NetEvent) {
        match event {
            NetEvent::Arrive(endpoint) => self.arrive(endpoint),
            NetEvent::Request { token, from, to } => self.request(token, from, to),
            NetEvent::Refuse { token, why } => {
                self.out.push_back(Output::Done(token, Done::Failed(why)));
            }
        }
    }

    fn request(&mut self, token: Token, from: NodeIndex, to: SocketAddr) {
        let local = to.ip().is_loopback() || to.ip().is_unspecified();
        let reaches = |l: &Listener| {
            l.addr.port() == to.port()
                && if local { l.node == from } else { node_ip(l.node) == to.ip() }
        };
        let found: Vec<ListenerId> =
            self.listeners.iter().filter(|(_, l)| reaches(l)).map(|(id, _)| *id).collect();
        let cut_off = self.partitions.iter().any(|(a, b)| {
            (*a == from && node_ip(*b) == to.ip()) || (*b == from && node_ip(*a) == to.ip())
        });
        if cut_off {
            let at = self.now + self.model.connect_timeout_ns;
            self.out.push_back(Output::At(at, NetEvent::Refuse { token, why: Errno::TIMEDOUT }));
            return;
        }
        let refused = found.is_empty() || {
            let id = *self.prng.pick(&found);
            !self.establish(token, from, to, id)
        };
        if refused {
            let at = self.now + self.delay();
            self.out.push_back(Output::At(at, NetEvent::Refuse { token, why: Errno::CONNREFUSED }));
        }
    }

    fn establish(&mut self, token: Token, from: NodeIndex, to: SocketAddr, id: ListenerId) -> bool {
        let port = self.port();
        let (client, server) = (self.id(), self.id());
        let listener = self.listeners.get_mut(&id).expect("it was found");
        if listener.backlog.len() >= self.model.backlog {
            return false;
        }
        listener.backlog.push_back(server);
        let to_node = listener.node;
        let source = match to.ip().is_loopback() {
            true => SocketAddr::new(to.ip(), port),
            false => SocketAddr::new(node_ip(from), port),
        };
        self.endpoints.insert(client, Endpoint::new(from, server, to));
        self.endpoints.insert(server, Endpoint::new(to_node, client, source));
        self.out.push_back(Output::Done(token, Done::Established(client, to)));
        self.match_accepts(id);
        true
    }

    /// Stops everything between two nodes, both ways, until [`Network::heal`].
    pub(crate) fn partition(&mut self, a: NodeIndex, b: NodeIndex) {
        self.partitions.insert((a, b));
        self.partitions.insert((b, a));
    }

    /// Ends every partition; what was held back is delivered.
    pub(crate) fn heal(&mut self) {
        self.partitions.clear();
        let held: Vec<EndpointId> =
            self.endpoints.iter().filter(|(_, e)| e.has_transit()).map(|(id, _)| *id).collect();
        for id in held {
            let at = self.now + self.delay();
            self.out.push_back(Output::At(at, NetEvent::Arrive(id)));
        }
    }

    /// Resets every connection between two nodes, for both ends at once.
    pub(crate) fn cut(&mut self, a: NodeIndex, b: NodeIndex) {
        let between = |e: &Endpoint, peer: Option<&Endpoint>| {
            peer.is_some_and(|p| (e.node, p.node) == (a, b) || (e.node, p.node) == (b, a))
        };
        let hit: Vec<EndpointId> = self
            .endpoints
            .iter()
            .filter(|(_, e)| between(e, self.endpoints.get(&e.peer)))
            .map(|(id, _)| *id)
            .collect();
        for id in hit {
            self.fail(id, Errno::CONNRESET);
        }
    }

    /// The node is gone: its listeners and endpoints with it. Peers learn it by a reset.
    pub(crate) fn crash(&mut self, node: NodeIndex) {
        let dead: Vec<ListenerId> =
            self.listeners.iter().filter(|(_, l)| l.node == node).map(|(id, _)| *id).collect();
        for id in dead {
            self.listeners.remove(&id);
        }
        let dead: Vec<EndpointId> =
            self.endpoints.iter().filter(|(_, e)| e.node == node).map(|(id, _)| *id).collect();
        for id in dead {
            self.vanish(id);
        }
    }
}

#[cfg(test)]
mod tests;
