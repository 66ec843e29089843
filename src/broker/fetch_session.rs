//! Incremental fetch sessions (KIP-227): a client names its partitions once, then sends and
//! receives only what changed.
//!
//! The cache is pure: time and the ids of new sessions come in as arguments. It belongs to one
//! shard and lives as long as it; a client whose connection lands on another shard gets
//! `FETCH_SESSION_ID_NOT_FOUND` and starts over with a full fetch, as after a restart. The cache
//! is bounded by `max.incremental.fetch.session.cache.slots`, and in bytes: a session may name
//! 87,000 partitions. A client that finds no slot is served with full fetches. Where there is no
//! room for a session's bytes, the largest gives way, as long as it is larger than the newcomer:
//! one that names few partitions is never given up for one that names many.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ringlog_runtime::Instant;
use ringlog_types::{ErrorCode, LeaderEpoch, Offset, Uuid};

use crate::replicas::topics::TopicRef;

/// The request does not belong to a session, or ends one.
const FINAL_EPOCH: i32 = -1;
/// The request asks for a new session.
const INITIAL_EPOCH: i32 = 0;
/// A session that was used within this time is not given up for a newcomer.
const EVICTION_AGE_MIN: Duration = Duration::from_secs(120);

/// The wish of a client for one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FetchTarget {
    pub(crate) topic: TopicRef,
    /// The name of a topic that is named by its id, since the id was known here first: it stays
    /// when the topic is deleted.
    pub(crate) known_as: Option<Arc<str>>,
    pub(crate) partition: i32,
    pub(crate) fetch_offset: Offset,
    pub(crate) partition_bytes_max: usize,
    pub(crate) current_leader_epoch: LeaderEpoch,
    pub(crate) last_fetched_epoch: LeaderEpoch,
}

/// The last that a response said of a partition; an incremental one repeats only what is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LastSent {
    pub(crate) high_watermark: Offset,
    pub(crate) log_start_offset: Offset,
}

const NEVER_SENT: LastSent = LastSent { high_watermark: -1, log_start_offset: -1 };

impl FetchTarget {
    fn note_name(&mut self, name_of: impl Fn(&Uuid) -> Option<Arc<str>>) {
        if let (TopicRef::Id(id), None) = (&self.topic, &self.known_as) {
            self.known_as = name_of(id);
        }
    }
}

struct SessionPartition {
    target: FetchTarget,
    last_sent: LastSent,
}

impl SessionPartition {
    fn bytes(&self) -> usize {
        let name = match &self.target.topic {
            TopicRef::Name(name) => name.len() + ARC_BYTES,
            TopicRef::Id(_) => 0,
        };
        size_of::<SessionPartition>() + name
    }
}

/// The bytes of a shared name besides its text: two counts.
const ARC_BYTES: usize = 16;

struct Session {
    epoch: i32,
    uses_topic_ids: bool,
    last_used: Instant,
    partitions: Vec<SessionPartition>,
    /// Where the next response begins, so that the first partitions do not starve the others
    /// when a response is full.
    start: usize,
    /// The bytes that its partitions take.
    bytes: usize,
}

/// A session between two caches.
pub(crate) struct TakenSession {
    session_id: i32,
    session: Session,
}

/// The session part of a fetch request.
pub(crate) struct SessionRequest {
    pub(crate) session_id: i32,
    pub(crate) epoch: i32,
    pub(crate) uses_topic_ids: bool,
    /// Partitions to add or change (incremental), or all of them (full).
    pub(crate) targets: Vec<FetchTarget>,
    pub(crate) forgotten: Vec<(TopicRef, i32)>,
}

/// The partitions that a fetch works on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FetchPlan {
    /// 0 when there is no session.
    pub(crate) session_id: i32,
    /// Whether unchanged partitions are left out of the response.
    pub(crate) incremental: bool,
    /// In the order in which they are to be read.
    pub(crate) targets: Vec<FetchTarget>,
    /// Where in the session the first target stands; the others follow, around its end.
    first_slot: usize,
}

/// The sessions of one shard.
pub(crate) struct SessionCache {
    slots: usize,
    bytes_max: usize,
    sessions: HashMap<i32, Session>,
    /// Of all sessions.
    bytes: usize,
}

impl SessionCache {
    pub(crate) fn new(slots: usize, bytes_max: usize) -> SessionCache {
        SessionCache { slots, bytes_max, sessions: HashMap::new(), bytes: 0 }
    }

