//! The entries of a log's producers, of which a copy is cheap.
//!
//! A snapshot is written while the log goes on, and there may be a quarter of a million producers.
//! So the entries are in buckets, and a copy shares all of them. Whoever changes an entry first
//! copies its bucket if it is shared: one bucket at a time, and once for each copy of the whole.

use std::collections::HashMap;
use std::sync::Arc;

use ringlog_types::ProducerId;

use crate::producers::state::ProducerEntry;

/// With more producers in a bucket, on average, there are twice as many buckets. Copying as many
/// takes some 100 µs.
const BUCKET_ENTRIES_MAX: usize = 1024;

type Bucket = HashMap<ProducerId, ProducerEntry>;

/// The entries, by producer id.
#[derive(Debug, Clone)]
pub(crate) struct ProducerEntries {
    /// Their number is a power of two.
    buckets: Vec<Arc<Bucket>>,
    len: usize,
}

impl Default for ProducerEntries {
    fn default() -> ProducerEntries {
        ProducerEntries { buckets: vec![Arc::default()], len: 0 }
    }
}

impl PartialEq for ProducerEntries {
    fn eq(&self, other: &ProducerEntries) -> bool {
        self.len == other.len && self.iter().all(|(id, entry)| other.get(id) == Some(entry))
    }
}

impl Eq for ProducerEntries {}

impl ProducerEntries {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, id: ProducerId) -> Option<&ProducerEntry> {
        self.buckets[self.place(id)].get(&id)
    }

    /// A producer's entry to be changed; one that `make` gives if there is none.
    pub(crate) fn get_or_insert_with(
        &mut self,
        id: ProducerId,
        make: impl FnOnce() -> ProducerEntry,
    ) -> &mut ProducerEntry {
        if self.get(id).is_none() {
            self.insert(id, make());
        }
        let place = self.place(id);
        Arc::make_mut(&mut self.buckets[place]).get_mut(&id).expect("it is there")
    }

    /// Adds an entry, or takes it in the place of another.
    pub(crate) fn insert(&mut self, id: ProducerId, entry: ProducerEntry) {
        if self.len >= self.buckets.len() * BUCKET_ENTRIES_MAX {
            self.double();
        }
        let place = self.place(id);
        let before = Arc::make_mut(&mut self.buckets[place]).insert(id, entry);
        self.len += usize::from(before.is_none());
    }

    /// The entries, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ProducerId, &ProducerEntry)> {
        self.buckets.iter().flat_map(|bucket| bucket.iter()).map(|(id, entry)| (*id, entry))
    }

    /// Changes all entries.
    pub(crate) fn for_each_mut(&mut self, change: impl Fn(&mut ProducerEntry)) {
        for bucket in &mut self.buckets {
            Arc::make_mut(bucket).values_mut().for_each(&change);
        }
    }

    /// Drops the entries that are not to be kept.
    pub(crate) fn retain(&mut self, keep: impl Fn(&ProducerEntry) -> bool) {
        for bucket in &mut self.buckets {
            if !bucket.values().all(&keep) {
                Arc::make_mut(bucket).retain(|_, entry| keep(entry));
            }
        }
        self.len = self.buckets.iter().map(|bucket| bucket.len()).sum();
    }

    fn double(&mut self) {
        let count = 2 * self.buckets.len();
        let before = std::mem::replace(&mut self.buckets, vec![Arc::default(); count]);
        for bucket in before {
            for (id, entry) in Arc::unwrap_or_clone(bucket) {
                let place = self.place(id);
                Arc::make_mut(&mut self.buckets[place]).insert(id, entry);
            }
        }
    }

    fn place(&self, id: ProducerId) -> usize {
        // Ids are given out one after the other, in blocks: the low bits spread them.
        id as usize & (self.buckets.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(epoch: i16) -> ProducerEntry {
        ProducerEntry::new(epoch)
    }

    #[test]
    fn a_copy_stays_as_it_was_and_costs_no_more_than_what_changes() {
        const COUNT: i64 = 40_000;
        let mut entries = ProducerEntries::default();
        for id in 0..COUNT {
            entries.insert(id, entry(1));
        }
        assert_eq!(entries.len(), COUNT as usize);
        let copy = entries.clone();
        entries.get_or_insert_with(7, || entry(1)).epoch = 2;
        entries.insert(COUNT, entry(3));
        entries.insert(COUNT, entry(4));
        let is_shared = |at: usize| Arc::ptr_eq(&entries.buckets[at], &copy.buckets[at]);
        let shared = (0..copy.buckets.len()).filter(|at| is_shared(*at)).count();
        assert_eq!(shared, copy.buckets.len() - 2, "two were changed");
        assert!(copy.buckets.iter().all(|bucket| bucket.len() <= 2 * BUCKET_ENTRIES_MAX));
        assert_eq!((copy.len(), entries.len()), (COUNT as usize, COUNT as usize + 1));
        assert_eq!((copy.get(7), copy.get(COUNT)), (Some(&entry(1)), None));
        assert_eq!((entries.get(7), entries.get(COUNT)), (Some(&entry(2)), Some(&entry(4))));
        assert_ne!(copy, entries);

        entries.retain(|entry| entry.epoch > 1);
        let mut left: Vec<_> = entries.iter().map(|(id, entry)| (id, entry.epoch)).collect();
        left.sort_unstable();
        assert_eq!((entries.len(), left), (2, vec![(7, 2), (COUNT, 4)]));
        assert_eq!(copy.iter().count(), COUNT as usize);
    }
}
