//! DescribeTransactions and ListTransactions, of what is committed (KIP-664, KIP-994, KIP-1152).

use std::borrow::Cow;
use std::rc::Rc;

use regex::{Regex, RegexBuilder};
use ringlog_types::{ErrorCode, ProducerId};
use ringlog_wire::messages::{describe_transactions_response, list_transactions_response};

use super::TransactionCoordinator;
use super::metadata::Transaction;
use super::state::TransactionState;
use crate::outcome::Now;

/// What a pattern may take in memory when it is compiled, and while it is matched.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// Patterns may be nested so deep.
const PATTERN_DEPTH_MAX: u32 = 50;

/// A pattern that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(String);

/// Which transactions ListTransactions is to list.
#[derive(Debug, Clone, Default)]
pub struct ListFilter {
    /// Of these states; of any, if there are none.
    pub states: Option<Vec<TransactionState>>,
    /// Of these producers; of any, if there are none.
    pub producer_ids: Vec<ProducerId>,
    /// Only those that are open for longer.
    pub open_longer_than_ms: Option<i64>,
    /// Whose ids match.
    pub pattern: Option<IdPattern>,
}

/// A pattern that ids match as a whole.
#[derive(Debug, Clone)]
pub struct IdPattern(Regex);

impl IdPattern {
    /// Compiles `pattern`.
    ///
    /// # Errors
    /// If it is no pattern, or too large a one.
    pub fn new(pattern: &str) -> Result<IdPattern, PatternError> {
        // By itself first: no part of it may end the group that is put around it.
        compile(pattern)?;
        Ok(IdPattern(compile(&format!(r"\A(?:{pattern})\z"))?))
    }
}

impl ListFilter {
    fn lets(&self, id: &str, transaction: &Transaction, now: Now) -> bool {
        let is_open_longer = |than_ms: i64| {
            transaction.state == TransactionState::Ongoing
                && now.wall_ms.saturating_sub(transaction.start_ms) > than_ms
        };
        transaction.state != TransactionState::Dead
            && (self.producer_ids.is_empty()
                || self.producer_ids.contains(&transaction.producer_id))
            && self.states.as_ref().is_none_or(|states| states.contains(&transaction.state))
            && self.open_longer_than_ms.is_none_or(is_open_longer)
            && self.pattern.as_ref().is_none_or(|pattern| pattern.0.is_match(id))
    }
}

fn compile(pattern: &str) -> Result<Regex, PatternError> {
    let mut builder = RegexBuilder::new(pattern);
    builder.size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX);
    let compiled = builder.nest_limit(PATTERN_DEPTH_MAX).build();
    compiled.map_err(|error| PatternError(error.to_string()))
}

impl TransactionCoordinator {
    /// DescribeTransactions, of one id.
    pub fn describe(&self, id: &str) -> describe_transactions_response::TransactionState<'static> {
        let transactional_id: Cow<'static, str> = Cow::Owned(id.to_owned());
        let failed = |error: ErrorCode| describe_transactions_response::TransactionState {
            error_code: error.code(),
            transactional_id: transactional_id.clone(),
            ..Default::default()
        };
        if id.is_empty() {
            return failed(ErrorCode::InvalidRequest);
        }
        let known = self.settled(id).filter(|known| known.state != TransactionState::Dead);
        let Some(known) = known else { return failed(ErrorCode::TransactionalIdNotFound) };
        let mut topics: Vec<describe_transactions_response::TopicData<'static>> = Vec::new();
        for (topic, index) in &known.partitions {
            if topics.last().is_none_or(|last| last.topic != **topic) {
                let topic = Cow::Owned(topic.to_string());
                topics.push(describe_transactions_response::TopicData {
                    topic,
                    ..Default::default()
                });
            }
            topics.last_mut().expect("it was just pushed").partitions.push(*index);
        }
        describe_transactions_response::TransactionState {
            error_code: 0,
            transactional_id,
            transaction_state: Cow::Borrowed(known.state.name()),
            transaction_timeout_ms: known.timeout_ms,
            transaction_start_time_ms: known.start_ms,
            producer_id: known.producer_id,
            producer_epoch: known.epoch,
            topics,
        }
    }

    /// ListTransactions.
    pub fn list(
        &self,
        filter: &ListFilter,
        now: Now,
    ) -> Vec<list_transactions_response::TransactionState<'static>> {
        let transactions = self.transactions.committed().iter();
        let mut listed: Vec<(&Rc<str>, &Rc<Transaction>)> =
            transactions.filter(|(id, known)| filter.lets(id, known, now)).collect();
        listed.sort_unstable_by_key(|(id, _)| *id);
        let listed =
            listed.into_iter().map(|(id, known)| list_transactions_response::TransactionState {
                transactional_id: Cow::Owned(id.to_string()),
                producer_id: known.producer_id,
                transaction_state: Cow::Borrowed(known.state.name()),
            });
        listed.collect()
    }

    /// How many ids there are in each state, as of what was decided.
    pub fn state_counts(&self) -> [(TransactionState, usize); 6] {
        use TransactionState::{
            CompleteAbort, CompleteCommit, Empty, Ongoing, PrepareAbort, PrepareCommit,
        };
        let of = |state| {
            let transactions = self.transactions.newest().values();
            (state, transactions.filter(|known| known.state == state).count())
        };
        [Empty, Ongoing, PrepareCommit, PrepareAbort, CompleteCommit, CompleteAbort].map(of)
    }
}
