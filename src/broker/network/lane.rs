//! One lane of a shard's memory for requests: who holds what of it, who waits, and who is next.
//!
//! Pure: what waits is whatever `T` the caller wakes it by. Three kinds of claim share a lane:
//!
//! - a request in work, which holds what it stands for and ends by itself;
//! - an answer until its peer has it, forced in if need be, because it is there already;
//! - a frame that is still arriving. It holds what its bytes take, and grows as they come.
//!
//! Arriving frames that hold a part and wait for more could wait for each other for ever. So one
//! grows only if all of them could still be finished one after the other, each with what those
//! before it give back (the banker's algorithm). What a frame has announced therefore keeps nobody
//! waiting but those that could not be finished beside it.
//!
//! Who waits is served in this order, but of [`OTHERS_EVERY`] served one is a peer that is not
//! known to move (`pace`):
//!
//! 1. frames of peers that are known to move and that have arrived in part, the one first that
//!    lacks least: by the banker's rule that one gets what it lacks as soon as work ends;
//! 2. whole requests of such peers and their frames that hold nothing yet, as they came. While a
//!    frame of 1. waits they leave an eighth of the lane to it;
//! 3. the same of all other peers, but of newcomers the first and the last in turn: where many
//!    come only to wait, one that comes to work is not behind all of them.
//!
//! A newcomer that the banker refuses is put aside until an arriving frame ends, so that it holds
//! up nobody behind it.
//!
//! Invariants: `held` is the sum over all claims; it exceeds `bytes_max` only by what was forced.
//! The arriving frames can all be finished in some order.

use std::collections::{BTreeSet, VecDeque};

use slab::Slab;

/// Of so many that are served, one is a peer that is not known to move, if there is one.
const OTHERS_EVERY: u32 = 8;

/// So many arriving frames that there would be room for are tried at once.
const GROWERS_TRIED_MAX: usize = 4;

/// So many waits that were put aside are tried again when an arriving frame ends: trying looks at
/// all arriving frames.
const TRIED_AGAIN_MAX: usize = 16;

/// A claim on a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClaimId(usize);

/// How a claim's holder stands with the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The peer has moved bytes in good time before.
    Known,
    Other,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    bytes: usize,
    /// The bytes that the claim will hold in the end.
    need: usize,
}

impl Held {
    fn is_arriving(&self) -> bool {
        self.bytes > 0 && self.bytes < self.need
    }
}

/// A waiter until its claim may grow.
struct Wait<T> {
    claim: ClaimId,
    to: usize,
    standing: Standing,
    waiter: T,
}

/// Peers of one standing that wait.
struct Queue<T> {
    /// Those that hold a part, in no order.
    growers: Vec<Wait<T>>,
    /// Those that hold nothing, as they came.
    newcomers: VecDeque<Wait<T>>,
}

pub(crate) struct Lane<T> {
    bytes_max: usize,
    held: usize,
    claims: Slab<Held>,
    /// The claims that hold a part of what they need.
    arriving: BTreeSet<ClaimId>,
    known: Queue<T>,
    others: Queue<T>,
    /// Newcomers that the banker refused.
    aside: VecDeque<Wait<T>>,
    served: u32,
    /// Of those, newcomers that are not known to move.
    others_served: u32,
}

impl<T> Queue<T> {
    fn new() -> Queue<T> {
        Queue { growers: Vec::new(), newcomers: VecDeque::new() }
    }

    fn is_empty(&self) -> bool {
        self.growers.is_empty() && self.newcomers.is_empty()
    }

    /// The newcomer whose turn it is.
    fn front(&self, newest: bool) -> Option<&Wait<T>> {
        match newest {
            true => self.newcomers.back(),
            false => self.newcomers.front(),
        }
    }

    fn pop(&mut self, newest: bool) -> Option<Wait<T>> {
        match newest {
            true => self.newcomers.pop_back(),
            false => self.newcomers.pop_front(),
        }
    }

    fn remove(&mut self, claim: ClaimId) {
        self.growers.retain(|wait| wait.claim != claim);
        self.newcomers.retain(|wait| wait.claim != claim);
    }
}

impl<T> Lane<T> {
    pub(crate) fn new(bytes_max: usize) -> Lane<T> {
        Lane {
            bytes_max,
            held: 0,
            claims: Slab::new(),
            arriving: BTreeSet::new(),
            known: Queue::new(),
            others: Queue::new(),
            aside: VecDeque::new(),
            served: 0,
            others_served: 0,
        }
    }

    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// The bytes that a claim holds.
    pub(crate) fn bytes(&self, claim: ClaimId) -> usize {
        self.claims[claim.0].bytes
    }

    /// Whether somebody waits for what others hold.
    pub(crate) fn is_waited_for(&self) -> bool {
        !(self.known.is_empty() && self.others.is_empty() && self.aside.is_empty())
    }

