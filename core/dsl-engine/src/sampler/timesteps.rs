//! Where sampling steps lie among the training timesteps (Lin et al. 2023, table 2).
//!
//! `ddpm`, `ddim` and `euler` visit `num_inference_steps` points. DPM-Solver++ divides the range into
//! one part more for `linspace` and `leading` and does not visit the lowest point, since its last step
//! ends there or at no noise.

use super::config::{SamplerConfig, TimestepSpacing};
use crate::setting_error::SettingError;

/// The timesteps of `ddpm` and `ddim`, whole numbers; `euler` leaves `linspace` unrounded.
pub(super) fn ancestral(
    config: &SamplerConfig,
    num_train_timesteps: usize,
    round: bool,
) -> Result<Vec<f64>, SettingError> {
    let steps = checked_steps(config, num_train_timesteps)?;
    let timesteps = match config.timestep_spacing {
        TimestepSpacing::Linspace if steps == 1 => {
            return Err(SettingError::conflict(
                "num_inference_steps",
                "timestep_spacing: linspace",
                "a single step would start at timestep 0, where there is no noise to remove",
                "use `timestep_spacing: trailing`, or 2 steps or more",
            ));
        }
        TimestepSpacing::Linspace => {
            let points = linspace(num_train_timesteps, steps);
            let finish = |t: f64| {
                if round {
                    t.round_ties_even()
                } else {
                    f64::from(t as f32)
                }
            };
            points.into_iter().rev().map(finish).collect()
        }
        TimestepSpacing::Leading => leading(num_train_timesteps / steps, 0..steps, config),
        TimestepSpacing::Trailing => trailing(num_train_timesteps, steps),
    };
    checked(timesteps, config, num_train_timesteps)
}

/// The timesteps of DPM-Solver++, whole numbers.
pub(super) fn multistep(
    config: &SamplerConfig,
    num_train_timesteps: usize,
) -> Result<Vec<f64>, SettingError> {
    let steps = checked_steps(config, num_train_timesteps)?;
    let timesteps = match config.timestep_spacing {
        TimestepSpacing::Linspace => linspace(num_train_timesteps, steps + 1)
            .into_iter()
            .skip(1)
            .rev()
            .map(f64::round_ties_even)
            .collect(),
        TimestepSpacing::Leading => {
            leading(num_train_timesteps / (steps + 1), 1..steps + 1, config)
        }
        TimestepSpacing::Trailing => trailing(num_train_timesteps, steps),
    };
    checked(timesteps, config, num_train_timesteps)
}

fn checked_steps(
    config: &SamplerConfig,
    num_train_timesteps: usize,
) -> Result<usize, SettingError> {
    let steps = config.num_inference_steps as usize;
    if steps == 0 || steps > num_train_timesteps {
        return Err(SettingError::out_of_range(
            "num_inference_steps",
            steps,
            format!("1 to {num_train_timesteps}, the number of training timesteps"),
        ));
    }
    Ok(steps)
}

/// Refuses what the network was not trained on, and steps that go nowhere.
fn checked(
    timesteps: Vec<f64>,
    config: &SamplerConfig,
    num_train_timesteps: usize,
) -> Result<Vec<f64>, SettingError> {
    let last = (num_train_timesteps - 1) as f64;
    if let Some(t) = timesteps.iter().find(|t| !(0.0..=last).contains(*t)) {
        return Err(SettingError::out_of_range(
            "steps_offset",
            config.steps_offset,
            format!("an offset that keeps every timestep within 0..={last}; this one leads to {t}"),
        ));
    }
    if timesteps.windows(2).any(|pair| pair[0] <= pair[1]) {
        return Err(SettingError::out_of_range(
            "num_inference_steps",
            config.num_inference_steps,
            format!(
                "fewer steps: with this spacing, {num_train_timesteps} training timesteps do not \
                 give so many different ones"
            ),
        ));
    }
    Ok(timesteps)
}

/// `count` (2 or more) points from 0 to the last timestep, rising.
fn linspace(num_train_timesteps: usize, count: usize) -> Vec<f64> {
    let last = (num_train_timesteps - 1) as f64;
    let gap = last / (count - 1) as f64;
    (0..count)
        .map(|i| if i + 1 == count { last } else { i as f64 * gap })
        .collect()
}

/// Multiples of `gap`, falling, plus the offset.
fn leading(gap: usize, multiples: std::ops::Range<usize>, config: &SamplerConfig) -> Vec<f64> {
    multiples
        .rev()
        .map(|i| (i * gap + config.steps_offset as usize) as f64)
        .collect()
}

/// From the last timestep down in equal parts; halves round to even.
fn trailing(num_train_timesteps: usize, steps: usize) -> Vec<f64> {
    let end = num_train_timesteps as f64;
    // The gap as a difference of two neighbours: the same last bit as the reference's sequence, which
    // decides how a half is rounded.
    let gap = (end - end / steps as f64) - end;
    (0..steps)
        .map(|i| (end + i as f64 * gap).round_ties_even() - 1.0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spacing: TimestepSpacing, offset: u32, one_list: &[f64], other_list: &[f64]) {
        let config = SamplerConfig {
            num_inference_steps: 4,
            timestep_spacing: spacing,
            steps_offset: offset,
            ..SamplerConfig::default()
        };
        assert_eq!(ancestral(&config, 1000, true).expect("valid"), one_list);
        assert_eq!(multistep(&config, 1000).expect("valid"), other_list);
    }

    #[test]
    fn spacings_by_hand() {
        check(
            TimestepSpacing::Trailing,
            7,
            &[999.0, 749.0, 499.0, 249.0],
            &[999.0, 749.0, 499.0, 249.0],
        );
        check(
            TimestepSpacing::Leading,
            1,
            &[751.0, 501.0, 251.0, 1.0],
            &[801.0, 601.0, 401.0, 201.0],
        );
        check(
            TimestepSpacing::Linspace,
            7,
            &[999.0, 666.0, 333.0, 0.0],
            &[999.0, 749.0, 500.0, 250.0],
        );
    }

    #[test]
    fn all_timesteps_can_be_visited() {
        for spacing in [
            TimestepSpacing::Trailing,
            TimestepSpacing::Leading,
            TimestepSpacing::Linspace,
        ] {
            let config = SamplerConfig {
                num_inference_steps: 100,
                timestep_spacing: spacing,
                ..SamplerConfig::default()
            };
            let timesteps = ancestral(&config, 100, true).expect("valid");
            let all: Vec<f64> = (0..100).rev().map(f64::from).collect();
            assert_eq!(timesteps, all);
        }
    }

    #[test]
    fn impossible_choices_name_the_setting() {
        let config = |num_inference_steps, timestep_spacing, steps_offset| SamplerConfig {
            num_inference_steps,
            timestep_spacing,
            steps_offset,
            ..SamplerConfig::default()
        };
        use TimestepSpacing::{Leading, Linspace, Trailing};
        for (config, key) in [
            (config(11, Trailing, 0), "num_inference_steps"),
            (config(10, Leading, 1), "steps_offset"),
            (config(1, Linspace, 0), "num_inference_steps"),
        ] {
            let message = ancestral(&config, 10, true)
                .expect_err("refused")
                .to_string();
            assert!(message.contains(key), "{message}");
        }
        let message = multistep(&config(10, Leading, 0), 10)
            .expect_err("refused")
            .to_string();
        assert!(message.contains("num_inference_steps"), "{message}");
    }
}
