//! The addresses that a name in a setting stands for, taken as Kafka (Java) takes them.
//!
//! An empty host is every address of the machine, in both families. A name with addresses of both
//! families is its first IPv4 one: `localhost` is 127.0.0.1, also where the resolver puts ::1
//! first. A socket of the unspecified IPv6 address takes IPv4 connections too, whatever the
//! system's `net.ipv6.bindv6only`, and shows their peers as the IPv4 addresses they are.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};

use socket2::{Domain, Socket, Type};

/// Connections that may wait on a listener of [`bind`].
const BACKLOG: i32 = 128;

/// The address to listen on for a host (a name, an address, or nothing) and a port. May ask the
/// system's resolver, and waits for it.
///
/// # Errors
/// The host cannot be resolved, or has no address (`AddrNotAvailable`).
pub fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    if host.is_empty() {
        return Ok(match has_ipv6() {
            true => (Ipv6Addr::UNSPECIFIED, port).into(),
            false => (Ipv4Addr::UNSPECIFIED, port).into(),
        });
    }
    preferred((host, port).to_socket_addrs()?.collect())
        .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

/// A listener outside of the shards. The port of an address that is in use is refused, also where
/// shards share it.
///
/// # Errors
/// The address is taken or is not this machine's.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    take_both_families(&socket, address)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Lets a socket of the unspecified IPv6 address take IPv4 connections, as Java does.
pub(crate) fn take_both_families(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    match address.is_ipv6() && address.ip().is_unspecified() {
        true => socket.set_only_v6(false),
        false => Ok(()),
    }
}

/// A peer's address without the disguise that IPv4 wears on a socket of both families.
pub(crate) fn canonical(peer: SocketAddr) -> SocketAddr {
    match peer.ip().to_canonical() {
        ip if ip == peer.ip() => peer,
        ip => SocketAddr::new(ip, peer.port()),
    }
}

fn preferred(addresses: Vec<SocketAddr>) -> Option<SocketAddr> {
    addresses.iter().find(|address| address.is_ipv4()).or(addresses.first()).copied()
}

/// Whether the kernel has IPv6 at all: it can be left out, or be switched off at boot.
fn has_ipv6() -> bool {
    Socket::new(Domain::IPV6, Type::STREAM, None).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_ipv4_address_of_a_name_is_preferred() {
        let check = |addresses: &[&str], expected: Option<&str>| {
            let parse = |text: &&str| text.parse().unwrap();
            let found = preferred(addresses.iter().map(parse).collect());
            assert_eq!(found, expected.map(|text| text.parse().unwrap()), "{addresses:?}");
        };
        check(&["[::1]:9", "127.0.0.1:9", "127.0.0.2:9"], Some("127.0.0.1:9"));
        check(&["[::1]:9", "[::2]:9"], Some("[::1]:9"));
        check(&[], None);
        assert_eq!(resolve("127.0.0.1", 9).unwrap(), "127.0.0.1:9".parse().unwrap());
        assert_eq!(resolve("::1", 9).unwrap(), "[::1]:9".parse().unwrap());
        assert_eq!(resolve("0.0.0.0", 9).unwrap(), "0.0.0.0:9".parse().unwrap());
    }

    #[test]
    fn ipv4_peers_are_shown_as_what_they_are() {
        let check = |shown: &str, expected: &str| {
            assert_eq!(canonical(shown.parse().unwrap()), expected.parse().unwrap());
        };
        check("[::ffff:10.1.2.3]:77", "10.1.2.3:77");
        check("[fe80::1%2]:77", "[fe80::1%2]:77");
        check("10.1.2.3:77", "10.1.2.3:77");
    }
}
