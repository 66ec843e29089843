//! What became of the records, in the order of their lines.

use std::collections::VecDeque;
use std::time::Duration;

use ringlog_client::{ClientError, Delivery};
use serde::Serialize;

use crate::exit::{FAILED, Failure};
use crate::sizes;

/// Deliveries that are not looked at yet; beyond, the oldest is waited for.
const UNCHECKED_MAX: usize = 50_000;

/// Counts what became of the records.
#[derive(Default)]
pub(super) struct Ledger {
    unchecked: VecDeque<Delivery>,
    delivered: u64,
    failed: u64,
    /// The line of the first record that was not delivered, and why.
    first_failure: Option<(u64, ClientError)>,
}

impl Ledger {
    pub(super) fn add(&mut self, delivery: Delivery) {
        self.unchecked.push_back(delivery);
    }

    /// Whether the oldest is to be waited for before another one is added.
    pub(super) fn is_full(&self) -> bool {
        self.unchecked.len() >= UNCHECKED_MAX
    }

    /// Whether some wait to be looked at.
    pub(super) fn is_waiting(&self) -> bool {
        !self.unchecked.is_empty()
    }

    /// Waits until [`Ledger::check`] has something to look at; nothing is lost if it is dropped.
    pub(super) async fn oldest_is_done(&self) {
        if let Some(oldest) = self.unchecked.front() {
            oldest.done().await;
        }
    }

    /// Looks at those whose end is known, up to the first that is still on its way.
    pub(super) async fn check(&mut self) {
        while let Some(oldest) = self.unchecked.pop_front_if(|oldest| oldest.is_done()) {
            match oldest.wait().await {
                Ok(_) => self.delivered += 1,
                Err(error) => {
                    self.failed += 1;
                    self.first_failure.get_or_insert((self.delivered + 1, error));
                }
            }
        }
    }

    pub(super) fn first_error(&self) -> Option<&ClientError> {
        self.first_failure.as_ref().map(|(_, error)| error)
    }

    /// The failure of the whole command, if a record failed.
    pub(super) fn failure(&self) -> Option<Failure> {
        let (line, error) = self.first_failure.as_ref()?;
        let failed = sizes::grouped(self.failed);
        let records = if self.failed == 1 { "record" } else { "records" };
        let text = format!("{failed} {records} failed, the first is line {line}: {error}");
        Some(Failure::new(FAILED, text))
    }

    /// What was done for `topic` with `bytes` of lines.
    pub(super) fn summary(
        &self,
        topic: &str,
        bytes: u64,
        took: Duration,
        stopped: Option<&Failure>,
    ) -> Summary {
        let seconds = took.as_secs_f64().max(1e-9);
        let error = self.first_error().map(ClientError::to_string);
        Summary {
            topic: topic.to_owned(),
            records: self.delivered,
            bytes,
            failed: self.failed,
            seconds,
            records_per_second: self.delivered as f64 / seconds,
            bytes_per_second: bytes as f64 / seconds,
            error: error.or_else(|| stopped.map(ToString::to_string)),
        }
    }
}

/// What was sent.
#[derive(Debug, Default, Serialize)]
pub(super) struct Summary {
    topic: String,
    records: u64,
    bytes: u64,
    failed: u64,
    seconds: f64,
    records_per_second: f64,
    bytes_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Summary {
    pub(super) fn text(&self) -> String {
        format!(
            "{} records, {} in {:.3} s: {} records/s, {}/s",
            sizes::grouped(self.records),
            sizes::bytes(self.bytes),
            self.seconds,
            sizes::grouped(self.records_per_second as u64),
            sizes::bytes(self.bytes_per_second as u64),
        )
    }
}
