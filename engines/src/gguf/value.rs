//! Values of a GGUF header: all are checked, those that matter before loading are kept.

use std::io::Read;

use super::reader::{Fault, Reader};

/// Bytes a string may have; llama.cpp's own limit.
const MAX_TEXT: u64 = 1 << 30;
/// Elements an array may have; llama.cpp's own limit.
const MAX_ELEMENTS: u64 = 1 << 30;
/// Elements up to which arrays of integers are kept: one for each layer of the deepest model that llama.cpp takes.
const MAX_KEPT: u64 = 512;

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `u8`
    U8,
    /// `i8`
    I8,
    /// `u16`
    U16,
    /// `i16`
    I16,
    /// `u32`
    U32,
    /// `i32`
    I32,
    /// `f32`
    F32,
    /// One byte.
    Bool,
    /// Bytes that should be UTF-8.
    Text,
    /// Values of one other kind.
    Array,
    /// `u64`
    U64,
    /// `i64`
    I64,
    /// `f64`
    F64,
}

impl Kind {
    /// In the order of their codes.
    const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::Text,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    /// As error messages spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::F32 => "f32",
            Self::Bool => "bool",
            Self::Text => "string",
            Self::Array => "array",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F64 => "f64",
        }
    }

    /// Bytes of one value; `None` where it varies.
    fn bytes(self) -> Option<u64> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::Text | Self::Array => None,
        }
    }

    fn read<R: Read>(reader: &mut Reader<R>, what: &str) -> Result<Self, Fault> {
        let code = reader.u32(what)?;
        let known = usize::try_from(code).ok().and_then(|code| Self::ALL.get(code));
        known.copied().ok_or_else(|| reader.fault(format!("{what} has the unknown type {code}; types are 0 to {}", Self::ALL.len() - 1)))
    }
}

/// A value of the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A scalar.
    U16(u16),
    /// A scalar.
    U32(u32),
    /// A scalar, by its bits.
    F32(u32),
    /// A scalar.
    Bool(bool),
    /// A string as it is in the file.
    Text(Vec<u8>),
    /// An array of strings that was asked for.
    Texts(Texts),
    /// A short array of `u32` or `i32`, by their bits.
    Integers(Vec<u32>),
    /// Checked and not kept.
    Scalar(Kind),
    /// Checked and not kept: the elements' kind and number.
    Array(Kind, u64),
}

impl Value {
    /// As error messages spell its type.
    pub fn kind_name(&self) -> String {
        match self {
            Self::U16(_) => Kind::U16.name().into(),
            Self::U32(_) => Kind::U32.name().into(),
            Self::F32(_) => Kind::F32.name().into(),
            Self::Bool(_) => Kind::Bool.name().into(),
            Self::Text(_) => Kind::Text.name().into(),
            Self::Texts(texts) => format!("array of {} strings", texts.len()),
            Self::Integers(values) => format!("array of {} integers", values.len()),
            Self::Scalar(kind) => kind.name().into(),
            Self::Array(kind, length) => format!("array of {length} {}", kind.name()),
        }
    }

    /// Reads a value's type and the value. `texts`: an array of strings is kept.
    pub(super) fn read<R: Read>(reader: &mut Reader<R>, key: &str, texts: bool) -> Result<Self, Fault> {
        let what = format!("key `{key}`");
        let kind = Kind::read(reader, &what)?;
        match kind {
            Kind::U16 => reader.u16(&what).map(Self::U16),
            Kind::U32 => reader.u32(&what).map(Self::U32),
            Kind::F32 => reader.u32(&what).map(Self::F32),
            Kind::Bool => reader.array::<1>(&what).map(|[byte]| Self::Bool(byte != 0)),
            Kind::Text => reader.text(&what, MAX_TEXT).map(Self::Text),
            Kind::Array => Self::read_array(reader, &what, texts),
            other => {
                reader.skip(other.bytes().unwrap_or(0), &what)?;
                Ok(Self::Scalar(other))
            }
        }
    }

    fn read_array<R: Read>(reader: &mut Reader<R>, what: &str, texts: bool) -> Result<Self, Fault> {
        let kind = Kind::read(reader, what)?;
        let length = reader.u64(what)?;
        if length > MAX_ELEMENTS {
            return Err(reader.fault(format!("{what} has {length} elements; at most {MAX_ELEMENTS} are allowed")));
        }
        match kind {
            Kind::Array => Err(reader.fault(format!("{what} is an array of arrays, which llama.cpp doesn't read"))),
            Kind::Text => {
                // Each string has at least its length in the file.
                if length.saturating_mul(8) > reader.remaining() {
                    let remaining = reader.remaining();
                    return Err(reader.fault(format!("the file is cut short: {what} has {length} strings and {remaining} bytes are left")));
                }
                if !texts {
                    (0..length).try_for_each(|_| reader.skip_text(what, MAX_TEXT))?;
                    return Ok(Self::Array(kind, length));
                }
                reader.keep(length * size_of::<usize>() as u64, what)?;
                let mut texts = Texts { ends: Vec::with_capacity(length as usize), ..Texts::default() };
                for _ in 0..length {
                    reader.text_into(&mut texts.bytes, what, MAX_TEXT)?;
                    texts.ends.push(texts.bytes.len());
                }
                Ok(Self::Texts(texts))
            }
            Kind::U32 | Kind::I32 if length <= MAX_KEPT => {
                reader.keep(4 * length, what)?;
                (0..length).map(|_| reader.u32(what)).collect::<Result<_, _>>().map(Self::Integers)
            }
            kind => {
                reader.skip(kind.bytes().unwrap_or(0).saturating_mul(length), what)?;
                Ok(Self::Array(kind, length))
            }
        }
    }
}

/// Strings, packed: an array of a hundred thousand short ones takes little more than its bytes in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(self.ends.iter().copied()).map(|(start, end)| &self.bytes[start..end])
    }
}