    /// A new claim that holds nothing, and in the end will hold `need`. Nobody is refused for
    /// needing more than there is: it counts as all of it.
    pub(crate) fn open(&mut self, need: usize) -> ClaimId {
        ClaimId(self.claims.insert(Held { bytes: 0, need: need.min(self.bytes_max) }))
    }

    /// Lets a claim hold `to` bytes, if nobody has to wait for that; a claim that holds as much
    /// already keeps what it has.
    pub(crate) fn grow_now(&mut self, claim: ClaimId, to: usize) -> bool {
        let to = to.min(self.bytes_max);
        if to <= self.bytes(claim) {
            return true;
        }
        let is_waited_for = !(self.known.is_empty() && self.others.is_empty());
        let may = self.fits(claim, to, self.bytes_max) && self.all_could_be_finished(claim, to);
        if is_waited_for || !may {
            return false;
        }
        self.set(claim, to);
        true
    }

    /// Has `waiter` wait until the claim may hold `to` bytes.
    pub(crate) fn wait(&mut self, claim: ClaimId, to: usize, standing: Standing, waiter: T) {
        let to = to.min(self.bytes_max);
        let is_grower = self.bytes(claim) > 0;
        let wait = Wait { claim, to, standing, waiter };
        let queue = self.queue(standing);
        match is_grower {
            true => queue.growers.push(wait),
            false => queue.newcomers.push_back(wait),
        }
    }

    fn queue(&mut self, standing: Standing) -> &mut Queue<T> {
        match standing {
            Standing::Known => &mut self.known,
            Standing::Other => &mut self.others,
        }
    }

    /// Gives up the wait of a claim.
    pub(crate) fn give_up(&mut self, claim: ClaimId) {
        self.known.remove(claim);
        self.others.remove(claim);
        self.aside.retain(|wait| wait.claim != claim);
    }

    /// The claim holds as much, whether there is room or not: the memory is taken already.
    pub(crate) fn force(&mut self, claim: ClaimId, bytes: usize) {
        self.claims[claim.0].need = bytes;
        self.set(claim, bytes);
    }

    /// The claim will hold no more than it does: its frame has arrived, or never will.
    pub(crate) fn complete(&mut self, claim: ClaimId) {
        let bytes = self.bytes(claim);
        self.claims[claim.0].need = bytes;
        self.set(claim, bytes);
    }

    /// Ends a claim.
    pub(crate) fn close(&mut self, claim: ClaimId) {
        self.set(claim, 0);
        self.claims.remove(claim.0);
    }

    /// The next who need not wait any longer; its claim holds what it waited for.
    pub(crate) fn next_served(&mut self) -> Option<T> {
        if self.known.is_empty() && self.others.is_empty() {
            // Nobody else would bring them back.
            if self.arriving.is_empty() {
                self.try_again();
            }
        }
        let is_turn_of_others = self.served % OTHERS_EVERY == OTHERS_EVERY - 1;
        let order = match is_turn_of_others {
            true => [Standing::Other, Standing::Known],
            false => [Standing::Known, Standing::Other],
        };
        let mut newcomers_wait = false;
        for standing in order {
            let wait = self.next_grower(standing).or_else(|| match newcomers_wait {
                // The bytes that they wait for are not given to those behind them.
                true => None,
                false => self.next_newcomer(standing),
            });
            if let Some(wait) = wait {
                self.served = self.served.wrapping_add(1);
                self.set(wait.claim, wait.to);
                return Some(wait.waiter);
            }
            newcomers_wait |= !self.queue(standing).newcomers.is_empty();
        }
        None
    }

    /// The frame that lacks least, of those that may go on.
    fn next_grower(&mut self, standing: Standing) -> Option<Wait<T>> {
        let queue = match standing {
            Standing::Known => &self.known,
            Standing::Other => &self.others,
        };
        let lacks = |wait: &Wait<T>| self.claims[wait.claim.0].need - self.bytes(wait.claim);
        let fits = |wait: &&Wait<T>| self.fits(wait.claim, wait.to, self.bytes_max);
        let mut by_lack: Vec<(usize, ClaimId, usize)> = queue
            .growers
            .iter()
            .filter(fits)
            .map(|wait| (lacks(wait), wait.claim, wait.to))
            .collect();
        by_lack.sort_unstable();
        let mut tried = by_lack.into_iter().take(GROWERS_TRIED_MAX);
        let (_, next, _) = tried.find(|&(_, claim, to)| self.all_could_be_finished(claim, to))?;
        let growers = &mut self.queue(standing).growers;
        let at = growers.iter().position(|wait| wait.claim == next)?;
        Some(growers.swap_remove(at))
    }

