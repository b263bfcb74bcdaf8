//! How fast this machine reads its memory: the limit that decoding runs against.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;
use memmap2::{Advice, MmapMut};

/// Larger than any cache: the machine this was written on has 260 MB of it.
const BYTES: usize = 3 << 29;
/// Places that a thread reads at in turn, and the bytes it takes at each. One stream alone is held up at each page's end, where the
/// hardware's prefetching stops: 19 GB/s against 26 here.
const STREAMS: usize = 4;
const LINE: usize = 64;

/// Memory to read, in large pages where the system gives them (19 GB/s against 24 here, with one stream).
pub struct Memory {
    bytes: MmapMut,
}

impl Memory {
    /// Takes 1.5 GiB and writes them once, so that each page is there.
    ///
    /// # Errors
    /// There is not so much.
    pub fn new() -> Result<Self> {
        let mut bytes = MmapMut::map_anon(BYTES)?;
        // Not every system has them; without them it is only slower.
        let _ = bytes.advise(Advice::HugePage);
        bytes.fill(1);
        Ok(Self { bytes })
    }

    /// Bytes per second that so many threads read, each its own part.
    pub fn read(&self, threads: usize) -> f64 {
        let begin = Instant::now();
        std::thread::scope(|scope| {
            for part in self.bytes.chunks(BYTES.div_ceil(threads)) {
                scope.spawn(|| black_box(sum(part)));
            }
        });
        BYTES as f64 / begin.elapsed().as_secs_f64()
    }
}

fn sum(bytes: &[u8]) -> u64 {
    let mut sums = [[0u64; LINE / 8]; STREAMS];
    let length = bytes.len() / STREAMS / LINE * LINE;
    for place in (0..length).step_by(LINE) {
        for (stream, sums) in sums.iter_mut().enumerate() {
            let line = &bytes[stream * length + place..][..LINE];
            for (sum, number) in sums.iter_mut().zip(line.chunks_exact(8)) {
                *sum = sum.wrapping_add(number.try_into().map_or(0, u64::from_ne_bytes));
            }
        }
    }
    sums.as_flattened().iter().fold(0, |all, sum| all.wrapping_add(*sum))
}
