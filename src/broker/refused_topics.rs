//! Which refusals of topics were told to the log lately. A client that asks for a topic by name and
//! gets none asks again, many times a second, and only the log says why.
//!
//! Pure, and bounded: of so many names that they do not fit, the later ones are not told.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ringlog_runtime::Instant;

/// How long a name stays told.
const TOLD_FOR: Duration = Duration::from_secs(600);
/// Names remembered.
const NAMES_MAX: usize = 100;

/// The names of one shard.
#[derive(Default)]
pub(crate) struct RefusedTopics {
    told: RefCell<HashMap<Arc<str>, Instant>>,
}

impl RefusedTopics {
    /// Whether to tell that this name was refused; from then on it was told.
    pub(crate) fn is_news(&self, name: &str, now: Instant) -> bool {
        let mut told = self.told.borrow_mut();
        if told.len() >= NAMES_MAX {
            told.retain(|_, at| now - *at < TOLD_FOR);
        }
        if told.get(name).is_some_and(|at| now - *at < TOLD_FOR) {
            return false;
        }
        let has_room = told.len() < NAMES_MAX || told.contains_key(name);
        if has_room {
            told.insert(name.into(), now);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_told_once_in_a_while() {
        let refused = RefusedTopics::default();
        let start = Instant::from_nanos(0);
        assert!(refused.is_news("a.b", start));
        assert!(!refused.is_news("a.b", start + (TOLD_FOR - Duration::from_secs(1))));
        assert!(refused.is_news("a.b", start + TOLD_FOR));
        let told =
            (0..2 * NAMES_MAX).filter(|at| refused.is_news(&at.to_string(), start + TOLD_FOR));
        assert_eq!(told.count(), NAMES_MAX - 1, "no more than there is room for");
        assert!(refused.is_news("later", start + 2 * TOLD_FOR));
    }
}
