//! Whole pipelines beside diffusers: text, guided sampling, pictures. `DSL_FIXTURES` may name another folder of fixtures.

use dsl_engine::guidance::Guidance;
use dsl_engine::sampler::SamplerConfig;
use dsl_engine::{NoiseSchedule, NoiseScheduleConfig, PredictionType};
use dsl_nets::Conditioning;
use safetensors::SafeTensors;
use serde_json::{Value, json};

use super::*;

struct Fixture {
    folder: PathBuf,
    meta: Value,
    bytes: Vec<u8>,
}

impl Fixture {
    fn open(name: &str) -> Self {
        let root = std::env::var_os("DSL_FIXTURES").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures"),
            PathBuf::from,
        );
        let folder = root.join(name);
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
        Self {
            meta: serde_json::from_slice(&read("meta.json")).unwrap(),
            bytes: read("io.safetensors"),
            folder,
        }
    }

    fn data(&self, key: &str) -> TensorData {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let tensor = file.tensor(key).unwrap();
        let values = tensor.data().chunks_exact(4);
        let values: Vec<f32> = values
            .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
            .collect();
        TensorData::new(values, tensor.shape())
    }

    #[track_caller]
    fn check(&self, key: &str, found: &TensorData) {
        let expected = self.data(key);
        assert_eq!(found.shape(), expected.shape(), "{key}");
        let tolerance = self.meta["tolerance_rel_to_max_abs"]["out"]
            .as_f64()
            .unwrap();
        let values = |data: &TensorData| data.iter::<f32>().map(f64::from).collect::<Vec<_>>();
        let (found, expected) = (values(found), values(&expected));
        let largest = expected.iter().fold(0.0f64, |max, v| max.max(v.abs()));
        for (found, expected) in found.iter().zip(&expected) {
            let error = (found - expected).abs();
            assert!(
                error <= tolerance * largest.max(1e-9),
                "{key}: {found}, not {expected}; the largest is {largest}"
            );
        }
    }

    fn texts(&self, key: &str) -> Vec<&str> {
        let texts = self.meta["call"][key].as_array().unwrap();
        texts.iter().map(|text| text.as_str().unwrap()).collect()
    }

    fn pair(&self, key: &str) -> Option<[f32; 2]> {
        let pair = self.meta["call"].get(key)?.as_array()?;
        Some([pair[0].as_f64()? as f32, pair[1].as_f64()? as f32])
    }

    fn coder(&self, cache: &Path) -> LatentCoder {
        let config = LatentsConfig {
            cache: Some(cache.to_owned()),
            ..LatentsConfig::default()
        };
        let pipeline = PipelineFolder::open(&self.folder.join("pipeline")).unwrap();
        LatentCoder::new(pipeline, &config, &Device::flex()).unwrap()
    }
}

