//! A broker process on a temporary directory and a free port. Dropping it kills it.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ringlog_client::{
    Client, ClientSettings, Consumer, ConsumerSettings, FetchedRecord, NewTopic, Producer,
    ProducerRecord, ProducerSettings, StartFrom, Until,
};
use ringlog_types::TopicPartition;
use tempfile::TempDir;

/// No test asserts a shorter time: that something does not wait is seen by what it would wait for,
/// which is longer than this or never comes.
pub(crate) use ringlog_wire_client::PATIENCE;

/// A frame with a request for ApiVersions 0, with no client id.
pub(crate) const API_VERSIONS: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff];

/// A running broker.
pub(crate) struct Node {
    process: Child,
    /// What it had logged until it served.
    log: String,
    address: SocketAddr,
    data: Arc<TempDir>,
}

impl Node {
    /// A broker on a new directory.
    pub(crate) fn start() -> Node {
        Node::start_with(Arc::new(tempfile::tempdir().unwrap()), &["--shards", "2"])
    }

    /// A broker on this directory with these flags.
    pub(crate) fn start_with(data: Arc<TempDir>, flags: &[&str]) -> Node {
        Node::start_at(free_address(), data, flags)
    }

    /// A broker that can be reached here; it listens here only, unless a flag says where.
    pub(crate) fn start_at(address: SocketAddr, data: Arc<TempDir>, flags: &[&str]) -> Node {
        Node::start_process(command(data.path(), address, flags), address, data)
    }

    fn start_process(mut command: Command, address: SocketAddr, data: Arc<TempDir>) -> Node {
        let mut process = command.spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !answers(address) {
            if let Some(status) = process.try_wait().unwrap() {
                panic!("the broker ended with {status}: {}", log_of(&mut process));
            }
            assert!(Instant::now() < deadline, "the broker does not serve");
            std::thread::sleep(Duration::from_millis(5));
        }
        let log = log_until_serving(&mut process);
        assert_io(wanted_io().as_deref(), &log);
        Node { process, log, address, data }
    }

    /// A broker that may open so many descriptors.
    pub(crate) fn start_with_descriptors(open_files_max: u32, flags: &[&str]) -> Node {
        let (data, address) = (Arc::new(tempfile::tempdir().unwrap()), free_address());
        let broker = command(data.path(), address, flags);
        let mut limited = Command::new("sh");
        let limit = format!("ulimit -n {open_files_max} && exec \"$0\" \"$@\"");
        limited.args(["-c", &limit]).arg(broker.get_program()).args(broker.get_args());
        limited.env_remove("RUST_LOG");
        limited.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Node::start_process(limited, address, data)
    }

    /// Starts a broker that must refuse to run; returns what it says.
    pub(crate) fn start_refused(data: &Path, flags: &[&str]) -> String {
        Node::start_refused_at(free_address(), data, flags)
    }

    /// Likewise, on this address.
    pub(crate) fn start_refused_at(address: SocketAddr, data: &Path, flags: &[&str]) -> String {
        Node::start_fails_at(address, data, flags).1
    }

    /// Starts a broker that must refuse to run; returns its exit code as well.
    pub(crate) fn start_fails(data: &Path, flags: &[&str]) -> (Option<i32>, String) {
        Node::start_fails_at(free_address(), data, flags)
    }

    fn start_fails_at(address: SocketAddr, data: &Path, flags: &[&str]) -> (Option<i32>, String) {
        let mut process = command(data, address, flags).spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while process.try_wait().unwrap().is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        // One that serves would do so for ever.
        drop(process.kill());
        let output = process.wait_with_output().unwrap();
        assert!(!output.status.success(), "the broker should not have started");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn data(&self) -> &Arc<TempDir> {
        &self.data
    }

    /// The most memory it has had so far, in MB.
    pub(crate) fn peak_memory_mb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        kib * 1024 / 1_000_000
    }

    /// The directory of a partition.
    pub(crate) fn partition_dir(&self, name: &str) -> PathBuf {
        self.data.path().join(name)
    }

    /// kill −9, and the directory for the next one.
    pub(crate) fn kill(mut self) -> Arc<TempDir> {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.data.clone()
    }

