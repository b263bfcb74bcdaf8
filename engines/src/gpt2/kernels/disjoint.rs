//! One output that several threads write.

use std::marker::PhantomData;

/// Values of which threads write different parts at the same time.
pub(super) struct Disjoint<'a, T> {
    start: *mut T,
    length: usize,
    values: PhantomData<&'a mut [T]>,
}

// SAFETY: it gives out parts of a `&mut [T]`, which may go to other threads; `part` asks its callers that no two of them overlap.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    pub(super) fn new(values: &'a mut [T]) -> Self {
        Self { start: values.as_mut_ptr(), length: values.len(), values: PhantomData }
    }

    /// # Safety
    /// No two parts that are in use at the same time overlap.
    #[allow(clippy::mut_from_ref)] // What `Safety` asks for makes it right.
    pub(super) unsafe fn part(&self, first: usize, count: usize) -> &'a mut [T] {
        assert!(first.checked_add(count).is_some_and(|end| end <= self.length));
        // SAFETY: within the slice, as was just checked, and with no other reference to it, as the caller promises.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), count) }
    }
}
