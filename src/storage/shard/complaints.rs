//! How often the same damage is told of in the log: a consumer that stands before it asks for it
//! many times a second. Pure; takes `now`.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringlog_runtime::Instant;

/// The same place is told of once in so long.
const INTERVAL: Duration = Duration::from_secs(60);
/// How many places are remembered; of more, each is told again when it is met again.
const PLACES_MAX: usize = 64;

/// What was told lately.
#[derive(Debug, Default)]
pub(crate) struct Complaints(VecDeque<(PathBuf, u64, Instant)>);

impl Complaints {
    /// Whether to tell of damage at this position of a file now.
    pub(crate) fn is_due(&mut self, path: &Path, position: u64, now: Instant) -> bool {
        self.0.retain(|(.., told)| now - *told < INTERVAL);
        if self.0.iter().any(|(of, at, _)| *at == position && of == path) {
            return false;
        }
        if self.0.len() == PLACES_MAX {
            self.0.pop_front();
        }
        self.0.push_back((path.to_owned(), position, now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_place_is_told_of_once_a_minute() {
        let mut complaints = Complaints::default();
        let start = Instant::from_nanos(0);
        let (a, b) = (Path::new("a.log"), Path::new("b.log"));
        assert!(complaints.is_due(a, 10, start) && !complaints.is_due(a, 10, start));
        assert!(complaints.is_due(a, 20, start) && complaints.is_due(b, 10, start));
        let later = start + INTERVAL;
        assert!(complaints.is_due(a, 10, later) && !complaints.is_due(a, 10, later));
        for position in 0..1000 {
            complaints.is_due(b, position, later);
        }
        assert_eq!(complaints.0.len(), PLACES_MAX);
    }
}
