//! The flags that say which cluster to talk to, and for how long.

use std::time::Duration;

use clap::{Args, value_parser};
use ringlog_client::{Client, ClientError, ClientSettings};

/// Which cluster to talk to.
#[derive(Debug, Clone, Args)]
pub(crate) struct Bootstrap {
    /// Brokers to start from, separated by commas
    #[arg(
        long,
        short = 'b',
        env = "RINGLOG_BOOTSTRAP",
        default_value = "127.0.0.1:9092",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        value_parser = address
    )]
    pub(crate) bootstrap: Vec<String>,
    /// Give up after this many seconds
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    #[arg(value_parser = value_parser!(u64).range(1..=SECONDS_MAX))]
    pub(crate) timeout: u64,
}

/// The longest times that flags take: what Kafka's settings of milliseconds hold.
pub(crate) const MILLISECONDS_MAX: u64 = i32::MAX as u64;
pub(crate) const SECONDS_MAX: u64 = MILLISECONDS_MAX / 1_000;

fn address(text: &str) -> Result<String, String> {
    match text.trim() {
        address if ClientSettings::is_address(address) => Ok(address.to_owned()),
        _ => Err("expected HOST:PORT".into()),
    }
}

impl Bootstrap {
    /// A client of that cluster.
    pub(crate) async fn connect(&self) -> Result<Client, ClientError> {
        self.connect_for(Duration::MAX).await
    }

    /// A client that waits for an answer at most this long, and never longer than the timeout.
    pub(crate) async fn connect_for(&self, answer: Duration) -> Result<Client, ClientError> {
        let mut settings = ClientSettings::new(self.bootstrap.clone());
        settings.operation_timeout = Duration::from_secs(self.timeout);
        let most = settings.operation_timeout.min(answer);
        settings.request_timeout = settings.request_timeout.min(most);
        settings.connect_timeout = settings.connect_timeout.min(most);
        Client::connect(settings).await
    }
}
