//! Reading a segment that is still written through the page cache.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;

use ringlog_config::TopicConfig;
use ringlog_runtime::Piece;

use crate::segment::batch_header::BatchHeader;
use crate::testing::{BatchSpec, Bench, Opened, append, bytes_of, on_shard};
use crate::{Log, StorageOptions, StorageShard};

const VALUE_BYTES: usize = 256 << 10;

/// An open log of 40 MiB that reads by page, whatever is below it, with hardly anything in memory;
/// and what was appended.
async fn written(bench: &Bench) -> (Opened, Vec<Vec<u8>>) {
    let opened = bench.open().await;
    opened.log.dir().reads_by_page().set(true).expect("nobody has asked yet");
    let mut appended = Vec::new();
    for seed in 0..160 {
        write_one(&opened.log, seed, &mut appended).await;
    }
    (opened, appended)
}

async fn write_one(log: &Log, seed: u8, appended: &mut Vec<Vec<u8>>) {
    let spec = BatchSpec { value_bytes: VALUE_BYTES, seed, ..Default::default() };
    appended.push(spec.build());
    let end = append(log, spec).expect("taken").last_offset + 1;
    log.wait_durable(log.end_at(end)).await.expect("written");
}

fn on_bench<F, Fut>(test: F)
where
    F: Fn(Bench) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().to_owned();
    on_shard(move |runtime| {
        let options = StorageOptions { tail_cache_bytes: 1 << 20, ..StorageOptions::default() };
        let shard = StorageShard::new(runtime, options);
        test(Bench { root: path.clone(), shard, config: Mutex::new(TopicConfig::default()) })
    });
}

#[test]
fn a_growing_segment_is_read_by_page_but_for_its_end() {
    on_bench(|bench| async move {
        let (opened, mut appended) = written(&bench).await;
        let log = &opened.log;
        let (mut by_page, mut offset) = (0, 0);
        // It grows by half of what is read, so that the reader meets its end at last.
        while offset < log.log_end_offset() {
            let read = log.read(offset, 1 << 20, log.log_end_offset(), true).await.expect("read");
            let bytes = bytes_of(&bench, &read.pieces).await;
            by_page += usize::from(matches!(read.pieces[..], [Piece::File { .. }]));
            let mut at = 0;
            while at < bytes.len() {
                let header = BatchHeader::parse(&bytes[at..], (bytes.len() - at) as u64);
                let header = header.expect("it ends where a batch does");
                assert_eq!(header.base_offset, offset);
                // But for the offset and the epoch, as it was sent.
                assert_eq!(bytes[at + 16..at + header.size], appended[offset as usize][16..]);
                at += header.size;
                offset = header.next_offset();
            }
            if appended.len() < 240 {
                write_one(log, offset as u8, &mut appended).await;
            }
        }
        assert_eq!(offset as usize, appended.len());
        assert!((20..60).contains(&by_page), "{by_page} reads by page");
        bench.close(opened).await;
    });
}

/// Its page-wise reader would promise a client the bytes, and hang up on it each time.
#[test]
fn what_a_send_could_not_read_is_read_otherwise() {
    on_bench(|bench| async move {
        let (opened, _) = written(&bench).await;
        let log = &opened.log;
        let read = log.read(0, 1 << 20, log.log_end_offset(), true).await.expect("read");
        let [Piece::File { file, .. }] = &read.pieces[..] else { panic!("{:?}", read.pieces) };
        let beyond = Piece::File { file: file.clone(), pos: 1 << 40, len: 1 };
        let runtime = bench.runtime();
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = runtime.listen(anywhere).await.expect("a port");
        let _here = runtime.connect(listener.local_addr()).await.expect("a connection");
        let (there, _) = runtime.accept(&listener).await.expect("a connection");
        there.send(vec![beyond]).await.expect_err("there is nothing");
        let again = log.read(0, 1 << 20, log.log_end_offset(), true).await.expect("read");
        assert!(again.pieces.iter().all(|piece| matches!(piece, Piece::Bytes(_))));
        let both = [bytes_of(&bench, &read.pieces).await, bytes_of(&bench, &again.pieces).await];
        let common = both[0].len().min(both[1].len());
        assert!(common > VALUE_BYTES && both[0][..common] == both[1][..common]);
        bench.close(opened).await;
    });
}
