//! How values cross the socket: their bytes in a fixed order, numbers little-endian, floats by their bits.
//!
//! Nothing says what it is: both ends are the same program. [`super::types`] has the types of this crate.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::error::EngineError;

/// A value that crosses the socket.
pub(super) trait Wire: Sized {
    /// Appends it.
    fn put(&self, bytes: &mut Vec<u8>);

    /// Takes it from the front.
    fn take(from: &mut Bytes<'_>) -> Result<Self, Malformed>;
}

/// Bytes that are no message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// What is left of a message.
pub(super) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn next(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.next(N)?.try_into().map_err(|_| Malformed)
    }

    /// The bytes of a text or path, behind their number.
    fn counted(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::take(self)?;
        self.next(length)
    }
}

/// A struct: its fields one after the other.
macro_rules! record {
    ($type:ident { $($field:ident),* $(,)? }) => {
        impl $crate::isolated::wire::Wire for $type {
            fn put(&self, bytes: &mut Vec<u8>) {
                let Self { $($field),* } = self;
                $($field.put(bytes);)*
            }

            fn take(from: &mut $crate::isolated::wire::Bytes<'_>) -> Result<Self, $crate::isolated::wire::Malformed> {
                Ok(Self { $($field: $crate::isolated::wire::Wire::take(from)?),* })
            }
        }
    };
}

/// An enum: a byte that says which variant, and its fields.
macro_rules! choice {
    ($type:ident { $($tag:literal => $variant:ident { $($member:tt : $name:ident),* }),* $(,)? }) => {
        impl $crate::isolated::wire::Wire for $type {
            fn put(&self, bytes: &mut Vec<u8>) {
                match self {
                    $(Self::$variant { $($member: $name),* } => {
                        bytes.push($tag);
                        $($name.put(bytes);)*
                    })*
                }
            }

            fn take(from: &mut $crate::isolated::wire::Bytes<'_>) -> Result<Self, $crate::isolated::wire::Malformed> {
                match u8::take(from)? {
                    $($tag => Ok(Self::$variant { $($member: $crate::isolated::wire::Wire::take(from)?),* }),)*
                    _ => Err($crate::isolated::wire::Malformed),
                }
            }
        }
    };
}

pub(super) use {choice, record};

impl Wire for u8 {
    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.push(*self);
    }

    fn take(from: &mut Bytes<'_>) -> Result<Self, Malformed> {
        let [byte] = from.array()?;
        Ok(byte)
    }
}

impl Wire for u32 {
    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_le_bytes());
    }

    fn take(from: &mut Bytes<'_>) -> Result<Self, Malformed> {
        from.array().map(Self::from_le_bytes)
    }
}

impl Wire for u64 {
    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_le_bytes());
    }

    fn take(from: &mut Bytes<'_>) -> Result<Self, Malformed> {
        from.array().map(Self::from_le_bytes)
    }
}

impl Wire for usize {
    fn put(&self, bytes: &mut Vec<u8>) {
        (*self as u64).put(bytes);
    }

    fn take(from: &mut Bytes<'_>) -> Result<Self, Malformed> {
        u64::take(from)?.try_into().map_err(|_| Malformed)
    }
}

impl Wire for f32 {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.to_bits().put(bytes);
    }

    fn take(from: &mut Bytes<'_>) -> Result<Self, Malformed> {
        u32::take(from).map(Self::from_bits)
    }
}

impl Wire for f64 {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.to_bits().put(bytes);
    }

    fn take(from: &mut Bytes<'_>) -> Result<Self, Malformed> {
        u64::take(from).map(Self::from_bits)
    }
}

impl Wire for bool {
    fn put(&self, bytes: &mut Vec<u8>) {
        u8::from(*self).put(bytes);
    }

    fn take(from: &mut Bytes<'_>) -> Result<Self, Malformed> {
        match u8::take(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }
}

impl Wire for Duration {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.as_secs().put(bytes);
        self.subsec_nanos().put(bytes);
    }

    fn take(from: &mut Bytes<'_>) -> Result<Self, Malformed> {
        let (seconds, nanoseconds) = (u64::take(from)?, u32::take(from)?);
        if nanoseconds < 1_000_000_000 { Ok(Self::new(seconds, nanoseconds)) } else { Err(Malformed) }
    }
}

pub(super) fn put_text(text: &str, bytes: &mut Vec<u8>) {
    text.len().put(bytes);
    bytes.extend_from_slice(text.as_bytes());
}

impl Wire for String {
    fn put(&self, bytes: &mut Vec<u8>) {
        put_text(self, bytes);
    }

    fn take(from: &mut Bytes<'_>) -> Result<Self, Malformed> {
        Ok(str::from_utf8(from.counted()?).map_err(|_| Malformed)?.to_owned())
    }
}

impl Wire for Arc<str> {
    fn put(&self, bytes: &mut Vec<u8>) {
        put_text(self, bytes);
    }

    fn take(from: &mut Bytes<'_>) -> Result<Self, Malformed> {
        Ok(str::from_utf8(from.counted()?).map_err(|_| Malformed)?.into())
    }
}

impl Wire for PathBuf {
    fn put(&self, bytes: &mut Vec<u8>) {
        let path = self.as_os_str().as_bytes();
        path.len().put(bytes);
        bytes.extend_from_slice(path);
    }

    fn take(from: &mut Bytes<'_>) -> Result<Self, Malformed> {
        Ok(OsString::from_vec(from.counted()?.to_vec()).into())
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, bytes: &mut Vec<u8>) {
        put_all(self, bytes);
    }

    fn take(from: &mut Bytes<'_>) -> Result<Self, Malformed> {
        let count = usize::take(from)?;
        // Each takes a byte at least, so a wrong number asks for no more memory than the message has.
        let mut values = Self::with_capacity(count.min(from.0.len() / size_of::<T>().max(1)));
        for _ in 0..count {
            values.push(T::take(from)?);
        }
        Ok(values)
    }
}

impl<T: Wire> Wire for Arc<[T]> {
    fn put(&self, bytes: &mut Vec<u8>) {
        put_all(self, bytes);
    }

    fn take(from: &mut Bytes<'_>) -> Result<Self, Malformed> {
        Vec::take(from).map(Into::into)
    }
}

fn put_all<T: Wire>(values: &[T], bytes: &mut Vec<u8>) {
    values.len().put(bytes);
    values.iter().for_each(|value| value.put(bytes));
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.is_some().put(bytes);
        self.iter().for_each(|value| value.put(bytes));
    }

    fn take(from: &mut Bytes<'_>) -> Result<Self, Malformed> {
        Ok(if bool::take(from)? { Some(T::take(from)?) } else { None })
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.0.put(bytes);
        self.1.put(bytes);
    }

    fn take(from: &mut Bytes<'_>) -> Result<Self, Malformed> {
        Ok((A::take(from)?, B::take(from)?))
    }
}

impl<T: Wire> Wire for Result<T, EngineError> {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.is_ok().put(bytes);
        match self {
            Ok(value) => value.put(bytes),
            Err(error) => error.put(bytes),
        }
    }

    fn take(from: &mut Bytes<'_>) -> Result<Self, Malformed> {
        Ok(if bool::take(from)? { Ok(T::take(from)?) } else { Err(EngineError::take(from)?) })
    }
}
