//! What a network's output means, and every conversion between the meanings.
//!
//! With `a = sqrt(alpha_bar)`, `s = sqrt(1 - alpha_bar)` (so `a^2 + s^2 = 1`):
//!
//! | | `eps` | `x_0` | `v` |
//! |---|---|---|---|
//! | from `eps` | | `(x_t - s eps) / a` | `(eps - s x_t) / a` |
//! | from `x_0` | `(x_t - a x_0) / s` | | `(a x_t - x_0) / s` |
//! | from `v` | `a v + s x_t` | `a x_t - s v` | |
//!
//! Divisions by `a` have no finite value at a zero-SNR timestep, where `a` is 0.

use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::noise_schedule::{NoiseSchedule, sample_scales};
use crate::setting_error::SettingError;

/// The quantity that a network predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PredictionType {
    /// The noise `eps` (Ho et al. 2020).
    #[default]
    Epsilon,
    /// The velocity `v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0` (Salimans and Ho 2022).
    VPrediction,
    /// The clean sample `x_0`.
    Sample,
}

/// The quantity whose differences a loss measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LossSpace {
    /// Noise, whatever the network predicts.
    #[default]
    Eps,
    /// What the network predicts.
    Native,
    /// The clean sample, whatever the network predicts.
    X0,
}

impl LossSpace {
    /// The quantity in which a loss of this space is measured, for a network predicting `native`.
    pub fn quantity(self, native: PredictionType) -> PredictionType {
        match self {
            Self::Eps => PredictionType::Epsilon,
            Self::Native => native,
            Self::X0 => PredictionType::Sample,
        }
    }

    /// Refuses a space in which differences are infinite at a zero-SNR timestep.
    pub fn validate(
        self,
        native: PredictionType,
        schedule: &NoiseSchedule,
    ) -> Result<(), SettingError> {
        if self == Self::X0 && native == PredictionType::Epsilon && schedule.has_zero_terminal_snr()
        {
            return Err(SettingError::conflict(
                "loss.space",
                "rescale_betas_zero_snr",
                "the last timestep holds no signal, so eps says nothing about x_0 there",
                "use `loss.space: eps`, or a network with `prediction_type: v_prediction`",
            ));
        }
        Ok(())
    }
}

impl PredictionType {
    /// What the network should have answered.
    ///
    /// # Shapes
    /// - `x_0`, `eps`, result: `[batch, channels, height, width]`
    /// - `timestep`: `batch` entries, each in `0..num_train_timesteps`
    pub fn target(
        self,
        schedule: &NoiseSchedule,
        x_0: Tensor<4>,
        eps: Tensor<4>,
        timestep: &[u32],
    ) -> Tensor<4> {
        match self {
            Self::Epsilon => eps,
            Self::VPrediction => schedule.velocity(x_0, eps, timestep),
            Self::Sample => x_0,
        }
    }

    /// Turns a prediction of `self` into one of `wanted` (table in the module's head).
    ///
    /// The identity, bit for bit, when both are the same. Shapes as in [`Self::target`].
    pub fn convert(
        self,
        wanted: Self,
        schedule: &NoiseSchedule,
        prediction: Tensor<4>,
        x_t: Tensor<4>,
        timestep: &[u32],
    ) -> Tensor<4> {
        if self == wanted {
            return prediction;
        }
        let a = schedule.per_sample(&x_t, timestep, NoiseSchedule::sqrt_alpha_bar);
        let s = schedule.per_sample(&x_t, timestep, NoiseSchedule::sqrt_one_minus_alpha_bar);
        self.convert_at(wanted, prediction, x_t, a, s)
    }

