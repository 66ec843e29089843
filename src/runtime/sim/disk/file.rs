//! One simulated file: what readers see, what a crash leaves, and the changes in between.
//!
//! A change enters `pending` when it completes and leaves it when it is made durable. `pending`
//! is in completion order, and applying all of it to `durable` gives `current`, unless a failed
//! sync dropped some (`diverged`). A crash keeps any subset of the pending sectors, and of the
//! pending metadata (length, allocation) a prefix, because a journal keeps its order.

use bytes::Bytes;

use super::image::Image;
use crate::sim::Prng;

/// A write tears between sectors and never within one.
pub(super) const SECTOR_BYTES: usize = 512;

/// A change to a file's bytes or length.
#[derive(Clone)]
pub(super) enum Change {
    Write { pos: u64, bytes: Bytes },
    SetLen(u64),
    Allocate { pos: u64, len: u64 },
}

struct Pending {
    seq: u64,
    change: Change,
    /// Already durable, but behind an older pending change and so not yet in the durable image.
    forced: bool,
    /// Changes metadata: a later durable write of this file has to commit it too.
    metadata: bool,
}

/// How much of one torn write reaches the disk.
enum Tear {
    Nothing,
    All,
    Prefix(usize),
    Random,
}

#[derive(Default)]
pub(super) struct FileContent {
    current: Image,
    durable: Image,
    pending: Vec<Pending>,
    diverged: bool,
}

impl FileContent {
    pub(super) fn current(&self) -> &Image {
        &self.current
    }

    pub(super) fn durable_image(&self) -> &Image {
        &self.durable
    }

    /// Applies a completed change; it is durable only after a later sync.
    pub(super) fn apply(&mut self, seq: u64, change: Change) {
        let metadata = match &change {
            Change::Write { pos, bytes } => {
                let len = bytes.len() as u64;
                pos + len > self.current.len() || self.current.missing_pages(*pos, len) > 0
            }
            Change::SetLen(_) | Change::Allocate { .. } => true,
        };
        apply_to(&mut self.current, &change);
        self.pending.push(Pending { seq, change, forced: false, metadata });
    }

    /// Applies a completed `RWF_DSYNC` write that was submitted when `submitted` was the latest
    /// change. With `flush_all` it flushes the device's cache, so everything completed before
    /// its submission is durable too; without, only when metadata has to be committed.
    pub(super) fn apply_durable(
        &mut self,
        seq: u64,
        change: Change,
        submitted: u64,
        flush_all: bool,
    ) {
        self.apply(seq, change);
        let own = self.pending.len() - 1;
        self.pending[own].forced = true;
        let commits_metadata =
            self.pending.iter().any(|p| p.metadata && (p.seq <= submitted || p.seq == seq));
        if flush_all || commits_metadata {
            self.force_up_to(submitted);
        }
        self.settle();
    }

    /// Makes durable what completed before the sync was submitted.
    pub(super) fn sync(&mut self, submitted: u64) {
        self.force_up_to(submitted);
        self.settle();
    }

    /// A failed sync: each waiting change may have reached the disk, may still be written by a
    /// later sync, or is lost for good although readers go on seeing it (Linux marks the pages
    /// clean).
    pub(super) fn fail_sync(&mut self, submitted: u64, prng: &mut Prng) {
        let mut kept = Vec::with_capacity(self.pending.len());
        for mut p in self.pending.drain(..) {
            if p.seq <= submitted && !p.forced && !p.metadata {
                match prng.below(3) {
                    0 => p.forced = true,
                    1 => {}
                    _ => {
                        self.diverged = true;
                        continue;
                    }
                }
            }
            kept.push(p);
        }
        self.pending = kept;
        self.settle();
    }

    fn force_up_to(&mut self, submitted: u64) {
        for p in &mut self.pending {
            p.forced |= p.seq <= submitted;
        }
    }

    /// Moves the forced front of `pending` into the durable image.
    fn settle(&mut self) {
        let n = self.pending.iter().take_while(|p| p.forced).count();
        let all = n == self.pending.len() && !self.diverged;
        for p in self.pending.drain(..n) {
            match &p.change {
                // Nothing waits behind it: share the reader's pages rather than copy the bytes.
                Change::Write { pos, bytes } if all => {
                    self.durable.share(&self.current, *pos, bytes.len() as u64);
                }
                change => apply_to(&mut self.durable, change),
            }
        }
        if all {
            self.durable.set_len(self.current.len());
        }
    }

