//! A bounded queue of lines in front of a thread that writes them: whoever has a line waits for
//! nobody, and takes no lock that another thread could be put to sleep with.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, Thread};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;

/// How long the end waits for lines to be written.
const LAST_LINES_WAIT: Duration = Duration::from_secs(1);

/// Takes lines; each write is one.
pub(crate) struct LineQueue {
    lines: Arc<Lines>,
    writer: Thread,
}

/// Dropping it writes what waits, for [`LAST_LINES_WAIT`] at most.
#[must_use = "lines are written while it lives"]
pub(crate) struct LineWriter {
    queue: Arc<LineQueue>,
    /// Closed by the thread when it ends.
    ended: Receiver<()>,
}

struct Lines {
    waiting: ArrayQueue<Box<[u8]>>,
    dropped: AtomicU64,
    /// What waits is to be written, and then nothing any more.
    closed: AtomicBool,
}

/// Starts a thread named `log` that writes to `out`. At most `waiting_max` lines wait.
///
/// # Errors
/// The thread cannot be started.
pub(crate) fn start(
    out: impl Write + Send + 'static,
    waiting_max: usize,
) -> io::Result<(Arc<LineQueue>, LineWriter)> {
    let lines = Arc::new(Lines {
        waiting: ArrayQueue::new(waiting_max),
        dropped: AtomicU64::new(0),
        closed: AtomicBool::new(false),
    });
    let (ending, ended) = mpsc::channel();
    let to_write = lines.clone();
    let thread = thread::Builder::new().name("log".into()).spawn(move || {
        to_write.write_to(out);
        drop::<mpsc::Sender<()>>(ending);
    })?;
    let queue = Arc::new(LineQueue { lines, writer: thread.thread().clone() });
    Ok((queue.clone(), LineWriter { queue, ended }))
}

impl LineQueue {
    /// How many lines were not written: too many waited, or nobody could take them.
    pub(crate) fn dropped(&self) -> u64 {
        self.lines.dropped.load(Ordering::Relaxed)
    }
}

impl Write for &LineQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.lines.waiting.push(line.into()).is_err() {
            self.lines.dropped.fetch_add(1, Ordering::Relaxed);
        }
        self.writer.unpark();
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Writes lines until no more will come.
    fn write_to(&self, mut out: impl Write) {
        loop {
            // Looked at first: what was pushed before it closed is seen below.
            let closed = self.closed.load(Ordering::Acquire);
            while let Some(line) = self.waiting.pop() {
                if out.write_all(&line).is_err() {
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
            if closed {
                return;
            }
            // Returns at once if there was an unpark since the last one.
            thread::park();
        }
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.queue.lines.closed.store(true, Ordering::Release);
        self.queue.writer.unpark();
        // Whoever reads the lines may have stopped; then the rest of them is lost.
        let _ = self.ended.recv_timeout(LAST_LINES_WAIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn what_waits_is_written_in_order_before_the_end() {
        let (mut written, out) = io::pipe().unwrap();
        let (queue, writer) = start(out, 2000).unwrap();
        let expected: String = (0..2000).map(|n| format!("line {n}\n")).collect();
        for line in expected.split_inclusive('\n') {
            (&*queue).write_all(line.as_bytes()).unwrap();
        }
        drop(writer);
        let mut text = String::new();
        written.read_to_string(&mut text).unwrap();
        assert_eq!(text, expected);
        assert_eq!(queue.dropped(), 0);
    }

    #[test]
    fn lines_that_nobody_reads_are_dropped_and_counted() {
        let (unread, out) = io::pipe().unwrap();
        let (queue, writer) = start(out, 4).unwrap();
        // More than a pipe holds: the thread is stuck in its first line.
        let line = vec![b'x'; 1 << 21];
        (&*queue).write_all(&line).unwrap();
        while !queue.lines.waiting.is_empty() {
            thread::yield_now();
        }
        for _ in 0..10 {
            (&*queue).write_all(b"line\n").unwrap();
        }
        assert_eq!(queue.dropped(), 6);
        drop(unread);
        drop(writer);
        assert_eq!(queue.dropped(), 11, "nobody could take the others either");
    }
}