    /// [`Self::convert`] with the factors given, `[batch, 1, 1, 1]` or one for all samples.
    pub(crate) fn convert_at(
        self,
        wanted: Self,
        prediction: Tensor<4>,
        x_t: Tensor<4>,
        a: Tensor<4>,
        s: Tensor<4>,
    ) -> Tensor<4> {
        match (self, wanted) {
            (Self::Epsilon, Self::Sample) => (x_t - prediction * s) / a,
            (Self::Epsilon, Self::VPrediction) => (prediction - x_t * s) / a,
            (Self::Sample, Self::Epsilon) => (x_t - prediction * a) / s,
            (Self::Sample, Self::VPrediction) => (x_t * a - prediction) / s,
            (Self::VPrediction, Self::Epsilon) => prediction * a + x_t * s,
            (Self::VPrediction, Self::Sample) => x_t * a - prediction * s,
            (Self::Epsilon, Self::Epsilon)
            | (Self::Sample, Self::Sample)
            | (Self::VPrediction, Self::VPrediction) => prediction,
        }
    }

    /// The noise that a prediction of `self` implies.
    pub fn to_eps(
        self,
        schedule: &NoiseSchedule,
        prediction: Tensor<4>,
        x_t: Tensor<4>,
        timestep: &[u32],
    ) -> Tensor<4> {
        self.convert(Self::Epsilon, schedule, prediction, x_t, timestep)
    }

    /// The clean sample that a prediction of `self` implies; not finite for `Epsilon` at zero SNR.
    pub fn to_x_0(
        self,
        schedule: &NoiseSchedule,
        prediction: Tensor<4>,
        x_t: Tensor<4>,
        timestep: &[u32],
    ) -> Tensor<4> {
        self.convert(Self::Sample, schedule, prediction, x_t, timestep)
    }

    /// The velocity that a prediction of `self` implies; not finite for `Epsilon` at zero SNR.
    pub fn to_v(
        self,
        schedule: &NoiseSchedule,
        prediction: Tensor<4>,
        x_t: Tensor<4>,
        timestep: &[u32],
    ) -> Tensor<4> {
        self.convert(Self::VPrediction, schedule, prediction, x_t, timestep)
    }

    /// `k` in `wanted_1 - wanted_2 = k (self_1 - self_2)` for two predictions of the same `x_t`, one
    /// per sample: `x_t` cancels in the difference, so a loss in another space needs no conversion.
    ///
    /// For `wanted = Epsilon`: 1 from `eps`, `sqrt(alpha_bar)` from `v`,
    /// `-sqrt(alpha_bar / (1 - alpha_bar))` from `x_0`.
    pub fn difference_scales(
        self,
        wanted: Self,
        schedule: &NoiseSchedule,
        timestep: &[u32],
    ) -> Vec<f32> {
        timestep
            .iter()
            .map(|&t| {
                let (a, s) = (
                    schedule.sqrt_alpha_bar(t),
                    schedule.sqrt_one_minus_alpha_bar(t),
                );
                match (self, wanted) {
                    (Self::Epsilon, Self::Epsilon)
                    | (Self::Sample, Self::Sample)
                    | (Self::VPrediction, Self::VPrediction) => 1.0,
                    (Self::Epsilon, Self::Sample) => -s / a,
                    (Self::Epsilon, Self::VPrediction) => 1.0 / a,
                    (Self::Sample, Self::Epsilon) => -a / s,
                    (Self::Sample, Self::VPrediction) => -1.0 / s,
                    (Self::VPrediction, Self::Epsilon) => a,
                    (Self::VPrediction, Self::Sample) => -s,
                }
            })
            .collect()
    }

