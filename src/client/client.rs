//! The client: one connection per broker, the cluster's metadata, and requests with retries.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use ringlog_types::BrokerId;
use ringlog_wire::Message;
use ringlog_wire::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use ringlog_wire::messages::metadata_response::MetadataResponse;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, timeout};

use crate::connection::{Connection, Reply};
use crate::error::ClientError;
use crate::metadata::{Broker, Cluster, TopicMetadata};
use crate::retry::Retry;
use crate::settings::{ClientSettings, split_address};

/// An address that is silent to its own timeout is then told by its name.
const CONNECT_GRACE: Duration = Duration::from_millis(200);

/// Whom a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// Any broker.
    Any,
    /// The controller, or a broker that forwards to it.
    Controller,
    /// This broker.
    Broker(BrokerId),
}

/// A client of one cluster. Cheap to clone; clones share connections and metadata.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: ClientSettings,
    cluster: RwLock<Arc<Cluster>>,
    connections: Mutex<HashMap<BrokerId, Slot>>,
    /// To a bootstrap address, whichever broker that is.
    bootstrap: Slot,
}

/// Locked while connecting, so that a broker is connected to once.
type Slot = Arc<AsyncMutex<Option<Arc<Connection>>>>;

impl Client {
    /// Connects to the first bootstrap address that answers, and learns the brokers.
    ///
    /// # Errors
    /// None of the addresses answers, or what answers does not speak Kafka's protocol.
    pub async fn connect(settings: ClientSettings) -> Result<Client, ClientError> {
        let inner = Inner {
            settings,
            cluster: RwLock::default(),
            connections: Mutex::default(),
            bootstrap: Slot::default(),
        };
        let client = Client { inner: Arc::new(inner) };
        let settings = &client.inner.settings;
        let learned = client.fetch_metadata(Some(&[]), false);
        match timeout(settings.operation_timeout + CONNECT_GRACE, learned).await {
            Ok(learned) => drop(learned?),
            Err(_) => {
                let (servers, after) = (&settings.bootstrap_servers, settings.operation_timeout);
                let attempts =
                    format!("{}: no answer within {} ms", servers.join(","), after.as_millis());
                return Err(ClientError::NoBroker { attempts });
            }
        }
        Ok(client)
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &ClientSettings {
        &self.inner.settings
    }

    /// The cluster as last heard of.
    pub fn cluster(&self) -> Arc<Cluster> {
        self.inner.cluster.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends one request to `node` and waits for its answer; no retries.
    ///
    /// # Errors
    /// The node cannot be reached, does not have the API, or does not answer in time.
    pub async fn request<'a, M: Message<'a>>(
        &self,
        node: Node,
        body: &M,
    ) -> Result<Reply, ClientError> {
        self.connection(node).await?.request(body, i16::MAX).await
    }

    /// Runs `attempt` until it succeeds, fails for good, or the operation's time is over.
    /// Metadata is read anew after errors that say so.
    pub(crate) async fn retrying<T>(
        &self,
        mut attempt: impl AsyncFnMut() -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let mut retry = Retry::new(&self.inner.settings);
        loop {
            let error = match retry.within(attempt()).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let refresh = error.asks_for_metadata();
            retry.pause(error).await?;
            if refresh {
                // Its own failure shows at the next attempt.
                drop(retry.within(self.fetch_metadata(Some(&[]), false)).await);
            }
        }
    }

    /// A topic's metadata: what is known and fresh, else what the cluster says now. Creates the
    /// topic when `create` is set and the brokers do that.
    ///
    /// # Errors
    /// The topic does not exist, or has no leader within the operation's time.
    pub async fn topic(&self, name: &str, create: bool) -> Result<Arc<TopicMetadata>, ClientError> {
        let cluster = self.cluster();
        if let (Some(topic), Some(read_at)) = (cluster.topics.get(name), cluster.read_at.get(name))
            && read_at.elapsed() < self.inner.settings.metadata_age_max
        {
            return Ok(topic.clone());
        }
        self.refresh_topic(name, create).await
    }

    /// A topic's metadata as the cluster says now; see [`Client::topic`].
    ///
    /// # Errors
    /// As [`Client::topic`].
    pub async fn refresh_topic(
        &self,
        name: &str,
        create: bool,
    ) -> Result<Arc<TopicMetadata>, ClientError> {
        // A topic that is not created by asking will not appear while we wait: a few attempts
        // are enough to see one that another client just created.
        let wait = match create {
            true => self.inner.settings.operation_timeout,
            false => Duration::from_millis(500).min(self.inner.settings.operation_timeout),
        };
        let mut retry = Retry::for_at_most(&self.inner.settings, wait);
        loop {
            let error = match self.fetch_metadata(Some(&[name]), create).await {
                Ok(mut errors) => errors.remove(name),
                Err(error) => Some(error),
            };
            match error {
                Some(error) => retry.pause(error).await?,
                None => match self.cluster().topics.get(name) {
                    Some(topic) => return Ok(topic.clone()),
                    None => {
                        let text = format!("topic {name}: the broker's answer leaves it out");
                        return Err(ClientError::Invalid(text));
                    }
                },
            }
        }
    }

    /// Reads metadata of `topics` (`None`: of all). Gives the errors of single topics.
    pub(crate) async fn fetch_metadata(
        &self,
        topics: Option<&[&str]>,
        create: bool,
    ) -> Result<BTreeMap<String, ClientError>, ClientError> {
        let named = |names: &[&str]| -> Vec<_> {
            let topic = |name: &&str| MetadataRequestTopic {
                name: Some((*name).to_owned().into()),
                ..Default::default()
            };
            names.iter().map(topic).collect()
        };
        let request = MetadataRequest {
            topics: topics.map(named),
            allow_auto_topic_creation: create,
            ..Default::default()
        };
        let reply = self.request(Node::Any, &request).await?;
        let response: MetadataResponse<'_> = reply.decode()?;
        let context = || "asking for metadata".to_owned();
        if let Some(error) = ClientError::from_code(response.error_code, None, context) {
            return Err(error);
        }
        let mut cluster = self.inner.cluster.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = Cluster::clone(&cluster);
        if topics.is_none() {
            next.topics.clear();
        }
        let errors = next.update(&response, Instant::now());
        *cluster = Arc::new(next);
        Ok(errors)
    }

    /// A live connection to `node`.
    pub(crate) async fn connection(&self, node: Node) -> Result<Arc<Connection>, ClientError> {
        let cluster = self.cluster();
        match node {
            Node::Any => self.any_connection(&cluster).await,
            Node::Broker(id) => match cluster.brokers.get(&id) {
                Some(broker) => self.broker_connection(broker).await,
                None => Err(ClientError::Connection {
                    address: format!("broker {id}"),
                    reason: "the cluster does not list it".into(),
                }),
            },
            Node::Controller => match cluster.controller.and_then(|id| cluster.brokers.get(&id)) {
                Some(broker) => self.broker_connection(broker).await,
                None => self.any_connection(&cluster).await,
            },
        }
    }

    async fn broker_connection(&self, broker: &Broker) -> Result<Arc<Connection>, ClientError> {
        let slot = self.connections().entry(broker.id).or_default().clone();
        let mut slot = slot.lock().await;
        let address = format!("{}:{}", broker.host, broker.port);
        if let Some(open) = slot.as_ref().filter(|c| c.is_alive() && c.address() == address) {
            return Ok(open.clone());
        }
        let settings = &self.inner.settings;
        let open = Connection::open(&broker.host, broker.port, settings).await;
        // Where a person gave another address, a wrong advertised one is the likeliest cause.
        let is_own = settings.bootstrap_servers.contains(&address);
        let open = open.map_err(|error| if is_own { error } else { advertised(error, broker.id) });
        let open = Arc::new(open?);
        *slot = Some(open.clone());
        Ok(open)
    }

    /// The bootstrap connection; a new one goes to a bootstrap address, or failing that to any
    /// broker that the cluster has listed before.
    async fn any_connection(&self, cluster: &Cluster) -> Result<Arc<Connection>, ClientError> {
        let mut slot = self.inner.bootstrap.lock().await;
        if let Some(open) = slot.as_ref().filter(|connection| connection.is_alive()) {
            return Ok(open.clone());
        }
        let mut attempts = Vec::new();
        let mut addresses = Vec::new();
        for address in &self.inner.settings.bootstrap_servers {
            match split_address(address) {
                Some((host, port)) => addresses.push((host.to_owned(), port)),
                None => attempts.push(format!("{address:?} is not HOST:PORT")),
            }
        }
        addresses.extend(cluster.brokers.values().map(|b| (b.host.clone(), b.port)));
        for (host, port) in addresses {
            match Connection::open(&host, port, &self.inner.settings).await {
                Ok(open) => {
                    let open = Arc::new(open);
                    *slot = Some(open.clone());
                    return Ok(open);
                }
                Err(error) => attempts.push(error.to_string()),
            }
        }
        let none = || "no bootstrap address was given".to_owned();
        let attempts = Some(attempts.join("; ")).filter(|text| !text.is_empty());
        Err(ClientError::NoBroker { attempts: attempts.unwrap_or_else(none) })
    }

    fn connections(&self) -> MutexGuard<'_, HashMap<BrokerId, Slot>> {
        self.inner.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error of connecting to an address that a broker told us, with what may be wrong.
fn advertised(error: ClientError, broker: BrokerId) -> ClientError {
    let hint = format!(
        " (broker {broker} says that it is there: can that address be reached from here? The \
         broker's advertised.listeners decides it)"
    );
    match error {
        ClientError::Connection { address, reason } => {
            ClientError::Connection { address, reason: reason + &hint }
        }
        ClientError::Timeout { what, after } => ClientError::Timeout { what: what + &hint, after },
        other => other,
    }
}
