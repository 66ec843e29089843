//! The command line of the `ringlog` binary: one file or folder per command.
//!
//! Invariants:
//! - What a command says goes to standard output, as text or as JSON; progress, warnings and
//!   errors go to standard error.
//! - Nothing panics because nobody reads it: no `print!` and no `eprint!`.
//! - The exit code tells what happened ([`exit`]); a reader that closes its end early is no error.

#![allow(clippy::disallowed_methods, reason = "commands run beside a node, not on its shards")]
#![warn(clippy::print_stderr, clippy::print_stdout)]

mod args;
mod bootstrap;
mod cluster;
mod completions;
mod consume;
mod disk_probe;
mod doctor;
mod exit;
mod interrupts;
mod line_format;
mod line_queue;
mod lines;
mod logging;
mod output;
mod produce;
mod server;
mod server_settings;
mod sizes;
mod storage;
mod times;
mod topic;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Cli, Command};
use exit::Failure;
use output::Output;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    // Usage errors end here, with exit code 2, help and version with 0.
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let mut output = Output::new(cli.format);
    match cli.command {
        Command::Server(args) => server::run(&args, cli.format),
        Command::Topic(args) => client(cli.verbose, topic::run(args, &mut output)),
        Command::Cluster(args) => client(cli.verbose, cluster::run(args, &mut output)),
        Command::Produce(args) => client(cli.verbose, produce::run(args, &mut output)),
        Command::Consume(args) => client(cli.verbose, consume::run(args, &mut output)),
        Command::Storage(args) => storage::run(args, &mut output),
        Command::Doctor(args) => doctor::run(&args, &mut output),
        Command::Completions(args) => completions::run(&args, &mut Cli::command(), &mut output),
    }
}

/// Runs a command that talks to a broker.
fn client(
    verbose: bool,
    command: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    logging::for_a_command(if verbose { "debug" } else { "warn" });
    // One thread for input and output, one more for what the network brings.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(Failure::from)?;
    let result = runtime.block_on(command);
    // A thread that still reads standard input must not keep the process alive.
    runtime.shutdown_background();
    result
}
