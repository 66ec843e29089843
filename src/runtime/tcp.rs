//! What the system counts of a TCP connection.

#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::net::Progress;

/// How many bytes the peer's system has acknowledged, and how many came from it; zeros where the
/// system does not tell (a socket that is no longer connected).
pub(crate) fn progress(socket: BorrowedFd<'_>) -> Progress {
    // SAFETY: all-zero is a valid value of this struct of integers.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to `info`, which holds as many, and the new
    // length to `len`; both outlive the call, and the descriptor is borrowed for it.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut len,
        )
    };
    match result {
        0 => Progress { sent: info.tcpi_bytes_acked, received: info.tcpi_bytes_received },
        _ => Progress::default(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::progress;

    #[test]
    fn what_the_peer_has_and_what_came_from_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut other, _) = listener.accept().unwrap();
        let begun = progress(one.as_fd());
        one.write_all(&[1; 1000]).unwrap();
        other.read_exact(&mut [0; 1000]).unwrap();
        other.write_all(&[2; 30]).unwrap();
        one.read_exact(&mut [0; 30]).unwrap();
        // The acknowledgement came with the answer at the latest.
        let now = progress(one.as_fd());
        assert_eq!((now.sent - begun.sent, now.received - begun.received), (1000, 30));
    }
}
