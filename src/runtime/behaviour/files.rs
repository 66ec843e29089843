//! Files: transfers whole and short, direct and durable; names and directories.

use std::io::ErrorKind;

use bytes::Bytes;
use smallvec::smallvec;

use super::{TestDir, on_each_backend, pattern};
use crate::{Durability, File, IoBuf, OpenOptions, Runtime};

on_each_backend!(
    everywhere:
        what_was_written_is_read,
        direct_and_durable_writes,
        direct_writes_are_seen_through_the_page_cache,
        many_parts_and_odd_positions,
        space_and_length,
        names_and_directories,
        whole_files,
        locks,
        errors_come_back;
    in_order:;
    real:;
);

const CREATE: OpenOptions = OpenOptions {
    read: true,
    write: true,
    create: true,
    create_new: false,
    truncate: false,
    direct: false,
};

async fn read(rt: &Runtime, file: &File, capacity: usize, pos: u64) -> Vec<u8> {
    let (n, buf) = rt.read_at(file, rt.buffers().get(capacity), pos).await;
    assert_eq!(n.unwrap(), buf.len());
    buf.to_vec()
}

async fn what_was_written_is_read(rt: Runtime) {
    let dir = TestDir::new(&rt).await;
    let file = rt.open(&dir.path("f"), &CREATE).await.unwrap();
    let bytes = pattern(10_000, 1);
    let parts = smallvec![Bytes::from(bytes[..7].to_vec()), Bytes::from(bytes[7..].to_vec())];
    rt.write_at(&file, parts, 0, Durability::Buffered).await.unwrap();
    assert_eq!(read(&rt, &file, 20_000, 0).await, bytes, "short at the end");
    assert_eq!(read(&rt, &file, 4096, 5_000).await, bytes[5_000..9_096]);
    assert_eq!(read(&rt, &file, 4096, 10_000).await, b"", "nothing behind the end");
    assert_eq!(read(&rt, &file, 4096, 1 << 40).await, b"");
    let mut buf = rt.buffers().get(4096);
    buf.extend_from_slice(b"stale");
    let (n, buf) = rt.read_at(&file, buf, 9_999).await;
    assert_eq!((n.unwrap(), &buf[..]), (1, &bytes[9_999..]), "a read replaces");
    rt.sync_data(&file).await.unwrap();
}

async fn direct_and_durable_writes(rt: Runtime) {
    let dir = TestDir::new(&rt).await;
    let options = OpenOptions { direct: true, ..CREATE };
    let file = rt.open(&dir.path("f"), &options).await.unwrap();
    rt.allocate(&file, 0, 8 << 20).await.unwrap();
    let bytes = pattern(3 << 20, 2);
    let aligned = |bytes: &[u8]| {
        let mut buf: IoBuf = rt.buffers().get(bytes.len());
        buf.extend_from_slice(bytes);
        buf.freeze()
    };
    for (durability, chunk) in [(Durability::Buffered, 1 << 20), (Durability::Durable, 4096)] {
        let first = aligned(&bytes[..chunk]);
        let second = aligned(&bytes[chunk..2 * chunk]);
        rt.write_at(&file, smallvec![first, second], 4096, durability).await.unwrap();
        assert_eq!(read(&rt, &file, 2 * chunk, 4096).await, bytes[..2 * chunk]);
    }
    // Several in flight at once.
    let writes: Vec<_> = (0..8u64)
        .map(|i| {
            let (rt, file) = (rt.clone(), file.clone());
            let part = aligned(&bytes[i as usize * 65_536..][..65_536]);
            rt.clone().spawn(async move {
                let bufs = smallvec![part];
                rt.write_at(&file, bufs, i * 65_536, Durability::Durable).await
            })
        })
        .collect();
    for write in writes {
        write.await.unwrap();
    }
    assert_eq!(read(&rt, &file, 8 * 65_536, 0).await, bytes[..8 * 65_536]);
    assert_eq!(read(&rt, &file, 65_536, (8 << 20) - 4096).await, [0; 4096], "ends within");
}

/// What a reader of an open segment relies on: pages that the cache had of a part that was not
/// written yet, as reading ahead leaves them, are gone when the write has completed.
async fn direct_writes_are_seen_through_the_page_cache(rt: Runtime) {
    const PART: usize = 64 << 10;
    let dir = TestDir::new(&rt).await;
    let file = rt.open(&dir.path("f"), &OpenOptions { direct: true, ..CREATE }).await.unwrap();
    rt.allocate(&file, 0, 4 << 20).await.unwrap();
    let options = OpenOptions { read: true, ..OpenOptions::default() };
    let by_page = rt.open(&dir.path("f"), &options).await.unwrap();
    assert!(read(&rt, &by_page, 4 << 20, 0).await.iter().all(|byte| *byte == 0));
    let bytes = pattern(4 << 20, 5);
    for (i, part) in bytes.chunks(PART).enumerate() {
        let mut buf: IoBuf = rt.buffers().get(PART);
        buf.extend_from_slice(part);
        let durability = if i % 2 == 0 { Durability::Durable } else { Durability::Buffered };
        let at = (i * PART) as u64;
        rt.write_at(&file, smallvec![buf.freeze()], at, durability).await.unwrap();
        assert_eq!(read(&rt, &by_page, PART, at).await, part);
    }
    assert_eq!(read(&rt, &by_page, 4 << 20, 0).await, bytes);
    rt.wont_need(&by_page, 0, 4 << 20).await;
    assert_eq!(read(&rt, &by_page, 4 << 20, 0).await, bytes);
}

