//! x
mod pool; mod poller; mod file_calls;
