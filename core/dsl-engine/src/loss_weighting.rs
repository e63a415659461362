//! Weights of the squared error by timestep.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::noise_schedule::NoiseSchedule;
use crate::parameterization::PredictionType;
use crate::setting_error::SettingError;

/// How much each timestep counts in a loss.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LossWeighting {
    /// All alike.
    #[default]
    None,
    /// Min-SNR-gamma (Hang et al. 2023): the error of `x_0` counts by `min(snr, gamma)`.
    MinSnr {
        /// Upper bound of the signal-to-noise ratio, above 0; 5 is the paper's choice.
        #[serde(default = "default_gamma")]
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        gamma: f64,
    },
}

fn default_gamma() -> f64 {
    5.0
}

impl LossWeighting {
    /// Says which value is out of range, if one is.
    pub fn validate(&self) -> Result<(), SettingError> {
        match *self {
            Self::MinSnr { gamma } if !(gamma > 0.0 && gamma.is_finite()) => Err(
                SettingError::out_of_range("gamma", gamma, "a finite number above 0"),
            ),
            Self::None | Self::MinSnr { .. } => Ok(()),
        }
    }

    /// One weight per sample for a squared error measured in `quantity`.
    ///
    /// Min-SNR, with `w = min(snr, gamma)`: `w / snr` for `eps`, `w / (snr + 1)` for `v`, `w` for
    /// `x_0`. These are one and the same weighting, since the squared errors of `eps`, `v` and `x_0`
    /// stand as `snr : snr + 1 : 1`; so `quantity` is the space of the loss
    /// ([`crate::parameterization::LossSpace::quantity`]), which need not be what the network
    /// predicts.
    ///
    /// At a zero-SNR timestep `w / snr` is 0/0; the limit, 1, is returned.
    ///
    /// `timestep`: one entry per sample, each in `0..num_train_timesteps`.
    pub fn weights(
        &self,
        schedule: &NoiseSchedule,
        quantity: PredictionType,
        timestep: &[u32],
    ) -> Vec<f32> {
        let Self::MinSnr { gamma } = *self else {
            return vec![1.0; timestep.len()];
        };
        timestep
            .iter()
            .map(|&t| {
                let snr = schedule.snr(t);
                let clipped = snr.min(gamma as f32);
                match quantity {
                    PredictionType::Epsilon if snr == 0.0 => 1.0,
                    PredictionType::Epsilon => clipped / snr,
                    PredictionType::VPrediction => clipped / (snr + 1.0),
                    PredictionType::Sample => clipped,
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise_schedule::NoiseScheduleConfig;

    fn schedule() -> NoiseSchedule {
        NoiseScheduleConfig {
            rescale_betas_zero_snr: true,
            ..Default::default()
        }
        .build()
        .expect("valid")
    }

    const MIN_SNR: LossWeighting = LossWeighting::MinSnr { gamma: 5.0 };
    const ALL: [PredictionType; 3] = [
        PredictionType::Epsilon,
        PredictionType::VPrediction,
        PredictionType::Sample,
    ];

    #[test]
    fn without_weighting_all_timesteps_count_alike() {
        for quantity in ALL {
            let weights = LossWeighting::None.weights(&schedule(), quantity, &[0, 500, 999]);
            assert_eq!(weights, [1.0; 3]);
        }
    }

    #[test]
    fn the_quantities_are_weighted_alike() {
        // A difference d in eps is d * k in v or x_0; weight times its square must not depend on that.
        let schedule = schedule();
        let timestep = [10, 300, 700, 998];
        let expected = MIN_SNR.weights(&schedule, PredictionType::Epsilon, &timestep);
        for quantity in [PredictionType::VPrediction, PredictionType::Sample] {
            let weights = MIN_SNR.weights(&schedule, quantity, &timestep);
            let scales = PredictionType::Epsilon.difference_scales(quantity, &schedule, &timestep);
            for i in 0..timestep.len() {
                let found = weights[i] * scales[i] * scales[i];
                assert!(
                    (found / expected[i] - 1.0).abs() < 1e-4,
                    "{found} {}",
                    expected[i]
                );
            }
        }
    }

    #[test]
    fn weights_are_finite_at_both_ends() {
        let schedule = schedule();
        let ends = |quantity| MIN_SNR.weights(&schedule, quantity, &[0, 999]);
        assert!(schedule.snr(0) > 5.0);
        assert_eq!(ends(PredictionType::Epsilon), [5.0 / schedule.snr(0), 1.0]);
        assert_eq!(
            ends(PredictionType::VPrediction),
            [5.0 / (schedule.snr(0) + 1.0), 0.0]
        );
        assert_eq!(ends(PredictionType::Sample), [5.0, 0.0]);
    }

    #[test]
    fn settings_read_and_are_checked() {
        let read = |text| serde_json::from_str::<LossWeighting>(text);
        assert_eq!(
            read(r#"{"kind": "none"}"#).expect("valid"),
            LossWeighting::None
        );
        assert_eq!(read(r#"{"kind": "min_snr"}"#).expect("valid"), MIN_SNR);
        assert!(read(r#"{"kind": "min_snr", "gama": 1}"#).is_err());
        for gamma in [0.0, -1.0, f64::NAN] {
            let message = LossWeighting::MinSnr { gamma }
                .validate()
                .expect_err("refused");
            assert!(message.to_string().contains("gamma"));
        }
        assert!(MIN_SNR.validate().is_ok());
    }
}
