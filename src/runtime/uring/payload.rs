//! What an operation owns while it is in flight.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::os::fd::{FromRawFd, OwnedFd};
use std::rc::Rc;

use io_uring::types::Timespec;
use socket2::SockAddr;

use super::pipes::Pipe;
use super::ring::Ring;
use super::send::Sending;
use super::sockets::Socket;
use crate::sync::Permit;
use crate::{File, IoBuf, WriteBufs};

pub(super) enum Payload {
    Open { _path: CString },
    Paths { _from: CString, _to: Option<CString> },
    Stat { of: StatOf, out: Box<libc::statx> },
    File { _file: File },
    Descriptor { _fd: OwnedFd },
    Read { file: File, buf: IoBuf },
    Write { file: File, bufs: WriteBufs, slices: Box<[libc::iovec]> },
    Accept { listener: Rc<OwnedFd> },
    Connect { socket: Rc<Socket>, address: Box<SockAddr> },
    Recv { _socket: Rc<Socket> },
    RecvInto { socket: Rc<Socket>, buf: IoBuf },
    Send { socket: Rc<Socket>, sending: Box<Sending> },
    FileToPipe { file: File, pipe: Pipe, turn: Option<Permit> },
    PollSocket { _socket: Rc<Socket> },
    Pause(Box<Timespec>),
}

pub(super) enum StatOf {
    Path(CString),
    File(File),
}

impl Payload {
    /// Whether the operation may wait for a peer, rather than for the disk.
    pub(super) fn is_worth_cancelling(&self) -> bool {
        matches!(
            self,
            Payload::Accept { .. }
                | Payload::Connect { .. }
                | Payload::Recv { .. }
                | Payload::RecvInto { .. }
                | Payload::Send { .. }
                | Payload::PollSocket { .. }
        )
    }

    /// The operation has completed: what it did not let others do, they may.
    pub(super) fn end_turn(&mut self) {
        if let Payload::FileToPipe { turn, .. } = self {
            turn.take();
        }
    }

    /// Throws away what came out of the operation.
    pub(super) fn abandon(self, ring: &Ring, result: i32, flags: u32) {
        match self {
            Payload::Open { .. } | Payload::Accept { .. } if result >= 0 => {
                // SAFETY: the kernel has just made this descriptor for us, and nobody else has it.
                drop(unsafe { OwnedFd::from_raw_fd(result) });
            }
            Payload::Recv { .. } => {
                if let Some(id) = io_uring::cqueue::buffer_select(flags) {
                    ring.lent.put(id);
                }
            }
            _ => {}
        }
    }
}
