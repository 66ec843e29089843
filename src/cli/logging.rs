//! The log: lines on standard error. `RUST_LOG` wins over the level that a command asks for.
//!
//! What reads a server's standard error may stop reading (a full disk under the journal, a pager
//! that was left open). A shard that then waited to write its line would serve nobody. So the
//! server's lines go through a bounded queue to a thread that writes them; when that is full,
//! lines are dropped and counted.

use std::io::{self, IsTerminal};
use std::sync::Arc;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::exit::say;
use crate::line_queue::{self, LineQueue, LineWriter};

/// How many lines may wait to be written: a few megabytes.
const WAITING_LINES_MAX: usize = 8192;

/// The log of a server. Dropping it writes what waits, for a second at most.
#[must_use = "lines are written while it lives"]
pub(crate) struct ServerLog {
    _writer: LineWriter,
    queue: Arc<LineQueue>,
}

impl ServerLog {
    /// Counts the lines that were dropped.
    pub(crate) fn dropped_lines(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let queue = self.queue.clone();
        move || queue.dropped()
    }
}

/// The log of a command that ends: written at once.
pub(crate) fn for_a_command(level: &str) {
    set(level, false, BoxMakeWriter::new(io::stderr));
}

/// The log of a server, as text or JSON.
///
/// # Errors
/// The thread that writes it cannot be started.
pub(crate) fn for_a_server(level: &str, json: bool) -> io::Result<ServerLog> {
    let (queue, writer) = line_queue::start(io::stderr(), WAITING_LINES_MAX)?;
    set(level, json, BoxMakeWriter::new(queue.clone()));
    Ok(ServerLog { _writer: writer, queue })
}

fn set(level: &str, json: bool, writer: BoxMakeWriter) {
    let filter = EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(writer)
        // It would tell on standard error, and panic, when standard error cannot be written.
        .log_internal_errors(false);
    let set = if json { log.json().try_init() } else { log.with_target(false).try_init() };
    if let Err(error) = set {
        say(format_args!("warning: nothing is logged: {error}"));
    }
}
