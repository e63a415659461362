//! Noise levels `sigma = sqrt((1 - alpha_bar) / alpha_bar)` for the samplers that work in them.

use crate::noise_schedule::NoiseSchedule;

/// Stands for the infinite `sigma` of an `alpha_bar` of 0: that of 2^-24, the smallest positive number
/// that half precision can hold.
const LARGEST_SIGMA: f32 = 4096.0;

/// Exponent of the Karras spacing; the paper's choice.
const RHO: f64 = 7.0;

/// `sigma` of every training timestep, rising.
///
/// With zero terminal SNR the last is [`LARGEST_SIGMA`].
pub(super) fn training(schedule: &NoiseSchedule) -> Vec<f32> {
    let timesteps = 0..schedule.num_train_timesteps() as u32;
    timesteps
        .map(|t| schedule.sigma(t))
        .map(|s| if s.is_finite() { s } else { LARGEST_SIGMA })
        .collect()
}

/// `sigma` at a timestep that may lie between two training timesteps, linearly.
pub(super) fn at(training: &[f32], timestep: f64) -> f64 {
    let low = (timestep.floor() as usize).min(training.len() - 1);
    let high = (low + 1).min(training.len() - 1);
    let (from, to) = (f64::from(training[low]), f64::from(training[high]));
    from + (to - from) * (timestep - low as f64)
}

/// `count` levels from `max` to `min`, falling (Karras et al. 2022, eq. 5).
pub(super) fn karras(max: f64, min: f64, count: usize) -> Vec<f64> {
    let (from, to) = (max.powf(1.0 / RHO), min.powf(1.0 / RHO));
    let parts = (count - 1).max(1) as f64;
    (0..count)
        .map(|i| (from + i as f64 / parts * (to - from)).powf(RHO))
        .collect()
}

/// The timestep, between two training timesteps, at which `log sigma` is that of `sigma`; ends at the
/// first and the last one.
pub(super) fn to_timestep(training: &[f32], sigma: f64) -> f64 {
    let log_sigma = sigma.max(1e-10).ln();
    let log = |t: usize| f64::from(training[t]).ln();
    let above = training.partition_point(|&s| f64::from(s) <= sigma);
    let low = above.saturating_sub(1).min(training.len() - 2);
    let share = (log_sigma - log(low)) / (log(low + 1) - log(low));
    low as f64 + share.clamp(0.0, 1.0)
}

/// `timestep` cut off to a whole number, where one that is whole but for its rounding stays so.
pub(super) fn cut_off(timestep: f64) -> f64 {
    const ROUNDING: f64 = 1e-4;
    (timestep + ROUNDING).floor()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise_schedule::NoiseScheduleConfig;

    fn levels(rescale_betas_zero_snr: bool) -> Vec<f32> {
        let config = NoiseScheduleConfig {
            rescale_betas_zero_snr,
            ..Default::default()
        };
        training(&config.build().expect("valid"))
    }

    #[test]
    fn levels_rise_and_zero_snr_ends_at_4096() {
        assert!(levels(false).is_sorted_by(|a, b| a < b));
        let zero_snr = levels(true);
        assert!(zero_snr.iter().all(|sigma| sigma.is_finite()));
        assert_eq!(zero_snr[999], 4096.0);
    }

    #[test]
    fn timestep_of_a_level_is_the_inverse_of_the_level_of_a_timestep() {
        let training = levels(false);
        for t in [0, 1, 500, 998, 999] {
            let back = to_timestep(&training, f64::from(training[t]));
            assert!((back - t as f64).abs() < 1e-3, "{t} came back as {back}");
        }
        assert_eq!(
            cut_off(to_timestep(&training, f64::from(training[999]))),
            999.0
        );
        assert_eq!(to_timestep(&training, 0.0), 0.0);
        assert_eq!(to_timestep(&training, 1e9), 999.0);
    }

    #[test]
    fn between_timesteps_levels_are_interpolated_linearly() {
        let rising = [1.0, 3.0, 7.0];
        assert_eq!(at(&rising, 0.5), 2.0);
        assert_eq!(at(&rising, 2.0), 7.0);
    }

    #[test]
    fn karras_levels_keep_both_ends() {
        let levels = karras(80.0, 0.002, 5);
        assert!((levels[0] - 80.0).abs() < 1e-9 && (levels[4] - 0.002).abs() < 1e-12);
        assert!(levels.is_sorted_by(|a, b| a > b));
        assert_eq!(karras(80.0, 0.002, 1).len(), 1);
    }
}
