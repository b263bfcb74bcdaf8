//! The header of a safetensors file, read before anything of its tensors.
//!
//! The format's own crate takes the last of two tensors with one name, and headers of 100 MB. Here every name counts once, every size is
//! computed with checks and held against the file, and the tensors' data lie one behind the other to the file's last byte.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read;

use safetensors::Dtype;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::foreign;

/// Bytes a header may have. That of a shard with a thousand tensors has 100 KB.
pub const MAX_HEADER_BYTES: u64 = 8 << 20;
/// Dimensions of a tensor. A single number, as GPT-2's old checkpoints hold, has none.
const MAX_DIMENSIONS: usize = 4;
/// The key that describes no tensor.
const METADATA: &str = "__metadata__";

/// A header, whole and consistent with its file.
#[derive(Debug)]
pub struct Header {
    /// Where the tensors' bytes begin.
    pub start: u64,
    /// The tensors by name.
    pub tensors: BTreeMap<String, Entry>,
}

/// A tensor as the header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Elements along each dimension, the contiguous one last.
    pub shape: Vec<usize>,
    /// How its elements are stored.
    pub dtype: Dtype,
    /// Bytes from the first tensor's first byte.
    pub offset: u64,
    /// Bytes it takes.
    pub size: u64,
}

impl Header {
    /// Reads a header from a source of `size` bytes; only the header's bytes are taken from it.
    ///
    /// # Errors
    /// The first fault found, with the value seen and the limit.
    pub fn read(source: &mut impl Read, size: u64) -> Result<Self, String> {
        let mut length = [0; 8];
        if size < length.len() as u64 {
            return Err(format!("it has {size} bytes; the length of its header alone takes 8"));
        }
        source.read_exact(&mut length).map_err(|error| error.to_string())?;
        let (beginning, length) = (length, u64::from_le_bytes(length));
        let room = size - 8;
        if length > MAX_HEADER_BYTES.min(room) {
            // Only now: a length of 640 begins as a pickle does.
            if let Some(format) = foreign::format_of(&beginning) {
                return Err(format!("it is {format}; {}", foreign::ONLY));
            }
            return Err(format!("its header has {length} bytes; the limit is {MAX_HEADER_BYTES}, and {room} are left in the file"));
        }
        let mut text = vec![0; length as usize];
        source.read_exact(&mut text).map_err(|error| error.to_string())?;
        if text.first() != Some(&b'{') {
            return Err("its header doesn't begin with `{`".into());
        }
        let Tensors(tensors) = serde_json::from_slice(&text).map_err(|error| format!("its header makes no sense: {error}"))?;
        check_places(&tensors, room - length)?;
        Ok(Self { start: 8 + length, tensors })
    }
}

/// Checks that the tensors' data fill the file, without gaps and without sharing a byte.
fn check_places(tensors: &BTreeMap<String, Entry>, room: u64) -> Result<(), String> {
    let mut places: Vec<(u64, u64, &String)> = tensors.iter().map(|(name, entry)| (entry.offset, entry.size, name)).collect();
    places.sort_unstable();
    let mut expected = 0;
    for (offset, size, name) in places {
        if offset != expected {
            return Err(format!("the data of tensor `{name}` begin at offset {offset}; {expected} was expected"));
        }
        // Each end was computed when its tensor was read.
        expected = offset + size;
        if expected > room {
            return Err(format!(
                "the file is cut short: the data of tensor `{name}` end at offset {expected}; there are {room} bytes of data"
            ));
        }
    }
    if expected != room {
        return Err(format!("its tensors take {expected} bytes; there are {room} bytes of data"));
    }
    Ok(())
}

