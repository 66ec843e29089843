//! The flags of a server, and the settings that come of them: the file first, then `--set`, then
//! the flags with names of their own; what comes later wins.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ringlog_config::{BrokerConfig, Settings};

use crate::exit::Failure;

const EXAMPLES: &str = "\
Settings are taken from these, the first that has one wins: the flags below, --set, the file of
--config (server.properties or TOML), the default. docs/settings.md lists them all.

Examples:
  ringlog server
  ringlog server --data /var/lib/ringlog --listen 0.0.0.0:9092
  ringlog server --config server.properties --set num.partitions=4
  ringlog server --io fallback --shards 1

SIGTERM and SIGINT stop it cleanly. It stops by itself, with exit code 5, when no log directory is
left or the one with the metadata log has failed. RUST_LOG sets what is logged, to standard error;
with --format json the log is JSON.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ServerArgs {
    /// The data directory; several are separated by commas [default: ./ringlog-data]
    #[arg(long, short = 'd', value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Where clients connect [default: 127.0.0.1:9092]
    #[arg(long, short = 'l', value_name = "HOST:PORT")]
    pub(crate) listen: Option<String>,
    /// Where metrics and health are served over HTTP, or `off` [default: 127.0.0.1:9644]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) admin: Option<String>,
    /// The node's number in its cluster [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) node_id: Option<i32>,
    /// How many shards, each a thread of its own [default: one per core]
    #[arg(long, value_name = "N")]
    pub(crate) shards: Option<usize>,
    /// How files and sockets are used [default: auto]
    #[arg(long, value_enum)]
    pub(crate) io: Option<IoArg>,
    /// A file of settings: server.properties or TOML
    #[arg(long, short = 'c', value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Any setting; repeatable
    #[arg(long, short = 's', value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// How files and sockets are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum IoArg {
    /// io_uring where the kernel allows it, else the fallback
    Auto,
    /// io_uring, or do not start
    Uring,
    /// Without io_uring
    Fallback,
}

impl IoArg {
    pub(crate) fn name(self) -> &'static str {
        match self {
            IoArg::Auto => "auto",
            IoArg::Uring => "uring",
            IoArg::Fallback => "fallback",
        }
    }
}

/// Collects and checks the settings.
pub(crate) fn resolve(args: &ServerArgs) -> Result<BrokerConfig, Failure> {
    let mut settings = Settings::new();
    if let Some(path) = &args.config {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::usage(format!("{name}: {error}")))?;
        settings.read_file(&name, &text).map_err(Failure::usage)?;
    }
    for assignment in &args.set {
        settings.set(assignment).map_err(Failure::usage)?;
    }
    if let Some(data) = &args.data {
        settings.insert("log.dirs", data.display().to_string(), "--data");
    }
    if let Some(listen) = &args.listen {
        let listener = match listen.contains("://") {
            true => listen.clone(),
            false => format!("PLAINTEXT://{listen}"),
        };
        settings.insert("listeners", listener, "--listen");
    }
    if let Some(admin) = &args.admin {
        let off = admin == "off" || admin == "none";
        settings.insert("ringlog.admin.listener", if off { "" } else { admin }, "--admin");
    }
    if let Some(node_id) = args.node_id {
        settings.insert("node.id", node_id.to_string(), "--node-id");
    }
    if let Some(shards) = args.shards {
        settings.insert("ringlog.shards", shards.to_string(), "--shards");
    }
    if let Some(io) = args.io {
        settings.insert("ringlog.io", io.name(), "--io");
    }
    settings.resolve().map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Failure::usage(lines.join("\nerror: "))
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn resolved(line: &str) -> Result<BrokerConfig, String> {
        match Cli::try_parse_from(line.split(' ')).unwrap().command {
            Command::Server(args) => resolve(&args).map_err(|failure| failure.to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_anything_the_defaults_hold() {
        let config = resolved("ringlog server").unwrap();
        assert_eq!(config.node_id.0, 1);
        assert_eq!(config.log_dirs, [std::path::PathBuf::from("./ringlog-data")]);
        assert_eq!(
            (config.listeners[0].host.as_str(), config.listeners[0].port),
            ("127.0.0.1", 9092)
        );
        assert_eq!(config.admin_listener, Some(("127.0.0.1".into(), 9644)));
    }

    #[test]
    fn flags_win_over_set_over_file_over_default() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("server.properties");
        std::fs::write(&file, "node.id=7\nnum.partitions=3\nlog.dirs=/a\n").unwrap();
        let file = file.display();
        let config = resolved(&format!("ringlog server --config {file}")).unwrap();
        assert_eq!((config.node_id.0, config.num_partitions), (7, 3));
        assert_eq!(config.listeners[0].port, 9092);
        let line = format!("ringlog server --config {file} --set num.partitions=5 --set node.id=8");
        let config = resolved(&line).unwrap();
        assert_eq!((config.node_id.0, config.num_partitions), (8, 5));
        let line = format!("{line} --node-id 9 --data /b --listen 127.0.0.1:0 --admin off");
        let config = resolved(&line).unwrap();
        assert_eq!((config.node_id.0, config.num_partitions), (9, 5));
        assert_eq!(config.log_dirs, [std::path::PathBuf::from("/b")]);
        assert_eq!((config.listeners[0].port, config.admin_listener), (0, None));
    }

    /// A file older than KRaft has `broker.id`, and `log.dir` where it has one disk.
    #[test]
    fn the_old_names_of_a_file_count_and_flags_win_over_them() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("server.properties");
        std::fs::write(&file, "broker.id=0\nlog.dir=/old\n").unwrap();
        let check = |flags: &str, node_id: i32, log_dir: &str| {
            let config =
                resolved(&format!("ringlog server --config {}{flags}", file.display())).unwrap();
            assert_eq!(config.node_id.0, node_id, "{flags}");
            assert_eq!(config.log_dirs, [std::path::PathBuf::from(log_dir)], "{flags}");
        };
        check("", 0, "/old");
        check(" --node-id 9 --data /new", 9, "/new");
        check(" --set node.id=9 --set log.dirs=/new", 9, "/new");
        check(" --set broker.id=5 --set log.dir=/new", 5, "/new");
        assert_eq!(resolved("ringlog server --set broker.id=5").unwrap().node_id.0, 5);
        std::fs::write(&file, "broker.id=0\nnode.id=3\n").unwrap();
        let error = resolved(&format!("ringlog server --config {}", file.display())).unwrap_err();
        assert!(error.contains("keep one"), "{error}");
    }

    #[test]
    fn mistakes_name_their_place() {
        let error = resolved("ringlog server --set num.partition=3").unwrap_err();
        assert!(error.contains("--set: unknown setting"), "{error}");
        assert!(error.contains("did you mean \"num.partitions\""), "{error}");
        let error = resolved("ringlog server --listen nonsense").unwrap_err();
        assert!(error.contains("--listen"), "{error}");
    }
}
