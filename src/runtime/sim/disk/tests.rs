//! The simulated disk as its node sees it: names, space, alignment, crashes.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::{Disk, DiskModel, OpenHow, Write};
use crate::sim::Prng;

const CREATE: OpenHow = OpenHow {
    read: true,
    write: true,
    create: true,
    create_new: false,
    truncate: false,
    direct: false,
};

fn disk() -> Disk {
    Disk::new(DiskModel::default())
}

fn put(disk: &mut Disk, path: &str, fill: u8, len: usize, durable: bool) -> io::Result<()> {
    let file = disk.open(Path::new(path), CREATE, 1)?;
    let parts = [Bytes::from(vec![fill; len])];
    let submitted = disk.sequence();
    disk.write(&file, Write { pos: 0, parts: &parts, durable, submitted }, 1)
}

fn sync_dir(disk: &mut Disk, path: &str) {
    let submitted = disk.sequence();
    disk.sync_dir(Path::new(path), submitted).unwrap();
}

fn names(disk: &Disk, path: &str) -> Vec<String> {
    disk.read_dir(Path::new(path)).unwrap().into_iter().map(|(name, _)| name).collect()
}

fn kind(result: io::Result<impl Sized>) -> io::ErrorKind {
    result.map(|_| ()).unwrap_err().kind()
}

#[test]
fn errors_are_those_of_linux() {
    let mut disk = disk();
    let root = Path::new("/");
    put(&mut disk, "/f", 1, 10, false).unwrap();
    disk.create_dir_all(Path::new("/d/e"), 1).unwrap();
    put(&mut disk, "/d/e/g", 1, 10, false).unwrap();
    let new = OpenHow { create_new: true, ..CREATE };
    assert_eq!(kind(disk.open(Path::new("/f"), new, 1)), io::ErrorKind::AlreadyExists);
    assert_eq!(kind(disk.open(Path::new("/x/f"), CREATE, 1)), io::ErrorKind::NotFound);
    assert_eq!(kind(disk.open(Path::new("/f/x"), CREATE, 1)), io::ErrorKind::NotADirectory);
    assert_eq!(kind(disk.open(Path::new("/d"), CREATE, 1)), io::ErrorKind::IsADirectory);
    assert_eq!(kind(disk.create_dir_all(Path::new("/f/x"), 1)), io::ErrorKind::NotADirectory);
    assert_eq!(kind(disk.remove_file(Path::new("/d"))), io::ErrorKind::IsADirectory);
    assert_eq!(kind(disk.remove_file(Path::new("/x"))), io::ErrorKind::NotFound);
    assert_eq!(kind(disk.rename(Path::new("/x"), root)), io::ErrorKind::InvalidInput);
    assert_eq!(kind(disk.rename(Path::new("/f"), Path::new("/d"))), io::ErrorKind::IsADirectory);
    disk.remove_dir_all(Path::new("/d")).unwrap();
    assert_eq!(names(&disk, "/"), ["f"]);
    assert_eq!(disk.stat(Path::new("/f")).unwrap().len, 10);
}

#[test]
fn a_full_disk_refuses_and_deleting_makes_room_when_closed() {
    let mut disk = Disk::new(DiskModel { capacity_bytes: 4 * 4096, ..DiskModel::default() });
    put(&mut disk, "/a", 1, 3 * 4096, true).unwrap();
    assert_eq!(kind(put(&mut disk, "/b", 1, 2 * 4096, true)), io::ErrorKind::StorageFull);
    put(&mut disk, "/a", 2, 3 * 4096, true).expect("overwriting needs no room");
    let open = disk.open(Path::new("/a"), OpenHow::READ, 1).unwrap();
    disk.remove_file(Path::new("/a")).unwrap();
    assert_eq!(disk.space(), (4 * 4096, 4096), "an open file keeps its pages");
    let mut out = [0; 4];
    assert_eq!(disk.read(&open, 0, &mut out).unwrap(), 4, "and can be read");
    drop(open);
    put(&mut disk, "/b", 1, 2 * 4096, true).unwrap();
    assert_eq!(disk.space(), (4 * 4096, 2 * 4096));
    let file = disk.open(Path::new("/b"), CREATE, 1).unwrap();
    assert_eq!(kind(disk.allocate(&file, 0, 5 * 4096)), io::ErrorKind::StorageFull);
    disk.allocate(&file, 0, 4 * 4096).unwrap();
    disk.set_len(&file, 0, 1).unwrap();
    assert_eq!(disk.space().1, 4 * 4096);
}

#[test]
fn direct_transfers_are_aligned() {
    let mut disk = disk();
    let file = disk.open(Path::new("/a"), OpenHow { direct: true, ..CREATE }, 1).unwrap();
    let mut out = vec![0; 16 * 1024];
    let base = out.as_ptr().align_offset(4096);
    assert!(disk.read(&file, 0, &mut out[base..base + 4096]).is_ok());
    for (pos, from, len) in [(512, 0, 4096), (0, 8, 4096), (0, 0, 4095)] {
        let got = disk.read(&file, pos, &mut out[base + from..base + from + len]);
        assert_eq!(kind(got), io::ErrorKind::InvalidInput, "{pos} {from} {len}");
    }
    let parts = [Bytes::from(vec![1; 100])];
    let write = Write { pos: 0, parts: &parts, durable: false, submitted: 0 };
    assert_eq!(kind(disk.write(&file, write, 1)), io::ErrorKind::InvalidInput);
}

