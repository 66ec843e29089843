//! What the kernel says of this process: memory, CPU time, open files.

use std::fs;

/// A reading of `/proc/self`; a number that cannot be had is absent.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct ProcessReading {
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) virtual_bytes: Option<u64>,
    pub(crate) cpu_s: Option<f64>,
    pub(crate) threads: Option<u64>,
    pub(crate) open_fds: Option<u64>,
    pub(crate) max_fds: Option<u64>,
}

#[expect(clippy::disallowed_methods, reason = "monitoring asks, and not on a shard")]
pub(crate) fn read() -> ProcessReading {
    let mut reading = ProcessReading::default();
    let page_bytes = rustix::param::page_size() as u64;
    let ticks_per_s = rustix::param::clock_ticks_per_second() as f64;
    if let Ok(stat) = fs::read_to_string("/proc/self/stat") {
        parse_stat(&stat, page_bytes, ticks_per_s, &mut reading);
    }
    reading.open_fds = fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count() as u64);
    if let Ok(limits) = fs::read_to_string("/proc/self/limits") {
        reading.max_fds = parse_max_fds(&limits);
    }
    reading
}

/// Fields are those of `proc_pid_stat(5)`, counted from 1; the second one may hold spaces.
fn parse_stat(stat: &str, page_bytes: u64, ticks_per_s: f64, reading: &mut ProcessReading) {
    let Some((_, rest)) = stat.rsplit_once(')') else { return };
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<u64>().ok());
    reading.cpu_s =
        field(14).zip(field(15)).map(|(user, system)| (user + system) as f64 / ticks_per_s);
    reading.threads = field(20);
    reading.virtual_bytes = field(23);
    reading.resident_bytes = field(24).map(|pages| pages.saturating_mul(page_bytes));
}

fn parse_max_fds(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 0 0 0 0 0 150 50 0 0 20 0 5 0 99 4096 3 0";
        let mut reading = ProcessReading::default();
        parse_stat(stat, 4096, 100.0, &mut reading);
        let expected = ProcessReading {
            resident_bytes: Some(3 * 4096),
            virtual_bytes: Some(4096),
            cpu_s: Some(2.0),
            threads: Some(5),
            ..ProcessReading::default()
        };
        assert_eq!(reading, expected);
    }

    #[test]
    fn limits() {
        let text = "Max processes 5 5 processes\nMax open files            1024 4096 files\n";
        assert_eq!(parse_max_fds(text), Some(1024));
        assert_eq!(parse_max_fds("Max open files unlimited unlimited files"), None);
        assert_eq!(parse_max_fds(""), None);
    }

    #[test]
    fn this_process_has_memory_and_files() {
        let reading = read();
        assert!(reading.resident_bytes.unwrap() > 100_000);
        assert!(reading.open_fds.unwrap() >= 3);
        assert!(reading.threads.unwrap() >= 1);
    }
}
