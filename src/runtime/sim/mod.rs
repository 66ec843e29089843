//! The simulation.
mod disk;
mod network;
mod prng;
pub(crate) use prng::Prng;