    /// The first newcomer that is not put aside, if there is room for it.
    fn next_newcomer(&mut self, standing: Standing) -> Option<Wait<T>> {
        let growers = !(self.known.growers.is_empty() && self.others.growers.is_empty());
        let bytes_max = if growers { self.bytes_max / 8 * 7 } else { self.bytes_max };
        let newest = standing == Standing::Other && self.others_served % 2 == 1;
        loop {
            let wait = self.queue(standing).front(newest)?;
            let (claim, to) = (wait.claim, wait.to);
            if !self.all_could_be_finished(claim, to) {
                let aside = self.queue(standing).pop(newest)?;
                self.aside.push_back(aside);
            } else if self.fits(claim, to, bytes_max) {
                let others = u32::from(standing == Standing::Other);
                self.others_served = self.others_served.wrapping_add(others);
                return self.queue(standing).pop(newest);
            } else {
                return None;
            }
        }
    }

    fn fits(&self, claim: ClaimId, to: usize, bytes_max: usize) -> bool {
        let has = self.bytes(claim);
        // A claim larger than all there is, or forced, must not keep the last holder waiting.
        self.held == has || self.held - has + to.max(has) <= bytes_max
    }

    /// Whether all arriving frames could be finished one after the other if this one held `to`.
    /// A request in work ends by itself, so it counts as given back.
    fn all_could_be_finished(&self, claim: ClaimId, to: usize) -> bool {
        let grown = Held { bytes: to, ..self.claims[claim.0] };
        if !grown.is_arriving() {
            // This claim needs nothing more, and gives back all that it has.
            return true;
        }
        let others = self.arriving.iter().filter(|other| **other != claim);
        let mut frames: Vec<Held> = others.map(|other| self.claims[other.0]).collect();
        frames.push(grown);
        let held: usize = frames.iter().map(|frame| frame.bytes).sum();
        let Some(mut free) = self.bytes_max.checked_sub(held) else { return false };
        frames.sort_unstable_by_key(|frame| frame.need - frame.bytes);
        frames.iter().all(|frame| {
            let could = frame.need - frame.bytes <= free;
            free += frame.bytes;
            could
        })
    }

    fn set(&mut self, claim: ClaimId, bytes: usize) {
        let held = &mut self.claims[claim.0];
        self.held = self.held - held.bytes + bytes;
        held.bytes = bytes;
        if held.is_arriving() {
            self.arriving.insert(claim);
        } else if self.arriving.remove(&claim) {
            self.try_again();
        }
    }

