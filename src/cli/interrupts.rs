//! SIGINT and SIGTERM, for commands that have something to finish.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Failure;

/// Waits for the signals that stop a command.
pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// From now on the signals do not end the process.
    pub(crate) fn listen() -> io::Result<Interrupts> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Interrupts { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    /// The next one, as what the command ends with: 128 and the signal's number, as in shells.
    pub(crate) async fn next(&mut self) -> Failure {
        let (number, name) = tokio::select! {
            _ = self.interrupt.recv() => (SignalKind::interrupt().as_raw_value(), "SIGINT"),
            _ = self.terminate.recv() => (SignalKind::terminate().as_raw_value(), "SIGTERM"),
        };
        Failure::new(128 + number as u8, format!("stopped by {name}"))
    }

    /// Does something, unless a signal comes before it is done.
    pub(crate) async fn unless_interrupted<T>(
        &mut self,
        doing: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            done = doing => Ok(done),
            interrupted = self.next() => Err(interrupted),
        }
    }
}
