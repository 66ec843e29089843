//! Sending: bytes gathered into few calls, parts of files through pipes.
//!
//! While one pipe is emptied into the socket, the next is filled from the file, also across what
//! lies between two parts of files: the disk and the socket work at the same time. Where there is
//! no pipe, because descriptors are short, parts of files go through memory.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;

use io_uring::opcode;
use io_uring::squeue::Entry;
use io_uring::types::{Fd, Timespec};
use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};

use super::operation::Operation;
use super::payload::Payload;
use super::pipes::Pipe;
use super::sockets::{ShutdownOnDrop, UringStream};
use crate::sync::Permit;
use crate::{File, Piece, shortage};

/// Slices handed over in one call: importing them costs, and the socket takes no more bytes at
/// once anyway.
const SLICES_MAX: usize = 256;

/// How much of a file goes through memory at once.
const COPY_BYTES_MAX: usize = 256 << 10;

/// How long a send waits for the system to find memory for a socket: nothing tells when it has.
const MEMORY_PAUSE: Duration = Duration::from_millis(2);

/// Where in the pieces a send is, and what the kernel is told of them.
pub(super) struct Sending {
    pieces: Vec<Piece>,
    index: usize,
    /// Sent of the piece at `index`.
    offset: usize,
    slices: Vec<libc::iovec>,
    header: libc::msghdr,
}

/// What comes next.
enum Next {
    Bytes,
    File,
    Nothing,
}

/// A pipe that is being filled from a file. Given up, it is closed when that has ended.
struct Filling(Operation);

impl Filling {
    /// How many bytes came, at least one, and the pipe that has them. The system may have been
    /// short of a thread to fill it ([`shortage::passes`]).
    async fn done(self) -> io::Result<(usize, Pipe)> {
        let spliced = self.0.await;
        let Payload::FileToPipe { file, pipe, .. } = spliced.payload else {
            unreachable!("an operation keeps its payload")
        };
        match spliced.result {
            Ok(filled) if filled > 0 => Ok((filled as usize, pipe)),
            Err(error) if shortage::passes(&error) => Err(error),
            ended => {
                file.note_unreadable();
                Err(ended.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()))
            }
        }
    }
}

impl Sending {
    fn new(pieces: Vec<Piece>) -> Box<Sending> {
        // SAFETY: all-zero is a valid value of this struct of integers and pointers.
        let header = unsafe { std::mem::zeroed() };
        Box::new(Sending { pieces, index: 0, offset: 0, slices: Vec::new(), header })
    }

    fn next(&mut self) -> Next {
        while self.pieces.get(self.index).is_some_and(|piece| piece.len() == self.offset) {
            self.index += 1;
            self.offset = 0;
        }
        match self.pieces.get(self.index) {
            None => Next::Nothing,
            Some(Piece::Bytes(_)) => Next::Bytes,
            Some(Piece::File { .. }) => Next::File,
        }
    }

    /// Gathers the bytes from where it is up to a part of a file. Returns whether more follows.
    fn gather(&mut self) -> bool {
        self.slices.clear();
        let mut offset = self.offset;
        for (gathered, piece) in self.pieces[self.index..].iter().enumerate() {
            let Piece::Bytes(bytes) = piece else { return true };
            if gathered == SLICES_MAX {
                return true;
            }
            let bytes = &bytes[std::mem::take(&mut offset)..];
            let base = bytes.as_ptr().cast_mut().cast();
            self.slices.push(libc::iovec { iov_base: base, iov_len: bytes.len() });
        }
        false
    }

    /// Counts `n` gathered bytes as sent.
    fn advance(&mut self, mut n: usize) {
        while n > 0 {
            let left = self.pieces[self.index].len() - self.offset;
            let here = left.min(n);
            self.offset += here;
            n -= here;
            if here == left {
                self.index += 1;
                self.offset = 0;
            }
        }
    }

    fn entry(&mut self, fd: Fd) -> Entry {
        let more = if self.gather() { libc::MSG_MORE } else { 0 };
        let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL | more;
        if let [one] = &*self.slices
            && let Ok(len) = u32::try_from(one.iov_len)
        {
            return opcode::Send::new(fd, one.iov_base.cast(), len).flags(flags).build();
        }
        self.header.msg_iov = self.slices.as_mut_ptr();
        self.header.msg_iovlen = self.slices.len();
        opcode::SendMsg::new(fd, &raw const self.header).flags(flags as u32).build()
    }
}

impl UringStream {
    pub(crate) async fn send(&self, pieces: Vec<Piece>) -> io::Result<()> {
        let guard = ShutdownOnDrop(&self.socket);
        let result = self.send_all(Sending::new(pieces)).await;
        guard.defuse();
        result
    }

