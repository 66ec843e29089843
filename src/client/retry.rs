//! Pauses between attempts: exponential, with jitter, up to a deadline.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::error::ClientError;
use crate::settings::ClientSettings;

/// The state of one operation's attempts.
pub(crate) struct Retry {
    deadline: Instant,
    pause: Duration,
    pause_max: Duration,
}

impl Retry {
    pub(crate) fn new(settings: &ClientSettings) -> Retry {
        Retry::until(settings, Instant::now() + settings.operation_timeout)
    }

    pub(crate) fn until(settings: &ClientSettings, deadline: Instant) -> Retry {
        Retry { deadline, pause: settings.retry_backoff, pause_max: settings.retry_backoff_max }
    }

    /// Pauses after `error`, or gives it back if it is final or no time is left.
    pub(crate) async fn pause(&mut self, error: ClientError) -> Result<(), ClientError> {
        let pause = jittered(self.pause);
        if !error.is_retriable() || Instant::now() + pause >= self.deadline {
            return Err(error);
        }
        tracing::debug!(%error, pause_ms = pause.as_millis() as u64, "retrying");
        sleep(pause).await;
        self.pause = (self.pause * 2).min(self.pause_max);
        Ok(())
    }
}

/// 80 to 120 % of a pause, so that clients that failed together do not return together.
pub(crate) fn jittered(pause: Duration) -> Duration {
    // A fresh RandomState is keyed from the system's randomness: good enough to spread pauses.
    let random = RandomState::new().hash_one(0_u8) % 401;
    pause * (800 + random as u32) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_a_fifth() {
        for _ in 0..1000 {
            let pause = jittered(Duration::from_millis(100));
            assert!((80..=120).contains(&pause.as_millis()), "{pause:?}");
        }
    }
}