#[test]
fn names_survive_a_crash_only_when_their_directory_was_synced() {
    let mut lost = 0;
    for seed in 0..100 {
        let mut disk = disk();
        put(&mut disk, "/kept", 1, 512, true).unwrap();
        sync_dir(&mut disk, "/");
        put(&mut disk, "/new", 1, 512, true).unwrap();
        disk.crash(Vec::new(), &mut Prng::new(seed));
        match names(&disk, "/").as_slice() {
            [a] => {
                assert_eq!(a, "kept");
                lost += 1;
            }
            both => assert_eq!(both, ["kept", "new"]),
        }
        assert_eq!(disk.space().1, (1 << 40) - 4096 * names(&disk, "/").len() as u64);
    }
    assert!((20..80).contains(&lost), "{lost}");
}

#[test]
fn an_atomic_replacement_leaves_the_old_or_the_new_file() {
    let mut new = 0;
    for seed in 0..100 {
        let mut disk = disk();
        put(&mut disk, "/c", 1, 600, true).unwrap();
        sync_dir(&mut disk, "/");
        put(&mut disk, "/c.tmp", 2, 700, true).unwrap();
        disk.rename(Path::new("/c.tmp"), Path::new("/c")).unwrap();
        disk.crash(Vec::new(), &mut Prng::new(seed));
        let file = disk.open(Path::new("/c"), OpenHow::READ, 1).unwrap();
        let mut out = [0; 800];
        let n = disk.read(&file, 0, &mut out).unwrap();
        assert!(out[..n] == [1; 600] || out[..n] == [2; 700], "{n}");
        new += u32::from(n == 700);
    }
    assert!((15..85).contains(&new), "{new}");
}

#[test]
fn handles_and_locks_end_with_the_node() {
    let mut disk = disk();
    let file = disk.open(Path::new("/a"), CREATE, 1).unwrap();
    let held = disk.lock(Path::new("/.lock"), 1).unwrap();
    assert_eq!(kind(disk.lock(Path::new("/.lock"), 1)), io::ErrorKind::WouldBlock);
    drop(held);
    let held = disk.lock(Path::new("/.lock"), 1).unwrap();
    disk.kill();
    assert!(disk.len(&file).is_err());
    assert!(disk.lock(Path::new("/.lock"), 1).is_ok());
    drop(held);
}

#[test]
fn a_lying_disk_loses_what_it_reported_durable() {
    let mut lost = 0;
    for seed in 0..50 {
        let mut disk = disk();
        put(&mut disk, "/a", 0, 512, true).unwrap();
        sync_dir(&mut disk, "/");
        disk.model.lying = true;
        put(&mut disk, "/a", 7, 512, true).unwrap();
        disk.crash(Vec::new(), &mut Prng::new(seed));
        let file = disk.open(Path::new("/a"), OpenHow::READ, 1).unwrap();
        let mut out = [0; 512];
        disk.read(&file, 0, &mut out).unwrap();
        lost += u32::from(out != [7; 512]);
    }
    assert!(lost > 5, "{lost}");
}

#[test]
fn what_a_failed_flush_lost_is_gone_after_a_crash_also_when_nothing_else_waits() {
    let mut lost = 0;
    for seed in 0..50 {
        let mut prng = Prng::new(seed);
        let mut disk = disk();
        put(&mut disk, "/a", 0, 512, true).unwrap();
        sync_dir(&mut disk, "/");
        put(&mut disk, "/a", 7, 512, false).unwrap();
        let file = disk.open(Path::new("/a"), CREATE, 1).unwrap();
        let submitted = disk.sequence();
        disk.fail_sync(&file, submitted, &mut prng);
        disk.sync(&file, submitted).unwrap();
        disk.crash(Vec::new(), &mut prng);
        let file = disk.open(Path::new("/a"), OpenHow::READ, 1).unwrap();
        let mut out = [0; 512];
        disk.read(&file, 0, &mut out).unwrap();
        lost += u32::from(out == [0; 512]);
    }
    assert!((5..30).contains(&lost), "{lost}");
}

#[test]
fn deleted_files_are_forgotten_only_when_no_crash_can_bring_them_back() {
    let mut disk = disk();
    for i in 0..2_000 {
        let path = format!("/f{i}");
        put(&mut disk, &path, 1, 4096, true).unwrap();
        sync_dir(&mut disk, "/");
        disk.remove_file(Path::new(&path)).unwrap();
    }
    assert!(disk.inodes.len() < 600, "{}", disk.inodes.len());
    assert_eq!(disk.space().1, 1 << 40);
    let file = Arc::new(disk.open(Path::new("/g"), CREATE, 1).unwrap());
    let in_flight = vec![(file, 0, Bytes::from_static(&[1; 512]))];
    disk.crash(in_flight, &mut Prng::new(5));
    assert!(names(&disk, "/").len() <= 2);
}
