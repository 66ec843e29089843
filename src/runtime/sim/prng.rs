//! The simulation's only source of chance: xoshiro256++ seeded through splitmix64.
//!
//! Not for secrets. Every draw comes from the seed, in the order the events of the simulation
//! make them, so a seed replays a run exactly. Kept here (and not taken from a crate) because a
//! change of algorithm would change what every recorded seed means.

use std::ops::RangeInclusive;

/// A small deterministic generator.
#[derive(Clone, Debug)]
pub struct Prng {
    state: [u64; 4],
}

impl Prng {
    /// A generator whose draws are a function of `seed` alone.
    pub fn new(seed: u64) -> Prng {
        let mut x = seed;
        let state = std::array::from_fn(|_| {
            x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = x;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        });
        Prng { state }
    }

    /// A generator of its own for a part of the simulation, so that one more draw there does not
    /// shift the draws elsewhere.
    pub fn fork(&mut self) -> Prng {
        Prng::new(self.next_u64())
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number in `0..bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // Multiply-shift: its bias of 2^-64 * bound is nothing to a test.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// An index in `0..len`; 0 when `len` is 0.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// A number within the bounds, both included.
    pub fn between(&mut self, range: RangeInclusive<u64>) -> u64 {
        let (low, high) = (*range.start(), *range.end());
        assert!(low <= high, "an empty range of {low}..={high}");
        low + self.below((high - low).saturating_add(1))
    }

    /// True with the probability `p`; `p` ≤ 0 never is and draws nothing.
    pub fn chance(&mut self, p: f64) -> bool {
        p > 0.0 && (self.next_u64() >> 11) as f64 / ((1u64 << 53) as f64) < p
    }

    /// One of the items, each as likely.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.index(items.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::Prng;

    #[test]
    fn a_seed_repeats_and_seeds_differ() {
        let draw = |seed| {
            let mut prng = Prng::new(seed);
            std::array::from_fn::<u64, 8, _>(|_| prng.next_u64())
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert_ne!(draw(0), [0; 8]);
    }

    #[test]
    fn bounds_hold_and_are_reached() {
        let mut prng = Prng::new(1);
        let mut seen = [0u32; 6];
        for _ in 0..6_000 {
            seen[prng.between(0..=5) as usize] += 1;
        }
        assert!(seen.iter().all(|n| (800..1200).contains(n)), "{seen:?}");
        assert_eq!(prng.below(0), 0);
        assert_eq!(prng.between(9..=9), 9);
        assert!(prng.between(0..=u64::MAX) != prng.between(0..=u64::MAX));
    }

    #[test]
    fn chances_are_what_they_say() {
        let mut prng = Prng::new(2);
        assert!((0..1_000).all(|_| !prng.chance(0.0) && prng.chance(1.0)));
        let hits = (0..100_000).filter(|_| prng.chance(0.25)).count();
        assert!((24_000..26_000).contains(&hits), "{hits}");
    }
}
