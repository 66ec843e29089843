//! The HTTP thread: metrics and health over HTTP/1.1, on a tokio runtime of its own.
//!
//! Life: [`AdminServer::start`] takes a listener and starts the thread; dropping the handle, or
//! [`AdminHandle::shutdown`], ends it. Requests have no bodies that are read; routes are fixed.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use ringlog_broker::NodeHandle;
use ringlog_metrics::{CONTENT_TYPE, prometheus};
use serde::Serialize;
use tokio::sync::oneshot;

use crate::deadline::{BoundedListener, Limits};

/// Starts the HTTP thread.
pub struct AdminServer;

impl AdminServer {
    /// Shows `node` to what connects to `listener` until the handle ends it, to at most
    /// `connections_max` clients at once.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        listener: TcpListener,
        node: NodeHandle,
        connections_max: usize,
    ) -> io::Result<AdminHandle> {
        AdminServer::start_with(listener, node, Limits { connections_max, ..Limits::default() })
    }

    fn start_with(
        listener: TcpListener,
        node: NodeHandle,
        limits: Limits,
    ) -> io::Result<AdminHandle> {
        listener.set_nonblocking(true)?;
        let local_addr = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = move || {
            // Requests in work are dropped with the runtime: none of them changes anything.
            runtime.block_on(async move {
                tokio::select! {
                    outcome = serve(listener, node, limits) => {
                        if let Err(error) = outcome {
                            tracing::error!(%error, "admin: the HTTP server has ended");
                        }
                    }
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("admin".into()).spawn(serve)?;
        Ok(AdminHandle { local_addr, stop: Some(stop), thread: Some(thread) })
    }
}

/// A running HTTP thread. Dropping it ends the thread.
#[derive(Debug)]
pub struct AdminHandle {
    local_addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl AdminHandle {
    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Ends the thread and waits for it.
    pub fn shutdown(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // A receiver that is gone is a thread that has ended: both sends and joins are then moot.
        self.stop.take();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("admin: the HTTP thread has panicked");
        }
    }
}

impl Drop for AdminHandle {
    fn drop(&mut self) {
        self.end();
    }
}

async fn serve(listener: TcpListener, node: NodeHandle, limits: Limits) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let routes = Router::new()
        .route("/metrics", get(metrics_page))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .with_state(node);
    axum::serve(BoundedListener::new(listener, limits), routes).await
}

async fn metrics_page(State(node): State<NodeHandle>) -> Response {
    let page = prometheus(node.metrics());
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], page).into_response()
}

#[derive(Serialize)]
struct HealthAnswer {
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
}

async fn live() -> Json<HealthAnswer> {
    Json(HealthAnswer { status: "live", reasons: Vec::new() })
}

async fn ready(State(node): State<NodeHandle>) -> (StatusCode, Json<HealthAnswer>) {
    let reasons = node.metrics().unready_reasons();
    if reasons.is_empty() {
        (StatusCode::OK, Json(HealthAnswer { status: "ready", reasons }))
    } else {
        let answer = HealthAnswer { status: "not ready", reasons };
        (StatusCode::SERVICE_UNAVAILABLE, Json(answer))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use ringlog_metrics::{BuildInfo, NodeMetrics};

    fn get(address: SocketAddr, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(address).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        (status, body.to_owned())
    }

    fn started() -> (AdminHandle, Arc<NodeMetrics>) {
        let metrics = NodeMetrics::new(BuildInfo { version: "0" });
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        (
            AdminServer::start_with(listener, NodeHandle::new(metrics.clone()), Limits::default())
                .unwrap(),
            metrics,
        )
    }

    #[test]
    fn health_follows_the_node() {
        let (server, metrics) = started();
        let address = server.local_addr();
        assert_eq!(get(address, "/health/live").0, 200);
        let (status, body) = get(address, "/health/ready");
        assert_eq!(status, 503);
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["reasons"][0], "the node is starting");
        metrics.set_serving();
        assert_eq!(get(address, "/health/ready"), (200, r#"{"status":"ready"}"#.into()));
        metrics.set_unready("dir", "/d is offline");
        assert_eq!(get(address, "/health/ready").0, 503);
        metrics.clear_unready("dir");
        metrics.set_stopping();
        assert!(get(address, "/health/ready").1.contains("stopping"));
    }

    #[test]
    fn metrics_are_served_and_other_paths_are_not() {
        let (server, metrics) = started();
        metrics.shard(0).received(123);
        let (status, body) = get(server.local_addr(), "/metrics");
        assert_eq!(status, 200);
        assert!(body.contains("ringlog_received_bytes_total{shard=\"0\"} 123\n"));
        assert_eq!(get(server.local_addr(), "/../etc/passwd").0, 404);
    }

    /// A socket that has sent the beginning of a request.
    fn unfinished(address: SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /health/live HTTP/1.1\r\nX: ").unwrap();
        stream
    }

    /// As many sockets as may be served, each with a byte of its request now and then, kept the
    /// probe of a supervisor from its answer, and the supervisor killed the node.
    #[test]
    fn health_is_answered_beside_requests_that_never_end() {
        let (server, _metrics) = started();
        let address = server.local_addr();
        let connections_max = Limits::default().connections_max;
        let mut dripping: Vec<_> = (0..connections_max).map(|_| unfinished(address)).collect();
        for _ in 0..3 {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            let request = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            stream.write_all(request).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("it is answered");
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            // Those whose places were taken are closed, and come again.
            for stream in &mut dripping {
                if stream.write_all(b"x").is_err() {
                    *stream = unfinished(address);
                }
            }
        }
    }

    #[test]
    fn the_head_of_a_request_has_to_come_in_time() {
        let metrics = NodeMetrics::new(BuildInfo { version: "0" });
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let head_time_max = Duration::from_millis(50);
        let limits = Limits { head_time_max, ..Limits::default() };
        let server = AdminServer::start_with(listener, NodeHandle::new(metrics), limits).unwrap();
        let mut stream = unfinished(server.local_addr());
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while stream.write_all(b"x").is_ok() {
            assert!(std::time::Instant::now() < deadline, "it may drip on");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn shutdown_ends_the_thread_in_spite_of_an_open_connection() {
        let (server, _metrics) = started();
        let address = server.local_addr();
        let _idle = TcpStream::connect(address).unwrap();
        server.shutdown();
        assert!(TcpStream::connect(address).is_err());
    }
}
