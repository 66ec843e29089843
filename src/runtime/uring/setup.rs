//! Making a ring, with as much as the kernel can do.

use std::io;
use std::sync::OnceLock;

use io_uring::{IoUring, Probe, opcode};

use super::fill_turns::TURNS_OF_DISK;
use super::lent::LentBuffers;

/// Entries of the submission queue.
pub(super) const ENTRIES: u32 = 1024;

/// Entries of the completion queue: many small receives complete in one go.
const COMPLETIONS: u32 = 8192;

/// Every operation the backend cannot do without.
const NEEDED: [(u8, &str); 18] = [
    (opcode::Read::CODE, "READ"),
    (opcode::Write::CODE, "WRITE"),
    (opcode::Writev::CODE, "WRITEV"),
    (opcode::Fsync::CODE, "FSYNC"),
    (opcode::Fallocate::CODE, "FALLOCATE"),
    (opcode::OpenAt::CODE, "OPENAT"),
    (opcode::Statx::CODE, "STATX"),
    (opcode::RenameAt::CODE, "RENAMEAT"),
    (opcode::UnlinkAt::CODE, "UNLINKAT"),
    (opcode::Accept::CODE, "ACCEPT"),
    (opcode::Connect::CODE, "CONNECT"),
    (opcode::Recv::CODE, "RECV"),
    (opcode::Send::CODE, "SEND"),
    (opcode::SendMsg::CODE, "SENDMSG"),
    (opcode::Splice::CODE, "SPLICE"),
    (opcode::PollAdd::CODE, "POLL_ADD"),
    (opcode::Timeout::CODE, "TIMEOUT"),
    (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
];

/// Sets of flags, the newest first; each older kernel refuses some.
#[derive(Clone, Copy, Debug)]
enum Flags {
    /// 6.6: no indirection of submissions.
    NoArray,
    /// 6.1: completions are worked on when the shard asks, by the shard.
    Deferred,
    /// 5.19: completions do not interrupt the shard.
    Cooperative,
}

/// A ring for this thread, which alone may use it.
pub(super) fn build(entries: u32) -> io::Result<IoUring> {
    for flags in [Flags::NoArray, Flags::Deferred] {
        match build_with(entries, flags) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            other => return other,
        }
    }
    build_with(entries, Flags::Cooperative)
}

fn build_with(entries: u32, flags: Flags) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_cqsize(COMPLETIONS.max(entries)).setup_clamp().setup_submit_all();
    builder.setup_coop_taskrun().setup_taskrun_flag();
    if !matches!(flags, Flags::Cooperative) {
        builder.setup_single_issuer().setup_defer_taskrun();
    }
    if matches!(flags, Flags::NoArray) {
        builder.setup_no_sqarray();
    }
    let ring = builder.build(entries)?;
    limit_pipe_workers(&ring, 1);
    Ok(ring)
}

/// Has so many threads of the kernel fill pipes as there are turns for them.
pub(super) fn limit_pipe_workers(ring: &IoUring, disks: usize) {
    let workers = u32::try_from(disks * TURNS_OF_DISK).unwrap_or(u32::MAX);
    // Zero leaves a limit as it is. Kernels before 5.15 have none to set.
    let _ = ring.submitter().register_iowq_max_workers(&mut [0, workers]);
}

/// The needed operations that this kernel does not have.
pub(crate) fn missing_operations() -> io::Result<Vec<&'static str>> {
    let ring = build(8)?;
    let probe = probe(&ring)?;
    let missing = NEEDED.iter().filter(|(code, _)| !probe.is_supported(*code));
    let mut missing: Vec<&str> = missing.map(|(_, name)| *name).collect();
    if LentBuffers::register(&ring).is_err() {
        missing.push("REGISTER_PBUF_RING");
    }
    Ok(missing)
}

fn probe(ring: &IoUring) -> io::Result<Probe> {
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    Ok(probe)
}

/// Whether files can be cut on the ring (6.9).
pub(super) fn has_ftruncate() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| {
        let probe = build(8).and_then(|ring| probe(&ring));
        probe.is_ok_and(|probe| probe.is_supported(opcode::Ftruncate::CODE))
    })
}
