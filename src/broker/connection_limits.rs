//! How many connections the node holds: in all (`max.connections`) and from one address
//! (`max.connections.per.ip` and its overrides).
//!
//! Counted for all shards together, because the kernel shares connections out as it likes. It is
//! locked when a connection comes or goes, never while one works. As in Kafka
//! (`ConnectionQuotas`), a connection beyond the node's limit waits until another closes, and
//! meanwhile its shard accepts no more; one beyond its address's limit is closed at once, and
//! before it could keep others waiting.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringlog_config::BrokerConfig;
use tokio::sync::Notify;

/// Why a connection is not served now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The node has as many as it may: one that closes makes room.
    Full,
    /// Its address has as many as it may, which is this many.
    TooManyOfAddress(usize),
}

/// The connections of a node, and what it may have of them.
pub(crate) struct ConnectionLimits {
    counts: Mutex<Counts>,
    /// Notified when there may be room; who takes it and leaves some passes it on.
    room: Notify,
}

/// A connection that is counted, until this is dropped.
pub(crate) struct Admitted {
    limits: Arc<ConnectionLimits>,
    address: IpAddr,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.limits.counts().give_back(self.address);
        self.limits.room.notify_one();
    }
}

impl ConnectionLimits {
    pub(crate) fn new(config: &BrokerConfig) -> Arc<ConnectionLimits> {
        let counts = Mutex::new(Counts::new(Limits::of(config)));
        Arc::new(ConnectionLimits { counts, room: Notify::new() })
    }

    /// Takes over limits that were changed while running. Connections that are open stay.
    pub(crate) fn update(&self, config: &BrokerConfig) {
        let limits = Limits::of(config);
        let mut counts = self.counts();
        if counts.limits != limits {
            counts.limits = limits;
            self.room.notify_one();
        }
    }

    /// Counts a connection if there is room for it.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Admitted, Refusal> {
        let address = address.to_canonical();
        let mut counts = self.counts();
        counts.take(address)?;
        if counts.has_room() {
            self.room.notify_one();
        }
        Ok(Admitted { limits: self.clone(), address })
    }

    /// Waits until [`ConnectionLimits::admit`] is worth another try.
    pub(crate) async fn wait_for_room(&self) {
        self.room.notified().await;
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(PartialEq, Eq)]
struct Limits {
    all: usize,
    per_address: usize,
    overrides: BTreeMap<IpAddr, i32>,
}

impl Limits {
    fn of(config: &BrokerConfig) -> Limits {
        Limits {
            // None at all would lock out the one who could change it.
            all: config.max_connections.max(1) as usize,
            per_address: config.max_connections_per_ip.max(0) as usize,
            overrides: config.max_connections_per_ip_overrides.clone(),
        }
    }

    fn of_address(&self, address: IpAddr) -> usize {
        let own = self.overrides.get(&address);
        own.map_or(self.per_address, |limit| (*limit).max(0) as usize)
    }
}

/// The pure part.
struct Counts {
    limits: Limits,
    open: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Counts {
    fn new(limits: Limits) -> Counts {
        Counts { limits, open: 0, by_address: HashMap::new() }
    }

    fn has_room(&self) -> bool {
        self.open < self.limits.all
    }

    fn take(&mut self, address: IpAddr) -> Result<(), Refusal> {
        let limit = self.limits.of_address(address);
        let of_address = self.by_address.get(&address).copied().unwrap_or(0);
        if of_address >= limit {
            return Err(Refusal::TooManyOfAddress(limit));
        }
        if !self.has_room() {
            return Err(Refusal::Full);
        }
        self.open += 1;
        self.by_address.insert(address, of_address + 1);
        Ok(())
    }

    fn give_back(&mut self, address: IpAddr) {
        self.open -= 1;
        let of_address = self.by_address.get_mut(&address).expect("it was counted");
        *of_address -= 1;
        if *of_address == 0 {
            self.by_address.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn config(pairs: &[(&str, &str)]) -> BrokerConfig {
        let settings = pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        BrokerConfig::from_settings(settings).unwrap()
    }

    #[test]
    fn all_and_each_address_are_counted() {
        let limits = ConnectionLimits::new(&config(&[
            ("max.connections", "4"),
            ("max.connections.per.ip", "2"),
            ("max.connections.per.ip.overrides", "10.0.0.2:1,10.0.0.3:3"),
        ]));
        let admit = |address: &str| limits.admit(address.parse().unwrap());
        let mut open = vec![admit("10.0.0.1").unwrap(), admit("::ffff:10.0.0.1").unwrap()];
        assert_eq!(admit("10.0.0.1").err(), Some(Refusal::TooManyOfAddress(2)));
        open.push(admit("10.0.0.2").unwrap());
        assert_eq!(admit("10.0.0.2").err(), Some(Refusal::TooManyOfAddress(1)));
        open.push(admit("10.0.0.3").unwrap());
        assert_eq!(admit("10.0.0.3").err(), Some(Refusal::Full));
        open.remove(0);
        open.push(admit("10.0.0.3").unwrap());
        assert_eq!(admit("10.0.0.9").err(), Some(Refusal::Full));
        limits.update(&config(&[("max.connections", "5")]));
        open.push(admit("10.0.0.1").unwrap());
        assert_eq!(admit("10.0.0.1").err(), Some(Refusal::Full));
        drop(open);
        let counts = limits.counts();
        assert!(counts.open == 0 && counts.by_address.is_empty());
    }

    /// Room for two is made while nobody waits yet: both who come to wait get on.
    #[test]
    fn room_is_passed_on() {
        let limits = ConnectionLimits::new(&config(&[("max.connections", "2")]));
        let address = IpAddr::from([10, 0, 0, 1]);
        let open = [limits.admit(address).unwrap(), limits.admit(address).unwrap()];
        drop(open);
        let mut admitted = Vec::new();
        for _ in 0..2 {
            let waited = pin!(limits.wait_for_room()).poll(&mut Context::from_waker(Waker::noop()));
            assert!(waited.is_ready());
            admitted.push(limits.admit(address).expect("there is room"));
        }
        let mut third = pin!(limits.wait_for_room());
        assert!(third.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        admitted.pop();
        assert!(third.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    }
}
