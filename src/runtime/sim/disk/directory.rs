//! One simulated directory: the names a program sees and the names a crash leaves.
//!
//! A create, rename or unlink is seen at once and survives a crash for certain only after a
//! `sync_dir` that was submitted later. Before that a crash keeps a prefix of the changes, in
//! order, as a journal does.

use std::collections::BTreeMap;

pub(super) type InodeId = usize;

#[derive(Clone, Debug)]
pub(super) enum EntryChange {
    Link {
        name: String,
        inode: InodeId,
    },
    Unlink {
        name: String,
    },
    /// Atomic; replaces `to` when it exists.
    Rename {
        from: String,
        to: String,
    },
}

type Names = BTreeMap<String, InodeId>;

#[derive(Default)]
pub(super) struct Directory {
    current: Names,
    durable: Names,
    pending: Vec<(u64, EntryChange)>,
}

impl Directory {
    pub(super) fn get(&self, name: &str) -> Option<InodeId> {
        self.current.get(name).copied()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = (&str, InodeId)> {
        self.current.iter().map(|(name, inode)| (name.as_str(), *inode))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.current.is_empty()
    }

    pub(super) fn change(&mut self, seq: u64, change: EntryChange) {
        apply_to(&mut self.current, &change);
        self.pending.push((seq, change));
    }

    /// Makes durable what was done up to the submission of the sync.
    pub(super) fn sync(&mut self, submitted: u64) {
        let n = self.pending.iter().take_while(|(seq, _)| *seq <= submitted).count();
        for (_, change) in self.pending.drain(..n) {
            apply_to(&mut self.durable, &change);
        }
    }

    pub(super) fn pending(&self) -> &[(u64, EntryChange)] {
        &self.pending
    }

    /// Keeps the first `kept` pending changes and forgets the others.
    pub(super) fn crash(&mut self, kept: usize) {
        for (_, change) in self.pending.drain(..).take(kept) {
            apply_to(&mut self.durable, &change);
        }
        self.current.clone_from(&self.durable);
    }

    /// Every inode this directory names, now or after some crash.
    pub(super) fn reachable(&self) -> impl Iterator<Item = InodeId> {
        let pending = self.pending.iter().filter_map(|(_, change)| match change {
            EntryChange::Link { inode, .. } => Some(*inode),
            _ => None,
        });
        self.current.values().chain(self.durable.values()).copied().chain(pending)
    }
}

fn apply_to(names: &mut Names, change: &EntryChange) {
    match change {
        EntryChange::Link { name, inode } => {
            names.insert(name.clone(), *inode);
        }
        EntryChange::Unlink { name } => {
            names.remove(name);
        }
        EntryChange::Rename { from, to } => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Directory, EntryChange};

    fn link(name: &str, inode: usize) -> EntryChange {
        EntryChange::Link { name: name.to_string(), inode }
    }

    fn left(kept: usize) -> Vec<(String, usize)> {
        let mut dir = Directory::default();
        dir.change(1, link("a", 1));
        dir.sync(1);
        dir.change(2, link("a.tmp", 2));
        dir.change(3, EntryChange::Rename { from: "a.tmp".into(), to: "a".into() });
        dir.change(4, EntryChange::Unlink { name: "a".into() });
        assert!(dir.is_empty());
        dir.crash(kept);
        dir.names().map(|(n, i)| (n.to_string(), i)).collect()
    }

    #[test]
    fn a_crash_keeps_a_prefix_of_the_unsynced_changes() {
        let entry = |name: &str, inode| (name.to_string(), inode);
        assert_eq!(left(0), [entry("a", 1)]);
        assert_eq!(left(1), [entry("a", 1), entry("a.tmp", 2)]);
        assert_eq!(left(2), [entry("a", 2)], "a rename replaces");
        assert_eq!(left(3), []);
    }

    #[test]
    fn a_sync_covers_what_was_done_before_its_submission() {
        let mut dir = Directory::default();
        dir.change(1, link("a", 1));
        dir.change(5, link("b", 2));
        dir.sync(4);
        assert_eq!(dir.pending().len(), 1);
        assert_eq!(dir.reachable().filter(|i| *i == 2).count(), 2);
        dir.crash(0);
        assert_eq!(dir.names().map(|(n, _)| n).collect::<Vec<_>>(), ["a"]);
    }
}
