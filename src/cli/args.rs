//! The commands and their flags.

use clap::{Parser, Subcommand};

use crate::cluster;
use crate::completions;
use crate::consume;
use crate::doctor;
use crate::output::Format;
use crate::produce;
use crate::server_settings::ServerArgs;
use crate::storage;
use crate::topic;

const LONG_ABOUT: &str = "\
A log broker that speaks Kafka's protocol, keeps Kafka's files, and is durable before it \
acknowledges.";

const EXAMPLES: &str = "\
Examples:
  ringlog server                                 a broker at 127.0.0.1:9092
  ringlog topic create logs --partitions 4
  seq 1 1000 | ringlog produce logs
  ringlog consume logs --until end
  ringlog storage verify ringlog-data

Exit codes:
  0  done
  1  failed
  2  the command line or a setting is wrong
  3  no broker could be reached
  4  damage or a problem was found (storage verify, doctor)
  5  server: no log directory is left, or the one with the metadata log has failed
  130, 143  produce was stopped by SIGINT or SIGTERM";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "ringlog", version, about = LONG_ABOUT, after_help = EXAMPLES)]
#[command(disable_help_subcommand = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// How results are printed.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub(crate) format: Format,
    /// Say on standard error what the client does.
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a broker in the foreground
    Server(ServerArgs),
    /// Create, list, describe, change and delete topics
    Topic(topic::TopicArgs),
    /// Show the brokers and their log directories
    Cluster(cluster::ClusterArgs),
    /// Send lines of standard input or of files as records
    Produce(produce::ProduceArgs),
    /// Read records and print them
    Consume(consume::ConsumeArgs),
    /// Look into the files of a data directory, without a broker
    Storage(storage::StorageArgs),
    /// Check this machine, and say what to change
    Doctor(doctor::DoctorArgs),
    /// Print a shell's completion script
    Completions(completions::CompletionsArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    fn check(line: &str, is_good: bool) {
        let parsed = Cli::try_parse_from(line.split(' '));
        assert_eq!(parsed.is_ok(), is_good, "{line}");
    }

    #[test]
    fn command_lines() {
        check("ringlog server --data d --listen 127.0.0.1:0 --set a=b --set c=d --io auto", true);
        check("ringlog server --io none", false);
        check("ringlog topic create a b -p 3 -c retention.ms=1 --format json", true);
        check("ringlog topic create", false);
        check("ringlog --format json topic list", true);
        check("ringlog topic list --format xml", false);
        check("ringlog produce t --acks all --compression zstd f1 f2", true);
        check("ringlog produce t --acks 2", false);
        check("ringlog consume t:0,2-4 u --from time:2026-01-01 --until end", true);
        check("ringlog consume t --from nowhere", false);
        check("ringlog consume", false);
        check("ringlog consume t:5-2", false);
        check("ringlog topic list -b a:1,b:2 --timeout 5", true);
        check("ringlog topic list -b nonsense", false);
        check("ringlog topic list --timeout 18446744073709551615", false);
        check("ringlog produce t --delivery-timeout 18446744073709551615", false);
        check("ringlog produce t --linger 18446744073709551615", false);
        check("ringlog storage verify d", true);
        check("ringlog completions bash", true);
    }

    /// Every flag and command is told about, and the top page gives examples and exit codes.
    #[test]
    fn help_is_complete() {
        let mut command = Cli::command();
        let page = command.render_long_help().to_string();
        for text in ["Examples:", "Exit codes:", "ringlog storage verify"] {
            assert!(page.contains(text), "{text}");
        }
        fn walk(command: &clap::Command) {
            for argument in command.get_arguments() {
                let id = argument.get_id();
                let is_own = id != "help" && id != "version";
                assert!(!is_own || argument.get_help().is_some(), "{} {id}", command.get_name());
            }
            for inner in command.get_subcommands() {
                assert!(inner.get_about().is_some(), "{}", inner.get_name());
                walk(inner);
            }
        }
        walk(&command);
    }
}
