//! Numbers as files hold them: little-endian, of several widths.

use half::{bf16, f16};
use safetensors::Dtype;

/// A number that a file can hold and memory can have.
pub(crate) trait Number: Copy {
    /// Reads numbers of `dtype`; nothing when that is not a kind of number known here.
    fn convert(bytes: &[u8], dtype: Dtype) -> Option<Vec<Self>>;
}

fn each<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|b| read(*b)).collect()
}

macro_rules! impl_number {
    ($number:ty, $from_f32:expr, $from_f64:expr, $own:ident) => {
        impl Number for $number {
            fn convert(bytes: &[u8], dtype: Dtype) -> Option<Vec<Self>> {
                let (narrow, wide) = ($from_f32, $from_f64);
                Some(match dtype {
                    // Its own kind, without a way through another.
                    own if own == Dtype::$own => each(bytes, <$number>::from_le_bytes),
                    Dtype::F32 => each(bytes, |b| narrow(f32::from_le_bytes(b))),
                    Dtype::F16 => each(bytes, |b| narrow(f16::from_le_bytes(b).to_f32())),
                    Dtype::BF16 => each(bytes, |b| narrow(bf16::from_le_bytes(b).to_f32())),
                    Dtype::F8_E4M3 => each(bytes, |b: [u8; 1]| narrow(float8(b[0], 4, false))),
                    Dtype::F8_E5M2 => each(bytes, |b: [u8; 1]| narrow(float8(b[0], 5, true))),
                    Dtype::F64 => each(bytes, |b| wide(f64::from_le_bytes(b))),
                    Dtype::I64 => each(bytes, |b| wide(i64::from_le_bytes(b) as f64)),
                    Dtype::I32 => each(bytes, |b| wide(f64::from(i32::from_le_bytes(b)))),
                    Dtype::U8 | Dtype::BOOL => each(bytes, |b: [u8; 1]| narrow(f32::from(b[0]))),
                    _ => return None,
                })
            }
        }
    };
}

impl_number!(f32, |v: f32| v, |v: f64| v as f32, F32);
impl_number!(f16, f16::from_f32, f16::from_f64, F16);
impl_number!(bf16, bf16::from_f32, bf16::from_f64, BF16);

/// Numbers of `dtype` as f32.
pub(crate) fn convert(bytes: &[u8], dtype: Dtype) -> Option<Vec<f32>> {
    f32::convert(bytes, dtype)
}

/// The 8-bit floats of Micikevicius et al. 2022 (arXiv 2209.05433); E4M3 has no infinities.
fn float8(bits: u8, exponent_bits: u32, has_infinities: bool) -> f32 {
    let mantissa_bits = 7 - exponent_bits;
    let sign = if bits & 0x80 == 0 { 1.0 } else { -1.0 };
    let (mantissa_mask, all_ones) = ((1u8 << mantissa_bits) - 1, (1u8 << exponent_bits) - 1);
    let exponent = (bits & 0x7f) >> mantissa_bits;
    let mantissa = bits & mantissa_mask;
    if exponent == all_ones {
        if has_infinities {
            return if mantissa == 0 {
                sign * f32::INFINITY
            } else {
                f32::NAN
            };
        }
        if mantissa == mantissa_mask {
            return f32::NAN;
        }
    }
    let bias = (1i32 << (exponent_bits - 1)) - 1;
    let fraction = f32::from(mantissa) / f32::from(1u8 << mantissa_bits);
    let value = match exponent {
        0 => fraction * 2f32.powi(1 - bias),
        _ => (1.0 + fraction) * 2f32.powi(i32::from(exponent) - bias),
    };
    sign * value
}

/// Rows and columns exchanged, in squares that fit the cache.
pub(crate) fn transpose<T: Copy + Default>(values: &[T], rows: usize, columns: usize) -> Vec<T> {
    const SIDE: usize = 32;
    let mut out = vec![T::default(); rows * columns];
    for top in (0..rows).step_by(SIDE) {
        for left in (0..columns).step_by(SIDE) {
            for column in left..(left + SIDE).min(columns) {
                for row in top..(top + SIDE).min(rows) {
                    out[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bit_floats_have_their_published_values() {
        assert_eq!(float8(0x7e, 4, false), 448.0);
        assert_eq!(float8(0x01, 4, false), 2f32.powi(-9));
        assert!(float8(0xff, 4, false).is_nan());
        assert_eq!(float8(0x7b, 5, true), 57344.0);
        assert_eq!(float8(0xfc, 5, true), f32::NEG_INFINITY);
        assert_eq!(float8(0x01, 5, true), 2f32.powi(-16));
        assert_eq!(float8(0xb8, 4, false), -1.0);
    }

    #[test]
    fn transposing_is_exact_at_every_size() {
        for (rows, columns) in [(1, 1), (3, 70), (33, 31), (64, 65)] {
            let values: Vec<u32> = (0..rows as u32 * columns as u32).collect();
            let turned = transpose(&values, rows, columns);
            for row in 0..rows {
                for column in 0..columns {
                    assert_eq!(turned[column * rows + row], values[row * columns + column]);
                }
            }
        }
    }
}