    async fn send_all(&self, mut sending: Box<Sending>) -> io::Result<()> {
        let mut ahead = None;
        loop {
            match sending.next() {
                Next::Nothing => return Ok(()),
                Next::Bytes => {
                    if ahead.is_none() {
                        ahead = self.fill_ahead(&sending, sending.index, 0)?;
                    }
                    sending = self.send_gathered(sending).await?;
                }
                Next::File => {
                    let filling = match ahead.take() {
                        Some(filling) => Some(filling),
                        None => self.fill_now(&sending).await?,
                    };
                    let Some(filling) = filling else {
                        self.send_copied(&mut sending).await?;
                        continue;
                    };
                    let (filled, pipe) = match filling.done().await {
                        Err(error) if shortage::passes(&error) => {
                            self.pause().await?;
                            continue;
                        }
                        filled => filled?,
                    };
                    sending.offset += filled;
                    ahead = self.fill_ahead(&sending, sending.index, sending.offset)?;
                    let is_last = sending.index + 1 == sending.pieces.len();
                    let more = !is_last || sending.offset < sending.pieces[sending.index].len();
                    self.empty_pipe(pipe, filled, more).await?;
                }
            }
        }
    }

    /// Starts to fill a pipe with what is left of the first part of a file at or behind a place
    /// in the pieces. `None` if there is none, or no pipe for it, or others have all the turns.
    fn fill_ahead(
        &self,
        sending: &Sending,
        mut index: usize,
        mut offset: usize,
    ) -> io::Result<Option<Filling>> {
        while let Some(piece) = sending.pieces.get(index) {
            if let Piece::File { file, len, .. } = piece
                && *len > offset
            {
                let turn = self.ring.fill_turns_of(file).try_acquire(1);
                let filling = turn.map(|turn| self.fill_from(piece, offset, turn));
                return filling.transpose().map(Option::flatten);
            }
            index += 1;
            offset = 0;
        }
        Ok(None)
    }

    /// Starts to fill a pipe with what is left of the part of a file where it is, when it has a
    /// turn. `None` if there is no pipe for it.
    async fn fill_now(&self, sending: &Sending) -> io::Result<Option<Filling>> {
        let piece = &sending.pieces[sending.index];
        let Piece::File { file, .. } = piece else { unreachable!("it is at a part of a file") };
        let turn = self.ring.fill_turns_of(file).acquire(1).await;
        self.fill_from(piece, sending.offset, turn)
    }

    fn fill_from(&self, piece: &Piece, offset: usize, turn: Permit) -> io::Result<Option<Filling>> {
        let Piece::File { file, pos, len } = piece else {
            unreachable!("it is at a part of a file")
        };
        let Some(pipe) = self.ring.pipes.get()? else { return Ok(None) };
        let wanted = (len - offset).min(pipe.capacity);
        Ok(Some(self.fill(file, pos + offset as u64, wanted, pipe, turn)))
    }

