//! The simulation.
mod disk;
mod network;
mod prng;
mod events; mod faults;
pub(crate) use prng::Prng;
