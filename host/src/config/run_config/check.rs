//! What the schema cannot say: values that do not go together.

use dsl_engine::{
    ConfigProblem, NoiseSchedule, ObjectiveConfig, PredictionType, SettingError,
    objective::{DiscriminatorBase, DiscriminatorTrainable},
};
use dsl_nets::{DenoiserConfig, NetsError};

use super::{RunConfig, model::BaseModel};
use crate::config::{Problem, document::child};

/// Everything about a configuration that no schema can hold.
pub(super) fn check(config: &RunConfig) -> Vec<Problem> {
    let mut found = Findings::default();
    found.engine("/objective", config.objective.problems());
    found.engine("/train", config.train.problems());
    found.engine("/model/trainable", config.model.trainable.problems());
    found.setting("/sampling/sampler", config.sampling.sampler.validate());
    found.setting("/loss/weighting", config.loss.weighting.validate());
    found.networks(config);
    found.noise_levels(config);
    found.discriminator(config);
    found.dropout(config);
    found.features(config);
    found.0
}

#[derive(Default)]
struct Findings(Vec<Problem>);

impl Findings {
    fn add(
        &mut self,
        pointer: impl Into<String>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.0.push(Problem {
            pointer: pointer.into(),
            message: message.into(),
            help: help.into(),
        });
    }

    fn engine(&mut self, section: &str, problems: Vec<ConfigProblem>) {
        for problem in problems {
            let keys = problem.key.split('.');
            let pointer = keys.fold(section.to_owned(), |at, key| child(&at, key));
            self.add(pointer, problem.message, problem.help);
        }
    }

    fn setting(&mut self, section: &str, result: Result<(), SettingError>) {
        // Some keys are relative to their section, some name the section themselves.
        let pointer = |key: &str| match key.contains('.') {
            true => key
                .split('.')
                .fold(String::new(), |at, key| child(&at, key)),
            false => child(section, key),
        };
        match result {
            Ok(()) => {}
            Err(SettingError::OutOfRange {
                key,
                found,
                expected,
            }) => {
                let message = format!("`{key}` must be {expected}, found {found}");
                self.add(pointer(key), message, format!("use {expected}"));
            }
            Err(SettingError::Conflict {
                key,
                other,
                why,
                help,
            }) => {
                let message = format!("`{key}` cannot be combined with `{other}`: {why}");
                self.add(pointer(key), message, help);
            }
        }
    }

    fn nets(&mut self, section: &str, result: Result<(), NetsError>) {
        match result {
            Ok(()) => {}
            Err(NetsError::InvalidConfig {
                field,
                found,
                reason,
            }) => self.add(
                child(section, &field),
                format!("`{field}` cannot be {found}"),
                reason,
            ),
            Err(other) => self.add(section, other.to_string(), "change this section"),
        }
    }

    fn networks(&mut self, config: &RunConfig) {
        let model = &config.model;
        match &model.denoiser {
            Some(DenoiserConfig::Unet(unet)) => self.nets("/model/denoiser", unet.validate()),
            Some(DenoiserConfig::Mlp(mlp)) => self.nets("/model/denoiser", mlp.validate()),
            None if model.base == BaseModel::None => self.add(
                "/model/denoiser",
                "training from scratch (`model.base: none`) needs the shape of a network",
                "set `model.denoiser`, for example `{kind: unet}` or `{kind: mlp}`",
            ),
            None => {}
        }
        if let Some(encoder) = &model.text_encoder {
            self.nets("/model/text_encoder", encoder.validate());
            let wanted = model
                .denoiser
                .as_ref()
                .and_then(DenoiserConfig::cross_attention_dim);
            if let Some(wanted) = wanted
                && wanted != encoder.hidden_size
            {
                self.add(
                    "/model/text_encoder/hidden_size",
                    format!("the text encoder makes {} features, the denoiser reads {wanted}", encoder.hidden_size),
                    "set `model.text_encoder.hidden_size` and `model.denoiser.cross_attention_dim` to one number",
                );
            }
        }
        if let ObjectiveConfig::Dsl(dsl) = &config.objective
            && dsl.discriminator.trainable == DiscriminatorTrainable::Lora
        {
            self.nets(
                "/objective/discriminator/lora",
                dsl.discriminator.lora.validate(),
            );
        }
    }

    fn noise_levels(&mut self, config: &RunConfig) {
        let model = &config.model;
        let levels = model.noise_schedule.num_train_timesteps;
        let steps = config.sampling.sampler.num_inference_steps;
        if steps > levels {
            self.add(
                "/sampling/sampler/num_inference_steps",
                format!(
                    "{steps} sampling steps are more than the {levels} noise levels of training"
                ),
                format!(
                    "use at most {levels}, or raise `model.noise_schedule.num_train_timesteps`"
                ),
            );
        }
        if model.noise_schedule.rescale_betas_zero_snr
            && model.prediction_type == PredictionType::Epsilon
        {
            self.add(
                "/model/prediction_type",
                "with `rescale_betas_zero_snr` the last timestep is pure noise, from which `epsilon` says nothing of the picture",
                "set `model.prediction_type: v_prediction` or `sample`",
            );
        }
        match NoiseSchedule::new(&model.noise_schedule) {
            Ok(schedule) => {
                let fits = config.loss.space.validate(model.prediction_type, &schedule);
                self.setting("/loss", fits);
            }
            Err(error) => self.setting("/model/noise_schedule", Err(error)),
        }
    }

    fn discriminator(&mut self, config: &RunConfig) {
        let ObjectiveConfig::Dsl(dsl) = &config.objective else {
            return;
        };
        if dsl.discriminator.base == DiscriminatorBase::Ema && config.train.ema.decay.is_none() {
            self.add(
                "/objective/discriminator/base",
                "the discriminator is to start from the generator's moving average, and there is none",
                "set `train.ema.decay`, for example 0.999, or `objective.discriminator.base: initial`",
            );
        }
    }

    fn dropout(&mut self, config: &RunConfig) {
        let drops_out = crate::run::trainer_config(config).denoisers_drop_out();
        if config.train.gradient_checkpointing && drops_out {
            self.add(
                "/train/gradient_checkpointing",
                "adapters of the denoiser with dropout cannot be computed a second time: their masks would be others",
                "set `dropout` of the adapters to 0, or leave `train.gradient_checkpointing` out",
            );
        }
    }

    fn features(&mut self, config: &RunConfig) {
        if let Some(path) = &config.features.path
            && !path.is_dir()
        {
            self.add(
                "/features/path",
                format!("there is no folder `{}`", path.display()),
                "name a folder with weight files, or null for DSL_FEATURES_PATH and the user's cache folder",
            );
        }
    }
}