async fn many_parts_and_odd_positions(rt: Runtime) {
    let dir = TestDir::new(&rt).await;
    let file = rt.open(&dir.path("f"), &CREATE).await.unwrap();
    let parts: Vec<Bytes> =
        (0..3_000u32).map(|i| Bytes::from(vec![i as u8; (i % 5) as usize])).collect();
    let bufs = parts.iter().cloned().collect();
    rt.write_at(&file, bufs, 13, Durability::Durable).await.unwrap();
    let got = read(&rt, &file, 100_000, 0).await;
    assert_eq!(got[..13], [0; 13]);
    assert_eq!(got[13..], parts.concat());
    rt.write_at(&file, smallvec![], 0, Durability::Durable).await.unwrap();
}

async fn space_and_length(rt: Runtime) {
    let dir = TestDir::new(&rt).await;
    let path = dir.path("f");
    let file = rt.open(&path, &CREATE).await.unwrap();
    rt.allocate(&file, 4096, 1 << 20).await.unwrap();
    assert_eq!(rt.file_len(&file).await.unwrap(), (1 << 20) + 4096);
    rt.set_len(&file, 100).await.unwrap();
    assert_eq!(rt.file_len(&file).await.unwrap(), 100);
    rt.set_len(&file, 200).await.unwrap();
    assert_eq!(read(&rt, &file, 4096, 0).await, [0; 200]);
    let stat = rt.stat(&path).await.unwrap();
    assert_eq!((stat.len, stat.is_dir), (200, false));
    assert!((rt.wall_clock_ms() - stat.modified_ms).abs() < 60_000, "{stat:?}");
    let space = rt.disk_space(&path).await.unwrap();
    assert!(space.available > 0 && space.total >= space.available, "{space:?}");
}

async fn names_and_directories(rt: Runtime) {
    let dir = TestDir::new(&rt).await;
    let deep = dir.path("a/b/c");
    rt.create_dir_all(&deep).await.unwrap();
    rt.create_dir_all(&deep).await.unwrap();
    rt.open(&deep.join("x"), &CREATE).await.unwrap();
    rt.rename(&deep.join("x"), &deep.join("y")).await.unwrap();
    rt.sync_dir(&deep).await.unwrap();
    rt.create_dir_all(&deep.join("d")).await.unwrap();
    let mut entries = rt.read_dir(&deep).await.unwrap();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let names: Vec<_> = entries.iter().map(|e| (&*e.name, e.is_dir)).collect();
    assert_eq!(names, [("d", true), ("y", false)]);
    assert!(rt.stat(&deep).await.unwrap().is_dir);
    rt.remove_file(&deep.join("y")).await.unwrap();
    assert_eq!(rt.stat(&deep.join("y")).await.unwrap_err().kind(), ErrorKind::NotFound);
    rt.remove_dir_all(&dir.path("a")).await.unwrap();
    assert_eq!(rt.read_dir(&dir.path).await.unwrap(), []);
}

async fn whole_files(rt: Runtime) {
    let dir = TestDir::new(&rt).await;
    let path = dir.path("meta.properties");
    for len in [0, 1, 5_000, (1 << 20) + 1] {
        let bytes = pattern(len, 3);
        rt.write_file_atomic(&path, &bytes).await.unwrap();
        assert_eq!(rt.read_file(&path, len as u64).await.unwrap(), bytes);
    }
    let error = rt.read_file(&path, 1 << 20).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FileTooLarge);
    assert_eq!(rt.read_dir(&dir.path).await.unwrap().len(), 1, "no temporary file stays");
}

async fn locks(rt: Runtime) {
    let dir = TestDir::new(&rt).await;
    let path = dir.path(".lock");
    let held = rt.lock_file(&path).await.unwrap();
    assert_eq!(rt.lock_file(&path).await.unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(held);
    rt.lock_file(&path).await.unwrap();
}

async fn errors_come_back(rt: Runtime) {
    let dir = TestDir::new(&rt).await;
    let path = dir.path("f");
    let kind = |result: std::io::Result<File>| result.map(|_| ()).unwrap_err().kind();
    let only_read = OpenOptions { read: true, ..OpenOptions::default() };
    assert_eq!(kind(rt.open(&path, &only_read).await), ErrorKind::NotFound);
    let new = OpenOptions { write: true, create_new: true, ..OpenOptions::default() };
    let file = rt.open(&path, &new).await.unwrap();
    assert_eq!(kind(rt.open(&path, &new).await), ErrorKind::AlreadyExists);
    let (result, buf) = rt.read_at(&file, rt.buffers().get(10), 0).await;
    assert!(result.is_err() && buf.is_empty(), "opened for writing only");
    let file = rt.open(&path, &only_read).await.unwrap();
    let bytes = smallvec![Bytes::from_static(b"x")];
    assert!(rt.write_at(&file, bytes, 0, Durability::Buffered).await.is_err());
    assert!(rt.remove_file(&dir.path("nothing")).await.is_err());
    assert!(rt.rename(&dir.path("nothing"), &path).await.is_err());
}
