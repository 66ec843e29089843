//! What the machine lets us do, and what to change where it does not.

use std::fmt;
use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::uring::missing_operations;

/// Locked memory that the receive buffers of one shard may count against.
const LOCKED_BYTES_WANTED: u64 = 8 << 20;

/// Descriptors below which a busy node runs out.
const OPEN_FILES_WANTED: u64 = 65_536;

/// What was found about the machine.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The kernel's release, such as `6.18.44`.
    pub kernel: String,
    /// Why io_uring cannot be used; `None` if it can.
    pub uring_refusal: Option<String>,
    /// `RLIMIT_MEMLOCK` in bytes; `None` is unlimited.
    pub locked_bytes_max: Option<u64>,
    /// `RLIMIT_NOFILE` as it can be raised to; `None` is unlimited.
    pub open_files_max: Option<u64>,
    /// What should be changed, the most important first.
    pub findings: Vec<Finding>,
}

/// Something to change, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was found.
    pub problem: String,
    /// What it costs.
    pub effect: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}. {}", self.problem, self.effect, self.remedy)
    }
}

/// Looks at the machine.
pub fn probe() -> Probe {
    let uring_refusal = uring_refusal();
    let locked_bytes_max = getrlimit(Resource::Memlock).maximum;
    let open_files_max = getrlimit(Resource::Nofile).maximum;
    let mut findings = Vec::new();
    if let Some(why) = &uring_refusal {
        findings.push(Finding {
            problem: why.clone(),
            effect: "files go through threads and sockets through epoll, at more CPU per request",
            remedy: "Nothing needs to be done for correctness.",
        });
    }
    if open_files_max.is_some_and(|max| max < OPEN_FILES_WANTED) {
        findings.push(Finding {
            problem: format!("RLIMIT_NOFILE is {}", open_files_max.unwrap_or_default()),
            effect: "connections and segments beyond it are refused",
            remedy: "Set LimitNOFILE=1048576 in the unit, or `ulimit -n 1048576`.",
        });
    }
    if locked_bytes_max.is_some_and(|max| max < LOCKED_BYTES_WANTED) {
        findings.push(Finding {
            problem: format!("RLIMIT_MEMLOCK is {} bytes", locked_bytes_max.unwrap_or_default()),
            effect: "rings may be refused where the kernel counts their memory",
            remedy: "Set LimitMEMLOCK=infinity in the unit, or `ulimit -l unlimited`.",
        });
    }
    Probe { kernel: kernel(), uring_refusal, locked_bytes_max, open_files_max, findings }
}

fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Why io_uring cannot be used, with what to do about it; `None` if it can.
pub(crate) fn uring_refusal() -> Option<String> {
    match missing_operations() {
        Ok(missing) if missing.is_empty() => None,
        Ok(missing) => Some(format!(
            "kernel {} lacks io_uring's {}; use Linux 5.19 or later, best 6.1",
            kernel(),
            missing.join(", ")
        )),
        Err(error) => Some(refusal(&error)),
    }
}

fn refusal(error: &io::Error) -> String {
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    let disabled = disabled.as_deref().unwrap_or("").trim().to_owned();
    match (error.raw_os_error(), &*disabled) {
        (Some(libc::EPERM), "1" | "2") => format!(
            "io_uring is switched off (kernel.io_uring_disabled={disabled}); \
             `sysctl kernel.io_uring_disabled=0` allows it"
        ),
        (Some(libc::EPERM | libc::EACCES), _) => "io_uring is refused, probably by a container's \
             seccomp profile; allow io_uring_setup, io_uring_enter and io_uring_register there"
            .to_owned(),
        (Some(libc::ENOSYS), _) => format!(
            "kernel {} has no io_uring, or a sandbox hides it; use Linux 5.19 or later",
            kernel()
        ),
        (Some(libc::ENOMEM), _) => "io_uring found no lockable memory; raise RLIMIT_MEMLOCK \
             (LimitMEMLOCK=infinity in the unit)"
            .to_owned(),
        (Some(libc::EINVAL), _) => {
            format!("kernel {} does not know io_uring's flags; use Linux 5.19 or later", kernel())
        }
        _ => format!("io_uring cannot be set up: {error}"),
    }
}

/// Raises the limit of open descriptors as far as it goes.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

#[cfg(test)]
mod tests {
    use super::{probe, raise_open_files, refusal};
    use rustix::process::{Resource, getrlimit};
    use std::io;

    #[test]
    fn every_refusal_says_what_to_do() {
        for code in [libc::EPERM, libc::EACCES, libc::ENOSYS, libc::ENOMEM, libc::EINVAL] {
            let text = refusal(&io::Error::from_raw_os_error(code));
            let helps = ["allow", "use Linux", "raise", "sysctl"];
            assert!(helps.iter().any(|word| text.contains(word)), "{text}");
        }
    }

    #[test]
    fn the_machine_is_looked_at() {
        let probe = probe();
        assert!(probe.kernel.starts_with(|c: char| c.is_ascii_digit()), "{}", probe.kernel);
        let told = probe.findings.iter().any(|f| Some(&f.problem) == probe.uring_refusal.as_ref());
        assert_eq!(told, probe.uring_refusal.is_some());
        raise_open_files();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