    fn insert(&mut self, session_id: i32, session: Session) {
        self.bytes += session.bytes;
        let before = self.sessions.insert(session_id, session);
        assert!(before.is_none(), "an id is given once");
    }

    fn remove(&mut self, session_id: i32) -> Option<Session> {
        let session = self.sessions.remove(&session_id)?;
        self.bytes -= session.bytes;
        Some(session)
    }

    /// Makes room for so many bytes more, of a session that will have `of` in all: larger ones give
    /// way, the largest first. False if there is not enough of them.
    fn make_room(&mut self, more: usize, of: usize) -> bool {
        while self.bytes + more > self.bytes_max {
            let largest = self.sessions.iter().max_by_key(|(_, session)| session.bytes);
            match largest {
                Some((&id, session)) if session.bytes > of => self.remove(id),
                _ => return false,
            };
        }
        true
    }

    /// How many sessions are open.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Applies a request to its session and says what to fetch.
    ///
    /// `random_id` proposes the id of a new session, `name_of` knows the topics there are. Errors
    /// are `FETCH_SESSION_ID_NOT_FOUND`, `INVALID_FETCH_SESSION_EPOCH` and
    /// `FETCH_SESSION_TOPIC_ID_ERROR`; the client answers all of them with a full fetch.
    pub(crate) fn plan(
        &mut self,
        request: SessionRequest,
        now: Instant,
        random_id: u32,
        name_of: impl Fn(&Uuid) -> Option<Arc<str>>,
    ) -> Result<FetchPlan, ErrorCode> {
        let mut targets = without_repeats(request.targets);
        targets.iter_mut().for_each(|target| target.note_name(&name_of));
        let request = SessionRequest { targets, ..request };
        if request.epoch == FINAL_EPOCH || request.epoch == INITIAL_EPOCH {
            // A full request that names a session ends it.
            self.remove(request.session_id);
            if request.epoch == FINAL_EPOCH || request.targets.is_empty() {
                return Ok(sessionless(request.targets));
            }
            return Ok(self.open(request, now, random_id));
        }
        let session =
            self.sessions.get_mut(&request.session_id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.epoch != request.epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.uses_topic_ids != request.uses_topic_ids {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        let before = session.bytes;
        session.update(request.targets, &request.forgotten);
        let now_bytes = session.bytes;
        self.bytes = self.bytes - before + now_bytes;
        if session.partitions.is_empty() {
            self.remove(request.session_id);
            return Ok(sessionless(Vec::new()));
        }
        if now_bytes > before && !self.make_room(0, now_bytes) {
            self.remove(request.session_id);
        }
        // The removed session may have been the largest.
        let session =
            self.sessions.get_mut(&request.session_id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        let targets = session.partitions.iter_mut().map(|partition| &mut partition.target);
        targets.for_each(|target| target.note_name(&name_of));
        session.epoch = next_epoch(session.epoch);
        session.last_used = now;
        Ok(FetchPlan {
            session_id: request.session_id,
            incremental: true,
            targets: session.in_reading_order(),
            first_slot: session.start,
        })
    }

    fn open(&mut self, request: SessionRequest, now: Instant, random_id: u32) -> FetchPlan {
        if self.sessions.len() >= self.slots && !self.evict_one(now) {
            return sessionless(request.targets);
        }
        let mut session_id = (random_id >> 1).max(1) as i32;
        while self.sessions.contains_key(&session_id) {
            session_id = session_id.wrapping_add(1).max(1);
        }
        let partitions = request
            .targets
            .iter()
            .map(|target| SessionPartition { target: target.clone(), last_sent: NEVER_SENT });
        let partitions: Vec<SessionPartition> = partitions.collect();
        let bytes = partitions.iter().map(SessionPartition::bytes).sum();
        if !self.make_room(bytes, bytes) {
            return sessionless(request.targets);
        }
        let session = Session {
            epoch: next_epoch(INITIAL_EPOCH),
            uses_topic_ids: request.uses_topic_ids,
            last_used: now,
            partitions,
            start: 0,
            bytes,
        };
        self.insert(session_id, session);
        FetchPlan { session_id, incremental: false, targets: request.targets, first_slot: 0 }
    }

    /// Gives up the session that was not used for longest, if that is long enough.
    fn evict_one(&mut self, now: Instant) -> bool {
        let oldest = self.sessions.iter().min_by_key(|(_, session)| session.last_used);
        match oldest {
            Some((&id, session)) if now - session.last_used >= EVICTION_AGE_MIN => {
                self.remove(id);
                true
            }
            _ => false,
        }
    }

    /// Takes a session out, to follow its connection to another shard.
    pub(crate) fn take(&mut self, session_id: i32) -> Option<TakenSession> {
        let session = self.remove(session_id)?;
        Some(TakenSession { session_id, session })
    }

    /// Puts a session in that comes from another shard. Without a free slot, or if its id is
    /// taken, it ends: the client then starts over with a full fetch.
    pub(crate) fn put(&mut self, taken: TakenSession, now: Instant) {
        let TakenSession { session_id, session } = taken;
        let has_room = self.sessions.len() < self.slots || self.evict_one(now);
        let is_new = !self.sessions.contains_key(&session_id);
        if has_room && is_new && self.make_room(session.bytes, session.bytes) {
            self.insert(session_id, session);
        }
    }

    /// Notes what a response says of the plan's target `index` and tells whether that is news.
    /// A partition with data moves the start of the next response behind it.
    pub(crate) fn note_sent(
        &mut self,
        plan: &FetchPlan,
        index: usize,
        sent: LastSent,
        has_data: bool,
    ) -> bool {
        let Some(session) = self.sessions.get_mut(&plan.session_id) else { return true };
        let count = session.partitions.len();
        let slot = (plan.first_slot + index) % count;
        if has_data {
            session.start = (slot + 1) % count;
        }
        let partition = &mut session.partitions[slot];
        if partition.target != plan.targets[index] {
            // The client changed the session while this fetch was under way.
            return true;
        }
        let is_news = partition.last_sent != sent;
        partition.last_sent = sent;
        is_news
    }
}

impl Session {
    fn update(&mut self, targets: Vec<FetchTarget>, forgotten: &[(TopicRef, i32)]) {
        if !targets.is_empty() || !forgotten.is_empty() {
            let mut index: HashMap<(TopicRef, i32), usize> = HashMap::new();
            for (position, partition) in self.partitions.iter().enumerate() {
                let target = &partition.target;
                index.insert((target.topic.clone(), target.partition), position);
            }
            for target in targets {
                match index.get(&(target.topic.clone(), target.partition)) {
                    Some(&position) => {
                        let earlier = &mut self.partitions[position].target;
                        let known_as = target.known_as.clone().or(earlier.known_as.take());
                        *earlier = FetchTarget { known_as, ..target };
                    }
                    None => {
                        self.partitions.push(SessionPartition { target, last_sent: NEVER_SENT })
                    }
                }
            }
            let forgotten: std::collections::HashSet<_> = forgotten.iter().collect();
            self.partitions.retain(|partition| {
                let target = &partition.target;
                !forgotten.contains(&(target.topic.clone(), target.partition))
            });
            self.start =
                if self.partitions.is_empty() { 0 } else { self.start % self.partitions.len() };
            self.partitions.shrink_to(self.partitions.len() * 2);
            self.bytes = self.partitions.iter().map(SessionPartition::bytes).sum();
        }
    }

    fn in_reading_order(&self) -> Vec<FetchTarget> {
        let (before, from) = self.partitions.split_at(self.start);
        from.iter().chain(before).map(|partition| partition.target.clone()).collect()
    }
}

/// Each partition once, where it stands first and as it is asked for last (Kafka puts them into a
/// `LinkedHashMap`).
fn without_repeats(targets: Vec<FetchTarget>) -> Vec<FetchTarget> {
    let mut places = HashMap::with_capacity(targets.len());
    let mut distinct: Vec<FetchTarget> = Vec::with_capacity(targets.len());
    for target in targets {
        let place =
            *places.entry((target.topic.clone(), target.partition)).or_insert(distinct.len());
        match distinct.get_mut(place) {
            Some(repeated) => *repeated = target,
            None => distinct.push(target),
        }
    }
    distinct
}

fn sessionless(targets: Vec<FetchTarget>) -> FetchPlan {
    FetchPlan { session_id: 0, incremental: false, targets, first_slot: 0 }
}

/// Epochs go 1, 2, … `i32::MAX`, 1 (`FetchMetadata.nextEpoch`).
fn next_epoch(epoch: i32) -> i32 {
    epoch.checked_add(1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(partition: i32, fetch_offset: Offset) -> FetchTarget {
        FetchTarget {
            topic: TopicRef::Name("logs".into()),
            known_as: None,
            partition,
            fetch_offset,
            partition_bytes_max: 1 << 20,
            current_leader_epoch: -1,
            last_fetched_epoch: -1,
        }
    }

    fn request(session_id: i32, epoch: i32, targets: Vec<FetchTarget>) -> SessionRequest {
        SessionRequest { session_id, epoch, uses_topic_ids: false, targets, forgotten: vec![] }
    }

    const T0: Instant = Instant::from_nanos(0);

    #[test]
    fn a_session_remembers_what_was_asked() {
        let mut cache = SessionCache::new(2, 1 << 20);
        let full =
            cache.plan(request(0, 0, vec![target(0, 0), target(1, 0)]), T0, 14, |_| None).unwrap();
        assert_eq!((full.session_id, full.incremental, full.targets.len()), (7, false, 2));

        let plan = cache.plan(request(7, 1, vec![target(1, 9)]), T0, 0, |_| None).unwrap();
        assert_eq!(plan.targets, [target(0, 0), target(1, 9)]);
        assert!(plan.incremental);

        let mut forget = request(7, 2, vec![target(2, 5)]);
        forget.forgotten = vec![(TopicRef::Name("logs".into()), 0)];
        let plan = cache.plan(forget, T0, 0, |_| None).unwrap();
        assert_eq!(plan.targets, [target(1, 9), target(2, 5)]);
    }

    /// A deleted topic is told apart from one that was never known.
    #[test]
    fn the_name_behind_an_id_is_kept() {
        let id = Uuid::from_u128(7);
        let by_id = |partition| FetchTarget { topic: TopicRef::Id(id), ..target(partition, 0) };
        let by_ids = |session_id, epoch, targets| SessionRequest {
            uses_topic_ids: true,
            ..request(session_id, epoch, targets)
        };
        let mut cache = SessionCache::new(2, 1 << 20);
        let names = |plan: Result<FetchPlan, _>| -> Vec<_> {
            plan.unwrap().targets.into_iter().map(|target| target.known_as).collect()
        };
        let known = |asked: &Uuid| (*asked == id).then(|| Arc::from("logs"));
        let full = cache.plan(by_ids(0, 0, vec![by_id(0)]), T0, 14, |_| None);
        assert_eq!(names(full), [None]);
        let created = cache.plan(by_ids(7, 1, vec![]), T0, 0, known);
        assert_eq!(names(created), [Some("logs".into())]);
        let deleted = cache.plan(by_ids(7, 2, vec![by_id(0), by_id(1)]), T0, 0, |_| None);
        assert_eq!(names(deleted), [Some("logs".into()), None]);
    }

    /// 200 sessions that named 87,000 partitions each took 1.2 GB.
    #[test]
    fn sessions_are_bounded_in_bytes_and_the_largest_gives_way() {
        let one = SessionPartition { target: target(0, 0), last_sent: NEVER_SENT }.bytes();
        let mut cache = SessionCache::new(1000, 100 * one);
        let open = |cache: &mut SessionCache, count, id: u32| {
            let targets = (0..count).map(|p| target(p, 0)).collect();
            cache.plan(request(0, 0, targets), T0, id << 1, |_| None).unwrap().session_id
        };
        assert_eq!(open(&mut cache, 101, 1), 0, "more than there is");
        assert_eq!(open(&mut cache, 60, 2), 2);
        assert_eq!(open(&mut cache, 60, 3), 0, "not larger than the newcomer");
        assert_eq!(open(&mut cache, 40, 4), 4);
        assert_eq!((cache.len(), cache.bytes), (2, 100 * one));
        assert_eq!(open(&mut cache, 10, 5), 5);
        assert_eq!((cache.len(), cache.bytes), (2, 50 * one), "the one of 60 is gone");
        // One that grows beyond what there is ends, and its client starts over.
        let more = (100..200).map(|p| target(p, 0)).collect();
        let grown = cache.plan(request(5, 1, more), T0, 0, |_| None).unwrap_err();
        assert_eq!(grown, ErrorCode::FetchSessionIdNotFound);
        assert_eq!((cache.len(), cache.bytes), (1, 40 * one));
        assert!(cache.take(4).is_some());
        assert_eq!(cache.bytes, 0);
    }

    #[test]
    fn a_partition_is_fetched_once() {
        let mut cache = SessionCache::new(2, 1 << 20);
        let targets = vec![target(0, 0), target(1, 0), target(0, 8)];
        let expected = [target(0, 8), target(1, 0)];
        let sessionless = cache.plan(request(0, -1, targets.clone()), T0, 14, |_| None).unwrap();
        assert_eq!(sessionless.targets, expected);
        let full = cache.plan(request(0, 0, targets), T0, 14, |_| None).unwrap();
        assert_eq!(full.targets, expected);
        let more = vec![target(2, 0), target(2, 3)];
        let plan = cache.plan(request(7, 1, more), T0, 0, |_| None).unwrap();
        assert_eq!(plan.targets, [target(0, 8), target(1, 0), target(2, 3)]);
    }

    #[test]
    fn a_full_partition_goes_to_the_end() {
        let mut cache = SessionCache::new(2, 1 << 20);
        let order = |plan: &FetchPlan| -> Vec<i32> {
            plan.targets.iter().map(|target| target.partition).collect()
        };
        let targets = (0..3).map(|p| target(p, 0)).collect();
        let full = cache.plan(request(0, 0, targets), T0, 14, |_| None).unwrap();
        let sent = LastSent { high_watermark: 4, log_start_offset: 0 };
        assert!(cache.note_sent(&full, 0, sent, true), "first time is news");
        let second = cache.plan(request(7, 1, vec![]), T0, 0, |_| None).unwrap();
        assert_eq!(order(&second), [1, 2, 0]);
        assert!(!cache.note_sent(&second, 2, sent, false), "second time is not");
        assert!(cache.note_sent(&second, 1, sent, true));
        let third = cache.plan(request(7, 2, vec![]), T0, 0, |_| None).unwrap();
        assert_eq!(order(&third), [0, 1, 2]);
    }

    #[test]
    fn wrong_ids_and_epochs_are_refused() {
        let mut cache = SessionCache::new(2, 1 << 20);
        let plan = |cache: &mut SessionCache, id, epoch, targets| {
            cache.plan(request(id, epoch, targets), T0, 14, |_| None).map(|plan| plan.session_id)
        };
        assert_eq!(plan(&mut cache, 5, 3, vec![]), Err(ErrorCode::FetchSessionIdNotFound));
        assert_eq!(plan(&mut cache, 0, 0, vec![target(0, 0)]), Ok(7));
        assert_eq!(plan(&mut cache, 7, 2, vec![]), Err(ErrorCode::InvalidFetchSessionEpoch));
        assert_eq!(plan(&mut cache, 7, 1, vec![]), Ok(7));
        let mut by_id = request(7, 2, vec![]);
        by_id.uses_topic_ids = true;
        assert_eq!(cache.plan(by_id, T0, 0, |_| None), Err(ErrorCode::FetchSessionTopicIdError));
        assert_eq!(plan(&mut cache, 7, -1, vec![target(0, 0)]), Ok(0), "closes");
        assert_eq!(cache.len(), 0);
    }

    #[test]
    fn a_session_goes_on_in_another_cache() {
        let (mut here, mut there) = (SessionCache::new(1, 1 << 20), SessionCache::new(1, 1 << 20));
        here.plan(request(0, 0, vec![target(3, 5)]), T0, 14, |_| None).unwrap();
        assert!(here.take(8).is_none());
        there.put(here.take(7).unwrap(), T0);
        assert_eq!(here.len(), 0);
        let plan = there.plan(request(7, 1, vec![]), T0, 0, |_| None).unwrap();
        assert_eq!(plan.targets, [target(3, 5)]);

        here.plan(request(0, 0, vec![target(0, 0)]), T0, 14, |_| None).unwrap();
        there.put(here.take(7).unwrap(), T0);
        let plan = there.plan(request(7, 2, vec![]), T0, 0, |_| None).unwrap();
        assert_eq!(plan.targets, [target(3, 5)], "the id was taken, or there was no room");
    }

    #[test]
    fn the_cache_is_bounded() {
        let mut cache = SessionCache::new(2, 1 << 20);
        for id in [2, 4, 6] {
            cache.plan(request(0, 0, vec![target(0, 0)]), T0, id, |_| None).unwrap();
        }
        assert_eq!(cache.len(), 2, "the third gets no session");
        let later = T0 + EVICTION_AGE_MIN;
        let plan = cache.plan(request(0, 0, vec![target(0, 0)]), later, 20, |_| None).unwrap();
        assert_eq!((plan.session_id, cache.len()), (10, 2), "an old one made room");
    }
}
