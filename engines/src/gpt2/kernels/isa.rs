//! Which instructions there are.

use super::lanes::{self, Lanes};
use super::layout::Line;
use super::matrix::Panel;
use super::portable;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};

/// A set of instructions that this machine has; there is no other way to get one than to ask the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gpt2) struct Isa(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// With VNNI: Intel's servers since Ice Lake, AMD since Zen 4. `bf16`: with products of bf16, too.
    #[cfg(target_arch = "x86_64")]
    Avx512 {
        bf16: bool,
    },
    /// With FMA: nearly all since 2013.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

/// Something to compute with all instructions of an [`Isa`].
///
/// `run` and all that it calls must be `#[inline(always)]`: what isn't inlined is compiled for the lowest machine.
pub(in crate::gpt2) trait Work {
    fn run<L: Lanes>(self);
}

impl Isa {
    pub(in crate::gpt2) fn best() -> Self {
        Self::available()[0]
    }

    /// All sets that this machine has, the fastest first.
    pub(in crate::gpt2) fn available() -> Vec<Self> {
        let mut available = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let fma = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
            if fma && avx512 && is_x86_feature_detected!("avx512vnni") {
                if is_x86_feature_detected!("avx512bf16") {
                    available.push(Self(Kind::Avx512 { bf16: true }));
                }
                available.push(Self(Kind::Avx512 { bf16: false }));
            }
            if fma {
                available.push(Self(Kind::Avx2));
            }
        }
        available.push(Self(Kind::Portable));
        available
    }

    /// The set's name, for people to read.
    pub(in crate::gpt2) fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 { bf16: true } => "avx512-bf16",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 { bf16: false } => "avx512",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            Kind::Portable => "portable",
        }
    }

    /// Whether it multiplies pairs of bf16; otherwise the weights are widened and the inputs stay f32.
    pub(super) fn multiplies_bf16(self) -> bool {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 { bf16 } => bf16,
            _ => false,
        }
    }

    /// Rows that one call of [`Isa::product`] can take: as many as its registers hold sums of.
    pub(super) fn most_rows(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 { .. } => avx512::MOST_ROWS,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => avx2::MOST_ROWS,
            Kind::Portable => portable::MOST_ROWS,
        }
    }

    /// Rows of one sequence, at most 8, that go over keys and values together: as many as its registers hold sums of.
    pub(super) fn rows_together(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 { .. } => 8,
            _ => 4,
        }
    }

    /// The products of one panel with a few rows, without the bias.
    ///
    /// `words` are the rows' inputs, encoded for this panel's type and this set, interleaved.
    pub(super) fn product(self, panel: Panel<'_>, words: &[u32], products: &mut [Line]) {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an `Isa` of this kind is made only where these features were detected.
            Kind::Avx512 { bf16: false } => unsafe { avx512::product(panel, words, products) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Kind::Avx512 { bf16: true } => unsafe { avx512::product_bf16(panel, words, products) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Kind::Avx2 => unsafe { avx2::product(panel, words, products) },
            Kind::Portable => portable::product(panel, words, products),
        }
    }

    pub(in crate::gpt2) fn run(self, work: impl Work) {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an `Isa` of this kind is made only where these features were detected.
            Kind::Avx512 { .. } => unsafe { avx512::run(work) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Kind::Avx2 => unsafe { avx2::run(work) },
            Kind::Portable => work.run::<lanes::Portable>(),
        }
    }
}

/// Calls a kernel that is compiled for each number of rows: `for_rows!(rows, 1 2 3, kernel(arguments))`.
macro_rules! for_rows {
    ($rows:expr, $($count:literal)+, $kernel:ident $arguments:tt) => {
        match $rows {
            $($count => $kernel::<$count> $arguments,)+
            rows => unreachable!("{rows} rows; a kernel takes fewer"),
        }
    };
    ($rows:expr, $($count:literal)+, $kernel:ident, $registers:literal $arguments:tt) => {
        match $rows {
            $($count => $kernel::<$count, $registers> $arguments,)+
            rows => unreachable!("{rows} rows; a kernel takes fewer"),
        }
    };
}
pub(super) use for_rows;