impl Entry {
    fn new(Described { dtype, shape: Shape(shape), data_offsets: [begin, end] }: Described) -> Result<Self, String> {
        if shape.contains(&0) {
            return Err(format!("has the shape {shape:?}, so it holds nothing"));
        }
        let elements = shape.iter().try_fold(1_u64, |product, &dimension| product.checked_mul(dimension as u64));
        let bits = elements.and_then(|elements| elements.checked_mul(dtype.bitsize() as u64));
        let bits = bits.ok_or_else(|| format!("has the shape {shape:?}, more bits than 64 bits can count"))?;
        if !bits.is_multiple_of(8) {
            return Err(format!("has {bits} bits, which are no whole bytes"));
        }
        if end.checked_sub(begin) != Some(bits / 8) {
            return Err(format!("is said to lie from {begin} to {end}; the shape {shape:?} of {dtype:?} takes {} bytes", bits / 8));
        }
        Ok(Self { shape, dtype, offset: begin, size: bits / 8 })
    }
}

/// A tensor as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    dtype: Dtype,
    shape: Shape,
    data_offsets: [u64; 2],
}

/// At most so many dimensions are ever kept.
struct Shape(Vec<usize>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Dimensions;

        impl<'de> Visitor<'de> for Dimensions {
            type Value = Shape;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "a list of at most {MAX_DIMENSIONS} dimensions")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut dimensions: A) -> Result<Shape, A::Error> {
                let mut shape = Vec::with_capacity(MAX_DIMENSIONS);
                while let Some(dimension) = dimensions.next_element()? {
                    if shape.len() == MAX_DIMENSIONS {
                        return Err(A::Error::custom(format!("more than {MAX_DIMENSIONS} dimensions")));
                    }
                    shape.push(dimension);
                }
                Ok(Shape(shape))
            }
        }

        deserializer.deserialize_seq(Dimensions)
    }
}

/// All of a header.
struct Tensors(BTreeMap<String, Entry>);

impl<'de> Deserialize<'de> for Tensors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;

        impl<'de> Visitor<'de> for Names {
            type Value = Tensors;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut header: A) -> Result<Tensors, A::Error> {
                let (mut tensors, mut metadata) = (BTreeMap::new(), false);
                while let Some(name) = header.next_key::<String>()? {
                    if name == METADATA {
                        if std::mem::replace(&mut metadata, true) {
                            return Err(A::Error::custom(format!("key `{METADATA}` appears twice")));
                        }
                        header.next_value::<Texts>()?;
                        continue;
                    }
                    let named = |reason: &dyn fmt::Display| A::Error::custom(format!("tensor `{name}` {reason}"));
                    let described = header.next_value::<Described>().map_err(|error| named(&format_args!("isn't described: {error}")))?;
                    let entry = Entry::new(described).map_err(|reason| named(&reason))?;
                    if tensors.contains_key(&name) {
                        return Err(named(&"appears twice"));
                    }
                    tensors.insert(name, entry);
                }
                Ok(Tensors(tensors))
            }
        }

        deserializer.deserialize_map(Names)
    }
}

/// Texts by name, each once; they decide nothing, so none is kept.
struct Texts;

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;

        impl<'de> Visitor<'de> for Names {
            type Value = Texts;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut texts: A) -> Result<Texts, A::Error> {
                let mut names = BTreeSet::new();
                while let Some((name, _)) = texts.next_entry::<String, String>()? {
                    if names.contains(&name) {
                        return Err(A::Error::custom(format!("key `{name}` of `{METADATA}` appears twice")));
                    }
                    names.insert(name);
                }
                Ok(Texts)
            }
        }

        deserializer.deserialize_map(Names)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_looks_like_another_format_is_a_length() {
        for length in [0x0280_u64, 0x0380, 0x0480, 0x0580, 0x8b1f] {
            let text = format!("{:<1$}", r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, length as usize);
            let file = [&length.to_le_bytes(), text.as_bytes(), b"x"].concat();
            assert!(foreign::format_of(&file).is_some(), "{length} is no example");
            assert_eq!(Header::read(&mut &file[..], file.len() as u64).unwrap().tensors.len(), 1, "{length}");
        }
    }
}
