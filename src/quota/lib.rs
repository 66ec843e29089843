//! Quotas: how much each client may use, and how long one who used more is muted.
//!
//! [`ClientQuotas`] says which limit holds for a user, a client id or an address, as Kafka resolves
//! them (KIP-13, KIP-55, KIP-124, KIP-599, KIP-612). [`Rate`] is a limit, [`Buckets`] what was used
//! of each, for all threads together. All of it is pure: time comes in as an argument.

mod buckets;
mod client_quotas;
mod rate;

pub use buckets::Buckets;
pub use client_quotas::{CONNECTION_CREATION_RATE, ClientQuotas, Entity, Limit, QuotaKind, Scope};
pub use rate::{Charge, Rate};