/// A call of the pipeline: the reference's noise in, its latents and pictures out.
fn draws_what_diffusers_draws(name: &str, kind: &str) {
    let fixture = Fixture::open(name);
    let cache = tempfile::tempdir().unwrap();
    let coder = fixture.coder(cache.path());
    let device = Device::flex();
    let call = &fixture.meta["call"];
    let pixels = |key: &str| call[key].as_f64().unwrap() as f32;
    let whole = [pixels("height"), pixels("width")];
    let original = fixture.pair("original_size").unwrap_or(whole);
    let crop = fixture.pair("crops_coords_top_left").unwrap_or_default();
    let target = fixture.pair("target_size").unwrap_or(whole);
    let ids = [
        original[0],
        original[1],
        crop[0],
        crop[1],
        target[0],
        target[1],
    ];
    let encode = |texts: &[&str]| coder.encode_texts(texts, &vec![ids; texts.len()]).unwrap();
    let (prompts, negative) = (
        encode(&fixture.texts("prompt")),
        encode(&fixture.texts("negative_prompt")),
    );
    fixture.check("out.prompt_embeds", &prompts.encoder_hidden_states);
    fixture.check(
        "out.negative_prompt_embeds",
        &negative.encoder_hidden_states,
    );
    if let Some(added) = &prompts.added {
        fixture.check("out.pooled_prompt_embeds", &added.text_embeds);
        let empty = encode(&["", ""]);
        fixture.check(
            "out.no_negative.negative_prompt_embeds",
            &empty.encoder_hidden_states,
        );
        let pooled = &empty.added.unwrap().text_embeds;
        fixture.check("out.no_negative.negative_pooled_prompt_embeds", pooled);
    }

    let folder = fixture.folder.join("pipeline");
    let defaults = PipelineFolder::defaults(&folder).unwrap();
    let schedule: NoiseScheduleConfig =
        serde_json::from_value(defaults["model"]["noise_schedule"].clone()).unwrap();
    let schedule = NoiseSchedule::new(&schedule).unwrap();
    let prediction: PredictionType =
        serde_json::from_value(defaults["model"]["prediction_type"].clone()).unwrap();
    let mut sampler = defaults["sampling"]["sampler"].clone();
    sampler["kind"] = json!(kind);
    sampler["num_inference_steps"] = call["num_inference_steps"].clone();
    let sampler: SamplerConfig = serde_json::from_value(sampler).unwrap();
    let run = sampler.build(&schedule, prediction).unwrap();
    let guidance = Guidance::new(call["guidance_scale"].as_f64().unwrap()).unwrap();
    let dtype = burn::tensor::DType::F32;
    let conditioning = Conditioning::concat(&[
        &negative.conditioning(&device, dtype),
        &prompts.conditioning(&device, dtype),
    ]);
    let unet = PipelineFolder::open(&folder)
        .unwrap()
        .load_unet(&device)
        .unwrap();
    let latents = run.sample(
        Tensor::from_data(fixture.data("in.latents"), &device),
        |x_t, timestep| {
            let predicted: Result<_, std::convert::Infallible> = guidance.apply(x_t, |x_t| {
                let rows = x_t.dims()[0];
                let timestep = TensorData::new(vec![timestep as f32; rows], [rows]);
                let timestep = Tensor::<1>::from_data(timestep, &device);
                Ok(unet.forward(x_t, timestep, &conditioning))
            });
            predicted.unwrap()
        },
        |_| unreachable!("a sampler without noise of its own"),
    );
    fixture.check("out.latents", &latents.clone().into_data());
    let pictures = coder.decode(latents).unwrap();
    let pictures = (pictures / 2.0 + 0.5).clamp(0.0, 1.0).permute([0, 2, 3, 1]);
    fixture.check("out.image", &pictures.into_data());
}

#[test]
fn a_stable_diffusion_pipeline_draws_what_diffusers_draws() {
    draws_what_diffusers_draws("pipeline_sd", "ddim");
}

#[test]
fn an_sdxl_pipeline_draws_what_diffusers_draws() {
    draws_what_diffusers_draws("pipeline_sdxl", "euler");
}

#[test]
fn latents_are_those_of_the_autoencoder_drawn_by_seed() {
    let fixture = Fixture::open("pipeline_sd");
    let cache = tempfile::tempdir().unwrap();
    let coder = fixture.coder(cache.path());
    let device = Device::flex();
    let noise = Streams::new(3).normal(Stream::new("picture"), 0, 0, [2, 3, 16, 16]);
    let pictures: Vec<f32> = noise.into_iter().map(f32::tanh).collect();
    let pictures = TensorData::new(pictures, [2, 3, 16, 16]);
    let mean = coder.encode_pictures(&pictures, None).unwrap();
    let vae = coder.pipeline.load_vae(&device).unwrap();
    let gaussian = vae.encode(Tensor::from_data(pictures.clone(), &device));
    let near = |found: &TensorData, expected: Tensor<4>| {
        let difference = Tensor::<4>::from_data(found.clone(), &device) - expected;
        difference.abs().max().into_scalar::<f32>()
    };
    assert!(near(&mean, vae.scale_latents(gaussian.mode())) < 1e-5);
    let [first, again, other] =
        [[1, 2], [1, 2], [3, 2]].map(|seeds| coder.encode_pictures(&pictures, Some(&seeds)));
    let [first, again, other] = [first, again, other].map(Result::unwrap);
    assert_eq!(first, again);
    let half = first.num_elements() / 2;
    let values = |data: &TensorData| data.iter::<f32>().collect::<Vec<_>>();
    assert_ne!(values(&first)[..half], values(&other)[..half]);
    assert_eq!(values(&first)[half..], values(&other)[half..]);
    assert_ne!(first, mean);

    // Without the encoders: all of it is on the disk.
    coder.release();
    assert_eq!(coder.encode_pictures(&pictures, None).unwrap(), mean);
    assert!(lock(&coder.vae).is_none());
}