    /// Whether a crash would leave anything else than what readers see.
    pub(super) fn is_dirty(&self) -> bool {
        !self.pending.is_empty() || self.diverged
    }

    /// What a crash leaves: the durable image and a random part of what was pending and of
    /// `in_flight` (submitted, not completed).
    pub(super) fn crash(&mut self, in_flight: Vec<Change>, prng: &mut Prng) {
        for change in in_flight {
            self.apply(u64::MAX, change);
        }
        let pending = std::mem::take(&mut self.pending);
        if !pending.is_empty() {
            let last_forced = pending.iter().rposition(|p| p.forced).map_or(0, |i| i + 1);
            let metadata_kept = prng.between(last_forced as u64..=pending.len() as u64) as usize;
            let mood = prng.below(4);
            for (i, p) in pending.into_iter().enumerate() {
                self.keep_some(p, i < metadata_kept, mood, prng);
            }
        }
        self.current = self.durable.clone();
        self.diverged = false;
    }

    fn keep_some(&mut self, p: Pending, metadata_kept: bool, mood: u64, prng: &mut Prng) {
        match p.change {
            change if p.forced => apply_to(&mut self.durable, &change),
            Change::Write { pos, bytes } => {
                let end = pos + bytes.len() as u64;
                if metadata_kept && end > self.durable.len() {
                    self.durable.set_len(end);
                }
                self.write_torn(pos, &bytes, choose_tear(mood, bytes.len(), prng), prng);
            }
            change if metadata_kept => apply_to(&mut self.durable, &change),
            _ => {}
        }
    }

    /// Writes the sectors that survive, cut at the durable length.
    fn write_torn(&mut self, pos: u64, bytes: &[u8], tear: Tear, prng: &mut Prng) {
        let room = self.durable.len().saturating_sub(pos).min(bytes.len() as u64) as usize;
        let bytes = &bytes[..room];
        match tear {
            Tear::Nothing => {}
            Tear::All => self.durable.write(pos, bytes),
            Tear::Prefix(n) => self.durable.write(pos, &bytes[..n.min(room)]),
            Tear::Random => {
                let mut at = pos;
                for sector in bytes.chunks(SECTOR_BYTES) {
                    if prng.chance(0.5) {
                        self.durable.write(at, sector);
                    }
                    at += sector.len() as u64;
                }
            }
        }
    }

    /// Applies an unknown part of a failed write: readers may see it, and a crash keeps any of it.
    pub(super) fn apply_part(&mut self, seq: u64, pos: u64, bytes: &Bytes, prng: &mut Prng) {
        for start in (0..bytes.len()).step_by(SECTOR_BYTES) {
            if prng.chance(0.5) {
                let part = bytes.slice(start..bytes.len().min(start + SECTOR_BYTES));
                self.apply(seq, Change::Write { pos: pos + start as u64, bytes: part });
            }
        }
    }

    /// Rots one stored byte, for readers and for whatever a crash leaves.
    pub(super) fn flip(&mut self, pos: u64, mask: u8) {
        self.current.flip(pos, mask);
        if pos < self.durable.len() {
            self.durable.flip(pos, mask);
        }
    }
}

fn apply_to(image: &mut Image, change: &Change) {
    match change {
        Change::Write { pos, bytes } => image.write(*pos, bytes),
        Change::SetLen(len) => image.set_len(*len),
        Change::Allocate { pos, len } => image.allocate(*pos, *len),
    }
}

fn choose_tear(mood: u64, len: usize, prng: &mut Prng) -> Tear {
    let kind = if mood == 3 { prng.below(4) } else { mood };
    match kind {
        0 => Tear::Nothing,
        1 => Tear::All,
        2 => Tear::Prefix(prng.index(len / SECTOR_BYTES + 1) * SECTOR_BYTES),
        _ => Tear::Random,
    }
}

#[cfg(test)]
mod tests;
