//! A look at the heads of what is about to be sent, so that a wrong offset never is.
//!
//! What comes from memory was put there by this process. What comes from disk is walked head by
//! head, one head beyond its end, because a batch that claims too much shows in its successor. Of
//! what goes out by page only the first reader pays for that. A chain that breaks has the segment
//! examined, which fences the damaged batch, and the read ends before it.

use std::rc::Rc;

use ringlog_runtime::Piece;
use ringlog_types::Offset;

use crate::error::ReadError;
use crate::log::Log;
use crate::names;
use crate::read::Window;
use crate::segment::batch_header::{BatchHeader, HEADER_BYTES, HeaderFault};
use crate::segment::heads::{HeadChain, Link};
use crate::segment::{Examination, Segment};

/// What a walk over heads came to.
enum Heads {
    /// Nothing is wrong.
    Sound,
    /// Something is wrong at this position or right behind it.
    Broken(u64),
}

impl Log {
    /// What a reader is told of damage.
    pub(crate) fn corrupt(
        &self,
        segment: &Segment,
        offset: Offset,
        position: u64,
        reason: &'static str,
    ) -> ReadError {
        ReadError::Corrupt { offset, path: segment.path(names::LOG), position, reason }
    }

    /// Tells, once a minute, of damage that ends a read. Where consumers go on behind it, that is
    /// what is told ([`Log::pass_damage`]): one line for a read, not two.
    pub(crate) fn complain(&self, asked: Offset, error: &ReadError) {
        let ReadError::Corrupt { offset, path, position, reason } = error else { return };
        let is_fenced = self.segment_for(asked).and_then(|s| s.fence_at(asked)).is_some();
        let is_passed = is_fenced && !self.config().stop_at_damage;
        if !is_passed && self.shard.may_complain(path, *position) {
            tracing::error!(partition = %self.topic_partition, path = %path.display(), position,
                offset, reason, "damaged segment");
        }
    }

    /// Whether an error of a reader is to be told of in the log now: once a minute.
    pub fn may_complain(&self) -> bool {
        self.shard.may_complain(&self.path.borrow(), 0)
    }

    /// The first offset behind the fence that hides `offset`; `None` if none does. For a consumer
    /// that goes on there, as over a gap that compaction leaves.
    pub fn pass_damage(&self, offset: Offset) -> Option<Offset> {
        let segment = self.segment_for(offset)?;
        let fence = segment.fence_at(offset)?;
        self.shard.tell(|observer| observer.damage_passed());
        // By another file of the segment, because the damage itself is told by its `.log`.
        if self.shard.may_complain(&segment.path(names::INDEX), fence.position) {
            tracing::error!(partition = %self.topic_partition, first_offset = fence.first_offset,
                end_offset = fence.end_offset,
                "consumers go on behind damaged records, which they do not get");
        }
        Some(fence.end_offset)
    }

    /// Up to where the stretch from `start` to `end`, which is to be sent by page, is sound.
    pub(crate) async fn sound_end(
        &self,
        segment: &Rc<Segment>,
        start: u64,
        end: u64,
    ) -> Result<u64, ReadError> {
        let checked = segment.heads_checked_from(start);
        if checked >= end {
            return Ok(end);
        }
        Box::pin(self.check_stretch(segment, (start, end), checked)).await
    }

    async fn check_stretch(
        &self,
        segment: &Rc<Segment>,
        (start, end): (u64, u64),
        checked: u64,
    ) -> Result<u64, ReadError> {
        let mut chain = HeadChain::from(checked);
        let mut window = Window::default();
        // The last head that was taken is sound only if the one behind it is.
        let sound = loop {
            let at = chain.position;
            match self.check_head(segment, &mut chain, &mut window).await? {
                Heads::Broken(position) => {
                    return self.end_before(segment, (start, end), position.max(start)).await;
                }
                Heads::Sound if at >= end || chain.position == at => break at,
                Heads::Sound => {}
            }
        };
        segment.note_heads_checked(checked, sound);
        Ok(end)
    }

