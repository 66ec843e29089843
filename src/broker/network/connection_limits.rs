//! How many connections the node holds: in all (`max.connections`, and what the process's limit of
//! descriptors leaves beside storage) and from one address (`max.connections.per.ip` and its
//! overrides).
//!
//! Counted for all shards together, because the kernel shares connections out as it likes. No
//! shard waits for another with its thread: one that finds the counts in use asks again later, and
//! one that closes a connection leaves a note for whoever counts next. As in Kafka
//! (`ConnectionQuotas`), a connection beyond the node's limit waits until another closes, and
//! meanwhile its shard accepts no more; one beyond its address's limit is closed at once, and
//! before it could keep others waiting.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use crossbeam_queue::SegQueue;
use ringlog_config::BrokerConfig;
use ringlog_runtime::ShardId;
use ringlog_runtime::sync::Signal;

/// Why a connection is not served now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Another shard is counting: to be asked again in a moment.
    Busy,
    /// The node has as many as it may: one that closes makes room.
    Full,
    /// Its address has as many as it may, which is this many.
    TooManyOfAddress(usize),
}

/// The connections of a node, and what it may have of them.
pub(crate) struct ConnectionLimits {
    /// Never waited for.
    counts: Mutex<Counts>,
    /// As many as there are descriptors for.
    descriptors: usize,
    /// The addresses of connections that have closed and are still counted: fewer than may be
    /// open.
    closed: SegQueue<IpAddr>,
    /// Given to every shard when there may be room.
    room: Vec<Signal>,
}

/// A connection that is counted, until this is dropped.
pub(crate) struct Admitted {
    limits: Arc<ConnectionLimits>,
    address: IpAddr,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.limits.closed.push(self.address);
        self.limits.there_may_be_room();
    }
}

impl ConnectionLimits {
    pub(crate) fn new(
        config: &BrokerConfig,
        shards: usize,
        descriptors: usize,
    ) -> Arc<ConnectionLimits> {
        Arc::new(ConnectionLimits {
            counts: Mutex::new(Counts::new(Limits::of(config, descriptors))),
            descriptors,
            closed: SegQueue::new(),
            room: (0..shards).map(|_| Signal::default()).collect(),
        })
    }

    /// Takes over limits that were changed while running. Connections that are open stay.
    ///
    /// # Errors
    /// [`Refusal::Busy`], and nothing else.
    pub(crate) fn update(&self, config: &BrokerConfig) -> Result<(), Refusal> {
        let limits = Limits::of(config, self.descriptors);
        let mut counts = self.counts()?;
        if counts.limits != limits {
            counts.limits = limits;
            self.there_may_be_room();
        }
        Ok(())
    }

    /// Counts a connection if there is room for it.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Admitted, Refusal> {
        let address = address.to_canonical();
        self.counts()?.take(address)?;
        Ok(Admitted { limits: self.clone(), address })
    }

    /// Waits until [`ConnectionLimits::admit`] is worth another try by this shard.
    pub(crate) async fn wait_for_room(&self, shard: ShardId) {
        self.room[usize::from(shard.0)].given().await;
    }

    fn there_may_be_room(&self) {
        self.room.iter().for_each(Signal::give);
    }

    /// The counts, without those who left.
    fn counts(&self) -> Result<MutexGuard<'_, Counts>, Refusal> {
        let mut counts = match self.counts.try_lock() {
            Ok(counts) => counts,
            Err(TryLockError::Poisoned(error)) => error.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(Refusal::Busy),
        };
        while let Some(address) = self.closed.pop() {
            counts.give_back(address);
        }
        Ok(counts)
    }
}

#[derive(PartialEq, Eq)]
struct Limits {
    all: usize,
    per_address: usize,
    overrides: BTreeMap<IpAddr, i32>,
}

impl Limits {
    fn of(config: &BrokerConfig, descriptors: usize) -> Limits {
        Limits {
            // None at all would lock out the one who could change it.
            all: (config.max_connections.max(1) as usize).min(descriptors.max(1)),
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
    use std::pin::{Pin, pin};
    use std::task::{Context, Waker};

    use super::*;

    fn config(pairs: &[(&str, &str)]) -> BrokerConfig {
        let settings = pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        BrokerConfig::from_settings(settings).unwrap()
    }

    #[test]
    fn all_and_each_address_are_counted() {
        let limits = ConnectionLimits::new(
            &config(&[
                ("max.connections", "4"),
                ("max.connections.per.ip", "2"),
                ("max.connections.per.ip.overrides", "10.0.0.2:1,10.0.0.3:3"),
            ]),
            2,
            1000,
        );
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
        limits.update(&config(&[("max.connections", "5")])).unwrap();
        open.push(admit("10.0.0.1").unwrap());
        assert_eq!(admit("10.0.0.1").err(), Some(Refusal::Full));
        drop(open);
        let counts = limits.counts().unwrap();
        assert!(counts.open == 0 && counts.by_address.is_empty());
    }

    /// Room for two is made while nobody waits yet: both who come to wait get on.
    #[test]
    fn every_shard_hears_of_room() {
        let limits = ConnectionLimits::new(&config(&[("max.connections", "2")]), 2, 1000);
        let address = IpAddr::from([10, 0, 0, 1]);
        let poll = |waiting: Pin<&mut dyn Future<Output = ()>>| {
            waiting.poll(&mut Context::from_waker(Waker::noop()))
        };
        let open = [limits.admit(address).unwrap(), limits.admit(address).unwrap()];
        drop(open);
        let mut admitted = Vec::new();
        for shard in [0, 1].map(ShardId) {
            assert!(poll(pin!(limits.wait_for_room(shard))).is_ready());
            admitted.push(limits.admit(address).expect("there is room"));
        }
        let mut third = pin!(limits.wait_for_room(ShardId(0)));
        assert!(poll(third.as_mut()).is_pending());
        admitted.pop();
        assert!(poll(third.as_mut()).is_ready());
    }

    #[test]
    fn there_are_no_more_than_descriptors_for_them() {
        let limits = ConnectionLimits::new(&config(&[("max.connections", "9")]), 1, 2);
        let address = IpAddr::from([10, 0, 0, 1]);
        let _open = [limits.admit(address).unwrap(), limits.admit(address).unwrap()];
        assert_eq!(limits.admit(address).err(), Some(Refusal::Full));
        limits.update(&config(&[("max.connections", "100")])).unwrap();
        assert_eq!(limits.admit(address).err(), Some(Refusal::Full));
    }

    #[test]
    fn nobody_waits_for_another_who_counts() {
        let limits = ConnectionLimits::new(&config(&[]), 1, 1000);
        let address = IpAddr::from([10, 0, 0, 1]);
        let open = limits.admit(address).unwrap();
        let counting = limits.counts().unwrap();
        assert_eq!(limits.admit(address).err(), Some(Refusal::Busy));
        assert_eq!(limits.update(&config(&[])).err(), Some(Refusal::Busy));
        drop(open);
        drop(counting);
        assert_eq!(limits.counts().unwrap().open, 0);
    }
}
