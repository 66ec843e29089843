//! What may and what must survive a crash of one file.

use bytes::Bytes;

use super::{Change, FileContent};
use crate::sim::Prng;

fn write(pos: u64, fill: u8, len: usize) -> Change {
    Change::Write { pos, bytes: Bytes::from(vec![fill; len]) }
}

fn bytes(file: &FileContent) -> Vec<u8> {
    let mut out = vec![0; file.current().len() as usize];
    file.current().read(0, &mut out);
    out
}

/// Runs `steps` and a crash for many seeds and returns the distinct files it left.
fn outcomes(steps: impl Fn(&mut FileContent)) -> Vec<Vec<u8>> {
    let mut seen = Vec::new();
    for seed in 0..300 {
        let mut file = FileContent::default();
        steps(&mut file);
        file.crash(Vec::new(), &mut Prng::new(seed));
        assert!(!file.is_dirty());
        let left = bytes(&file);
        if !seen.contains(&left) {
            seen.push(left);
        }
    }
    seen.sort();
    seen
}

#[test]
fn a_synced_write_survives_and_a_plain_one_may_not() {
    let synced = outcomes(|f| {
        f.apply(1, write(0, 1, 512));
        f.sync(1);
    });
    assert_eq!(synced, [vec![1; 512]]);
    let plain = outcomes(|f| f.apply(1, write(0, 1, 512)));
    assert_eq!(plain, [vec![], vec![0; 512], vec![1; 512]]);
}

#[test]
fn a_sync_covers_only_what_completed_before_it_was_submitted() {
    let left = outcomes(|f| {
        f.apply(1, write(0, 1, 512));
        f.apply(2, write(0, 2, 512));
        f.sync(1);
    });
    assert_eq!(left, [vec![1; 512], vec![2; 512]]);
}

#[test]
fn a_write_tears_between_sectors_only() {
    let left = outcomes(|f| {
        f.apply(1, Change::Allocate { pos: 0, len: 2048 });
        f.sync(1);
        f.apply(2, write(0, 7, 2048));
    });
    assert!(left.len() > 8, "{}", left.len());
    for file in &left {
        assert_eq!(file.len(), 2048);
        assert!(file.chunks(512).all(|s| s == [0; 512] || s == [7; 512]));
    }
    assert!(left.contains(&vec![0; 2048]) && left.contains(&vec![7; 2048]));
}

#[test]
fn a_durable_write_overtakes_pending_ones_and_is_not_undone_by_them() {
    let steps = |flush_all: bool| {
        move |f: &mut FileContent| {
            f.apply(1, Change::Allocate { pos: 0, len: 1024 });
            f.sync(1);
            f.apply(2, write(0, 2, 1024));
            f.apply_durable(3, write(512, 3, 512), 2, flush_all);
        }
    };
    let fua = outcomes(steps(false));
    let halves = |first: u8| [vec![first; 512], vec![3; 512]].concat();
    assert_eq!(fua, [halves(0), halves(2)]);
    assert_eq!(outcomes(steps(true)), [halves(2)]);
}

#[test]
fn a_durable_write_commits_the_length_and_what_it_depends_on() {
    let left = outcomes(|f| {
        f.apply(1, Change::Allocate { pos: 0, len: 4096 });
        f.apply(2, write(0, 2, 512));
        f.apply_durable(3, write(512, 3, 512), 2, false);
    });
    let mut want = vec![0; 4096];
    want[..512].fill(2);
    want[512..1024].fill(3);
    assert_eq!(left, [want]);
}

#[test]
fn metadata_survives_in_order() {
    let left = outcomes(|f| {
        f.apply(1, write(0, 1, 512));
        f.sync(1);
        f.apply(2, Change::SetLen(0));
        f.apply(3, Change::Allocate { pos: 0, len: 1024 });
    });
    assert_eq!(left, [vec![], vec![0; 1024], vec![1; 512]]);
}

#[test]
fn a_failed_sync_may_lose_what_readers_still_see() {
    let mut lost = 0;
    for seed in 0..100 {
        let mut prng = Prng::new(seed);
        let mut file = FileContent::default();
        file.apply(1, Change::Allocate { pos: 0, len: 512 });
        file.sync(1);
        file.apply(2, write(0, 9, 512));
        file.fail_sync(2, &mut prng);
        assert_eq!(bytes(&file), vec![9; 512], "the page stays in the cache");
        file.sync(3);
        file.crash(Vec::new(), &mut prng);
        lost += u32::from(bytes(&file) != vec![9; 512]);
    }
    assert!((15..60).contains(&lost), "{lost}");
}

#[test]
fn in_flight_writes_may_reach_the_disk() {
    let mut kept = 0;
    for seed in 0..100 {
        let mut file = FileContent::default();
        file.apply(1, write(0, 0, 512));
        file.sync(1);
        file.crash(vec![write(0, 5, 512)], &mut Prng::new(seed));
        kept += u32::from(bytes(&file) == vec![5; 512]);
    }
    assert!((20..80).contains(&kept), "{kept}");
}