    /// Holds the process where it is, as a machine that hangs does.
    pub(crate) fn freeze(&self) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-STOP", &pid]).status().unwrap().success());
    }

    /// Waits until it ends by itself. Returns its exit code, and what it has logged.
    pub(crate) async fn wait_for_end(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + 2 * PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                let log = std::mem::take(&mut self.log) + &log_of(&mut self.process);
                return (status.code(), log);
            }
            assert!(Instant::now() < deadline, "the broker runs on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A clean stop.
    pub(crate) fn stop(self) -> Arc<TempDir> {
        self.stop_and_tell().0
    }

    /// A clean stop, and what the broker has logged.
    pub(crate) fn stop_and_tell(mut self) -> (Arc<TempDir>, String) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let status = self.process.wait().unwrap();
        assert!(status.success(), "a clean stop ends with {status}");
        (self.data.clone(), std::mem::take(&mut self.log) + &log_of(&mut self.process))
    }

    pub(crate) async fn client(&self) -> Client {
        let mut settings = ClientSettings::new(vec![self.address.to_string()]);
        settings.connect_timeout = PATIENCE;
        settings.request_timeout = PATIENCE;
        settings.operation_timeout = 2 * PATIENCE;
        Client::connect(settings).await.unwrap()
    }

    /// Creates a topic with settings.
    pub(crate) async fn create(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let configs = configs.iter().map(|(key, value)| (key.to_string(), value.to_string()));
        let topic = NewTopic {
            name: name.into(),
            partitions: Some(partitions),
            configs: configs.collect(),
            ..NewTopic::default()
        };
        self.client().await.create_topic(&topic, false).await.unwrap();
    }

    /// Sends values to one partition and returns their offsets once all are acknowledged.
    pub(crate) async fn produce(
        &self,
        topic: &str,
        partition: i32,
        values: &[String],
        settings: ProducerSettings,
    ) -> Vec<i64> {
        let producer = Producer::new(self.client().await, settings).unwrap();
        let mut deliveries = Vec::new();
        for value in values {
            let record = ProducerRecord {
                topic: topic.into(),
                partition: Some(partition),
                value: Some(Bytes::copy_from_slice(value.as_bytes())),
                ..ProducerRecord::default()
            };
            deliveries.push(producer.send(record).await.unwrap());
        }
        let mut offsets = Vec::new();
        for delivery in deliveries {
            offsets.push(delivery.wait().await.unwrap().offset.unwrap_or(-1));
        }
        producer.close().await;
        offsets
    }

    /// Everything in a partition from an offset to its present end.
    pub(crate) async fn consume(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
    ) -> Vec<FetchedRecord> {
        let partitions = [TopicPartition::new(topic, partition)];
        let settings = ConsumerSettings::default();
        let from = StartFrom::Offset(from);
        let client = self.client().await;
        let mut consumer =
            Consumer::start(client, &partitions, from, Until::End, settings).await.unwrap();
        let mut records = Vec::new();
        while let Some(fetched) = consumer.next().await {
            records.extend(fetched.unwrap());
        }
        records
    }
}

impl ToSocketAddrs for Node {
    type Iter = std::option::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> std::io::Result<Self::Iter> {
        Ok(Some(self.address).into_iter())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn command(data: &Path, address: SocketAddr, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringlog"));
    command.arg("server");
    if !flags.contains(&"--listen") {
        command.args(["--listen", &address.to_string()]);
    }
    if !flags.contains(&"--data") {
        command.arg("--data").arg(data);
    }
    if !flags.contains(&"--admin") {
        command.args(["--admin", "off"]);
    }
    command.args(flags);
    if let Some(io) = wanted_io() {
        command.args(["--io", &io]);
    }
    // The line `serving` has to be there.
    command.env_remove("RUST_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Whether a broker answers there. That somebody accepts connections does not say it: a node that
/// starts looks first whether it could, and one that was killed does for a moment.
pub(crate) fn answers(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    stream.write_all(&API_VERSIONS).is_ok() && stream.read_exact(&mut [0; 4]).is_ok()
}

/// Whether the brokers of this run do without io_uring.
pub(crate) fn is_fallback() -> bool {
    wanted_io().as_deref() == Some("fallback")
}

/// The `--io` of every broker of this run, if it is not left to them.
fn wanted_io() -> Option<String> {
    std::env::var("RINGLOG_IT_IO").ok()
}

/// Takes the log up to the line `serving`, and not a byte beyond it.
fn log_until_serving(process: &mut Child) -> String {
    let pipe = process.stderr.as_mut().unwrap();
    let mut text = Vec::new();
    let mut byte = [0];
    loop {
        let begin = text.len();
        while text.last() != Some(&b'\n') || text.len() == begin {
            assert_eq!(pipe.read(&mut byte).unwrap(), 1, "the log ends before the line `serving`");
            text.push(byte[0]);
        }
        if String::from_utf8_lossy(&text[begin..]).contains(" serving ") {
            return String::from_utf8(text).unwrap();
        }
    }
}

/// A run that is to show the fallback (or the ring) must not pass on the other one.
fn assert_io(wanted: Option<&str>, log: &str) {
    let named = match wanted {
        Some("uring") => "io=\"io_uring\"",
        Some("fallback") => "io=\"fallback\"",
        Some("auto") | None => return,
        Some(other) => panic!("RINGLOG_IT_IO={other}: uring, fallback or auto"),
    };
    let serving = log.lines().last().unwrap_or_default();
    assert!(serving.contains(named), "{named} was asked for, and the broker says: {serving}");
}

fn log_of(process: &mut Child) -> String {
    let mut text = String::new();
    if let Some(log) = &mut process.stderr {
        drop(log.read_to_string(&mut text));
    }
    text
}

/// An address that no other test gets: between this look and the broker's own bind the port is
/// free, and two brokers could share it (SO_REUSEPORT).
pub(crate) fn free_address() -> SocketAddr {
    static GIVEN: Mutex<BTreeSet<SocketAddr>> = Mutex::new(BTreeSet::new());
    loop {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        if GIVEN.lock().unwrap().insert(address) {
            return address;
        }
    }
}

/// `count` values that differ.
pub(crate) fn values(count: usize, size: usize) -> Vec<String> {
    (0..count).map(|index| format!("{index:0>size$}")).collect()
}

/// The values of records, as text.
pub(crate) fn texts(records: &[FetchedRecord]) -> Vec<String> {
    let text = |record: &FetchedRecord| {
        String::from_utf8(record.value.as_deref().unwrap_or_default().to_vec()).unwrap()
    };
    records.iter().map(text).collect()
}

#[test]
fn an_unwanted_io_is_noticed() {
    let log = "INFO recovered\nINFO serving address=127.0.0.1:1 io=\"io_uring\" shards=2\n";
    assert_io(None, log);
    assert_io(Some("uring"), log);
    assert!(std::panic::catch_unwind(|| assert_io(Some("fallback"), log)).is_err());
}
