//! Which instructions there are.

use super::panels::Line;
use super::portable;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};

/// A set of instructions that this machine has; there is no other way to get one than to ask the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gpt2) struct Isa(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

/// Something to compute with all instructions of an [`Isa`].
///
/// `run` and all that it calls must be `#[inline(always)]`: what isn't inlined is compiled for the lowest machine.
pub(in crate::gpt2) trait Work {
    fn run(self);
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
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("fma") {
                available.push(Self(Kind::Avx512));
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                available.push(Self(Kind::Avx2));
            }
        }
        available.push(Self(Kind::Portable));
        available
    }

    /// Rows that one call of [`Isa::product`] can take: as many as its registers hold sums of.
    pub(super) fn most_rows(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => avx512::MOST_ROWS,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => avx2::MOST_ROWS,
            Kind::Portable => portable::MOST_ROWS,
        }
    }

    /// The products of one panel with a few rows, without the bias.
    ///
    /// `inputs` has for each line of the panel one value for each of the products' rows.
    pub(super) fn product(self, panel: &[Line], inputs: &[f32], products: &mut [Line]) {
        debug_assert_eq!(inputs.len(), panel.len() * products.len());
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an `Isa` of this kind is made only where these features were detected.
            Kind::Avx512 => unsafe { avx512::product(panel, inputs, products) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Kind::Avx2 => unsafe { avx2::product(panel, inputs, products) },
            Kind::Portable => portable::product(panel, inputs, products),
        }
    }

    pub(in crate::gpt2) fn run(self, work: impl Work) {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an `Isa` of this kind is made only where these features were detected.
            Kind::Avx512 => unsafe { avx512::run(work) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Kind::Avx2 => unsafe { avx2::run(work) },
            Kind::Portable => work.run(),
        }
    }
}
