//! How a command ends: exit codes, and what is said on the way out.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use ringlog_client::ClientError;

/// The command failed.
pub(crate) const FAILED: u8 = 1;
/// The command line or a setting is wrong.
pub(crate) const USAGE: u8 = 2;
/// No broker could be reached.
pub(crate) const NO_BROKER: u8 = 3;
/// Something was found that is not as it should be.
pub(crate) const FOUND: u8 = 4;
/// A node has no log directory to run on.
pub(crate) const NO_DIRECTORY: u8 = 5;

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    /// Empty when all has been said.
    text: String,
}

impl Failure {
    pub(crate) fn new(code: u8, text: impl fmt::Display) -> Failure {
        Failure { code, text: text.to_string() }
    }

    /// A failure whose reasons are already printed.
    pub(crate) fn silent(code: u8) -> Failure {
        Failure { code, text: String::new() }
    }

    /// A wrong flag, argument or setting.
    pub(crate) fn usage(text: impl fmt::Display) -> Failure {
        Failure::new(USAGE, text)
    }

    /// Says why, and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        if !self.text.is_empty() {
            say(format_args!("error: {}", self.text));
        }
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<io::Error> for Failure {
    /// A reader that closed its end (`| head`) has what it wanted: no failure, nothing to say.
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::silent(0),
            _ => Failure::new(FAILED, error),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let code = match &error {
            ClientError::NoBroker { .. } => NO_BROKER,
            _ => FAILED,
        };
        Failure::new(code, error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::new(FAILED, format!("{error:#}"))
    }
}

/// Says something on standard error. When that is closed or full, there is nobody to tell; it
/// must not change how the command ends (`eprintln!` would panic).
pub(crate) fn say(text: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// `path: error`, as a failure.
pub(crate) fn at_path(path: &std::path::Path) -> impl FnOnce(io::Error) -> Failure + use<> {
    let path = path.display().to_string();
    move |error| Failure::new(FAILED, format!("{path}: {error}"))
}
