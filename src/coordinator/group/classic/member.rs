//! One member of a classic group.

use std::rc::Rc;

use bytes::Bytes;

use crate::outcome::ReplyTo;

/// A protocol (assignment strategy) that a member supports, and what it says about itself there.
pub(crate) type Protocol = (Rc<str>, Bytes);

/// What a client says of itself when it joins.
#[derive(Debug, Clone)]
pub(crate) struct Joining {
    /// `group.instance.id`: the member is static (KIP-345).
    pub(crate) instance_id: Option<Rc<str>>,
    pub(crate) client_id: Rc<str>,
    pub(crate) client_host: Rc<str>,
    pub(crate) rebalance_timeout_ms: u64,
    pub(crate) session_timeout_ms: u64,
    /// `consumer`, `connect` …
    pub(crate) protocol_type: Rc<str>,
    /// The most wanted first.
    pub(crate) protocols: Vec<Protocol>,
}

/// A member, from its first JoinGroup until it leaves or is silent for too long.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) id: Rc<str>,
    pub(crate) joined: Joining,
    /// From the leader's SyncGroup; empty before it.
    pub(crate) assignment: Bytes,
    /// Its JoinGroup that waits for the others.
    pub(crate) awaiting_join: Option<ReplyTo>,
    /// Its SyncGroup that waits for the leader's.
    pub(crate) awaiting_sync: Option<ReplyTo>,
    /// It has not heard its id yet, so it cannot send heartbeats.
    pub(crate) is_new: bool,
    /// When it is taken for gone, by the monotonic clock.
    pub(crate) expires_at_ms: u64,
}

impl Member {
    pub(crate) fn new(id: Rc<str>, joined: Joining) -> Member {
        Member {
            id,
            joined,
            assignment: Bytes::new(),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
            expires_at_ms: 0,
        }
    }

    /// A static member outlives the process that it stands for.
    pub(crate) fn is_static(&self) -> bool {
        self.joined.instance_id.is_some()
    }

    /// Whether a request of it waits: nobody who is being answered late is taken for gone.
    pub(crate) fn is_awaiting(&self) -> bool {
        self.awaiting_join.is_some() || self.awaiting_sync.is_some()
    }

    /// Whether it says the same of itself as when it joined.
    pub(crate) fn matches(&self, protocols: &[Protocol]) -> bool {
        self.joined.protocols == protocols
    }

    /// What it says about itself under `protocol`.
    pub(crate) fn metadata(&self, protocol: Option<&str>) -> Bytes {
        let of = |name: &str| self.joined.protocols.iter().find(|(known, _)| &**known == name);
        protocol.and_then(of).map_or_else(Bytes::new, |(_, metadata)| metadata.clone())
    }

    /// The protocol it votes for: the first of its own that all support.
    pub(crate) fn vote(&self, is_candidate: impl Fn(&str) -> bool) -> Option<&Rc<str>> {
        self.joined.protocols.iter().map(|(name, _)| name).find(|name| is_candidate(name))
    }
}
