//! How the descriptors that a process may open are shared out: storage keeps half of them, so that
//! a log can always begin its next segment, however many clients are connected.
//!
//! Sockets and pipes are bounded by their shares. What storage needs beyond its own (very many
//! partitions under a small limit) is waited for, as `shortage.rs` says.

use rustix::process::{Resource, getrlimit};

use crate::probe;

/// Of the process: standard streams, the admin thread's listener, signals, locks.
const PROCESS: u64 = 20;
/// Of a shard: its ring, its eventfd, its listener, and a second descriptor of the ring.
const SHARD: u64 = 4;
/// What a limit that is not set counts as: the kernel's own for one process, by default.
const UNLIMITED: u64 = 1 << 20;

/// The shares of descriptors, by what they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// The limit, `RLIMIT_NOFILE`.
    pub open_files_max: usize,
    /// Clients of the node.
    pub connections: usize,
    /// Clients of the admin port.
    pub admin_connections: usize,
    /// Pipes of one shard, each of two descriptors, through which parts of files go to sockets.
    pub pipes_of_shard: usize,
    /// Sealed segments that one shard keeps open: a small part of storage's share, since those of
    /// open segments are many and cannot be closed.
    pub sealed_segments_of_shard: usize,
}

impl Descriptors {
    /// The shares of this process, when its limit is raised as far as it goes.
    pub fn of_process(shards: usize) -> Descriptors {
        probe::raise_open_files();
        Descriptors::share(getrlimit(Resource::Nofile).current.unwrap_or(UNLIMITED), shards)
    }

    /// The shares of as many as one needs, as in a simulation.
    pub fn plenty(shards: usize) -> Descriptors {
        Descriptors::share(UNLIMITED, shards)
    }

    /// The shares of so many. None is less than one.
    fn share(open_files_max: u64, shards: usize) -> Descriptors {
        let open_files_max = open_files_max.min(UNLIMITED);
        let shards = (shards as u64).max(1);
        let storage = open_files_max / 2;
        let pipes = open_files_max / 8;
        let admin_connections = (open_files_max / 16).clamp(4, 64);
        let other = PROCESS + SHARD * shards + admin_connections;
        let connections = open_files_max.saturating_sub(storage + pipes + other);
        let some = |share: u64| share.max(1) as usize;
        Descriptors {
            open_files_max: some(open_files_max),
            connections: some(connections),
            admin_connections: some(admin_connections),
            pipes_of_shard: some(pipes / 2 / shards),
            sealed_segments_of_shard: some(storage / 8 / shards),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_keeps_half() {
        for limit in [150, 1024, 4096, 65_536, 1 << 20] {
            let shards_max = limit as usize / 75;
            for shards in [1, 2, 8].into_iter().filter(|shards| *shards <= shards_max) {
                let share = Descriptors::share(limit, shards);
                let process = PROCESS + SHARD * shards as u64;
                let others = share.connections
                    + share.admin_connections
                    + 2 * share.pipes_of_shard * shards
                    + process as usize;
                let storage = limit as usize - others.min(limit as usize);
                assert!(storage >= limit as usize / 2, "{limit} {shards}: {share:?}");
                assert!(share.sealed_segments_of_shard * shards <= storage / 4);
            }
        }
    }

    #[test]
    fn a_small_limit_leaves_something_for_everyone() {
        let share = Descriptors::share(150, 2);
        assert_eq!((share.connections, share.pipes_of_shard), (20, 4), "{share:?}");
        let least = Descriptors::share(16, 64);
        assert!(least.connections == 1 && least.pipes_of_shard == 1, "{least:?}");
    }

    #[test]
    fn the_limit_of_a_process_is_raised_first() {
        let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(UNLIMITED).min(UNLIMITED);
        assert_eq!(Descriptors::of_process(1).open_files_max as u64, hard);
    }
}
