//! The commands and their flags.

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{cluster, completions, consume, doctor, produce, server, storage, topic};

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
  4  damage or a problem was found (storage verify, doctor)";

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

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs: one JSON document, or one per line for `consume` and `storage dump`.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a broker in the foreground
    Server(server::ServerArgs),
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

/// Which cluster to talk to.
#[derive(Debug, Clone, Args)]
pub(crate) struct Bootstrap {
    /// Brokers to start from, separated by commas
    #[arg(
        long,
        short = 'b',
        env = "RINGLOG_BOOTSTRAP",
        default_value = "127.0.0.1:9092",
        value_name = "HOST:PORT"
    )]
    pub(crate) bootstrap: String,
    /// Give up after this many seconds
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    pub(crate) timeout: u64,
}

impl Bootstrap {
    /// A client of that cluster.
    pub(crate) async fn connect(
        &self,
    ) -> Result<ringlog_client::Client, ringlog_client::ClientError> {
        let servers = self.bootstrap.split(',').map(|address| address.trim().to_owned());
        let mut settings = ringlog_client::ClientSettings::new(servers.collect());
        settings.operation_timeout = std::time::Duration::from_secs(self.timeout);
        ringlog_client::Client::connect(settings).await
    }
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
