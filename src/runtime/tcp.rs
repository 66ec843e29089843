//! What the system counts of a TCP connection.

#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::net::Progress;

/// How many bytes the peer's system has acknowledged, and how many came from it; zeros where the
/// system does not tell (a socket that is no longer connected).
pub(crate) fn progress(socket: BorrowedFd<'_>) -> Progress {
    match info(socket) {
        Some(info) => Progress { sent: info.tcpi_bytes_acked, received: info.tcpi_bytes_received },
        None => Progress::default(),
    }
}

/// Whether the peer sends no more: its FIN or RST has come, however much is still to be received
/// before it. False where the system does not tell.
pub(crate) fn has_ended(socket: BorrowedFd<'_>) -> bool {
    // `TCP_TIME_WAIT`, `TCP_CLOSE`, `TCP_CLOSE_WAIT`, `TCP_LAST_ACK`, `TCP_CLOSING`
    // (`include/net/tcp_states.h`).
    info(socket).is_some_and(|info| matches!(info.tcpi_state, 6..=9 | 11))
}

fn info(socket: BorrowedFd<'_>) -> Option<libc::tcp_info> {
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
    (result == 0).then_some(info)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::{has_ended, progress};

    fn ends_within_a_minute(socket: &TcpStream) -> bool {
        let looks = 6000;
        (0..looks).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            has_ended(socket.as_fd())
        })
    }

    #[test]
    fn a_peer_that_sends_no_more_is_seen_behind_what_it_has_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        for by_reset in [false, true] {
            let mut one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut other, _) = listener.accept().unwrap();
            one.write_all(b"unread").unwrap();
            other.write_all(b"unread").unwrap();
            assert_eq!(one.peek(&mut [0; 6]).unwrap(), 6);
            assert!(!has_ended(other.as_fd()));
            match by_reset {
                // Bytes that nobody will read make the system reset the connection.
                true => drop(one),
                false => one.shutdown(std::net::Shutdown::Write).unwrap(),
            }
            assert!(ends_within_a_minute(&other));
        }
    }

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
