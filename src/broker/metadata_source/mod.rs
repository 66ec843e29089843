//! Where the stream of metadata records comes from, and who answers requests for changes.

pub(crate) mod embedded;
