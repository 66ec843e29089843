//! Which partition a record goes to.
//!
//! A key's partition must be the one that Kafka's Java client chooses, so that producers of both
//! kinds keep a key together: `toPositive(murmur2(key)) % partitions`.

use std::hash::{BuildHasher, RandomState};

/// How a record without an explicit partition gets one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Partitioner {
    /// By the hash of the key; records without a key stay with one partition for a batch's worth
    /// of bytes, then move on (KIP-794).
    #[default]
    Default,
    /// One partition after the other, whatever the key.
    RoundRobin,
    /// As for records without a key, whatever the key.
    Sticky,
}

/// The hash that Kafka's default partitioner uses: MurmurHash2 of 32 bits, seed 0x9747b28c.
pub fn murmur2(data: &[u8]) -> i32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    let mut hash = SEED ^ data.len() as u32;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^= hash >> 15;
    hash as i32
}

/// The partition of a key among `partitions`, which must be more than 0.
pub(crate) fn partition_of_key(key: &[u8], partitions: i32) -> i32 {
    (murmur2(key) & 0x7fff_ffff) % partitions
}

/// The partitioner's memory for one topic.
#[derive(Debug)]
pub(crate) struct TopicPartitioner {
    kind: Partitioner,
    /// Where the next record without a key goes.
    current: i32,
    /// Bytes that went there since it became the current one.
    bytes: usize,
}

impl TopicPartitioner {
    pub(crate) fn new(kind: Partitioner) -> TopicPartitioner {
        // Round robin begins at 0; sticky anywhere, so that many short-lived producers together
        // fill all partitions.
        let current = match kind {
            Partitioner::RoundRobin => 0,
            _ => (RandomState::new().hash_one(0_u8) & 0x7fff_ffff) as i32,
        };
        TopicPartitioner { kind, current, bytes: 0 }
    }

    /// The partition for a record; `partitions` must be more than 0.
    pub(crate) fn choose(&mut self, key: Option<&[u8]>, partitions: i32) -> i32 {
        match (self.kind, key) {
            (Partitioner::Default, Some(key)) => partition_of_key(key, partitions),
            (Partitioner::RoundRobin, _) => {
                let chosen = self.current % partitions;
                self.current = (chosen + 1) % partitions;
                chosen
            }
            (Partitioner::Default | Partitioner::Sticky, _) => self.current % partitions,
        }
    }

    /// A record of `size` bytes went to `partition`: the sticky one moves on when it has had a
    /// batch's worth, so that all of them get the same share however often batches are sent.
    pub(crate) fn appended(
        &mut self,
        partition: i32,
        partitions: i32,
        size: usize,
        batch_bytes: usize,
    ) {
        if self.kind == Partitioner::RoundRobin || self.current % partitions != partition {
            return;
        }
        self.bytes += size;
        if self.bytes >= batch_bytes {
            self.current = (partition + 1) % partitions;
            self.bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn murmur2_is_kafkas() {
        let vectors: [(&[u8], i32); 7] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
            (b"", 275_646_681),
        ];
        for (data, hash) in vectors {
            assert_eq!(murmur2(data), hash, "{data:?}");
        }
    }

    #[test]
    fn keys_stay_and_the_rest_goes_round() {
        let mut default = TopicPartitioner::new(Partitioner::Default);
        let of_key = default.choose(Some(b"foobar"), 6);
        assert_eq!(of_key, (-790_332_482_i32 & 0x7fff_ffff) % 6);
        let sticky = default.choose(None, 6);
        assert_eq!(default.choose(None, 6), sticky);
        assert_eq!(default.choose(Some(b"foobar"), 6), of_key);
        default.appended(sticky, 6, 60, 100);
        assert_eq!(default.choose(None, 6), sticky);
        default.appended(sticky, 6, 60, 100);
        assert_eq!(default.choose(None, 6), (sticky + 1) % 6);
        default.appended(sticky, 6, 500, 100);
        assert_eq!(default.choose(None, 6), (sticky + 1) % 6);

        let mut round = TopicPartitioner::new(Partitioner::RoundRobin);
        let chosen: Vec<i32> = (0..5).map(|_| round.choose(Some(b"k"), 3)).collect();
        assert_eq!(chosen, [0, 1, 2, 0, 1]);
    }
}