    fn try_again(&mut self) {
        for wait in self.aside.drain(..self.aside.len().min(TRIED_AGAIN_MAX)).rev() {
            let queue = match wait.standing {
                Standing::Known => &mut self.known,
                Standing::Other => &mut self.others,
            };
            queue.newcomers.push_front(wait);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Standing = Standing::Known;
    const OTHER: Standing = Standing::Other;

    /// A claim that holds all it needs, or waits for it by its number.
    fn ask(lane: &mut Lane<u32>, bytes: usize, standing: Standing, number: u32) -> ClaimId {
        let claim = lane.open(bytes);
        if !lane.grow_now(claim, bytes) {
            lane.wait(claim, bytes, standing, number);
        }
        claim
    }

    fn served(lane: &mut Lane<u32>) -> Vec<u32> {
        std::iter::from_fn(|| lane.next_served()).collect()
    }

    #[test]
    fn those_who_wait_are_served_in_order() {
        let mut lane = Lane::new(10);
        let first = ask(&mut lane, 6, OTHER, 0);
        ask(&mut lane, 8, OTHER, 1);
        let small = ask(&mut lane, 1, OTHER, 2);
        assert_eq!((served(&mut lane), lane.held()), (vec![], 6));
        assert_eq!(lane.bytes(small), 0, "nobody is overtaken");
        lane.close(first);
        assert_eq!((served(&mut lane), lane.held()), (vec![1, 2], 9));
        assert!(!lane.is_waited_for());
    }

    #[test]
    fn of_unknown_peers_the_first_and_the_last_go_in_turn() {
        let mut lane = Lane::new(10);
        let all = ask(&mut lane, 10, OTHER, 0);
        for number in 1..=5 {
            ask(&mut lane, 2, OTHER, number);
        }
        lane.close(all);
        assert_eq!(served(&mut lane), [1, 5, 2, 4, 3]);
    }

    #[test]
    fn peers_that_are_known_to_move_go_first_but_not_for_ever() {
        let mut lane = Lane::new(10);
        let all = ask(&mut lane, 10, OTHER, 0);
        let others: Vec<u32> = (1..=3).collect();
        let known: Vec<u32> = (101..=120).collect();
        for number in &others {
            ask(&mut lane, 1, OTHER, *number);
        }
        for number in &known {
            ask(&mut lane, 1, KNOWN, *number);
        }
        lane.close(all);
        let order = served(&mut lane);
        assert_eq!(order, [101, 102, 103, 104, 105, 106, 107, 1, 108, 109]);
    }

    #[test]
    fn what_is_forced_is_counted_and_holds_up_others() {
        let mut lane = Lane::new(10);
        let answer = lane.open(0);
        lane.force(answer, 25);
        assert_eq!(lane.held(), 25);
        ask(&mut lane, 1, KNOWN, 1);
        assert!(served(&mut lane).is_empty());
        lane.force(answer, 9);
        assert_eq!(served(&mut lane), [1]);
    }

    #[test]
    fn what_is_given_up_holds_up_nobody() {
        let mut lane = Lane::new(10);
        let held = ask(&mut lane, 5, OTHER, 0);
        let large = ask(&mut lane, 9, OTHER, 1);
        ask(&mut lane, 5, OTHER, 2);
        lane.give_up(large);
        lane.close(large);
        assert_eq!(served(&mut lane), [2]);
        lane.close(held);
    }

    #[test]
    fn more_than_there_is_counts_as_all_of_it() {
        let mut lane = Lane::new(10);
        let huge = ask(&mut lane, 1000, OTHER, 0);
        assert_eq!((lane.bytes(huge), lane.held()), (10, 10));
        assert!(lane.grow_now(huge, 2000));
    }

    /// Two frames that announced nearly everything and stop early kept a small one waiting for as
    /// long as they liked.
    #[test]
    fn what_was_announced_keeps_nobody_waiting() {
        let mut lane = Lane::new(96);
        let first = lane.open(90);
        let second = lane.open(90);
        assert!(lane.grow_now(first, 7));
        assert!(!lane.grow_now(second, 7), "neither could be finished then");
        lane.wait(second, 7, OTHER, 2);
        assert!(served(&mut lane).is_empty());
        // The small one overtakes it, and so does a frame that can be finished beside the first.
        let small = ask(&mut lane, 20, OTHER, 3);
        assert_eq!(lane.bytes(small), 20);
        let third = lane.open(70);
        assert!(lane.grow_now(third, 4), "in work ends by itself");
        lane.close(small);
        lane.close(third);
        lane.close(first);
        assert_eq!(served(&mut lane), [2]);
    }

    #[test]
    fn those_put_aside_come_back_when_nothing_arrives() {
        let mut lane = Lane::new(10);
        let first = lane.open(10);
        assert!(lane.grow_now(first, 1));
        let waiting: Vec<ClaimId> = (0..40)
            .map(|number| {
                let claim = lane.open(10);
                lane.wait(claim, 1, OTHER, number);
                claim
            })
            .collect();
        assert!(served(&mut lane).is_empty() && lane.is_waited_for());
        for claim in &waiting[..39] {
            lane.give_up(*claim);
            lane.close(*claim);
        }
        lane.close(first);
        assert_eq!(served(&mut lane), [39]);
    }

    /// A claim of the property test: a frame with what it has and needs.
    struct Frame {
        claim: ClaimId,
        need: usize,
        waits: bool,
    }

    /// Whatever comes and goes: frames whose peers go on sending all arrive.
    #[test]
    fn no_frames_wait_for_each_other() {
        let mut seed = 1u64;
        let mut random = |below: usize| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        for round in 0..300 {
            let mut lane: Lane<ClaimId> = Lane::new(100);
            let mut frames: Vec<Frame> = Vec::new();
            let mut left = 30;
            let mut steps = 0;
            while left > 0 || !frames.is_empty() {
                steps += 1;
                assert!(
                    steps < 100_000,
                    "round {round}: {} frames wait for each other",
                    frames.len()
                );
                if left > 0 && random(3) == 0 {
                    left -= 1;
                    let need_max = if random(4) == 0 { 130 } else { 20 };
                    let need = 1 + random(need_max);
                    let claim = lane.open(need);
                    frames.push(Frame { claim, need, waits: false });
                }
                let at = random(frames.len().max(1));
                if let Some(frame) = frames.get_mut(at).filter(|frame| !frame.waits) {
                    let to = (lane.bytes(frame.claim) * 2).clamp(1, frame.need);
                    if lane.bytes(frame.claim) >= frame.need.min(100) {
                        lane.complete(frame.claim);
                        lane.close(frame.claim);
                        frames.swap_remove(at);
                    } else if !lane.grow_now(frame.claim, to) {
                        let standing = if random(2) == 0 { KNOWN } else { OTHER };
                        lane.wait(frame.claim, to, standing, frame.claim);
                        frame.waits = true;
                    }
                }
                while let Some(claim) = lane.next_served() {
                    let frame = frames.iter_mut().find(|frame| frame.claim == claim);
                    frame.expect("it waits").waits = false;
                }
                assert!(lane.held() <= 100);
            }
            assert_eq!((lane.held(), lane.is_waited_for()), (0, false));
        }
    }
}
