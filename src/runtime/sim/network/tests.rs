//! Streams between simulated nodes: order, chopping, back-pressure, ends and faults.

use std::collections::BinaryHeap;
use std::net::SocketAddr;

use bytes::Bytes;
use rustix::io::Errno;

use super::{Done, NetEvent, Network, NetworkModel, Output, node_ip};
use crate::sim::Prng;

/// Runs the network's events in order and collects what finished.
struct Bench {
    net: Network,
    events: BinaryHeap<(std::cmp::Reverse<(u64, u64)>, Ignored)>,
    count: u64,
    now: u64,
    done: Vec<(u64, Done)>,
}

struct Ignored(NetEvent);
impl PartialEq for Ignored {
    fn eq(&self, _: &Ignored) -> bool {
        true
    }
}
impl Eq for Ignored {}
impl PartialOrd for Ignored {
    fn partial_cmp(&self, other: &Ignored) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Ignored {
    fn cmp(&self, _: &Ignored) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

impl Bench {
    fn new(seed: u64) -> Bench {
        let net = Network::new(NetworkModel::default(), Prng::new(seed));
        Bench { net, events: BinaryHeap::new(), count: 0, now: 0, done: Vec::new() }
    }

    fn run(&mut self) {
        loop {
            for output in std::mem::take(&mut self.net.out) {
                match output {
                    Output::Done(token, done) => self.done.push((token, done)),
                    Output::At(at, event) => {
                        self.count += 1;
                        let order = std::cmp::Reverse((at, self.count));
                        self.events.push((order, Ignored(event)));
                    }
                }
            }
            let Some((std::cmp::Reverse((at, _)), Ignored(event))) = self.events.pop() else {
                return;
            };
            assert!(at >= self.now, "time runs forward");
            self.now = at;
            self.net.set_now(at);
            self.net.event(event);
        }
    }

    fn take(&mut self, token: u64) -> Option<Done> {
        let i = self.done.iter().position(|(t, _)| *t == token)?;
        Some(self.done.remove(i).1)
    }

    /// A connection from node 0 to node 1: (client, server).
    fn connected(&mut self) -> (u64, u64) {
        let (listener, addr) = self.net.listen(1, "0.0.0.0:0".parse().unwrap()).unwrap();
        self.net.connect(0, SocketAddr::new(node_ip(1), addr.port()), 1);
        self.net.accept(listener, 2);
        self.run();
        let Some(Done::Established(client, _)) = self.take(1) else { panic!("not connected") };
        let Some(Done::Established(server, peer)) = self.take(2) else { panic!("not accepted") };
        assert_eq!(peer.ip(), node_ip(0));
        (client, server)
    }

    /// The bytes, or why there are none; `None` when nothing has arrived.
    fn recv(&mut self, id: u64) -> Option<Result<Bytes, Errno>> {
        self.net.recv(id, 99, usize::MAX);
        self.run();
        self.received(id, 99)
    }

    fn received(&mut self, id: u64, token: u64) -> Option<Result<Bytes, Errno>> {
        match self.take(token)? {
            Done::Received => Some(Ok(self.net.take_received(id, token))),
            Done::Failed(why) => Some(Err(why)),
            other => panic!("not a receive: {other:?}"),
        }
    }
}

#[test]
fn bytes_arrive_whole_in_order_in_pieces_and_with_back_pressure() {
    for seed in 0..20 {
        let mut bench = Bench::new(seed);
        let (client, server) = bench.connected();
        let sent: Vec<u8> = (0..700_000u32).map(|i| (i % 251) as u8).collect();
        let pieces = sent.chunks(100_000).map(Bytes::copy_from_slice).collect();
        bench.net.send(client, 3, pieces);
        bench.run();
        assert!(bench.take(3).is_none(), "the window holds the sender back");
        let mut got = Vec::new();
        let mut sizes = std::collections::BTreeSet::new();
        while got.len() < sent.len() {
            let Some(Ok(bytes)) = bench.recv(server) else { panic!("no bytes") };
            sizes.insert(bytes.len());
            got.extend_from_slice(&bytes);
        }
        assert!(got == sent && sizes.len() > 5, "{sizes:?}");
        assert!(matches!(bench.take(3), Some(Done::Sent)));
        bench.net.close(client);
        bench.run();
        assert!(matches!(bench.recv(server), Some(Ok(b)) if b.is_empty()));
        bench.net.close(server);
        assert!(bench.net.endpoints.is_empty());
    }
}

#[test]
fn shutdown_finishes_what_waits_and_late_bytes_reset_the_sender() {
    let mut bench = Bench::new(1);
    let (client, server) = bench.connected();
    bench.net.recv(server, 5, 10);
    bench.net.shutdown(server);
    bench.run();
    assert!(matches!(bench.received(server, 5), Some(Ok(b)) if b.is_empty()));
    bench.net.send(client, 6, vec![Bytes::from_static(b"x")]);
    bench.run();
    assert!(matches!(bench.take(6), Some(Done::Sent)));
    assert!(matches!(bench.recv(client), Some(Err(Errno::CONNRESET))));
}

#[test]
fn nobody_listening_refuses_and_a_partition_times_out() {
    let mut bench = Bench::new(2);
    let nowhere = SocketAddr::new(node_ip(1), 9);
    bench.net.connect(0, nowhere, 1);
    bench.run();
    assert!(matches!(bench.take(1), Some(Done::Failed(Errno::CONNREFUSED))));
    bench.net.partition(0, 1);
    bench.net.connect(0, nowhere, 2);
    bench.run();
    assert!(matches!(bench.take(2), Some(Done::Failed(Errno::TIMEDOUT))));
    assert!(bench.net.listen(0, nowhere).is_err(), "another node's address");
}

#[test]
fn a_partition_delays_a_cut_and_a_crash_reset() {
    let mut bench = Bench::new(3);
    let (client, server) = bench.connected();
    bench.net.partition(0, 1);
    bench.net.send(client, 11, vec![Bytes::from_static(b"held")]);
    assert!(bench.recv(server).is_none());
    bench.net.heal();
    bench.run();
    assert!(matches!(bench.received(server, 99), Some(Ok(b)) if b == "held"));
    bench.net.recv(client, 7, 10);
    bench.net.cut(1, 0);
    bench.run();
    assert!(matches!(bench.take(7), Some(Done::Failed(Errno::CONNRESET))));
    assert!(matches!(bench.recv(server), Some(Err(Errno::CONNRESET))));

    let (client, _) = bench.connected();
    bench.net.recv(client, 8, 10);
    bench.net.crash(1);
    bench.run();
    assert!(matches!(bench.take(8), Some(Done::Failed(Errno::CONNRESET))));
}

#[test]
fn a_receive_given_up_loses_no_bytes() {
    let mut bench = Bench::new(4);
    let (client, server) = bench.connected();
    bench.net.send(client, 1, vec![Bytes::from_static(b"abc")]);
    bench.net.recv(server, 2, 2);
    bench.run();
    bench.net.cancel_recv(server, 2);
    assert!(matches!(bench.recv(server), Some(Ok(b)) if b == "ab"));
    bench.net.recv(server, 3, 2);
    bench.net.cancel_recv(server, 3);
    assert!(matches!(bench.recv(server), Some(Ok(b)) if b == "c"));
}
