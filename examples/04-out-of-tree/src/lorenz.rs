//! States of the Lorenz system: data that needs no file.

/// How many states there are.
const COUNT: usize = 6_000;
const STEP_SECS: f64 = 0.01;

/// Names of the columns.
pub(crate) const NAMES: [&str; 3] = ["x", "y", "z"];

/// States on the attractor, row after row: E. N. Lorenz, "Deterministic Nonperiodic Flow" (1963), sigma 10, rho 28,
/// beta 8/3, by the classical Runge-Kutta method. Every third step is kept.
pub(crate) fn states() -> Vec<f64> {
    let mut state = [1.0, 1.0, 1.0];
    // On to the attractor first.
    for _ in 0..2_000 {
        state = step(state);
    }
    let mut values = Vec::with_capacity(3 * COUNT);
    for _ in 0..COUNT {
        values.extend(state);
        for _ in 0..3 {
            state = step(state);
        }
    }
    values
}

fn slope([x, y, z]: [f64; 3]) -> [f64; 3] {
    [10.0 * (y - x), x * (28.0 - z) - y, x * y - 8.0 / 3.0 * z]
}

fn step(state: [f64; 3]) -> [f64; 3] {
    let along = |slope: [f64; 3], share: f64| -> [f64; 3] {
        std::array::from_fn(|axis| state[axis] + share * STEP_SECS * slope[axis])
    };
    let first = slope(state);
    let second = slope(along(first, 0.5));
    let third = slope(along(second, 0.5));
    let fourth = slope(along(third, 1.0));
    std::array::from_fn(|axis| {
        let sum = first[axis] + 2.0 * second[axis] + 2.0 * third[axis] + fourth[axis];
        state[axis] + STEP_SECS / 6.0 * sum
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_stay_on_both_wings_of_the_attractor() {
        let states = states();
        assert_eq!(states.len(), 3 * COUNT);
        let x = || states.iter().step_by(3);
        let right = x().filter(|&&x| x > 0.0).count() as f64 / COUNT as f64;
        assert!((0.3..0.7).contains(&right), "{right}");
        assert!(x().all(|x| x.abs() < 25.0));
        assert!(
            states
                .iter()
                .skip(2)
                .step_by(3)
                .all(|&z| (0.0..55.0).contains(&z))
        );
    }
}
