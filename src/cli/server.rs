//! `ringlog server`: one node in the foreground.
//!
//! The node runs on its shards' threads; this thread waits for it. A thread of its own waits for
//! signals: the first one stops the node cleanly, the second one ends the process at once, which
//! loses nothing that was acknowledged.

use std::io;
use std::time::Instant;

use ringlog_admin::{AdminHandle, AdminServer};
use ringlog_broker::{Node, NodeError, NodeHandle};
use ringlog_config::BrokerConfig;
use ringlog_metrics::{BuildInfo, NodeMetrics};
use ringlog_runtime::{Backend, Descriptors, address};
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::{FAILED, Failure, NO_DIRECTORY};
use crate::logging;
use crate::output::Format;
use crate::server_settings::{self, ServerArgs};

pub(crate) fn run(args: &ServerArgs, format: Format) -> Result<(), Failure> {
    let begun = Instant::now();
    let config = server_settings::resolve(args)?;
    let log = logging::for_a_server("info", format == Format::Json).map_err(|error| {
        Failure::new(FAILED, format!("cannot start the thread that writes the log: {error}"))
    })?;
    tell_without_effect(&config);
    let metrics = NodeMetrics::new(BuildInfo { version: env!("CARGO_PKG_VERSION") });
    metrics.count_dropped_log_lines(log.dropped_lines());
    let handle = NodeHandle::new(metrics);
    stop_at_signals(handle.clone())?;
    let admin = start_admin(&config, &handle)?;
    let dirs: Vec<String> = config.log_dirs.iter().map(|d| d.display().to_string()).collect();
    let node = Node::start(config, &handle).map_err(|error| ended_by(&error))?;
    tracing::info!(
        address = %node.address(),
        admin = admin.as_ref().map(|admin| admin.local_addr().to_string()),
        io = io_name(node.backend()),
        shards = node.shards(),
        data = dirs.join(","),
        started_ms = begun.elapsed().as_millis() as u64,
        "serving",
    );
    node.wait().map_err(|error| ended_by(&error))
}

/// How the process ends. That there is nothing to run on has a code of its own: restarting does
/// not help as long as nobody looks at the disks.
fn ended_by(error: &NodeError) -> Failure {
    let code = if error.is_without_directory() { NO_DIRECTORY } else { FAILED };
    Failure::new(code, chain(error))
}

/// Names the settings that were taken and do nothing, so that nobody relies on them.
fn tell_without_effect(config: &BrokerConfig) {
    let found = config.without_effect();
    if !found.security.is_empty() {
        let settings = found.security.join(",");
        tracing::warn!(settings, "nobody has to log in: these settings have no effect yet");
    }
    if !found.others.is_empty() {
        tracing::warn!(settings = found.others.join(","), "these settings have no effect here");
    }
}

fn io_name(backend: Backend) -> &'static str {
    match backend {
        Backend::Uring => "io_uring",
        Backend::Fallback => "fallback",
        Backend::Simulated => "simulated",
    }
}

/// An error with all its causes, unless it names them itself.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

fn start_admin(config: &BrokerConfig, handle: &NodeHandle) -> Result<Option<AdminHandle>, Failure> {
    let Some((host, port)) = &config.admin_listener else { return Ok(None) };
    let cannot = |error: io::Error| {
        let hint = "; choose another with --admin HOST:PORT, or `--admin off`";
        Failure::new(FAILED, format!("admin address {host}:{port}: {error}{hint}"))
    };
    let listener = address::resolve(host, *port).and_then(address::bind).map_err(cannot)?;
    // Their share of descriptors does not depend on how many shards there are.
    let connections_max = Descriptors::of_process(1).admin_connections;
    AdminServer::start(listener, handle.clone(), connections_max).map(Some).map_err(cannot)
}

/// Takes over SIGTERM and SIGINT: the first one stops the node. A second one, or one before there
/// is anything to stop, ends the process.
fn stop_at_signals(node: NodeHandle) -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(Failure::from)?;
    let (mut terminate, mut interrupt) = {
        let _inside = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    let wait = move || {
        runtime.block_on(async {
            let mut is_stopping = false;
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if is_stopping || !node.stop() {
                    std::process::exit(i32::from(FAILED));
                }
                is_stopping = true;
            }
        });
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait)?;
    Ok(())
}
