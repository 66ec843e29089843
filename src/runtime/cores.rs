//! Which cores the shards of this process are bound to: each to one that no other node has.
//!
//! A core is claimed by a socket that is bound to an abstract name. The kernel gives the name back
//! when the process ends, however it ends, and nothing is left on a disk. Names are those of a
//! network namespace: nodes in containers with namespaces of their own do not see each other.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use core_affinity::CoreId;

/// What the names begin with; the core's number follows.
const NAME: &str = "ringlog-core-";

/// A core that is ours as long as this is kept.
pub(crate) struct ClaimedCore {
    pub(crate) core: CoreId,
    /// None where such sockets are not allowed: nobody can be told then.
    _name: Option<UnixDatagram>,
}

/// Claims `wanted` of the cores, or as many as nobody else has.
pub(crate) fn claim(cores: &[CoreId], wanted: usize) -> Vec<ClaimedCore> {
    claim_by_name(NAME, cores, wanted)
}

fn claim_by_name(name: &str, cores: &[CoreId], wanted: usize) -> Vec<ClaimedCore> {
    let bind = |core: &CoreId| {
        let address = SocketAddr::from_abstract_name(format!("{name}{}", core.id))?;
        UnixDatagram::bind_addr(&address)
    };
    let claimed = cores.iter().filter_map(|core| match bind(core) {
        Ok(bound) => Some(ClaimedCore { core: *core, _name: Some(bound) }),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => None,
        Err(_) => Some(ClaimedCore { core: *core, _name: None }),
    });
    claimed.take(wanted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two nodes of one shard each both ran on core 0, and the other cores had nothing to do.
    #[test]
    fn two_nodes_have_different_cores() {
        let name = format!("ringlog-test-{}-core-", std::process::id());
        let cores = [0, 1, 2].map(|id| CoreId { id });
        let ids = |claimed: &[ClaimedCore]| -> Vec<usize> {
            claimed.iter().map(|claimed| claimed.core.id).collect()
        };
        let first = claim_by_name(&name, &cores, 1);
        let second = claim_by_name(&name, &cores, 1);
        assert_eq!((ids(&first), ids(&second)), (vec![0], vec![1]));
        let third = claim_by_name(&name, &cores, 3);
        assert_eq!(ids(&third), [2], "as many as are left");
        assert!(claim_by_name(&name, &cores, 1).is_empty());
        drop(second);
        assert_eq!(ids(&claim_by_name(&name, &cores, 2)), [1], "it was given back");
    }
}
