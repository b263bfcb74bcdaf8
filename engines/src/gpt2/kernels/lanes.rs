//! Sixteen floats side by side, for what is written once for all machines: `Avx512` in one register, `Avx2` in two, `Portable` in an
//! array. Compilers don't turn such loops over arrays into vector instructions reliably (attention took 20 times as long).

/// Floats of one [`Lanes`].
pub(in crate::gpt2) const LANES: usize = 16;

/// Sixteen floats. Every operation works on each lane alone.
///
/// All is `#[inline(always)]`, and so must be what uses it: the instructions are those of the function it is inlined into. A closure
/// is a function of its own, so there are none.
pub(in crate::gpt2) trait Lanes: Copy {
    fn splat(value: f32) -> Self;
    fn load(values: &[f32; LANES]) -> Self;
    fn store(self, to: &mut [f32; LANES]);
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    /// The larger one; where one is no number, the other one or none.
    fn max(self, other: Self) -> Self;
    fn min(self, other: Self) -> Self;
    /// `self · factor + sum`; rounded once where the machine has an instruction for it.
    fn multiply_add(self, factor: Self, sum: Self) -> Self;
    /// `self · 2^power` for whole numbers `power` from -126 to 127.
    fn scale_by_power(self, power: Self) -> Self;
    /// Whole numbers from -128 to 127 as bytes.
    fn to_bytes(self) -> [i8; LANES];

    #[inline(always)]
    fn to_array(self) -> [f32; LANES] {
        let mut values = [0.0; LANES];
        self.store(&mut values);
        values
    }

    /// The lanes' sum: halves added to each other until one is left.
    #[inline(always)]
    fn sum(self) -> f32 {
        let mut sums = self.to_array();
        for width in [8, 4, 2, 1] {
            for lane in 0..width {
                sums[lane] += sums[lane + width];
            }
        }
        sums[0]
    }

    #[inline(always)]
    fn largest(self) -> f32 {
        let mut values = self.to_array();
        for width in [8, 4, 2, 1] {
            for lane in 0..width {
                values[lane] = values[lane].max(values[lane + width]);
            }
        }
        values[0]
    }

    /// The nearest whole numbers, of two the even one; for magnitudes below 2^22.
    #[inline(always)]
    fn round(self) -> Self {
        // 1.5 · 2^23: the next representable numbers are 1 apart.
        let shift = Self::splat(12_582_912.0);
        self.add(shift).sub(shift)
    }
}

/// Plain Rust.
#[derive(Clone, Copy)]
pub(super) struct Portable([f32; LANES]);

impl Portable {
    #[inline(always)]
    fn with(self, other: Self, of: impl Fn(f32, f32) -> f32) -> Self {
        let mut values = self.0;
        for (value, other) in values.iter_mut().zip(other.0) {
            *value = of(*value, other);
        }
        Self(values)
    }
}

