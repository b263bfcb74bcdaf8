//! Memory for weights.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use candle_core::{Error, Result};
use memmap2::{MmapOptions, MmapRaw};

/// One large piece of memory that matrices are laid out in, in the order in which a step reads them.
///
/// In huge pages where the system has them: reading weights is all that decoding does, and with pages of 4 KiB a thread reads 13 GB/s,
/// with those of 2 MiB 15.5 (Emerald Rapids), because the processor's own prefetching ends where a page does.
pub(in crate::gpt2) struct Memory {
    map: Arc<MmapRaw>,
    used: usize,
}

/// Types of which every bit pattern is a value.
///
/// # Safety
/// That has to be so, and their alignment must be at most [`ALIGNMENT`].
pub(super) unsafe trait Plain: Copy + Send + Sync + 'static {}

/// Of every region.
const ALIGNMENT: usize = 128;

impl Memory {
    /// Room for `bytes`, beginnings of matrices rounded up included.
    pub(in crate::gpt2) fn new(bytes: usize) -> Result<Self> {
        let map =
            MmapOptions::new().len(bytes.max(1)).map_anon().map_err(|error| Error::Msg(format!("{bytes} bytes of memory: {error}")))?;
        // Without huge pages it is only slower.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Self { map: Arc::new(map.into()), used: 0 })
    }

    /// The next `count` values, all zeros.
    pub(super) fn take<T: Plain>(&mut self, count: usize) -> Result<Region<T>> {
        let first = self.used.next_multiple_of(ALIGNMENT);
        let end = count.checked_mul(size_of::<T>()).and_then(|bytes| first.checked_add(bytes));
        let Some(end) = end.filter(|&end| end <= self.map.len()) else {
            return Err(Error::Msg(format!("weights don't fit into the {} bytes that were counted for them", self.map.len())));
        };
        self.used = end;
        Ok(Region { start: self.map.as_mut_ptr().wrapping_add(first).cast(), count, _map: self.map.clone(), values: PhantomData })
    }
}

/// Values of their own in a [`Memory`].
pub(super) struct Region<T: Plain> {
    start: *mut T,
    count: usize,
    /// Nobody makes a reference to all of it, which regions would break by writing.
    _map: Arc<MmapRaw>,
    values: PhantomData<T>,
}

// SAFETY: a region is the only way to its part of the map, as a `Box<[T]>` is to its own.
unsafe impl<T: Plain> Send for Region<T> {}
// SAFETY: as above.
unsafe impl<T: Plain> Sync for Region<T> {}

impl<T: Plain> Deref for Region<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: within the map, which lives as long as this; aligned, because maps begin with a page and regions at a multiple of
        // the largest alignment; initialised, since the system gives zeros and any bits are a `T`; not shared with another region.
        unsafe { std::slice::from_raw_parts(self.start, self.count) }
    }
}

impl<T: Plain> DerefMut for Region<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.count) }
    }
}

/// Bytes that `count` values take at most, the rounding before them included.
pub(super) fn bytes_of<T: Plain>(count: usize) -> usize {
    count * size_of::<T>() + ALIGNMENT
}

#[cfg(test)]
mod tests {
    use super::super::layout::Line;
    use super::*;

    #[test]
    fn regions_lie_side_by_side_and_outlive_the_memory() {
        let mut memory = Memory::new(2 * bytes_of::<Line>(3)).unwrap();
        let (mut one, mut two) = (memory.take::<Line>(3).unwrap(), memory.take::<Line>(3).unwrap());
        drop(memory);
        one[2].0[31] = 1.0;
        two[0].0[0] = 2.0;
        assert_eq!((one.len(), one[2].0[31], one[0].0[0], two[0].0[0]), (3, 1.0, 0.0, 2.0));
    }

    #[test]
    fn more_than_was_asked_for_is_refused() {
        let mut memory = Memory::new(bytes_of::<Line>(1)).unwrap();
        assert!(memory.take::<Line>(5).is_err() && memory.take::<Line>(usize::MAX).is_err());
    }
}
