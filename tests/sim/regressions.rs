//! Seeds that once failed, each with what broke.

use ringlog_runtime::sim::Prng;

use crate::batches::{self, Sender};
use crate::history::{self, Plan};
use crate::model::{Entry, LogModel, Producer};

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
    211,   // the model itself: it forgot a deleted batch that was not yet acknowledged
    2026120100621, // a segment that was not sealed was taken for one: its .timeindex had no end
];

#[test]
fn seeds_that_once_failed() {
    for seed in SEEDS {
        let outcome = history::run(*seed, &Plan::from_seed(*seed));
        assert!(outcome.is_ok(), "seed {seed}: {outcome:?}");
    }
}

/// What retention has removed before its producer saw it acknowledged is sent again after a crash,
/// and rightly taken for a duplicate: it was in the log. What the crash cut off was not.
#[test]
fn a_deleted_batch_that_is_sent_again_is_a_duplicate() {
    let mut prng = Prng::new(1);
    let mut producer =
        Producer { id: 7, epoch: 0, next_sequence: 0, unacknowledged: Default::default() };
    let mut model = LogModel::default();
    for _ in 0..3 {
        let base_sequence = producer.next_sequence;
        let sender = Sender { producer_id: 7, epoch: 0, base_sequence };
        let batch = batches::make(sender, 1_000, None, &mut prng);
        producer.next_sequence += batch.records;
        producer.unacknowledged.push_back(batch.clone());
        let (rotten, length_is_rotten) = (false, false);
        let base = model.end();
        model.entries.push(Entry { base, epoch: 1, batch, rotten, length_is_rotten });
    }
    let sent = producer.unacknowledged.clone();
    model.producers.push(producer);
    let deleted = model.entries[0].end();
    model.promised(deleted).expect("that much was appended");
    model.start_asked = deleted;
    model.started_at(deleted).expect("it was asked to");

    model.recovered(deleted, deleted).expect("nothing is lost that was promised");
    assert_eq!((model.end(), model.producers[0].unacknowledged.len()), (deleted, 3));
    assert!(model.was_at(0, &sent[0]), "it was in the log");
    assert!(!model.was_at(0, &sent[1]), "another was there");
    assert!(!model.was_at(deleted, &sent[1]), "it was lost");
}
