//! `ringlog completions`.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::exit::Failure;
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  ringlog completions bash > /etc/bash_completion.d/ringlog
  ringlog completions zsh > ~/.zfunc/_ringlog
  ringlog completions fish > ~/.config/fish/completions/ringlog.fish";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script for `commands`, which is the whole command line.
pub(crate) fn run(
    args: &CompletionsArgs,
    commands: &mut Command,
    output: &mut Output,
) -> Result<(), Failure> {
    // Generated to memory first: the generator panics where the output cannot be written.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, commands, "ringlog", &mut script);
    std::io::Write::write_all(output.stream(), &script)?;
    output.flush()
}
