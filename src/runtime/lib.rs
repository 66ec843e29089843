//! The runtime: one executor per shard on io_uring, on plain system calls where that is
//! forbidden, or in a deterministic simulation.
//!
//! A shard is a thread with its own tasks, timers, files, sockets and buffers; nothing of it is
//! shared but what is handed over through a [`Mesh`]. [`launch`] starts shards, [`Runtime`] is
//! what a task does its input and output with. The same code runs on all three backends: which
//! one it is, is decided when the shards start, by a `match` per operation.
//!
//! An operation owns its buffers until it has completed. Dropping its future gives up waiting,
//! never the buffer: that stays with the operation until the kernel is done with it.
//!
//! This is the only crate with `unsafe` code. It is kept in `allocator`, `buffer` (memory shared
//! between a writer and readers), `owned` (what one thread keeps where others can see it), `tcp`
//! (what the kernel counts) and `uring` (what the kernel is told about memory).

#![allow(clippy::disallowed_methods, reason = "the runtime is what the others use instead")]

pub mod address;
mod allocator;
#[cfg(test)]
mod behaviour;
mod blocking;
mod buffer;
mod clock;
mod cores;
mod descriptors;
mod driver;
mod executor;
mod fallback;
mod file;
mod file_ops;
mod file_systems;
mod folios;
mod launch;
mod mesh;
mod net;
mod owned;
mod probe;
mod runtime;
mod shard_loop;
mod shortage;
pub mod sim;
mod steps;
pub mod sync;
mod tcp;
mod turn_queue;
mod turns;
mod uring;
mod whole_file;

pub use self::allocator::Allocator;
pub use self::blocking::WorkOwner;
pub use self::buffer::{AppendBuffer, BufferPool, IoBuf};
pub use self::clock::Instant;
pub use self::descriptors::Descriptors;
pub use self::executor::{Elapsed, JoinHandle, Sleep, Timeout};
pub use self::file::{
    DirEntry, DiskSpace, Durability, File, FileLock, FileStat, OpenOptions, WriteBufs,
};
pub use self::file_systems::FileSystem;
pub use self::launch::{Backend, IoChoice, Launch, Node, ShardId, launch};
pub use self::mesh::{Mesh, Poster};
pub use self::net::{HandedOver, Listener, Piece, Progress, RecvBuf, Stream};
pub use self::probe::{Finding, Probe, probe};
pub use self::runtime::Runtime;
pub use self::steps::Steps;
pub use self::turns::{LONG_TASK, TurnWatch};
