//! Many random numbers from one: a caller hands in 128 random bits, a request may need more.

use ringlog_types::Uuid;

use crate::image::Image;

/// Two SplitMix64 sequences, one from each half of the seed.
pub(crate) struct Entropy {
    high: u64,
    low: u64,
}

impl Entropy {
    pub(crate) fn new(seed: u128) -> Entropy {
        Entropy { high: (seed >> 64) as u64, low: seed as u64 }
    }

    fn next_u128(&mut self) -> u128 {
        let (high, low) = (split_mix(&mut self.high), split_mix(&mut self.low));
        (u128::from(high) << 64) | u128::from(low)
    }

    /// A number below `bound`, which must not be 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (split_mix(&mut self.low) % bound as u64) as usize
    }

    /// An id that no topic has.
    pub(crate) fn topic_id(&mut self, image: &Image) -> Uuid {
        loop {
            let id = Uuid::from_random(self.next_u128());
            if image.topic_by_id(id).is_none() {
                return id;
            }
        }
    }
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
