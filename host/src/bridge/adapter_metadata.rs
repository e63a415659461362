//! What kohya's files of adapters say of themselves in their header: other programs show it, and tell by it which adapters fit
//! a model.
//!
//! Keys with `ss_` are those of kohya's training scripts; the others follow Stability AI's Model Metadata Standard 1.0.1.

use std::collections::BTreeMap;

use dsl_engine::PredictionType;
use dsl_engine::trainer::Precision;

use super::pipeline::PipelineKind;
use crate::run::Finished;

/// The features that Stable Diffusion 2 attends to; those of version 1 are 768.
const STABLE_DIFFUSION_2: usize = 1024;

/// The header of the adapter of a run, whose name is `title`. What the base is, is only said of pipelines: a network of our own
/// is none of the models that other programs know.
pub fn kohya_metadata(run: &Finished, title: &str) -> BTreeMap<String, String> {
    let train = &run.config.train;
    let mut all = BTreeMap::new();
    let mut say = |key: &str, value: String| all.insert(key.to_owned(), value);
    say("ss_output_name", title.to_owned());
    say("ss_steps", run.step.to_string());
    say("ss_max_train_steps", train.steps.to_string());
    say("ss_total_batch_size", train.batch_size.to_string());
    say(
        "ss_gradient_accumulation_steps",
        train.gradient_accumulation_steps.to_string(),
    );
    say("ss_learning_rate", train.learning_rate.to_string());
    say("ss_unet_lr", train.learning_rate.to_string());
    say("ss_seed", train.seed.to_string());
    let precision = match train.precision {
        Precision::F32 => "no",
        Precision::Bf16 => "bf16",
    };
    say("ss_mixed_precision", precision.to_owned());
    say("modelspec.sai_model_spec", "1.0.1".to_owned());
    say("modelspec.title", title.to_owned());
    let prediction = match run.card.prediction_type {
        PredictionType::Epsilon => Some("epsilon"),
        PredictionType::VPrediction => Some("v"),
        PredictionType::Sample => None,
    };
    if let Some(prediction) = prediction {
        say("modelspec.prediction_type", prediction.to_owned());
    }
    let [_, height, width] = run.card.sample_shape;
    let [height, width] = match &run.latents {
        Some(coder) => coder.picture_size([height, width]),
        None => [height, width],
    };
    say("ss_resolution", format!("({width}, {height})"));
    say("modelspec.resolution", format!("{width}x{height}"));
    let Some(coder) = &run.latents else {
        return all;
    };
    if let Some(name) = coder.folder().file_name() {
        say("ss_sd_model_name", name.to_string_lossy().into_owned());
    }
    let is_second = run.card.model.denoiser.cross_attention_dim() == Some(STABLE_DIFFUSION_2);
    let of_v = run.card.prediction_type == PredictionType::VPrediction;
    let (version, architecture) = match (coder.kind(), is_second, of_v) {
        (PipelineKind::StableDiffusionXl, ..) => ("sdxl_base_v1-0", "stable-diffusion-xl-v1-base"),
        (PipelineKind::StableDiffusion, true, true) => ("sd_v2_v", "stable-diffusion-v2-768-v"),
        (PipelineKind::StableDiffusion, true, false) => ("sd_v2", "stable-diffusion-v2-512"),
        (PipelineKind::StableDiffusion, false, true) => ("sd_v1_v", "stable-diffusion-v1"),
        (PipelineKind::StableDiffusion, false, false) => ("sd_v1", "stable-diffusion-v1"),
    };
    say("ss_base_model_version", version.to_owned());
    // As Python writes it, which readers compare with.
    let second = if version.starts_with("sd_v2") {
        "True"
    } else {
        "False"
    };
    say("ss_v2", second.to_owned());
    say("modelspec.architecture", format!("{architecture}/lora"));
    say("modelspec.implementation", "diffusers".to_owned());
    all
}
