//! How long a client has to hold back when its request has been answered (KIP-13, 124, 219, 599).
//!
//! Every answer passes here once, when it is complete and before it is sent; what comes out goes
//! into its `throttle_time_ms`, whichever API it is of and whether it was encoded for this request
//! or is kept for many ([`Answer::set_throttle_time`]). For as long the connection is not read from
//! afterwards ([`Mute`]), so that a client that does not heed it is held back all the same.
//!
//! The quotas are those of the newest image; what was used of them is counted for all shards
//! together (`Buckets`). Where no quota is set, nothing is looked up.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ringlog_config::BrokerConfig;
use ringlog_quota::{Buckets, ClientQuotas, Limit, QuotaKind, Rate, Scope};
use ringlog_runtime::sync::Event;
use ringlog_runtime::{Instant, Runtime};
use ringlog_wire::ApiKey;

/// How much may be used at once after a pause, as time, and for how long one who used too much of
/// the shards' time is muted at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows {
    /// Of bytes and of time: `quota.window.num` times `quota.window.size.seconds`.
    pub(crate) clients: Duration,
    /// Of changes of the metadata: the same of `controller.quota.window.*`.
    pub(crate) controller: Duration,
    /// `quota.window.size.seconds`.
    pub(crate) request_throttle_max: Duration,
}

impl Windows {
    pub(crate) fn of(config: &BrokerConfig) -> Windows {
        let seconds = |count: i32, seconds: i32| {
            Duration::from_secs(u64::from(count.max(1).unsigned_abs()))
                * seconds.max(1).unsigned_abs()
        };
        Windows {
            clients: seconds(config.quota_window_num, config.quota_window_size_seconds),
            controller: seconds(
                config.controller_quota_window_num,
                config.controller_quota_window_size_seconds,
            ),
            request_throttle_max: seconds(1, config.quota_window_size_seconds),
        }
    }
}

/// Whose requests are counted together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client<'a> {
    pub(crate) user: &'a str,
    pub(crate) client_id: &'a str,
}

/// What a request has used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    pub(crate) api_key: i16,
    /// Bytes of the request.
    pub(crate) request_bytes: usize,
    /// Bytes of its answer.
    pub(crate) answer_bytes: usize,
    /// Time of the shard's thread.
    pub(crate) time: Duration,
}

/// What an asker may change of the metadata: carried to the shard that decides.
#[derive(Clone)]
pub(crate) struct Mutations {
    buckets: Arc<Buckets>,
    tag: u64,
    rate: Rate,
    now_ns: i64,
    /// Who has nothing left is refused, not only held back afterwards.
    is_strict: bool,
    /// Nothing is charged: what is decided is decided once more.
    is_trial: bool,
}

impl Mutations {
    /// The same, which charges nothing.
    pub(crate) fn on_trial(&self) -> Mutations {
        Mutations { is_trial: true, ..self.clone() }
    }

    /// Charges partitions that are to be created or deleted, unless that is refused.
    pub(crate) fn charge(&self, partitions: usize) -> bool {
        if self.is_strict && !self.buckets.owed(self.tag, &self.rate, self.now_ns).is_zero() {
            return false;
        }
        if !self.is_trial {
            self.buckets.charge(self.tag, &self.rate, self.now_ns, partitions as f64);
        }
        true
    }
}

/// The quotas of one shard's connections.
pub(crate) struct Throttle {
    /// The time that every client is told; zero outside of tests.
    always: Duration,
    quotas: RefCell<Rc<ClientQuotas>>,
    /// Of the whole node.
    buckets: Arc<Buckets>,
    windows: Windows,
}

impl Throttle {
    pub(crate) fn new(always: Duration, buckets: Arc<Buckets>, windows: Windows) -> Throttle {
        Throttle { always, quotas: RefCell::default(), buckets, windows }
    }

    /// Goes over to other quotas. What was used counts on.
    pub(crate) fn set_quotas(&self, quotas: ClientQuotas) {
        self.quotas.replace(Rc::new(quotas));
    }

    /// Charges a connection that `address` opens. Returns how long it comes too early.
    pub(crate) fn connected(&self, address: IpAddr, now: Instant) -> Duration {
        let Some(per_second) = self.quotas.borrow().connection_rate(address) else {
            return Duration::ZERO;
        };
        let rate = Rate::new(per_second, self.windows.clients);
        let tag = self.buckets.tag(("address", address.to_canonical()));
        let owed = self.buckets.owed(tag, &rate, ns(now));
        if owed.is_zero() {
            self.buckets.charge(tag, &rate, ns(now), 1.0);
        }
        owed
    }

    /// Whether a request of this API is limited for anybody.
    pub(crate) fn is_limited(&self, api_key: i16) -> bool {
        let quotas = self.quotas.borrow();
        !quotas.is_unlimited(QuotaKind::Request)
            || kind_of(api_key).is_some_and(|kind| !quotas.is_unlimited(kind))
    }

