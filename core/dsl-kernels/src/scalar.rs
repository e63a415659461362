//! Functions of one float32 without branches, so that the compiler makes loops over them into vector instructions.
//!
//! They are written with separate products and sums: the compiler may not fuse them, and so the numbers are the same with
//! every instruction set.

/// `e^x`, saturating at about 1e-38 and 2e38; NaN stays NaN. Relative error below 2e-7.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding this rounds to an integer, which is then found in the lowest bits.
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23
    const LN2_HIGH: f32 = 0.693_359_4; // 355/512, few bits: its products with integers are exact
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Comparisons instead of max and min: they let NaN through.
    let x = if x < -87.3 { -87.3 } else { x };
    let x = if x > 88.3 { 88.3 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    // Fitted to the least greatest relative error (9e-8) for |r| <= ln(2)/2, with e^0 = 1. Added up in pairs: what limits
    // these loops is how long a result takes, not how many operations there are.
    let squared = r * r;
    let highest = 0.008_290_233 * r + 0.041_898_16;
    let middle = 0.166_676_39 * r + 0.499_991_48;
    let lowest = 0.999_999_7 * r + 1.0;
    let p = (highest * squared + middle) * squared + lowest;
    let power_of_two = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    p * power_of_two
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `x * sigmoid(x)`.
#[inline(always)]
pub(crate) fn silu(x: f32) -> f32 {
    x * sigmoid(x)
}

/// The derivative of [`silu`].
#[inline(always)]
pub(crate) fn silu_derivative(x: f32) -> f32 {
    let s = sigmoid(x);
    s * (1.0 + x * (1.0 - s))
}

/// The normal distribution's cumulative function and density at `x`.
///
/// The function is `erfc(|x|/√2) / 2` mirrored, with `erfc(z) = e^(-z²) t P(t)`, `t = 1 / (1 + 0.3 z)`, and `P` of degree 8
/// fitted to the least greatest relative error (2e-8); so the lower tail keeps its relative accuracy.
#[inline(always)]
pub(crate) fn normal(x: f32) -> (f32, f32) {
    const P: [f32; 9] = [
        0.169_189_62,
        0.170_691_94,
        0.148_482_44,
        0.214_436_25,
        -0.093_631_17,
        0.546_394_94,
        -0.511_226_36,
        0.485_096_4,
        -0.129_434_06,
    ];
    let t = 1.0 / (1.0 + x.abs() * (0.3 * std::f32::consts::FRAC_1_SQRT_2));
    // In pairs, as in `exp`.
    let squared = t * t;
    let pair = |i: usize| P[i + 1] * t + P[i];
    let high = (P[8] * squared + pair(6)) * squared + pair(4);
    let p = high * (squared * squared) + (pair(2) * squared + pair(0));
    let e = exp(-0.5 * x * x);
    let tail = 0.5 * t * p * e;
    let cumulative = if x < 0.0 { tail } else { 1.0 - tail };
    (cumulative, e * 0.398_942_3)
}

/// `x * Φ(x)`.
#[inline(always)]
pub(crate) fn gelu(x: f32) -> f32 {
    x * normal(x).0
}

/// The derivative of [`gelu`].
#[inline(always)]
pub(crate) fn gelu_derivative(x: f32) -> f32 {
    let (cumulative, density) = normal(x);
    cumulative + x * density
}

/// Numbers that are worked on together: the widest vector, or several narrower ones.
type Lanes = [f32; 16];

#[inline(always)]
fn plus(a: Lanes, b: Lanes) -> Lanes {
    std::array::from_fn(|i| a[i] + b[i])
}

/// The first half and the second half added up.
#[inline(always)]
fn halve<const N: usize, const HALF: usize>(values: [f32; N]) -> [f32; HALF] {
    std::array::from_fn(|i| values[i] + values[i + HALF])
}

/// The sum of `f` over the elements at the same place of all slices, which are of one length; in an order that depends on
/// that length alone.
#[inline(always)]
pub(crate) fn sum<const N: usize>(of: [&[f32]; N], f: impl Fn([f32; N]) -> f32) -> f32 {
    // Several partial sums hide the time that an addition takes.
    const SUMS: usize = 4;
    const WIDTH: usize = size_of::<Lanes>() / size_of::<f32>();
    let len = of[0].len();
    let lanes_at = |at: usize| -> Lanes {
        // Slices of a length that the compiler sees: no check of an index is left.
        let parts = of.map(|values| &values[at..at + WIDTH]);
        std::array::from_fn(|lane| f(parts.map(|values| values[lane])))
    };
    let mut sums = [[0.0; WIDTH]; SUMS];
    let mut at = 0;
    while at + SUMS * WIDTH <= len {
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = plus(*sum, lanes_at(at + i * WIDTH));
        }
        at += SUMS * WIDTH;
    }
    while at + WIDTH <= len {
        sums[0] = plus(sums[0], lanes_at(at));
        at += WIDTH;
    }
    let mut rest = 0.0;
    for i in at..len {
        rest += f(of.map(|values| values[i]));
    }
    let sum = plus(plus(sums[0], sums[1]), plus(sums[2], sums[3]));
    let [sum] = halve(halve::<4, 2>(halve::<8, 4>(halve(sum))));
    sum + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(from: f32, to: f32) -> impl Iterator<Item = f32> {
        (0..=20_000).map(move |i| from + (to - from) * i as f32 / 20_000.0)
    }

    #[test]
    fn exp_is_within_two_units_of_the_last_place() {
        for x in grid(-87.0, 88.0) {
            let truth = f64::from(x).exp();
            let error = (f64::from(exp(x)) - truth).abs() / truth;
            assert!(error < 2.4e-7, "exp({x}): relative error {error}");
        }
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(-1e30) < 2e-38 && exp(1e30) > 1e38);
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn gelu_holds_in_the_lower_tail() {
        // x Φ(x) from tables of the normal distribution's tail: Φ(-5) = 2.866515718791939e-7, Φ(-8) = 6.22096057427178e-16.
        for (x, truth) in [
            (-5.0f32, -5.0 * 2.866_515_718_791_939e-7f64),
            (-8.0, -8.0 * 6.220_960_574_271_78e-16),
        ] {
            let error = (f64::from(gelu(x)) - truth).abs() / truth.abs();
            assert!(error < 2e-6, "gelu({x}): relative error {error}");
        }
    }

    #[test]
    fn derivatives_agree_with_differences() {
        let h = 1e-3f32;
        for x in grid(-9.0, 9.0) {
            let difference = |f: fn(f32) -> f32| {
                (f64::from(f(x + h)) - f64::from(f(x - h))) / f64::from((x + h) - (x - h))
            };
            assert!(
                (f64::from(silu_derivative(x)) - difference(silu)).abs() < 1e-3,
                "silu'({x})"
            );
            assert!(
                (f64::from(gelu_derivative(x)) - difference(gelu)).abs() < 1e-3,
                "gelu'({x})"
            );
        }
    }

    #[test]
    fn sums_of_every_length_are_complete() {
        for len in 0..200 {
            let numbers: Vec<f32> = (1..=len).map(|i| i as f32).collect();
            assert_eq!(sum([&numbers], |[x]| x), (len * (len + 1) / 2) as f32);
        }
    }
}
