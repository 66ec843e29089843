//! Small files as a whole, built from the other operations.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use smallvec::smallvec;

use crate::{Durability, OpenOptions, Runtime};

/// Bytes read at a time.
const READ_BYTES: u64 = 1 << 20;

pub(crate) async fn read(rt: &Runtime, path: &Path, max_len: u64) -> io::Result<Vec<u8>> {
    let options = OpenOptions { read: true, ..OpenOptions::default() };
    let file = rt.open(path, &options).await?;
    let len = rt.file_len(&file).await?;
    if len > max_len {
        let why = format!("{} has {len} bytes, more than {max_len}", path.display());
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    let mut bytes = Vec::with_capacity(len as usize);
    while (bytes.len() as u64) < len {
        let left = len - bytes.len() as u64;
        let buf = rt.buffers().get(left.min(READ_BYTES) as usize);
        let (result, buf) = rt.read_at(&file, buf, bytes.len() as u64).await;
        let n = result?.min(left as usize);
        if n == 0 {
            break;
        }
        bytes.extend_from_slice(&buf[..n]);
    }
    Ok(bytes)
}

pub(crate) async fn write_atomic(rt: &Runtime, path: &Path, bytes: Bytes) -> io::Result<()> {
    let temporary = temporary(path);
    let options =
        OpenOptions { write: true, create: true, truncate: true, ..OpenOptions::default() };
    let file = rt.open(&temporary, &options).await?;
    rt.write_at(&file, smallvec![bytes], 0, Durability::Buffered).await?;
    rt.sync_data(&file).await?;
    drop(file);
    rt.rename(&temporary, path).await?;
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => rt.sync_dir(dir).await,
        _ => rt.sync_dir(Path::new(".")).await,
    }
}

/// The name a file has until it is complete.
fn temporary(path: &Path) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}
