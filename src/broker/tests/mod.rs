//! Tests of several rooms together, on the simulated runtime.

mod controller;
mod full_disk;
mod metadata_snapshots;
