//! Columns of a batch as they cross the boundary.

use abi_stable::{
    StableAbi,
    std_types::{RSlice, RStr, RString, RVec},
};

use crate::Buffer;

/// Element type of a tensor, as a number. An open set: a reader names the number that it cannot read.
#[repr(transparent)]
#[derive(StableAbi, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RawDType(pub u32);

impl RawDType {
    /// Unsigned byte.
    pub const U8: Self = Self(0);
    /// 32-bit float.
    pub const F32: Self = Self(1);
    /// 64-bit signed integer.
    pub const I64: Self = Self(2);
    /// 16-bit float; reserved.
    pub const F16: Self = Self(3);
    /// bfloat16; reserved.
    pub const BF16: Self = Self(4);
    /// 32-bit signed integer; reserved.
    pub const I32: Self = Self(5);
    /// One byte, 0 or 1; reserved.
    pub const BOOL: Self = Self(6);
}

/// A numeric column, plugin to host. Row-major, in this machine's byte order.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct Tensor {
    /// Name of the column.
    pub name: RString,
    /// Element type.
    pub dtype: RawDType,
    /// Shape, the batch axis first.
    pub shape: RVec<u64>,
    /// Elements.
    pub data: Buffer,
}

/// A text column, plugin to host. Text `i` is `bytes[offsets[i]..offsets[i + 1]]`.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct TextColumn {
    /// Name of the column.
    pub name: RString,
    /// UTF-8 of all texts, one after the other.
    pub bytes: Buffer,
    /// `i64`, one more than there are texts; starts at 0, never falls, ends at the length of `bytes`.
    pub offsets: Buffer,
}

/// One batch, plugin to host. The order of columns means nothing: they are known by name.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct BatchColumns {
    /// Numeric columns.
    pub tensors: RVec<Tensor>,
    /// Text columns.
    pub texts: RVec<TextColumn>,
}

/// A numeric column, host to plugin, lent for one call.
#[repr(C)]
#[derive(StableAbi, Debug, Clone, Copy)]
pub struct TensorView<'a> {
    /// Name of the column.
    pub name: RStr<'a>,
    /// Element type.
    pub dtype: RawDType,
    /// Shape, the batch axis first.
    pub shape: RSlice<'a, u64>,
    /// Elements, aligned for their type.
    pub data: RSlice<'a, u8>,
}

/// A text column, host to plugin, lent for one call; laid out as [`TextColumn`].
#[repr(C)]
#[derive(StableAbi, Debug, Clone, Copy)]
pub struct TextView<'a> {
    /// Name of the column.
    pub name: RStr<'a>,
    /// UTF-8 of all texts, one after the other.
    pub bytes: RSlice<'a, u8>,
    /// As in [`TextColumn`].
    pub offsets: RSlice<'a, i64>,
}

/// One batch, host to plugin, lent for one call.
#[repr(C)]
#[derive(StableAbi, Debug, Clone, Copy)]
pub struct BatchView<'a> {
    /// Numeric columns.
    pub tensors: RSlice<'a, TensorView<'a>>,
    /// Text columns.
    pub texts: RSlice<'a, TextView<'a>>,
}

/// Joins texts into bytes and offsets.
pub fn join_texts<S: AsRef<str>>(texts: &[S]) -> (Vec<u8>, Vec<i64>) {
    let mut bytes = Vec::with_capacity(texts.iter().map(|text| text.as_ref().len()).sum());
    let mut offsets = Vec::with_capacity(texts.len() + 1);
    offsets.push(0);
    for text in texts {
        bytes.extend_from_slice(text.as_ref().as_bytes());
        // A vector never holds more than `isize::MAX` bytes.
        offsets.push(bytes.len() as i64);
    }
    (bytes, offsets)
}

/// Takes bytes and offsets apart into texts.
///
/// # Errors
/// Says what is wrong with the offsets, or which text is not UTF-8.
pub fn split_texts(bytes: &[u8], offsets: &[i64]) -> Result<Vec<String>, String> {
    let (Some(&first), Some(&last)) = (offsets.first(), offsets.last()) else {
        return Err("no offsets, not even the leading 0".into());
    };
    if first != 0 || last != bytes.len() as i64 {
        return Err(format!(
            "offsets run from {first} to {last}, not from 0 to {} (the bytes)",
            bytes.len()
        ));
    }
    let mut texts = Vec::with_capacity(offsets.len() - 1);
    for (index, pair) in offsets.windows(2).enumerate() {
        // The offsets come from another program: a negative or a falling one finds no slice.
        let text = usize::try_from(pair[0])
            .ok()
            .zip(usize::try_from(pair[1]).ok())
            .and_then(|(a, b)| bytes.get(a..b));
        let text = text.ok_or_else(|| {
            format!(
                "offsets fall from {} to {} at text {index}",
                pair[0], pair[1]
            )
        })?;
        let text = std::str::from_utf8(text)
            .map_err(|error| format!("text {index} is not UTF-8: {error}"))?;
        texts.push(text.to_owned());
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_refused(bytes: &[u8], offsets: &[i64], expected: &str) {
        let error = split_texts(bytes, offsets).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn texts_survive_the_way() {
        for texts in [vec![], vec![""], vec!["red apple", "", "grün 🍏", "x"]] {
            let (bytes, offsets) = join_texts(&texts);
            assert_eq!(split_texts(&bytes, &offsets).unwrap(), texts);
        }
    }

    #[test]
    fn wrong_offsets_are_refused() {
        check_refused(b"abc", &[], "no offsets");
        check_refused(b"abc", &[0, 2], "from 0 to 2");
        check_refused(b"abc", &[0, 3, 1, 3], "fall from 3 to 1");
        check_refused(b"abc", &[0, -1, 3], "fall from 0 to -1");
        check_refused(b"abc", &[0, 4, 3], "fall from 0 to 4");
        check_refused("ü".as_bytes(), &[0, 1, 2], "text 0 is not UTF-8");
    }
}
