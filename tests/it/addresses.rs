//! Where a node listens: which address families, and which address a name stands for.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use crate::metrics::get;
use crate::node::{Node, answers, free_address};

/// A node that listens there, and its admin server's port likewise.
fn listening_on(host: &str) -> (Node, u16, u16) {
    let (address, admin) = (free_address(), free_address());
    let (listen, admin_listen) =
        (format!("{host}:{}", address.port()), format!("{host}:{}", admin.port()));
    let flags = ["--shards", "2", "--listen", &listen, "--admin", &admin_listen];
    let node = Node::start_at(address, Arc::new(tempfile::tempdir().unwrap()), &flags);
    (node, address.port(), admin.port())
}

fn machine_has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

/// `:9092` was IPv4 only, so that a client whose resolver prefers IPv6 found nobody.
#[test]
fn an_empty_host_is_every_address_of_both_families() {
    let (_node, port, admin) = listening_on("");
    let v4 = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let v6 = |port| SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    assert_eq!(get(v4(admin), "/health/live").0, 200);
    if machine_has_ipv6() {
        assert!(answers(v6(port)));
        assert_eq!(get(v6(admin), "/health/live").0, 200);
    }
}

/// A hosts file may have ::1 beside 127.0.0.1, and the system's resolver puts it first.
#[test]
fn localhost_is_the_ipv4_address() {
    let (_node, _, admin) = listening_on("localhost");
    assert_eq!(get((Ipv4Addr::LOCALHOST, admin).into(), "/health/live").0, 200);
}

/// On a socket of both families the kernel shows IPv4 peers as `::ffff:127.0.0.1`.
#[test]
fn limits_of_ipv4_addresses_hold_on_a_socket_of_both_families() {
    let address = free_address();
    let listen = format!(":{}", address.port());
    let limit = "max.connections.per.ip.overrides=127.0.0.1:0";
    let flags = ["--shards", "1", "--listen", &listen, "--set", limit];
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, address.port()));
    if machine_has_ipv6() {
        let _node = Node::start_at(v6, Arc::new(tempfile::tempdir().unwrap()), &flags);
        assert!(!answers(address), "no connection may come from there");
        assert!(answers(v6));
    }
}
