//! Pauses between attempts: exponential, with jitter, up to a deadline.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::error::ClientError;
use crate::settings::ClientSettings;

/// An attempt that ends by its own timeout, at about the same time, says more.
const LAST_WORD: Duration = Duration::from_millis(100);

/// The state of one operation's attempts.
pub(crate) struct Retry {
    deadline: Instant,
    /// How long the deadline was away at first.
    after: Duration,
    pause: Duration,
    pause_max: Duration,
}

impl Retry {
    pub(crate) fn new(settings: &ClientSettings) -> Retry {
        Retry::for_at_most(settings, settings.operation_timeout)
    }

    pub(crate) fn for_at_most(settings: &ClientSettings, after: Duration) -> Retry {
        Retry {
            deadline: Instant::now() + after,
            after,
            pause: settings.retry_backoff,
            pause_max: settings.retry_backoff_max,
        }
    }

    /// Runs one attempt, at most until the deadline.
    pub(crate) async fn within<T>(
        &self,
        attempt: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        timeout_at(self.deadline + LAST_WORD, attempt).await.unwrap_or_else(|_| {
            let what = "an operation with its retries".into();
            Err(ClientError::Timeout { what, after: self.after })
        })
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
