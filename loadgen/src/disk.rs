//! How fast the disk makes a write durable, without a server.

use anyhow::Context as _;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Instant;

/// Times of one write and its fdatasync into space that was written before, microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct WriteLatency {
    /// A block of 4 KiB, half of the times.
    pub(crate) block_p50_us: f64,
    /// The same, but for one in a hundred.
    pub(crate) block_p99_us: f64,
    /// 256 KiB, half of the times.
    pub(crate) large_p50_us: f64,
}

impl WriteLatency {
    /// In words.
    pub(crate) fn line(&self) -> String {
        format!(
            "disk        write + fdatasync: 4 KiB {:.0} us p50, {:.0} us p99; 256 KiB {:.0} us p50",
            self.block_p50_us, self.block_p99_us, self.large_p50_us
        )
    }
}

/// Measures in a file of its own, which is gone afterwards.
pub(crate) fn write_latency(folder: &Path) -> anyhow::Result<WriteLatency> {
    let path = folder.join("write-latency");
    let measured = measure(&path).with_context(|| format!("measuring {}", path.display()));
    let _ = std::fs::remove_file(&path);
    measured
}

fn measure(path: &Path) -> anyhow::Result<WriteLatency> {
    std::fs::write(path, vec![0; FILE_BYTES])?;
    File::open(path)?.sync_all()?;
    let file = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(path)?;
    let memory = vec![1_u8; LARGE_BYTES + BLOCK_BYTES];
    let from = memory.as_ptr().align_offset(BLOCK_BYTES);
    let block = times(&file, &memory[from..from + BLOCK_BYTES], BLOCKS)?;
    let large = times(&file, &memory[from..from + LARGE_BYTES], LARGES)?;
    Ok(WriteLatency {
        block_p50_us: block[block.len() / 2],
        block_p99_us: block[block.len() * 99 / 100],
        large_p50_us: large[large.len() / 2],
    })
}

/// Writes and syncs so often, one behind the other; the times in order.
fn times(file: &File, bytes: &[u8], count: usize) -> anyhow::Result<Vec<f64>> {
    let mut times = Vec::with_capacity(count);
    for at in 0..count {
        let offset = at * bytes.len() % (FILE_BYTES - LARGE_BYTES) / BLOCK_BYTES * BLOCK_BYTES;
        let began = Instant::now();
        file.write_all_at(bytes, offset as u64)?;
        file.sync_data()?;
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

const BLOCK_BYTES: usize = 4 << 10;
const LARGE_BYTES: usize = 256 << 10;
const FILE_BYTES: usize = 16 << 20;
const BLOCKS: usize = 500;
const LARGES: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_takes_time_and_the_file_is_gone_afterwards() {
        let folder = crate::programs::Folder::new().unwrap();
        // Where O_DIRECT is refused, as in memory, the error says which file.
        match write_latency(folder.path()) {
            Ok(measured) => {
                assert!(0.0 < measured.block_p50_us);
                assert!(measured.block_p50_us <= measured.block_p99_us);
            }
            Err(error) => assert!(format!("{error:#}").contains("write-latency"), "{error:#}"),
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
