//! The `ringlog` binary: everything is in the `ringlog-cli` crate.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// One heap for each thread: a shard that frees what another allocated hands it back without a
/// lock (`docs/decisions/0007-no-locks-on-a-shard.md`).
#[global_allocator]
static GLOBAL: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    ringlog_cli::main()
}
