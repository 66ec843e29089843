//! Connections against a scripted peer: negotiation, and peers that are no brokers.

use std::time::Duration;

use ringlog_wire::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};
use ringlog_wire::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use ringlog_wire::messages::metadata_response::MetadataResponse;
use ringlog_wire::{ApiKey, Reader, RequestHeader, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::connection::Connection;
use crate::error::ClientError;
use crate::settings::ClientSettings;

/// Reads a request; gives its API, version and correlation id.
async fn read_request(stream: &mut TcpStream) -> Option<(ApiKey, i16, i32)> {
    let length = stream.read_i32().await.ok()?;
    let mut request = vec![0; length as usize];
    stream.read_exact(&mut request).await.ok()?;
    let header = RequestHeader::decode(&mut Reader::new(&request)).unwrap();
    Some((header.api, header.version, header.correlation_id))
}

/// How long anything may take that has to happen, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

/// Connects to a peer that does as `script` says.
async fn open<F, S>(request_timeout: Duration, script: S) -> Result<Connection, ClientError>
where
    F: Future<Output = ()> + Send + 'static,
    S: FnOnce(TcpStream) -> F + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        script(stream).await;
    });
    let settings = ClientSettings {
        request_timeout,
        response_bytes_max: 1 << 20,
        ..ClientSettings::new(Vec::new())
    };
    Connection::open("127.0.0.1", port, &settings).await
}

fn versions(error_code: i16) -> ApiVersionsResponse<'static> {
    let range = |api: ApiKey, min_version, max_version| ApiVersion {
        api_key: api.number(),
        min_version,
        max_version,
    };
    ApiVersionsResponse {
        error_code,
        api_keys: vec![range(ApiKey::ApiVersions, 0, 2), range(ApiKey::Metadata, 0, 5)],
        ..Default::default()
    }
}

async fn answer(stream: &mut TcpStream, version: i16, id: i32, body: &ApiVersionsResponse<'_>) {
    let chunks = frame::encode_response(ApiKey::ApiVersions, version, id, body).unwrap().chunks;
    stream.write_all(&frame::concat(&chunks)).await.unwrap();
}

#[tokio::test]
async fn an_old_broker_is_asked_again_in_its_own_version() {
    let connection = open(PATIENCE, async |mut stream: TcpStream| {
        let (api, first, id) = read_request(&mut stream).await.unwrap();
        assert_eq!(api, ApiKey::ApiVersions);
        assert!(first > 2);
        // KIP-511: whatever was asked, the refusal is in version 0.
        answer(&mut stream, 0, id, &versions(35)).await;
        let (_, second, id) = read_request(&mut stream).await.unwrap();
        assert_eq!(second, 2);
        answer(&mut stream, 2, id, &versions(0)).await;
        let (api, version, id) = read_request(&mut stream).await.unwrap();
        assert_eq!((api, version), (ApiKey::Metadata, 5));
        let body = MetadataResponse { controller_id: 7, ..Default::default() };
        let chunks = frame::encode_response(api, version, id, &body).unwrap().chunks;
        stream.write_all(&frame::concat(&chunks)).await.unwrap();
    })
    .await
    .unwrap();
    let reply = connection.request(&MetadataRequest::default(), i16::MAX).await.unwrap();
    let response: MetadataResponse<'_> = reply.decode().unwrap();
    assert_eq!((reply.version(), response.controller_id), (5, 7));
    // The script is over: the peer hangs up, and later requests hear of it.
    let error = connection.request(&MetadataRequest::default(), i16::MAX).await.unwrap_err();
    assert!(matches!(error, ClientError::Connection { .. }), "{error}");
    assert!(!connection.is_alive());
}

/// A stopped broker takes what its socket holds, and then nothing; with acks=0 no answer is
/// missed. The socket must not be kept either.
#[tokio::test]
async fn a_peer_that_stops_reading_ends_the_connection() {
    let (gone, is_gone) = oneshot::channel();
    let (given_up, is_given_up) = oneshot::channel();
    let connection = open(Duration::from_secs(3), async |mut stream: TcpStream| {
        let (_, _, id) = read_request(&mut stream).await.unwrap();
        answer(&mut stream, 0, id, &versions(35)).await;
        let (_, version, id) = read_request(&mut stream).await.unwrap();
        answer(&mut stream, version, id, &versions(0)).await;
        is_given_up.await.unwrap();
        // Whatever was written is there; after it, the end.
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest).await);
        gone.send(rest.len()).unwrap();
    })
    .await
    .unwrap();
    let topic =
        |_| MetadataRequestTopic { name: Some("x".repeat(30_000).into()), ..Default::default() };
    let topics = Some((0..1_000).map(topic).collect());
    let request = MetadataRequest { topics, ..Default::default() };
    let error = connection.send(&request, i16::MAX).await.unwrap_err();
    assert!(error.to_string().contains("writing Metadata took longer than 3000 ms"), "{error}");
    assert!(!connection.is_alive());
    given_up.send(()).unwrap();
    let read = tokio::time::timeout(PATIENCE, is_gone).await.unwrap().unwrap();
    assert!(read < 30_000_000, "{read}");
}

#[tokio::test]
async fn a_connection_that_is_dropped_closes_its_socket() {
    let (gone, is_gone) = oneshot::channel();
    let connection = open(PATIENCE, async |mut stream: TcpStream| {
        let (_, _, id) = read_request(&mut stream).await.unwrap();
        answer(&mut stream, 0, id, &versions(35)).await;
        let (_, version, id) = read_request(&mut stream).await.unwrap();
        answer(&mut stream, version, id, &versions(0)).await;
        // Keeps its own side open.
        let end = stream.read_i32().await;
        gone.send(end.is_err()).unwrap();
    });
    drop(connection.await.unwrap());
    let ended = tokio::time::timeout(PATIENCE, is_gone).await.unwrap();
    assert_eq!(ended, Ok(true));
}

/// What a peer sends instead of an answer, and what must be said of it.
async fn check(request_timeout: Duration, bytes: &'static [u8], expected: &str) {
    let opened = open(request_timeout, async move |mut stream: TcpStream| {
        read_request(&mut stream).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        // Stays open, so that only the bytes can be what is wrong.
        drop(stream.read_i32().await);
    });
    let error = opened.await.unwrap_err().to_string();
    assert!(error.contains(expected), "{bytes:?}: {error}");
}

#[tokio::test]
async fn peers_that_are_no_brokers_are_named_so() {
    check(PATIENCE, b"HTTP/1.1 400 Bad Request\r\n", "is this a Kafka broker?").await;
    check(PATIENCE, &[0xff; 8], "is this a Kafka broker?").await;
    check(PATIENCE, &[0, 0, 0, 4, 0, 0, 0, 99], "belongs to no request").await;
    check(PATIENCE, &[0, 0, 0, 4, 0, 0, 0, 0], "cannot be read").await;
    let too_soon = Duration::from_millis(500);
    check(too_soon, &[0, 0, 0, 9, 0], "took longer than 500 ms").await;
}
