//! One TCP connection to a broker: requests go out pipelined, answers come back in order.
//!
//! Two tasks serve it, a writer and a reader. The queue between them holds, for every request on
//! its way, who waits for the answer. Whatever breaks the connection ends both and gives every
//! waiting request the reason; the connection is then dead and is never revived.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use ringlog_types::ErrorCode;
use ringlog_wire::messages::api_versions_request::ApiVersionsRequest;
use ringlog_wire::messages::api_versions_response::ApiVersionsResponse;
use ringlog_wire::{ApiKey, Chunk, Message, RequestHeader, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use crate::error::{ClientError, api_name};
use crate::pieces::Pieces;
use crate::settings::ClientSettings;
use crate::versions::Versions;

/// Requests that may wait for the writer; senders beyond wait themselves.
const QUEUE_MAX: usize = 64;
/// Room reserved for an answer before its bytes arrive, whatever length it claims.
const RESERVE_BYTES_MAX: usize = 1 << 20;

type Waiter = oneshot::Sender<Result<Bytes, ClientError>>;

/// A connection that has agreed on versions.
#[derive(Debug)]
pub(crate) struct Connection {
    link: Link,
    versions: Versions,
}

/// A connection before versions are known.
#[derive(Debug)]
struct Link {
    address: String,
    client_id: String,
    outbound: mpsc::Sender<Outbound>,
    shared: Arc<Shared>,
    next_correlation_id: AtomicI32,
    request_timeout: Duration,
}

struct Outbound {
    correlation_id: i32,
    pieces: Vec<Chunk>,
    /// Absent for a request without an answer (Produce with acks=0).
    waiter: Option<Waiter>,
    written: Option<oneshot::Sender<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Ends both tasks, wherever they wait.
    died: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    queue: VecDeque<(i32, Waiter)>,
    /// Why the connection is dead.
    dead: Option<ClientError>,
}

/// An answer as it came: the bytes, and what is needed to decode them.
#[derive(Debug)]
pub struct Reply {
    frame: Bytes,
    address: String,
    api: ApiKey,
    version: i16,
}

impl Reply {
    /// The version of the request and its answer.
    pub fn version(&self) -> i16 {
        self.version
    }

    /// The answer as a message that borrows from the reply.
    ///
    /// # Errors
    /// The bytes are not that message.
    pub fn decode<'a, M: Message<'a>>(&'a self) -> Result<M, ClientError> {
        let decoded = frame::decode_response::<M>(&self.frame, self.api, self.version);
        decoded.map(|(_, message)| message).map_err(|error| ClientError::Decode {
            address: self.address.clone(),
            api: api_name(self.api),
            error,
        })
    }

    /// A part of the answer as shared memory; `part` must be borrowed from this reply.
    pub(crate) fn share(&self, part: &[u8]) -> Bytes {
        self.frame.slice_ref(part)
    }
}

impl Connection {
    /// Connects and agrees on versions.
    pub(crate) async fn open(
        host: &str,
        port: u16,
        settings: &ClientSettings,
    ) -> Result<Connection, ClientError> {
        let address = format!("{host}:{port}");
        let opened = timeout(settings.connect_timeout, TcpStream::connect((host, port))).await;
        let stream = match opened {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(ClientError::connection(&address, error)),
            Err(_) => {
                let what = format!("connecting to {address}");
                return Err(ClientError::Timeout { what, after: settings.connect_timeout });
            }
        };
        // A request is written whole, so there is nothing for Nagle's algorithm to gather.
        stream.set_nodelay(true).map_err(|error| ClientError::connection(&address, error))?;
        let (read, write) = stream.into_split();
        let shared = Arc::new(Shared::default());
        let (outbound, requests) = mpsc::channel(QUEUE_MAX);
        let writer = write_requests(write, requests, shared.clone(), address.clone());
        tokio::spawn(while_alive(shared.clone(), writer));
        let bytes_max = settings.response_bytes_max;
        let reader = read_answers(read, shared.clone(), address.clone(), bytes_max);
        tokio::spawn(while_alive(shared.clone(), reader));
        let link = Link {
            address,
            client_id: settings.client_id.clone(),
            outbound,
            shared,
            next_correlation_id: AtomicI32::new(0),
            request_timeout: settings.request_timeout,
        };
        let versions = link.negotiate().await?;
        Ok(Connection { link, versions })
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        &self.link.address
    }

    /// Whether requests can still be sent.
    pub(crate) fn is_alive(&self) -> bool {
        self.link.shared.lock().dead.is_none()
    }

    /// The version in which requests `M` are sent, at most `version_max`.
    pub(crate) fn version<'a, M: Message<'a>>(&self, version_max: i16) -> Result<i16, ClientError> {
        Ok(self.versions.choose::<M>(self.address())?.min(version_max))
    }

    /// Sends a request in the highest common version and waits for its answer.
    pub(crate) async fn request<'a, M: Message<'a>>(
        &self,
        body: &M,
        version_max: i16,
    ) -> Result<Reply, ClientError> {
        self.begin(body, version_max).await?.answer().await
    }

    /// Puts a request into the queue; its answer is waited for by [`Pending::answer`].
    pub(crate) async fn begin<'a, M: Message<'a>>(
        &self,
        body: &M,
        version_max: i16,
    ) -> Result<Pending, ClientError> {
        self.link.begin(body, self.version::<M>(version_max)?).await
    }

    /// Sends a request that has no answer; returns when it is written to the socket.
    pub(crate) async fn send<'a, M: Message<'a>>(
        &self,
        body: &M,
        version_max: i16,
    ) -> Result<(), ClientError> {
        let version = self.version::<M>(version_max)?;
        let (written, is_written) = oneshot::channel();
        let mut outbound = self.link.encode(body, version)?;
        outbound.written = Some(written);
        let shared = &self.link.shared;
        let sent = async {
            self.link.enqueue(outbound).await?;
            is_written.await.map_err(|_| shared.death(self.address()))
        };
        let after = self.link.request_timeout;
        timeout(after, sent).await.unwrap_or_else(|_| {
            let what = format!("{}: writing {}", self.address(), api_name(api_of::<M>()));
            let error = ClientError::Timeout { what, after };
            // Half of the request may be written: nothing can follow it.
            shared.die(error.clone());
            Err(error)
        })
    }
}

impl Drop for Link {
    /// Ends the tasks, also where they wait for a peer that does nothing.
    fn drop(&mut self) {
        self.shared.die(ClientError::Closed);
    }
}

/// A request on its way.
#[derive(Debug)]
pub(crate) struct Pending {
    answer: oneshot::Receiver<Result<Bytes, ClientError>>,
    address: String,
    api: ApiKey,
    version: i16,
    shared: Arc<Shared>,
    deadline: Instant,
    timeout: Duration,
}

impl Pending {
    /// Waits for the answer.
    pub(crate) async fn answer(mut self) -> Result<Reply, ClientError> {
        let frame = match timeout_at(self.deadline, &mut self.answer).await {
            Ok(Ok(frame)) => frame?,
            Ok(Err(_)) => return Err(self.shared.death(&self.address)),
            Err(_) => return Err(self.time_out()),
        };
        Ok(Reply { frame, address: self.address, api: self.api, version: self.version })
    }

    /// Answers come in order: nothing behind this one can be received any more, so the
    /// connection is given up.
    fn time_out(&self) -> ClientError {
        let what = format!("{}: {}", self.address, api_name(self.api));
        let error = ClientError::Timeout { what, after: self.timeout };
        self.shared.die(error.clone());
        error
    }
}

impl Link {
    /// Asks for the broker's versions: first in our highest version, then as the broker says it
    /// can (KIP-511: an unsupported version is answered with a v0 body and error 35).
    async fn negotiate(&self) -> Result<Versions, ClientError> {
        let request = ApiVersionsRequest {
            client_software_name: "ringlog".into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
        };
        let version = ApiVersionsRequest::MAX_VERSION;
        let mut reply = self.begin(&request, version).await?.answer().await?;
        let code = reply.frame.get(4..6).map(|code| i16::from_be_bytes([code[0], code[1]]));
        if code == Some(ErrorCode::UnsupportedVersion.code()) {
            reply.version = 0;
            let offered: ApiVersionsResponse<'_> = reply.decode()?;
            let own =
                offered.api_keys.iter().find(|api| api.api_key == ApiVersionsRequest::API_KEY);
            let highest = own.map_or(0, |api| api.max_version.clamp(0, version - 1));
            reply = self.begin(&request, highest).await?.answer().await?;
        }
        let response: ApiVersionsResponse<'_> = reply.decode()?;
        let context = || format!("{}: asking for API versions", self.address);
        match ClientError::from_code(response.error_code, None, context) {
            Some(error) => Err(error),
            None => Ok(Versions::from_response(&response)),
        }
    }

    async fn begin<'a, M: Message<'a>>(
        &self,
        body: &M,
        version: i16,
    ) -> Result<Pending, ClientError> {
        let mut outbound = self.encode(body, version)?;
        let (waiter, answer) = oneshot::channel();
        outbound.waiter = Some(waiter);
        let pending = Pending {
            answer,
            address: self.address.clone(),
            api: api_of::<M>(),
            version,
            shared: self.shared.clone(),
            deadline: Instant::now() + self.request_timeout,
            timeout: self.request_timeout,
        };
        match timeout_at(pending.deadline, self.enqueue(outbound)).await {
            Ok(queued) => queued.map(|()| pending),
            Err(_) => Err(pending.time_out()),
        }
    }

    fn encode<'a, M: Message<'a>>(&self, body: &M, version: i16) -> Result<Outbound, ClientError> {
        let api = api_of::<M>();
        let correlation_id = self.next_correlation_id.fetch_add(1, Ordering::Relaxed) & 0x7fff_ffff;
        let client_id = Some(self.client_id.as_str().into());
        let header = RequestHeader { api, version, correlation_id, client_id };
        let pieces = frame::encode_request(&header, body)
            .map_err(|error| ClientError::Encode { api: api_name(api), error })?;
        Ok(Outbound { correlation_id, pieces, waiter: None, written: None })
    }

    async fn enqueue(&self, outbound: Outbound) -> Result<(), ClientError> {
        if let Some(error) = self.shared.lock().dead.clone() {
            return Err(error);
        }
        self.outbound.send(outbound).await.map_err(|_| self.shared.death(&self.address))
    }
}

fn api_of<'a, M: Message<'a>>() -> ApiKey {
    ApiKey::from_number(M::API_KEY).expect("requests have the number of an API")
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection is dead: everybody who waits hears why.
    fn die(&self, error: ClientError) {
        let mut waiting = self.lock();
        if waiting.dead.is_some() {
            return;
        }
        for (_, waiter) in waiting.queue.drain(..) {
            // Whoever gave up waiting does not need the reason.
            drop(waiter.send(Err(error.clone())));
        }
        waiting.dead = Some(error);
        self.died.notify_waiters();
    }

    /// Why the connection does not answer any more.
    fn death(&self, address: &str) -> ClientError {
        let dead = self.lock().dead.clone();
        dead.unwrap_or_else(|| ClientError::connection(address, "connection closed"))
    }

    /// Registers a request just before it is written.
    fn expect(&self, correlation_id: i32, waiter: Waiter) {
        let mut waiting = self.lock();
        match &waiting.dead {
            Some(error) => drop(waiter.send(Err(error.clone()))),
            None => waiting.queue.push_back((correlation_id, waiter)),
        }
    }
}

/// Runs a task of a connection until it ends or the connection dies: a peer that neither reads
/// nor writes nor closes must not keep it.
async fn while_alive(shared: Arc<Shared>, task: impl Future<Output = ()>) {
    let died = shared.died.notified();
    if shared.lock().dead.is_some() {
        return;
    }
    tokio::select! {
        () = died => {}
        () = task => {}
    }
}

async fn write_requests(
    mut socket: OwnedWriteHalf,
    mut requests: mpsc::Receiver<Outbound>,
    shared: Arc<Shared>,
    address: String,
) {
    while let Some(request) = requests.recv().await {
        if let Some(waiter) = request.waiter {
            shared.expect(request.correlation_id, waiter);
        }
        let mut pieces = Pieces::default();
        for chunk in request.pieces {
            match chunk {
                Chunk::Bytes(bytes) => pieces.push(bytes),
                Chunk::External { .. } => unreachable!("a client has no records elsewhere"),
            }
        }
        if let Err(error) = socket.write_all_buf(&mut pieces).await {
            return shared.die(ClientError::connection(&address, error));
        }
        if let Some(written) = request.written {
            // Whoever waited for this may have given up.
            written.send(()).ok();
        }
    }
}

async fn read_answers(
    mut socket: OwnedReadHalf,
    shared: Arc<Shared>,
    address: String,
    bytes_max: usize,
) {
    let mut buffer = BytesMut::with_capacity(64 << 10);
    loop {
        let frame = match read_frame(&mut socket, &mut buffer, bytes_max).await {
            Ok(frame) => frame,
            Err(error) => return shared.die(ClientError::connection(&address, text(&error))),
        };
        let correlation_id = frame.first_chunk::<4>().map(|id| i32::from_be_bytes(*id));
        let expected = shared.lock().queue.pop_front();
        match expected {
            Some((id, waiter)) if correlation_id == Some(id) => drop(waiter.send(Ok(frame))),
            _ => {
                let reason = "an answer that belongs to no request; is this a Kafka broker?";
                return shared.die(ClientError::connection(&address, reason));
            }
        }
    }
}

fn text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the broker closed the connection".into(),
        _ => error.to_string(),
    }
}

async fn read_frame(
    socket: &mut OwnedReadHalf,
    buffer: &mut BytesMut,
    bytes_max: usize,
) -> io::Result<Bytes> {
    fill(socket, buffer, frame::PREFIX_BYTES).await?;
    let length = buffer.get_i32();
    let length = usize::try_from(length).ok().filter(|length| *length <= bytes_max);
    let length = length.ok_or_else(|| {
        let reason = format!("an answer longer than {bytes_max} bytes; is this a Kafka broker?");
        io::Error::new(io::ErrorKind::InvalidData, reason)
    })?;
    fill(socket, buffer, length).await?;
    Ok(buffer.split_to(length).freeze())
}

/// Reads until `buffer` has at least `length` bytes. Memory grows with what arrives, not with
/// what is claimed.
async fn fill(socket: &mut OwnedReadHalf, buffer: &mut BytesMut, length: usize) -> io::Result<()> {
    while buffer.len() < length {
        let missing = length - buffer.len();
        buffer.reserve(missing.min(RESERVE_BYTES_MAX.max(buffer.len())).max(16 << 10));
        if socket.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}
