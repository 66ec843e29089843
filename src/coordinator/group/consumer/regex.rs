//! Subscriptions by regular expression (KIP-848, from version 1 of the heartbeat on).
//!
//! 1. A heartbeat that brings a new expression is refused if it cannot be compiled; otherwise the
//!    group's expressions begin to be resolved, against the topics as they are then.
//! 2. The resolution goes on in steps of a bounded cost, so that nobody on the shard is kept
//!    waiting by many topics or by an expression that is made to be slow. The engine's time is
//!    linear in the topic's name and in the size of the compiled expression, and that is bounded.
//! 3. What an expression stands for is a record, and the group's epoch grows if it has changed.
//! 4. New topics, ten minutes, or another member's new expression lead to the next resolution, at
//!    most every ten seconds.
//!
//! An expression matches whole names. Its language is that of RE2, as Kafka's is.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::rc::Rc;

use regex::bytes::{Regex, RegexBuilder};
use ringlog_types::{ErrorCode, TimestampMs};
use ringlog_wire::messages::consumer_group_regular_expression_value as regular_expression;

use super::refusal::Refusal;
use crate::group::cluster_view::ClusterView;

/// Longest expression.
const PATTERN_BYTES_MAX: usize = 8_192;
/// Sizes of compiled expressions, in bytes, tried in this order: how slow one may be follows from
/// it.
const COMPILED_BYTES: [usize; 3] = [8 << 10, 64 << 10, 512 << 10];
/// What the engine may keep beside.
const CACHE_BYTES: usize = 512 << 10;
/// The least that a state takes in a compiled expression.
const STATE_BYTES: usize = 16;
/// Cost of one step, in bytes of names times states: some milliseconds at worst.
const STEP_COST: usize = 4 << 20;

/// An expression, and the topics it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResolvedRegex {
    pub(crate) topics: BTreeSet<Rc<str>>,
    /// Of the metadata against which it was resolved.
    pub(crate) version: i64,
    pub(crate) resolved_ms: TimestampMs,
}

impl ResolvedRegex {
    pub(super) fn from_value(
        value: &regular_expression::ConsumerGroupRegularExpressionValue<'_>,
    ) -> ResolvedRegex {
        let name = |name: &Cow<'_, str>| Rc::from(name.as_ref());
        ResolvedRegex {
            topics: value.topics.iter().map(name).collect(),
            version: value.version,
            resolved_ms: value.timestamp,
        }
    }
}

/// Which topics a client may see.
#[derive(Clone)]
pub struct Viewer(Rc<dyn Fn(&str) -> bool>);

impl Viewer {
    /// One that may see the topics of which this is true.
    pub fn new(may_see: impl Fn(&str) -> bool + 'static) -> Viewer {
        Viewer(Rc::new(may_see))
    }

    /// One that may see everything.
    pub fn of_all() -> Viewer {
        Viewer::new(|_| true)
    }
}

impl std::fmt::Debug for Viewer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Viewer")
    }
}

/// A compiled expression.
#[derive(Debug)]
struct Compiled {
    regex: Regex,
    /// Cost of each byte of a name.
    byte_cost: usize,
}

/// Compiles an expression, so that it matches whole names.
fn compile(pattern: &str) -> Result<Compiled, String> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(format!("longer than {PATTERN_BYTES_MAX} bytes"));
    }
    // By itself first: what is put around it must not mend it.
    let sized = |pattern: &str, size: usize| {
        RegexBuilder::new(pattern)
            .size_limit(size)
            .dfa_size_limit(CACHE_BYTES)
            .unicode(false)
            .build()
    };
    let most = COMPILED_BYTES[COMPILED_BYTES.len() - 1];
    sized(pattern, most).map_err(|error| described(&error))?;
    let whole = format!(r"\A(?:{pattern})\z");
    let mut failed = String::new();
    for size in COMPILED_BYTES {
        match sized(&whole, size) {
            Ok(regex) => return Ok(Compiled { regex, byte_cost: size / STATE_BYTES }),
            Err(error) => failed = described(&error),
        }
    }
    Err(failed)
}

/// The last line of what the engine says: the lines before it show the place.
fn described(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).trim_end_matches('.').to_owned()
}

/// Checks an expression that a member brings.
pub(super) fn check(pattern: &str) -> Result<(), Refusal> {
    compile(pattern).map(drop).map_err(|reason| {
        Refusal::new(
            ErrorCode::InvalidRegularExpression,
            format!(
                "SubscribedTopicRegex `{pattern}` is not a valid regular expression: {reason}."
            ),
        )
    })
}

