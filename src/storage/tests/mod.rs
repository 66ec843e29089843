//! Tests of whole logs on real and simulated files; those of one part alone are beside it.

mod compaction;
mod compaction_transactions;
mod damage;
mod directories_apart;
mod fences;
mod high_watermark;
mod kafka;
mod log;
mod offsets;
mod pages;
mod recovery;
mod reopen;
mod rolls;
mod scrub;
mod shortage;
mod sim;
mod truncation;
mod written;
