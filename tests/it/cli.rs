//! The command line, as people and scripts use it: the binary against a running node, its JSON,
//! its exit codes, and the examples that its own pages give.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ringlog_client::OffsetSpec;
use ringlog_types::TopicPartition;
use serde_json::Value;

use crate::node::{Node, PATIENCE, free_address};

const BINARY: &str = env!("CARGO_BIN_EXE_ringlog");

/// What a command said, and how it ended.
#[derive(Debug)]
struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Run {
    /// The run, which must have ended with `code`.
    fn ends_with(self, code: i32) -> Run {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// Standard output as one JSON document.
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Standard output as one JSON document a line.
    fn json_lines(&self) -> Vec<Value> {
        let parsed = self.stdout.lines().map(serde_json::from_str);
        parsed.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

fn finish(mut child: Child, input: &[u8]) -> Run {
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // On a thread: the command may say more than a pipe holds before it has read everything.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let signal = output.status.signal().unwrap_or(0);
    let code = output.status.code().unwrap_or(-signal);
    Run { code, stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn piped(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// A command without a cluster.
fn local(line: &str) -> Run {
    finish(piped(Command::new(BINARY).args(line.split(' '))), b"")
}

impl Node {
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(BINARY);
        command.args(line.split(' ')).env("RINGLOG_BOOTSTRAP", self.address().to_string());
        command
    }

    fn ringlog(&self, line: &str) -> Run {
        self.ringlog_reads(line, b"")
    }

    /// With this as standard input.
    fn ringlog_reads(&self, line: &str, input: &[u8]) -> Run {
        finish(piped(&mut self.command(line)), input)
    }

    /// A line for a shell, in which `ringlog` is the binary.
    fn shell(&self, line: &str, directory: &Path) -> Run {
        let mut command = Command::new("sh");
        let folder = Path::new(BINARY).parent().unwrap().display().to_string();
        let path = format!("{folder}:{}", std::env::var("PATH").unwrap());
        command.args(["-c", line]).env("PATH", path).current_dir(directory);
        command.env("RINGLOG_BOOTSTRAP", self.address().to_string());
        finish(piped(&mut command), b"")
    }

    async fn end_offset(&self, topic: &str) -> i64 {
        let partition = [TopicPartition::new(topic, 0)];
        let found = self.client().await.list_offsets(&partition, OffsetSpec::Latest).await;
        found.unwrap()[&partition[0]].offset.unwrap()
    }
}

#[test]
fn topics_from_creation_to_deletion() {
    let node = Node::start();
    let json = |line: &str| node.ringlog(&format!("{line} --format json")).ends_with(0).json();
    let created = json("topic create logs other -p 2 -c retention.ms=60000");
    assert_eq!((&created[0]["topic"], &created[1]["result"]), (&"logs".into(), &"created".into()));
    let again = node.ringlog("topic create logs --format json").ends_with(1);
    assert_eq!(again.json()[0]["result"], "failed");
    assert!(again.stderr.contains("TOPIC_ALREADY_EXISTS"), "{again:?}");
    assert_eq!(json("topic create logs --if-not-exists")[0]["result"], "exists");

    let listed = json("topic list");
    let names: Vec<&str> = listed.as_array().unwrap().iter().map(|t| name(&t["topic"])).collect();
    assert_eq!(names, ["logs", "other"]);
    assert!(node.ringlog("topic list").ends_with(0).stdout.contains("logs"));

    node.ringlog_reads("produce logs -p 1", b"a\nb\n").ends_with(0);
    let described = &json("topic describe logs")[0];
    assert_eq!(described["configs"]["retention.ms"], "60000");
    assert_eq!(described["partitions"][1]["end_offset"], 2);
    assert_eq!(described["partitions"][1]["isr"], serde_json::json!([1]));

    json("topic config logs --set retention.ms=120000");
    let shown = json("topic config logs");
    let retention = shown.as_array().unwrap().iter().find(|s| s["name"] == "retention.ms");
    assert_eq!(retention.unwrap()["value"], "120000");

    assert_eq!(json("topic add-partitions logs --total 5")["result"], "extended");
    assert_eq!(json("topic describe logs")[0]["partitions"].as_array().unwrap().len(), 5);
    assert_eq!(json("topic delete-records logs:1 --before end")[0]["start_offset"], 2);
    assert_eq!(json("topic delete logs other")[1]["result"], "deleted");
    assert_eq!(json("topic list"), serde_json::json!([]));
    assert_eq!(json("topic delete logs --if-exists")[0]["result"], "unknown");
}

fn name(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

#[test]
fn records_in_and_out() {
    let node = Node::start();
    node.ringlog("topic create events --partitions 3").ends_with(0);
    let lines = b"k1:one\nk2:NULL\nk1:\xff\xfe\n";
    let sent = node.ringlog_reads(
        "produce events -k : --null-value NULL -H source=it -z zstd --format json",
        lines,
    );
    let summary = sent.ends_with(0).json();
    assert_eq!((&summary["records"], &summary["failed"]), (&3.into(), &0.into()));

    let read = node.ringlog("consume events --until end --format json").ends_with(0).json_lines();
    assert_eq!(read.len(), 3);
    for record in &read {
        assert_eq!(record["headers"], serde_json::json!([{"key": "source", "value": "it"}]));
        assert!(record["timestamp"].as_i64().unwrap() > 0 && record["offset"].is_i64());
    }
    let of = |key: &str| read.iter().filter(|r| r["key"] == key).cloned().collect::<Vec<_>>();
    assert_eq!(of("k2")[0]["value"], Value::Null);
    assert_eq!(of("k1")[0]["value"], "one");
    assert_eq!(of("k1")[1]["value_base64"], "//4=");
    assert_eq!(of("k1")[0]["partition"], of("k1")[1]["partition"]);

    node.ringlog_reads("produce plain", b"x\ny\nz").ends_with(0);
    let plain = node.ringlog("consume plain --count 1 --format json").ends_with(0);
    assert_eq!(plain.json()["headers"], serde_json::json!([]));
    let form = node.ringlog("consume plain:0 --from 1 --until end -s %t-%p-%o=%v;").ends_with(0);
    assert_eq!(form.stdout, "plain-0-1=y;plain-0-2=z;");
    assert_eq!(node.ringlog("consume plain -f -1 -u end").ends_with(0).stdout, "z\n");

    let wide = node.ringlog("produce plain --partition 9").ends_with(2);
    assert!(wide.stderr.contains("has 1 partitions, none is 9"), "{wide:?}");
    let bad = node.ringlog_reads("produce plain -k :", b"a:b\nno separator\n").ends_with(2);
    assert!(bad.stderr.contains("line 2: no key separator"), "{bad:?}");
    let long = format!("short\n{}\n", "x".repeat(400_000));
    let line = "produce plain --max-request-size 200000";
    let long = node.ringlog_reads(line, long.as_bytes()).ends_with(1);
    assert!(long.stderr.contains("--max-request-size"), "{long:?}");
}

#[test]
fn the_cluster_its_files_and_the_machine() {
    let node = Node::start();
    node.ringlog_reads("produce files", b"one\ntwo\n").ends_with(0);
    let cluster = node.ringlog("cluster --format json").ends_with(0).json();
    assert_eq!(cluster["brokers"][0]["id"], 1);
    assert_eq!(cluster["brokers"][0]["log_dirs"].as_array().unwrap().len(), 1);
    let data = node.stop();
    let data = data.path();

    let verified = local(&format!("storage verify {}/files-0 -q --format json", data.display()));
    let verified = verified.ends_with(0).json();
    assert_eq!((&verified["records"], &verified["problems"]), (&2.into(), &Value::Array(vec![])));
    let log = data.join("files-0/00000000000000000000.log");
    let dumped = local(&format!("storage dump {} --records --format json", log.display()));
    let dumped = dumped.ends_with(0).json_lines();
    assert!(dumped.iter().any(|line| line["count"] == 2), "{dumped:?}");
    assert!(dumped.iter().any(|line| line["value"] == "two"), "{dumped:?}");

    let mut bytes = std::fs::read(&log).unwrap();
    bytes[70] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    let damaged = local(&format!("storage verify {} -q --format json", log.display()));
    let damaged = damaged.ends_with(4).json();
    assert!(name(&damaged["problems"][0]["problem"]).contains("checksum"), "{damaged}");
    let empty = tempfile::tempdir().unwrap();
    let nothing = local(&format!("storage verify {} -q", empty.path().display())).ends_with(1);
    assert!(nothing.stderr.contains("nothing of a log"), "{nothing:?}");

    let doctor = local(&format!("doctor {} --format json", data.display()));
    assert!([0, 4].contains(&doctor.code), "{doctor:?}");
    let checks = doctor.json();
    let verdicts = checks.as_array().unwrap().iter().map(|check| name(&check["verdict"]));
    let verdicts: Vec<&str> = verdicts.collect();
    assert_eq!(doctor.code == 4, verdicts.contains(&"problem"), "{verdicts:?}");
}

/// What a running node writes, rolls and removes meanwhile is no damage.
#[test]
fn the_directory_of_a_running_node_is_verified_beside_it() {
    let data = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let flags = ["--shards", "1", "--set", "log.retention.check.interval.ms=20"];
    let node = Node::start_with(data.clone(), &flags);
    let configs = "-c segment.bytes=1048576 -c retention.bytes=3000000 -c file.delete.delay.ms=0";
    node.ringlog(&format!("topic create t {configs}")).ends_with(0);
    let lines = "a line of a log that is not very long\n".repeat(600_000);
    std::thread::scope(|scope| {
        let producer = scope.spawn(|| node.ringlog_reads("produce t", lines.as_bytes()));
        let verify = format!("storage verify {} -q", data.path().display());
        let mut runs = 0;
        while runs < 3 || !producer.is_finished() {
            local(&verify).ends_with(0);
            runs += 1;
        }
        producer.join().unwrap().ends_with(0);
    });
}

#[test]
fn exit_codes() {
    let node = Node::start();
    for (line, code) in [
        ("topic describe nope", 1),
        ("consume nope", 1),
        ("topic create", 2),
        ("topic list -b nonsense", 2),
        ("topic list --timeout 18446744073709551615", 2),
        ("produce t --compression-level 5", 2),
        ("consume t:5-2", 2),
        ("server --set num.partition=3", 2),
        ("--help", 0),
    ] {
        let run = node.ringlog(line).ends_with(code);
        let said = if code == 0 { &run.stdout } else { &run.stderr };
        assert!(!said.is_empty(), "{line}: {run:?}");
    }
    local(&format!("topic list -b {}", free_address())).ends_with(3);
}

/// `eprintln!` panicked where standard error was full or closed: 134 after a success, and a
/// script that repeats what failed sent everything twice.
#[test]
fn whoever_does_not_listen_changes_nothing() {
    let node = Node::start();
    let directory = tempfile::tempdir().unwrap();
    let shell = |line: &str| node.shell(line, directory.path());
    shell("seq 1 3 | ringlog produce heard 2>/dev/full").ends_with(0);
    shell("seq 4 6 | ringlog produce heard 2>&-").ends_with(0);
    shell("ringlog topic describe nope 2>/dev/full").ends_with(1);
    shell("ringlog topic describe nope --verbose 2>/dev/full").ends_with(1);
    shell("seq 7 9 | ringlog produce heard --verbose 2>&-").ends_with(0);
    assert_eq!(shell("ringlog consume heard --until end | head -n 1").ends_with(0).stdout, "1\n");
    let all = shell("ringlog consume heard --until end").ends_with(0);
    assert_eq!(all.stdout.lines().count(), 9);
}

/// The lines that README and `--help` give.
#[test]
fn the_pages_examples_work() {
    let node = Node::start();
    let directory = tempfile::tempdir().unwrap();
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let lines = readme.lines().filter(|line| line.contains("target/release/ringlog"));
    let lines: Vec<String> =
        lines.map(|line| line.replace("target/release/ringlog", "ringlog")).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(node.shell(&lines[0], directory.path()).ends_with(0).stdout.is_empty());
    let numbers: String = (1..=1000).map(|number| format!("{number}\n")).collect();
    assert_eq!(node.shell(&lines[1], directory.path()).ends_with(0).stdout, numbers);

    std::os::unix::fs::symlink(node.data().path(), directory.path().join("ringlog-data")).unwrap();
    let help = local("--help").ends_with(0).stdout;
    let (_, examples) = help.split_once("Examples:\n").unwrap();
    let examples = examples.lines().take_while(|line| !line.is_empty());
    let mut ran = 0;
    for example in examples.map(str::trim).filter(|line| !line.starts_with("ringlog server")) {
        node.shell(example, directory.path()).ends_with(0);
        ran += 1;
    }
    assert_eq!(ran, 4, "{help}");
}

/// `tail -F | ringlog produce` ends by a signal, always.
#[tokio::test]
async fn an_interrupted_produce_delivers_what_it_has_read() {
    let node = Node::start();
    node.create("tail", 1, &[]).await;
    for (round, signal, code) in [(1, "-INT", 130), (2, "-TERM", 143)] {
        // Full batches go out, the last one lingers.
        let line = "produce tail --batch-size 1000 --linger 600000";
        let mut process = piped(&mut node.command(line));
        let mut stdin = process.stdin.take().unwrap();
        let lines: String = (0..1000).map(|number| format!("{number}\n")).collect();
        stdin.write_all(lines.as_bytes()).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while node.end_offset("tail").await < (round - 1) * 1000 + 900 {
            assert!(Instant::now() < deadline, "the full batches do not arrive");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let pid = process.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        let mut said = String::new();
        process.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(process.wait().unwrap().code(), Some(code), "{said}");
        assert!(said.contains("1,000 records") && said.contains("stopped by SIG"), "{said}");
        assert_eq!(node.end_offset("tail").await, round * 1000);
        drop(stdin);
    }
}

/// A failed record ends a long-running pipe when it fails, not when the pipe ends.
#[test]
fn a_refused_record_ends_produce_and_is_told_with_its_line() {
    let node = Node::start();
    node.ringlog("topic create narrow -c max.message.bytes=1000").ends_with(0);
    let mut process = piped(&mut node.command("produce narrow --linger 0"));
    let mut stdin = process.stdin.take().unwrap();
    stdin.write_all(format!("a\nb\n{}\n", "x".repeat(5_000)).as_bytes()).unwrap();
    // Standard input stays open.
    let mut said = String::new();
    process.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(1), "{said}");
    assert!(said.contains("MESSAGE_TOO_LARGE") && said.contains("the first is line"), "{said}");
    drop(stdin);
}

/// The kernel still accepts and buffers for a process that stands still, so that nothing fails
/// by itself.
#[test]
fn a_broker_that_hangs_is_given_up_in_time() {
    let node = Node::start();
    node.ringlog("topic create t").ends_with(0);
    let mut filled =
        piped(&mut node.command("produce t --acks 0 --delivery-timeout 2 --timeout 2"));
    // Connected and at work before the broker hangs.
    let mut stdin = filled.stdin.take().unwrap();
    stdin.write_all(b"first\n").unwrap();
    let deadline = Instant::now() + PATIENCE;
    while node.ringlog("consume t --until end").stdout.is_empty() {
        assert!(Instant::now() < deadline, "nothing arrives");
    }
    node.freeze();
    let writer = std::thread::spawn(move || {
        let lines = "y".repeat(999) + "\n";
        let lines = lines.repeat(1_000);
        // It ends when the command does.
        while stdin.write_all(lines.as_bytes()).is_ok() {}
    });
    let took = |line: &str, code: i32, warned: &str| {
        let run = node.ringlog_reads(line, b"x\n").ends_with(code);
        assert!(run.stderr.contains(warned), "{run:?}");
    };
    took("topic list --timeout 2", 3, "longer than 2000 ms");
    took("produce t --timeout 2", 3, "longer than 2000 ms");
    let output = filled.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("records failed"), "{said}");
    writer.join().unwrap();
}

/// Everybody's first mistake: a name that only the broker knows.
#[test]
fn a_wrong_advertised_address_is_told_at_once() {
    let flags = ["--set", "advertised.listeners=PLAINTEXT://broker.invalid:9092"];
    let node = Node::start_with(std::sync::Arc::new(tempfile::tempdir().unwrap()), &flags);
    let run = node.ringlog_reads("produce t --delivery-timeout 3", b"a\n").ends_with(1);
    let (warning, error) = run.stderr.split_once("error: ").unwrap();
    for text in [warning, error] {
        assert!(text.contains("broker.invalid:9092"), "{run:?}");
        assert!(text.contains("advertised.listeners"), "{run:?}");
    }
}

/// The settings of a file older than KRaft, in a directory of its own; a metadata log elsewhere.
#[test]
fn a_servers_file_is_taken_or_refused_not_ignored() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("server.properties");
    let address = free_address();
    let serve = |text: &str| {
        std::fs::write(&file, format!("{text}\nlisteners=PLAINTEXT://{address}\n")).unwrap();
        let mut command = Command::new(BINARY);
        command.args(["server", "--config", "server.properties", "--admin", "off"]);
        piped(command.current_dir(directory.path()))
    };
    let mut server = serve("broker.id=0\nlog.dir=kept\nnum.io.threads=5\nsuper.users=User:a");
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline && server.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(10));
    }
    server.kill().unwrap();
    let said = String::from_utf8(server.wait_with_output().unwrap().stderr).unwrap();
    assert!(directory.path().join("kept/meta.properties").exists(), "{said}");
    assert!(!directory.path().join("ringlog-data").exists());
    assert!(said.contains("num.io.threads") && said.contains("super.users"), "{said}");
    for (text, expected) in [
        ("log.dirs=kept\nmetadata.log.dir=elsewhere", "Add it to log.dirs"),
        ("log.dirs=kept\nauthorizer.class.name=a.B", "no access control"),
        ("log.dirs=kept\nprocess.roles=broker", "process.roles"),
    ] {
        let refused = finish(serve(text), b"").ends_with(2);
        assert!(refused.stderr.contains(expected), "{refused:?}");
    }
}