impl Lanes for Portable {
    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; LANES])
    }

    #[inline(always)]
    fn load(values: &[f32; LANES]) -> Self {
        Self(*values)
    }

    #[inline(always)]
    fn store(self, to: &mut [f32; LANES]) {
        *to = self.0;
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.with(other, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.with(other, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.with(other, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.with(other, |a, b| a / b)
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.with(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.with(other, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn multiply_add(self, factor: Self, sum: Self) -> Self {
        // Every 64-bit ARM fuses them; elsewhere that would be a call of a function.
        if cfg!(target_arch = "aarch64") {
            return Self(std::array::from_fn(|lane| self.0[lane].mul_add(factor.0[lane], sum.0[lane])));
        }
        self.mul(factor).add(sum)
    }

    #[inline(always)]
    fn scale_by_power(self, power: Self) -> Self {
        self.with(power, |value, power| value * f32::from_bits(((power as i32 + 127) << 23) as u32))
    }

    #[inline(always)]
    fn to_bytes(self) -> [i8; LANES] {
        self.0.map(|value| value as i8)
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{LANES, Lanes};

    #[derive(Clone, Copy)]
    pub(in crate::gpt2::kernels) struct Avx512(__m512);

    #[derive(Clone, Copy)]
    pub(in crate::gpt2::kernels) struct Avx2(__m256, __m256);

    // SAFETY, of every block below: these types are used in functions alone that `Isa` calls, where their instructions were detected;
    // loads and stores are of 16 floats at any alignment.

    impl Lanes for Avx512 {
        #[inline(always)]
        fn splat(value: f32) -> Self {
            Self(unsafe { _mm512_set1_ps(value) })
        }

        #[inline(always)]
        fn load(values: &[f32; LANES]) -> Self {
            Self(unsafe { _mm512_loadu_ps(values.as_ptr()) })
        }

        #[inline(always)]
        fn store(self, to: &mut [f32; LANES]) {
            unsafe { _mm512_storeu_ps(to.as_mut_ptr(), self.0) }
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            Self(unsafe { _mm512_add_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            Self(unsafe { _mm512_sub_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            Self(unsafe { _mm512_mul_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn div(self, other: Self) -> Self {
            Self(unsafe { _mm512_div_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn max(self, other: Self) -> Self {
            Self(unsafe { _mm512_max_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn min(self, other: Self) -> Self {
            Self(unsafe { _mm512_min_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn multiply_add(self, factor: Self, sum: Self) -> Self {
            Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, sum.0) })
        }

        #[inline(always)]
        fn scale_by_power(self, power: Self) -> Self {
            unsafe {
                let exponents = _mm512_slli_epi32::<23>(_mm512_add_epi32(_mm512_cvtps_epi32(power.0), _mm512_set1_epi32(127)));
                Self(_mm512_mul_ps(self.0, _mm512_castsi512_ps(exponents)))
            }
        }

        #[inline(always)]
        fn to_bytes(self) -> [i8; LANES] {
            unsafe { std::mem::transmute(_mm512_cvtepi32_epi8(_mm512_cvtps_epi32(self.0))) }
        }
    }

    impl Lanes for Avx2 {
        #[inline(always)]
        fn splat(value: f32) -> Self {
            let half = unsafe { _mm256_set1_ps(value) };
            Self(half, half)
        }

        #[inline(always)]
        fn load(values: &[f32; LANES]) -> Self {
            unsafe { Self(_mm256_loadu_ps(values.as_ptr()), _mm256_loadu_ps(values[8..].as_ptr())) }
        }

        #[inline(always)]
        fn store(self, to: &mut [f32; LANES]) {
            unsafe {
                _mm256_storeu_ps(to.as_mut_ptr(), self.0);
                _mm256_storeu_ps(to[8..].as_mut_ptr(), self.1);
            }
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            unsafe { Self(_mm256_add_ps(self.0, other.0), _mm256_add_ps(self.1, other.1)) }
        }

        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            unsafe { Self(_mm256_sub_ps(self.0, other.0), _mm256_sub_ps(self.1, other.1)) }
        }

        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            unsafe { Self(_mm256_mul_ps(self.0, other.0), _mm256_mul_ps(self.1, other.1)) }
        }

        #[inline(always)]
        fn div(self, other: Self) -> Self {
            unsafe { Self(_mm256_div_ps(self.0, other.0), _mm256_div_ps(self.1, other.1)) }
        }

        #[inline(always)]
        fn max(self, other: Self) -> Self {
            unsafe { Self(_mm256_max_ps(self.0, other.0), _mm256_max_ps(self.1, other.1)) }
        }

        #[inline(always)]
        fn min(self, other: Self) -> Self {
            unsafe { Self(_mm256_min_ps(self.0, other.0), _mm256_min_ps(self.1, other.1)) }
        }

        #[inline(always)]
        fn multiply_add(self, factor: Self, sum: Self) -> Self {
            unsafe { Self(_mm256_fmadd_ps(self.0, factor.0, sum.0), _mm256_fmadd_ps(self.1, factor.1, sum.1)) }
        }

        #[inline(always)]
        fn scale_by_power(self, power: Self) -> Self {
            unsafe {
                let bias = _mm256_set1_epi32(127);
                let first = _mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_cvtps_epi32(power.0), bias));
                let second = _mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_cvtps_epi32(power.1), bias));
                Self(_mm256_mul_ps(self.0, _mm256_castsi256_ps(first)), _mm256_mul_ps(self.1, _mm256_castsi256_ps(second)))
            }
        }

        #[inline(always)]
        fn to_bytes(self) -> [i8; LANES] {
            unsafe {
                // Packing works on each half of a register alone, so its quarters come out as 0, 2, 1, 3.
                let shorts = _mm256_packs_epi32(_mm256_cvtps_epi32(self.0), _mm256_cvtps_epi32(self.1));
                let shorts = _mm256_permute4x64_epi64::<0b11_01_10_00>(shorts);
                let bytes = _mm_packs_epi16(_mm256_castsi256_si128(shorts), _mm256_extracti128_si256::<1>(shorts));
                std::mem::transmute(bytes)
            }
        }
    }
}
