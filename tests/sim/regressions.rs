//! Seeds that once failed, each with what broke.

use crate::history::{self, Plan};

/// Seeds whose plan found a bug. Plans change with the generator: a seed stays here for what its
/// history is today, the bug's own test is beside the code that had it.
const SEEDS: &[u64] = &[
    8,             // a read failed with "no such file" when retention removed its segment
    83,            // delete_records beyond what was durable hid acknowledged records after a crash
    358,           // a change from flush=sync to async left a commit waiting for ever
    431,           // a change from flush=async to sync put the start beyond the committed offset
    1098,          // the simulated disk itself: a failed flush's loss was forgotten by the crash
    8754,          // a torn write that lost the first bytes of a batch alone was taken for damage
    12069,         // the same, where only the batch's offset was lost
    36,            // a wrong entry of a .timeindex hid records from who looked by time
    171,           // the same, where the damage ended the index early
    6596,          // a batch with a damaged last offset stood for the whole one behind it
    6788,  // a wrong entry of a .timeindex that named a batch with its timestamp was believed
    4448,  // a look-up by time failed at damage it had just found
    5101,  // a .timeindex entry whose offset lay beyond the end was left out, and missed
    10945, // the same
    8361,  // the same made retention remove records that were young
    15047, // a crash while a start wrote a trusted .timeindex again left it empty
    12683, // the same, and a look-up by time found a later record
    15422, // the same
    2026112620051, // an examination kept a wrong entry for the block that it had not read
    3330,  // a look-up by time failed at a batch whose header is whole and whose rest is not
    10047, // retention by time removed what lay beside a damaged batch too early
    432,   // a wrong entry of a .timeindex made retention remove records that were young
];

#[test]
fn seeds_that_once_failed() {
    for seed in SEEDS {
        let outcome = history::run(*seed, &Plan::from_seed(*seed));
        assert!(outcome.is_ok(), "seed {seed}: {outcome:?}");
    }
}