    /// Multiplies a difference of two predictions of `self` by [`Self::difference_scales`].
    ///
    /// The identity, bit for bit, when `self` is `wanted`. Keeps the graph of `difference`.
    pub fn scale_difference(
        self,
        wanted: Self,
        schedule: &NoiseSchedule,
        difference: Tensor<4>,
        timestep: &[u32],
    ) -> Tensor<4> {
        if self == wanted {
            return difference;
        }
        let scales = self.difference_scales(wanted, schedule, timestep);
        let scales = sample_scales(&scales, &difference);
        difference * scales
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::noise_schedule::NoiseScheduleConfig;
    use crate::rng::{Stream, Streams};

    const ALL: [PredictionType; 3] = [
        PredictionType::Epsilon,
        PredictionType::VPrediction,
        PredictionType::Sample,
    ];
    const TIMESTEP: [u32; 4] = [0, 100, 500, 900];

    fn schedule(rescale_betas_zero_snr: bool) -> NoiseSchedule {
        NoiseScheduleConfig {
            rescale_betas_zero_snr,
            ..Default::default()
        }
        .build()
        .expect("valid")
    }

    fn normal(step: u64) -> Tensor<4> {
        let shape = [TIMESTEP.len(), 2, 3, 3];
        let values = Streams::new(3).normal(Stream::NOISE, step, 0, shape);
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    #[track_caller]
    fn assert_close(one: Tensor<4>, other: Tensor<4>) {
        let scale: f32 = other.clone().abs().max().into_scalar();
        let error: f32 = one.sub(other).abs().max().into_scalar();
        assert!(error <= 1e-5 * scale, "differs by {error} of {scale}");
    }

    #[test]
    fn every_target_converts_into_every_other() {
        let schedule = schedule(false);
        let (x_0, eps) = (normal(0), normal(1));
        let x_t = schedule.add_noise(x_0.clone(), eps.clone(), &TIMESTEP);
        let target =
            |kind: PredictionType| kind.target(&schedule, x_0.clone(), eps.clone(), &TIMESTEP);
        for from in ALL {
            let (native, x_t) = (target(from), x_t.clone());
            let converted =
                |to| from.convert(to, &schedule, native.clone(), x_t.clone(), &TIMESTEP);
            // Dividing by the s of timestep 0 (6e-3) costs two digits; so compare where it is mild.
            for to in ALL {
                let rest = |x: Tensor<4>| x.narrow(0, 1, TIMESTEP.len() - 1);
                assert_close(rest(converted(to)), rest(target(to)));
            }
        }
        let native = target(PredictionType::VPrediction);
        let kind = PredictionType::VPrediction;
        assert_close(
            kind.to_eps(&schedule, native.clone(), x_t.clone(), &TIMESTEP),
            eps,
        );
        assert_close(
            kind.to_x_0(&schedule, native.clone(), x_t.clone(), &TIMESTEP),
            x_0,
        );
        assert_close(kind.to_v(&schedule, native.clone(), x_t, &TIMESTEP), native);
    }

    #[test]
    fn differences_scale_as_the_converted_predictions_differ() {
        let schedule = schedule(false);
        let (x_t, one, other) = (normal(0), normal(1), normal(2));
        for from in ALL {
            for to in ALL {
                let convert =
                    |x: &Tensor<4>| from.convert(to, &schedule, x.clone(), x_t.clone(), &TIMESTEP);
                let expected = convert(&one) - convert(&other);
                let difference = one.clone() - other.clone();
                assert_close(
                    from.scale_difference(to, &schedule, difference, &TIMESTEP),
                    expected,
                );
            }
        }
    }

    #[test]
    fn at_zero_snr_all_but_eps_say_what_x_0_is() {
        let schedule = schedule(true);
        let timestep = [999; TIMESTEP.len()];
        let (x_0, eps) = (normal(0), normal(1));
        let x_t = schedule.add_noise(x_0.clone(), eps.clone(), &timestep);
        for kind in [PredictionType::VPrediction, PredictionType::Sample] {
            let native = kind.target(&schedule, x_0.clone(), eps.clone(), &timestep);
            assert_close(
                kind.to_x_0(&schedule, native.clone(), x_t.clone(), &timestep),
                x_0.clone(),
            );
            assert_close(
                kind.to_eps(&schedule, native, x_t.clone(), &timestep),
                eps.clone(),
            );
        }
        let refused = LossSpace::X0.validate(PredictionType::Epsilon, &schedule);
        assert!(
            refused
                .expect_err("infinite")
                .to_string()
                .contains("loss.space")
        );
        assert!(
            LossSpace::Eps
                .validate(PredictionType::Epsilon, &schedule)
                .is_ok()
        );
    }

    #[test]
    fn names_are_those_of_the_field() {
        let names = ALL.map(|kind| serde_json::to_value(kind).expect("plain"));
        assert_eq!(names, ["epsilon", "v_prediction", "sample"]);
        let spaces = [LossSpace::Eps, LossSpace::Native, LossSpace::X0];
        let names = spaces.map(|space| serde_json::to_value(space).expect("plain"));
        assert_eq!(names, ["eps", "native", "x0"]);
    }
}
