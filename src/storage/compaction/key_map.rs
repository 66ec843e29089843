//! The newest offset of each key in the part of a log that is about to be compacted.
//!
//! Pure, and bounded: a table of so many slots is made once, and nothing is ever allocated for a
//! key. A slot holds a hash of 128 bits instead of the key (Kafka's `SkimpyOffsetMap` has MD5). It
//! is keyed by a number that is drawn for each map, so that nobody can make keys that meet: of two
//! keys with one hash one would lose its newest value. By chance that happens to one pair of 2^64
//! million million keys.
//!
//! A map that is full refuses new keys. The round of compaction then ends at the last offset that
//! it knows entirely.

use ringlog_types::Offset;

/// Memory of a slot.
pub(crate) const SLOT_BYTES: usize = size_of::<Slot>();
/// Fewer slots than this are not worth saving.
const SLOTS_MIN: usize = 64;

/// Both halves of the hash, and the offset and one; all zeros are an empty slot.
type Slot = [u64; 3];

/// See the head of this file.
pub(crate) struct KeyMap {
    seed: [u64; 2],
    slots: Vec<Slot>,
    len: usize,
    len_max: usize,
}

impl KeyMap {
    /// A map for at most so many keys in at most so many bytes, of which it fills the share
    /// `load_factor`.
    pub(crate) fn new(seed: [u64; 2], keys_max: u64, bytes_max: usize, load_factor: f64) -> KeyMap {
        let load_factor = load_factor.clamp(0.1, 0.95);
        let slots_max = (bytes_max / SLOT_BYTES).max(SLOTS_MIN);
        let wanted = (keys_max as f64 / load_factor).ceil() as u64;
        let slots = usize::try_from(wanted).unwrap_or(usize::MAX).clamp(SLOTS_MIN, slots_max);
        let len_max = (slots as f64 * load_factor) as usize;
        KeyMap { seed, slots: vec![[0; 3]; slots], len: 0, len_max }
    }

    /// Notes that a key has a record at `offset`, which is larger than any before. Returns whether
    /// there was room.
    pub(crate) fn put(&mut self, key: &[u8], offset: Offset) -> bool {
        let hash = sip_hash(self.seed, key);
        let at = self.slot_of(hash);
        let slot = &mut self.slots[at];
        if slot[2] == 0 {
            if self.len == self.len_max {
                return false;
            }
            self.len += 1;
        }
        *slot = [hash[0], hash[1], offset as u64 + 1];
        true
    }

    /// The newest offset of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Offset> {
        let slot = self.slots[self.slot_of(sip_hash(self.seed, key))];
        slot[2].checked_sub(1).map(|offset| offset as Offset)
    }

    /// The slot with this hash, or the empty one where it would be. There is always an empty one.
    fn slot_of(&self, hash: [u64; 2]) -> usize {
        let slots = self.slots.len();
        let mut at = ((u128::from(hash[0]) * slots as u128) >> 64) as usize;
        loop {
            let slot = &self.slots[at];
            if slot[2] == 0 || (slot[0] == hash[0] && slot[1] == hash[1]) {
                return at;
            }
            at = if at + 1 == slots { 0 } else { at + 1 };
        }
    }

    /// Keys in it.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

/// SipHash-2-4 with a result of 128 bits (Aumasson and Bernstein).
fn sip_hash(seed: [u64; 2], bytes: &[u8]) -> [u64; 2] {
    let mut state = [
        seed[0] ^ 0x736f_6d65_7073_6575,
        seed[1] ^ 0x646f_7261_6e64_6f6d ^ 0xee,
        seed[0] ^ 0x6c79_6765_6e65_7261,
        seed[1] ^ 0x7465_6462_7974_6573,
    ];
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        absorb(&mut state, u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    last[7] = bytes.len() as u8;
    absorb(&mut state, u64::from_le_bytes(last));
    let mut finish = |mark: (usize, u64)| {
        state[mark.0] ^= mark.1;
        (0..4).for_each(|_| round(&mut state));
        state.iter().fold(0, |all, word| all ^ word)
    };
    [finish((2, 0xee)), finish((1, 0xdd))]
}

fn absorb(state: &mut [u64; 4], word: u64) {
    state[3] ^= word;
    round(state);
    round(state);
    state[0] ^= word;
}

fn round(state: &mut [u64; 4]) {
    let [mut a, mut b, mut c, mut d] = *state;
    a = a.wrapping_add(b);
    b = b.rotate_left(13) ^ a;
    a = a.rotate_left(32);
    c = c.wrapping_add(d);
    d = d.rotate_left(16) ^ c;
    a = a.wrapping_add(d);
    d = d.rotate_left(21) ^ a;
    c = c.wrapping_add(b);
    b = b.rotate_left(17) ^ c;
    c = c.rotate_left(32);
    *state = [a, b, c, d];
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the reference implementation: the key is 00 01 … 0f, the input 00 01 … of each length.
    #[test]
    fn the_hash_is_siphash() {
        let seed = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        for (length, expected) in [
            (0, [0xe6a8_25ba_047f_81a3u64, 0x9302_55c7_1472_f66d]),
            (1, [0x44af_996b_d8c1_87da, 0x45fc_229b_1159_7634]),
        ] {
            let input: Vec<u8> = (0..length).collect();
            assert_eq!(sip_hash(seed, &input), expected, "{length} bytes");
        }
    }

    #[test]
    fn the_newest_offset_of_each_key_is_known() {
        let mut map = KeyMap::new([3, 4], 500, 1 << 20, 0.9);
        let key = |number: u64| number.to_string().into_bytes();
        for offset in 0..2_000u64 {
            assert!(map.put(&key(offset * 7 % 500), offset as i64));
        }
        assert_eq!(map.len(), 500);
        for number in 0..500 {
            let newest = (1_500..2_000u64).find(|offset| offset * 7 % 500 == number);
            assert_eq!(map.get(&key(number)), newest.map(|offset| offset as i64));
        }
        assert_eq!(map.get(b"nobody"), None);
        assert_eq!(KeyMap::new([1, 1], 1, 0, 0.9).get(b""), None);
    }

    #[test]
    fn memory_is_bounded_and_a_full_map_takes_known_keys() {
        let mut map = KeyMap::new([1, 2], u64::MAX, 100 * SLOT_BYTES, 0.5);
        assert_eq!(map.slots.len(), 100);
        let taken = (0..1_000i64).take_while(|offset| map.put(&offset.to_be_bytes(), *offset));
        assert_eq!(taken.count(), 50);
        assert!(map.put(&7i64.to_be_bytes(), 5_000));
        assert!(!map.put(b"another", 5_001));
        assert_eq!((map.get(&7i64.to_be_bytes()), map.len()), (Some(5_000), 50));
        // What fits into little memory gets no more.
        assert_eq!(KeyMap::new([1, 2], 900, 1 << 30, 0.9).slots.len(), 1_000);
    }
}