/// The expressions of a group on their way to be resolved.
#[derive(Debug)]
pub(crate) struct Resolution {
    /// Those to come.
    left: Vec<Rc<str>>,
    current: Option<(Rc<str>, Compiled)>,
    found: BTreeSet<Rc<str>>,
    names: Vec<Rc<str>>,
    next_name: usize,
    viewer: Viewer,
    version: i64,
    begun_ms: TimestampMs,
    done: Vec<(Rc<str>, ResolvedRegex)>,
}

impl Resolution {
    pub(super) fn begin(
        regexes: Vec<Rc<str>>,
        viewer: Viewer,
        topics: &dyn ClusterView,
        now_ms: TimestampMs,
    ) -> Resolution {
        Resolution {
            left: regexes,
            current: None,
            found: BTreeSet::new(),
            names: topics.names(),
            next_name: 0,
            viewer,
            version: topics.version(),
            begun_ms: now_ms,
            done: Vec::new(),
        }
    }

    /// Takes one step. Returns whether all is resolved.
    pub(super) fn step(&mut self) -> bool {
        let mut cost = 0;
        while cost < STEP_COST {
            let Some((_, compiled)) = &self.current else {
                let Some(next) = self.left.pop() else { return true };
                // One that cannot be compiled (it came from a log) stands for nothing.
                match compile(&next) {
                    Ok(compiled) => self.current = Some((next, compiled)),
                    Err(_) => self.finish(next),
                }
                cost += STEP_COST / 8;
                continue;
            };
            let Some(name) = self.names.get(self.next_name) else {
                let (regex, _) = self.current.take().expect("it was just looked at");
                self.finish(regex);
                continue;
            };
            cost += name.len() * compiled.byte_cost;
            if compiled.regex.is_match(name.as_bytes()) && (self.viewer.0)(name) {
                self.found.insert(name.clone());
            }
            self.next_name += 1;
        }
        false
    }

    fn finish(&mut self, regex: Rc<str>) {
        let topics = std::mem::take(&mut self.found);
        self.next_name = 0;
        let (version, resolved_ms) = (self.version, self.begun_ms);
        self.done.push((regex, ResolvedRegex { topics, version, resolved_ms }));
    }

    /// What came out.
    pub(super) fn into_resolved(self) -> Vec<(Rc<str>, ResolvedRegex)> {
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        compile(pattern).unwrap().regex.is_match(name.as_bytes())
    }

    #[test]
    fn an_expression_matches_whole_names() {
        assert!(matches("a|ab", "ab") && matches("foo.*", "foo-1") && matches("[a-c]+", "abc"));
        assert!(!matches("foo", "foo-1") && !matches("foo", "a-foo"));
        assert!(matches("(?i)FOO", "foo"));
    }

    #[test]
    fn what_cannot_be_compiled_or_is_too_large_is_refused() {
        for bad in ["(", "a)(b", "[z-a]", "(?<!x)y", r"\1", "(((a{100}){100}){100}){100}", "*"] {
            let refusal = check(bad).unwrap_err();
            assert_eq!(refusal.error, ErrorCode::InvalidRegularExpression, "{bad}");
            let begin = format!("SubscribedTopicRegex `{bad}` is not a valid regular expression: ");
            assert!(refusal.message.starts_with(&begin), "{}", refusal.message);
        }
        assert!(check(&"a".repeat(PATTERN_BYTES_MAX + 1)).is_err());
    }

    /// The kind that takes backtracking engines a lifetime: the cost is bounded by steps.
    #[test]
    fn an_expression_made_to_be_slow_is_resolved_in_steps() {
        struct Many;
        impl ClusterView for Many {
            fn by_name(&self, _: &str) -> Option<crate::group::TopicFacts> {
                None
            }
            fn name_of(&self, _: &ringlog_types::Uuid) -> Option<Rc<str>> {
                None
            }
            fn names(&self) -> Vec<Rc<str>> {
                (0..1_000).map(|at| format!("{}{at}", "a".repeat(200)).into()).collect()
            }
            fn version(&self) -> i64 {
                7
            }
            fn consumer_times(&self, _: &str) -> crate::group::ConsumerTimes {
                crate::group::ConsumerTimes::default()
            }
        }
        let pattern: Rc<str> = "(a*)*(a|aa)+[0-9]{1,40}7".into();
        let viewer = Viewer::new(|name| !name.ends_with("17"));
        let mut resolution = Resolution::begin(vec![pattern.clone()], viewer, &Many, 5);
        let mut steps = 1;
        while !resolution.step() {
            steps += 1;
        }
        assert!(steps > 20, "{steps}");
        let resolved = resolution.into_resolved();
        assert_eq!((resolved.len(), &resolved[0].0), (1, &pattern));
        assert_eq!((resolved[0].1.version, resolved[0].1.resolved_ms), (7, 5));
        // Two digits at least, of which the last is 7; ten end with 17, and one of them is 17.
        assert_eq!(resolved[0].1.topics.len(), 99 - 10);
    }
}