    /// For how long a client has to hold back, whose request used this.
    pub(crate) fn time_for(&self, client: Client<'_>, used: Used, now: Instant) -> Duration {
        let by_kind = match kind_of(used.api_key) {
            Some(kind @ QuotaKind::Produce) => self.charge(kind, client, used.request_bytes, now),
            Some(kind @ QuotaKind::Fetch) => self.charge(kind, client, used.answer_bytes, now),
            Some(kind) => self.charge(kind, client, 0, now),
            None => Duration::ZERO,
        };
        let kind = QuotaKind::Request;
        let by_time = self.charge(kind, client, used.time.as_nanos() as usize, now);
        by_kind.max(by_time.min(self.windows.request_throttle_max)).max(self.always)
    }

    /// What every client is told, whatever it used.
    pub(crate) fn always(&self) -> Duration {
        self.always
    }

    /// The most that one Fetch of this client should bring: with more, it would be muted for longer
    /// than after a pause at its quota.
    pub(crate) fn fetch_bytes_max(&self, client: Client<'_>) -> Option<usize> {
        let (_, rate) = self.bucket(QuotaKind::Fetch, client)?;
        Some(rate.burst() as usize)
    }

    /// What a client may change of the metadata; `None` if that is not limited.
    pub(crate) fn mutations(
        &self,
        client: Client<'_>,
        now: Instant,
        is_strict: bool,
    ) -> Option<Mutations> {
        let (tag, rate) = self.bucket(QuotaKind::ControllerMutation, client)?;
        let buckets = self.buckets.clone();
        Some(Mutations { buckets, tag, rate, now_ns: ns(now), is_strict, is_trial: false })
    }

    fn charge(&self, kind: QuotaKind, client: Client<'_>, used: usize, now: Instant) -> Duration {
        let Some((tag, rate)) = self.bucket(kind, client) else { return Duration::ZERO };
        self.buckets.charge(tag, &rate, ns(now), used as f64)
    }

    fn bucket(&self, kind: QuotaKind, client: Client<'_>) -> Option<(u64, Rate)> {
        let Limit { per_second, scope } =
            self.quotas.borrow().limit(kind, client.user, client.client_id)?;
        let tag = match scope {
            Scope::UserAndClient => (kind, client.user, client.client_id),
            Scope::User => (kind, client.user, ""),
            Scope::Client => (kind, "", client.client_id),
        };
        let tag = self.buckets.tag((scope, tag));
        Some((
            tag,
            match kind {
                // A hundred percent are a second of time in a second.
                QuotaKind::Request => Rate::new(per_second * 1e7, self.windows.clients),
                QuotaKind::ControllerMutation => Rate::new(per_second, self.windows.controller),
                QuotaKind::Produce | QuotaKind::Fetch => {
                    Rate::new(per_second, self.windows.clients)
                }
            },
        ))
    }
}

/// What an API uses of, besides time.
fn kind_of(api_key: i16) -> Option<QuotaKind> {
    match ApiKey::from_number(api_key)? {
        ApiKey::Produce => Some(QuotaKind::Produce),
        ApiKey::Fetch => Some(QuotaKind::Fetch),
        ApiKey::CreateTopics | ApiKey::DeleteTopics | ApiKey::CreatePartitions => {
            Some(QuotaKind::ControllerMutation)
        }
        _ => None,
    }
}

fn ns(now: Instant) -> i64 {
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}

/// Until when a connection is not read from.
#[derive(Default)]
pub(crate) struct Mute {
    until: Cell<Option<Instant>>,
    /// Set when the connection is to end.
    over: Event,
}

impl Mute {
    /// Mutes it for a time from now on; a longer one that was said before holds on.
    pub(crate) fn mute(&self, now: Instant, time: Duration) {
        if !time.is_zero() {
            let until = self.until.get().map_or(now + time, |until| until.max(now + time));
            self.until.set(Some(until));
        }
    }

    pub(crate) fn is_muted(&self, now: Instant) -> bool {
        self.until.get().is_some_and(|until| now < until)
    }

    /// Ends it for good, because the connection ends.
    pub(crate) fn end(&self) {
        self.over.set();
    }

    /// Waits until it may be read from again, or `ended` is set.
    pub(crate) async fn wait(&self, rt: &Runtime, ended: &Event) {
        while let Some(until) = self.until.get().filter(|until| rt.now() < *until) {
            let mut slept = pin!(rt.sleep(until.saturating_duration_since(rt.now())));
            let (mut over, mut ended) = (pin!(self.over.wait()), pin!(ended.wait()));
            let is_cut_short = poll_fn(|context| {
                if over.as_mut().poll(context).is_ready() || ended.as_mut().poll(context).is_ready()
                {
                    return Poll::Ready(true);
                }
                slept.as_mut().poll(context).map(|()| false)
            });
            if is_cut_short.await {
                return;
            }
        }
    }
}
