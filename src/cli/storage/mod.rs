//! `ringlog storage`: the files of a data directory, read without a broker. Nothing is changed.
//!
//! The formats are read here by their own small readers, not by the engine's, so that the two
//! check each other.

mod dump;
mod files;
mod log_file;
mod small_files;
mod verify;
mod verify_relations;
mod verify_segment;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::exit::Failure;
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  ringlog storage verify ringlog-data
  ringlog storage dump ringlog-data/logs-0
  ringlog storage dump ringlog-data/logs-0/00000000000000000000.log --records --format json";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StorageArgs {
    #[command(subcommand)]
    command: StorageCommand,
}

#[derive(Debug, Subcommand)]
enum StorageCommand {
    /// Print what is in the files
    Dump(DumpArgs),
    /// Check every batch, index and checkpoint; exit code 4 where something is damaged
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
struct DumpArgs {
    /// Data directories, partition directories or single files
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Print the records of each batch too
    #[arg(long, short = 'r')]
    records: bool,
    /// Print at most this many entries of each file
    #[arg(long, short = 'n', value_name = "N")]
    limit: Option<u64>,
}

#[derive(Debug, Args)]
struct VerifyArgs {
    /// Data directories, partition directories or single files
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Do not unpack the batches' records
    #[arg(long)]
    shallow: bool,
    /// Show no progress
    #[arg(long, short = 'q')]
    quiet: bool,
}

pub(crate) fn run(args: StorageArgs, output: &mut Output) -> Result<(), Failure> {
    match args.command {
        StorageCommand::Dump(args) => dump::run(&args, output),
        StorageCommand::Verify(args) => verify::run(&args, output),
    }
}