    /// Sends a part of the file where it is through memory.
    async fn send_copied(&self, sending: &mut Sending) -> io::Result<()> {
        let Piece::File { file, pos, len } = &sending.pieces[sending.index] else {
            unreachable!("it is at a part of a file")
        };
        let (pos, wanted) = (pos + sending.offset as u64, len - sending.offset);
        let buf = self.ring.buffers.get(wanted.min(COPY_BYTES_MAX));
        let payload = Payload::Read { file: file.clone(), buf };
        let read = self.ring.start(payload, |payload| {
            let Payload::Read { file, buf } = payload else { unreachable!("made above") };
            let spare = buf.spare_mut();
            let len = spare.len().min(wanted) as u32;
            let fd = Fd(file.fd().as_raw_fd());
            opcode::Read::new(fd, spare.as_mut_ptr(), len).offset(pos).build()
        });
        let read = read.await;
        let Payload::Read { file, mut buf } = read.payload else {
            unreachable!("an operation keeps its payload")
        };
        match read.result {
            Ok(n) if n > 0 => {
                buf.advance(n as usize);
                sending.offset += n as usize;
                let mut copied = Sending::new(vec![Piece::Bytes(buf.freeze())]);
                while let Next::Bytes = copied.next() {
                    copied = self.send_gathered(copied).await?;
                }
                Ok(())
            }
            Err(error) if shortage::passes(&error) => self.pause().await,
            ended => {
                file.note_unreadable();
                Err(ended.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()))
            }
        }
    }

    async fn send_gathered(&self, sending: Box<Sending>) -> io::Result<Box<Sending>> {
        let payload = Payload::Send { socket: Rc::clone(&self.socket), sending };
        let sent = self.ring.start(payload, |payload| {
            let Payload::Send { socket, sending } = payload else { unreachable!("made above") };
            sending.entry(socket.as_fd())
        });
        let sent = sent.await;
        let Payload::Send { mut sending, .. } = sent.payload else {
            unreachable!("an operation keeps its payload")
        };
        match sent.result {
            Ok(n) => sending.advance(n as usize),
            Err(e) if e.raw_os_error() == Some(libc::EINTR) => {}
            Err(e) => return Err(e),
        }
        Ok(sending)
    }

    /// Starts to fill a pipe from a file.
    fn fill(&self, file: &File, pos: u64, len: usize, pipe: Pipe, turn: Permit) -> Filling {
        let payload = Payload::FileToPipe { file: file.clone(), pipe, turn: Some(turn) };
        Filling(self.ring.start(payload, |payload| {
            let Payload::FileToPipe { file, pipe, .. } = payload else {
                unreachable!("made above")
            };
            let (from, to) = (Fd(file.fd().as_raw_fd()), Fd(pipe.write.as_raw_fd()));
            opcode::Splice::new(from, pos as i64, to, -1, len as u32).build()
        }))
    }

    /// Sends what is in a pipe and gives it back. The bytes are there and the socket does not wait,
    /// so the shard does it itself.
    async fn empty_pipe(&self, pipe: Pipe, mut filled: usize, more: bool) -> io::Result<()> {
        let mut flags = SpliceFlags::NONBLOCK;
        flags.set(SpliceFlags::MORE, more);
        let mut has_waited = false;
        while filled > 0 {
            match splice(&pipe.read, None, self.socket.borrow(), None, filled, flags) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    filled -= n;
                    has_waited = false;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if !has_waited => {
                    self.wait_for_room().await?;
                    has_waited = true;
                }
                // There was room in the socket and the system had no memory to fill it.
                Err(Errno::AGAIN) => {
                    self.pause().await?;
                    has_waited = false;
                }
                Err(e) => return Err(e.into()),
            }
        }
        self.ring.pipes.put(pipe);
        Ok(())
    }

    async fn wait_for_room(&self) -> io::Result<()> {
        let entry = opcode::PollAdd::new(self.socket.as_fd(), libc::POLLOUT as u32).build();
        let payload = Payload::PollSocket { _socket: Rc::clone(&self.socket) };
        self.ring.start(payload, |_| entry).await.result.map(|_| ())
    }

    async fn pause(&self) -> io::Result<()> {
        let payload = Payload::Pause(Box::new(Timespec::from(MEMORY_PAUSE)));
        let paused = self.ring.start(payload, |payload| {
            let Payload::Pause(time) = payload else { unreachable!("made above") };
            opcode::Timeout::new(&raw const **time).build()
        });
        match paused.await.result {
            Err(e) if e.raw_os_error() != Some(libc::ETIME) => Err(e),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Next, SLICES_MAX, Sending};
    use crate::Piece;
    use bytes::Bytes;

    fn sending(parts: &[&'static str]) -> Box<Sending> {
        let piece = |s: &&'static str| Piece::Bytes(Bytes::from_static(s.as_bytes()));
        Sending::new(parts.iter().map(piece).collect())
    }

    /// Lengths of the gathered slices, and whether more follows.
    fn gathered(sending: &mut Sending) -> (Vec<usize>, bool) {
        let more = sending.gather();
        (sending.slices.iter().map(|s| s.iov_len).collect(), more)
    }

    #[test]
    fn a_partial_send_goes_on_where_it_stopped() {
        let mut s = sending(&["", "abc", "", "de", "f"]);
        assert!(matches!(s.next(), Next::Bytes));
        assert_eq!(gathered(&mut s), (vec![3, 0, 2, 1], false));
        s.advance(1);
        assert_eq!(gathered(&mut s), (vec![2, 0, 2, 1], false));
        s.advance(3);
        assert!(matches!(s.next(), Next::Bytes));
        assert_eq!(gathered(&mut s), (vec![1, 1], false));
        s.advance(2);
        assert!(matches!(s.next(), Next::Nothing));
    }

    #[test]
    fn one_call_takes_a_bounded_number_of_slices() {
        let mut s = sending(&["x"; 3_000]);
        for left in [3_000, 3_000 - SLICES_MAX, 3_000 - 2 * SLICES_MAX] {
            assert!(matches!(s.next(), Next::Bytes));
            let (slices, more) = gathered(&mut s);
            assert_eq!((slices.len(), more), (SLICES_MAX.min(left), true));
            s.advance(SLICES_MAX);
        }
    }
}
