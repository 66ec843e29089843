//! `ringlog doctor`: what this machine lets a broker do, and what to change.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;
use rustix::fs::{major, minor};
use serde::Serialize;

use crate::disk_probe::{self, DiskReading};
use crate::exit::{FOUND, Failure};
use crate::output::{Output, table};
use crate::sizes;

const EXAMPLES: &str = "\
Examples:
  ringlog doctor
  ringlog doctor /var/lib/ringlog --format json

The exit code is 4 when something costs correctness or much speed.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DoctorArgs {
    /// The directory whose disk is measured, with a small file that is removed again
    #[arg(default_value = ".", value_name = "DIR")]
    directory: PathBuf,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Finding {
    Good,
    /// It works, and could be better.
    Note,
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    verdict: Finding,
    found: String,
    /// What to do; empty when nothing is to be done.
    remedy: String,
}

impl Check {
    fn good(name: &'static str, found: impl Into<String>) -> Check {
        Check { name, verdict: Finding::Good, found: found.into(), remedy: String::new() }
    }

    fn new(
        name: &'static str,
        verdict: Finding,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Check {
        Check { name, verdict, found: found.into(), remedy: remedy.into() }
    }
}

pub(crate) fn run(args: &DoctorArgs, output: &mut Output) -> Result<(), Failure> {
    let mut checks = machine();
    checks.extend(disk(&args.directory));
    checks.push(congestion_control(&read("/proc/sys/net/ipv4/tcp_congestion_control")));
    checks.push(listen_queue(&read("/proc/sys/net/core/somaxconn")));
    checks.push(clock(&read("/sys/devices/system/clocksource/clocksource0/current_clocksource")));
    output.print(&checks, |checks| {
        let mut rows = table(&["check", "verdict", "found"]);
        for check in checks {
            let verdict = match check.verdict {
                Finding::Good => "good",
                Finding::Note => "note",
                Finding::Problem => "PROBLEM",
            };
            rows.add_row([check.name, verdict, check.found.as_str()]);
        }
        let mut text = rows.trim_fmt();
        for check in checks.iter().filter(|check| !check.remedy.is_empty()) {
            text.push_str(&format!("\n{}: {}", check.name, check.remedy));
        }
        text
    })?;
    match checks.iter().any(|check| check.verdict == Finding::Problem) {
        true => Err(Failure::silent(FOUND)),
        false => Ok(()),
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// What the runtime says of the kernel and the limits.
fn machine() -> Vec<Check> {
    let probe = ringlog_runtime::probe();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut checks = vec![
        Check::good("kernel", probe.kernel.clone()),
        Check::good("cores", format!("{cores}: as many shards by default")),
    ];
    checks.push(match &probe.uring_refusal {
        None => Check::good("io_uring", "usable"),
        Some(why) => {
            let remedy = "the server falls back to threads and epoll, at more CPU per request";
            Check::new("io_uring", Finding::Note, why.clone(), remedy)
        }
    });
    let limit = |limit: Option<u64>| limit.map_or("unlimited".into(), sizes::grouped);
    checks.push(Check::good("locked memory", limit(probe.locked_bytes_max)));
    checks.push(Check::good("open files", limit(probe.open_files_max)));
    for finding in &probe.findings {
        // The refusal of io_uring has a line above.
        if probe.uring_refusal.as_ref() != Some(&finding.problem) {
            let remedy = format!("{}; {}", finding.effect, finding.remedy);
            checks.push(Check::new("limit", Finding::Note, finding.problem.clone(), remedy));
        }
    }
    checks
}

/// Commits slower than this make every producer with acks wait noticeably.
const COMMIT_SLOW_US: u64 = 5_000;
/// Less free space than this does not hold one segment of each of a few partitions.
const FREE_LOW_BYTES: u64 = 4 << 30;

fn disk(directory: &Path) -> Vec<Check> {
    let shown = directory.display();
    let reading = match disk_probe::measure(directory) {
        Ok(reading) => reading,
        Err(error) => {
            let found = format!("{shown}: {error}");
            let remedy = "name a directory that exists and can be written";
            return vec![Check::new("disk", Finding::Problem, found, remedy)];
        }
    };
    let mut checks = Vec::new();
    checks.push(match reading.direct_io {
        true => Check::good("direct I/O", "usable"),
        false => Check::new(
            "direct I/O",
            Finding::Note,
            format!("the file system of {shown} refuses O_DIRECT"),
            "keep the data on ext4 or XFS; writes go through the page cache here",
        ),
    });
    checks.push(file_system(&reading));
    let (p50, p99) = (reading.commit_p50_us, reading.commit_p99_us);
    let kind = if reading.dsync_writes { "RWF_DSYNC" } else { "write and fdatasync" };
    let found = format!("4 KiB {kind}: p50 {p50} us, p99 {p99} us");
    checks.push(match p50 {
        0..2 => Check::new(
            "commit",
            Finding::Note,
            format!("{found}: too fast for a disk"),
            "the directory seems to be in memory (tmpfs): nothing in it survives a reboot",
        ),
        _ if p50 > COMMIT_SLOW_US => Check::new(
            "commit",
            Finding::Note,
            found,
            "every acknowledgement waits for this; use a disk with power-loss protection, or \
             flush=async for topics that may lose their last records",
        ),
        _ => Check::good("commit", found),
    });
    let free = sizes::bytes(reading.free_bytes);
    checks.push(match reading.free_bytes {
        ..FREE_LOW_BYTES => Check::new(
            "free space",
            Finding::Note,
            free,
            "make room, or lower retention.bytes and retention.ms: a full disk makes partitions \
             read-only",
        ),
        _ => Check::good("free space", free),
    });
    checks.extend(read_ahead_kb(directory).map(read_ahead));
    checks
}

fn file_system(reading: &DiskReading) -> Check {
    const NAME: &str = "file system";
    let name = &reading.file_system;
    match &reading.dir_flush_refusal {
        Some(why) => Check::new(
            NAME,
            Finding::Problem,
            format!("{name}: a directory cannot be flushed: {why}"),
            "what is created may be gone after a loss of power, and the server refuses to start \
             here; keep the data on ext4 or XFS",
        ),
        None if !reading.dsync_writes => Check::new(
            NAME,
            Finding::Note,
            format!("{name}: durable writes are not known to be durable"),
            "every write is followed by a flush, which takes a second turn of the disk; keep the \
             data on ext4 or XFS",
        ),
        None => Check::good(NAME, name.clone()),
    }
}

/// How far the kernel reads ahead on the disk below a directory, in KiB; `None` where it does not
/// say, as of what has no disk.
fn read_ahead_kb(directory: &Path) -> Option<u64> {
    let device = fs::metadata(directory).ok()?.dev();
    let device = PathBuf::from(format!("/sys/dev/block/{}:{}", major(device), minor(device)));
    // A partition has its queue with its disk.
    let settings = ["queue/read_ahead_kb", "../queue/read_ahead_kb"];
    let text = settings.iter().find_map(|setting| fs::read_to_string(device.join(setting)).ok());
    text?.trim().parse().ok()
}

/// More than this, and producers wait behind what is read for consumers.
const READ_AHEAD_HIGH_KB: u64 = 1024;

fn read_ahead(kb: u64) -> Check {
    const NAME: &str = "read-ahead";
    let found = format!("{kb} KiB");
    match kb {
        ..=READ_AHEAD_HIGH_KB => Check::good(NAME, found),
        _ => Check::new(
            NAME,
            Finding::Note,
            found,
            "one consumer that catches up makes producers wait at the disk; \
             echo 1024 > /sys/block/DISK/queue/read_ahead_kb",
        ),
    }
}

fn congestion_control(name: &str) -> Check {
    const NAME: &str = "congestion control";
    match name {
        "bbr" => Check::new(
            NAME,
            Finding::Note,
            "bbr",
            "on loopback and in one rack it halves the speed of large sends; \
             sysctl net.ipv4.tcp_congestion_control=cubic",
        ),
        "" => Check::new(NAME, Finding::Note, "unknown", "/proc/sys is not readable"),
        other => Check::good(NAME, other),
    }
}

/// Fewer than this, and clients that reconnect all at once are turned away.
const LISTEN_QUEUE_LOW: u64 = 1024;

fn listen_queue(text: &str) -> Check {
    const NAME: &str = "listen queue";
    match text.parse::<u64>() {
        Ok(length) if length < LISTEN_QUEUE_LOW => {
            Check::new(NAME, Finding::Note, text, "sysctl net.core.somaxconn=4096")
        }
        Ok(_) => Check::good(NAME, text),
        Err(_) => Check::new(NAME, Finding::Note, "unknown", "/proc/sys is not readable"),
    }
}

/// 2024-01-01: a clock that is earlier was never set.
const PLAUSIBLE_MS: i64 = 1_704_067_200_000;

fn clock(source: &str) -> Check {
    const NAME: &str = "clock";
    if crate::times::now_ms() < PLAUSIBLE_MS {
        let found = format!("it is {} here", crate::times::format(crate::times::now_ms()));
        let remedy = "set the clock (chrony, systemd-timesyncd): records would be stamped wrong, \
                      and retention goes by their times";
        return Check::new(NAME, Finding::Problem, found, remedy);
    }
    match source {
        "hpet" | "acpi_pm" => Check::new(
            NAME,
            Finding::Note,
            source,
            "reading this clock is slow; boot with clocksource=tsc if the machine allows it",
        ),
        "" => Check::good(NAME, "set"),
        source => Check::good(NAME, source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        assert_eq!(congestion_control("cubic").verdict, Finding::Good);
        assert_eq!(congestion_control("bbr").verdict, Finding::Note);
        assert_eq!(listen_queue("128").verdict, Finding::Note);
        assert_eq!(listen_queue("4096").verdict, Finding::Good);
        assert_eq!(clock("hpet").verdict, Finding::Note);
        assert_eq!(clock("tsc").verdict, Finding::Good);
        assert_eq!(read_ahead(128).verdict, Finding::Good);
        assert_eq!(read_ahead(8192).verdict, Finding::Note);
        let mut reading = disk_probe::measure(Path::new(".")).unwrap();
        for (refusal, dsync_writes, verdict) in [
            (None, true, Finding::Good),
            (None, false, Finding::Note),
            (Some("Invalid argument"), true, Finding::Problem),
        ] {
            reading.dsync_writes = dsync_writes;
            reading.dir_flush_refusal = refusal.map(str::to_owned);
            assert_eq!(file_system(&reading).verdict, verdict);
        }
        let none = disk(Path::new("/nowhere/at/all"));
        assert_eq!(none[0].verdict, Finding::Problem);
    }

    #[test]
    fn whatever_is_not_good_has_a_remedy() {
        let mut checks = machine();
        checks.extend(disk(Path::new(".")));
        checks.extend([congestion_control(""), listen_queue(""), clock("")]);
        for check in checks {
            let is_good = check.verdict == Finding::Good;
            assert_eq!(is_good, check.remedy.is_empty(), "{check:?}");
        }
    }
}