    /// Takes the head at the chain's position, if there is one.
    async fn check_head(
        &self,
        segment: &Rc<Segment>,
        chain: &mut HeadChain,
        window: &mut Window,
    ) -> Result<Heads, ReadError> {
        let (at, size) = (chain.position, segment.size.get());
        let fenced = segment.fence_behind(at).filter(|fence| fence.position == at);
        if fenced.is_some() || at >= size {
            let next = fenced.map_or(segment.end_offset.get(), |fence| fence.first_offset);
            let is_sound = chain.link(next) != Link::Overlaps;
            return Ok(if is_sound { Heads::Sound } else { Heads::Broken(at.saturating_sub(1)) });
        }
        let bytes = self.peek(segment, at, window).await?;
        Ok(self.judge_head(segment, chain, &bytes))
    }

    fn judge_head(&self, segment: &Segment, chain: &mut HeadChain, bytes: &[u8]) -> Heads {
        let at = chain.position;
        let is_examined = segment.examination.get() == Examination::Done;
        match BatchHeader::parse(bytes, segment.size.get().saturating_sub(at)) {
            Ok(header) => match chain.take(&header) {
                Link::Follows => Heads::Sound,
                Link::Overlaps => Heads::Broken(at.saturating_sub(1)),
                // Only compaction leaves gaps, and an examination knows damage from it.
                Link::Gap if is_examined || self.config().cleanup_policy.compact => Heads::Sound,
                Link::Gap => Heads::Broken(at.saturating_sub(1)),
            },
            // A segment that Kafka preallocated and did not trim ends in zeros.
            Err(HeaderFault::Empty) if is_examined => Heads::Sound,
            Err(_) => Heads::Broken(at),
        }
    }

    /// Has a segment examined whose chain of heads breaks at `position`, and says where a read of
    /// the stretch has to end.
    async fn end_before(
        &self,
        segment: &Rc<Segment>,
        (start, end): (u64, u64),
        position: u64,
    ) -> Result<u64, ReadError> {
        Box::pin(self.examine_again(segment, position)).await?;
        match segment.fence_behind(start) {
            Some(fence) if fence.position == start => {
                Err(self.corrupt(segment, fence.first_offset, start, "damaged"))
            }
            Some(fence) => Ok(end.min(fence.position)),
            // The examination found nothing, as where a segment was compacted once.
            None => Ok(end),
        }
    }

    /// What may be sent of `pieces`, which were read from disk from `start` on.
    pub(crate) async fn sound_pieces(
        &self,
        segment: &Rc<Segment>,
        start: u64,
        mut pieces: Vec<Piece>,
    ) -> Result<Vec<Piece>, ReadError> {
        let end = start + pieces.iter().map(|piece| super::piece_len(piece) as u64).sum::<u64>();
        let mut chain = HeadChain::from(start);
        let mut head = Vec::with_capacity(HEADER_BYTES);
        let broken = loop {
            if chain.position + HEADER_BYTES as u64 > end {
                let mut window = Window::default();
                match Box::pin(self.check_head(segment, &mut chain, &mut window)).await? {
                    Heads::Sound => return Ok(pieces),
                    Heads::Broken(position) => break position,
                }
            }
            copy_head(&pieces, (chain.position - start) as usize, &mut head);
            let before = chain.position;
            match self.judge_head(segment, &mut chain, &head) {
                Heads::Sound if chain.position == before => return Ok(pieces),
                Heads::Sound => {}
                Heads::Broken(position) => break position,
            }
        };
        let end = self.end_before(segment, (start, end), broken.max(start)).await?;
        truncate(&mut pieces, (end - start) as usize);
        Ok(pieces)
    }
}

/// Copies a head's worth of bytes from `at` on, which are there.
fn copy_head(pieces: &[Piece], at: usize, head: &mut Vec<u8>) {
    head.clear();
    let mut skip = at;
    for piece in pieces {
        let Piece::Bytes(bytes) = piece else { continue };
        if skip < bytes.len() {
            let wanted = HEADER_BYTES - head.len();
            head.extend_from_slice(&bytes[skip..bytes.len().min(skip + wanted)]);
            if head.len() == HEADER_BYTES {
                return;
            }
        }
        skip = skip.saturating_sub(bytes.len());
    }
}

fn truncate(pieces: &mut Vec<Piece>, length: usize) {
    let mut left = length;
    pieces.retain_mut(|piece| {
        let Piece::Bytes(bytes) = piece else { return true };
        bytes.truncate(left);
        left -= bytes.len();
        !bytes.is_empty()
    });
}
