//! Low-rank adapters: nothing changes until they train, and the base never does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Int, Tensor};
use dsl_nets::{
    ClipTextModel, Conditioning, Denoiser, LoraComponent, LoraConfig, LoraExport, LoraFile,
    NetsError, ParameterInit, PipelineText, PipelineTextConfig, WeightDType, WeightFile,
    named_parameters, parameters,
};

use crate::fixture::{Fixture, values};
use crate::init::small_config;
use crate::unet::gradients_by_key;

fn inputs(device: &Device) -> (Tensor<4>, Tensor<1>, Conditioning) {
    let wave = |count: usize, step: f32| {
        Tensor::<1>::from_floats(
            (0..count)
                .map(|i| (i as f32 * step).sin())
                .collect::<Vec<_>>()
                .as_slice(),
            device,
        )
    };
    let x = wave(2 * 3 * 8 * 8, 0.37).reshape([2, 3, 8, 8]);
    let text = wave(2 * 5 * 12, 0.73).reshape([2, 5, 12]);
    (
        x,
        Tensor::from_floats([10.0, 700.0], device),
        Conditioning::text(text),
    )
}

fn base(device: &Device) -> Denoiser {
    small_config().init(1, device).unwrap().denoiser
}

#[test]
fn a_fresh_adapter_changes_nothing() {
    let device = Device::flex().autodiff();
    let (x, t, c) = inputs(&device);
    let base = base(&device);
    let adapted = base.with_lora(&LoraConfig::default(), 9).unwrap();
    assert!(adapted.is_at_identity() && adapted.has_lora() && !base.has_lora());
    let [before, after] =
        [&base, &adapted].map(|net| values(net.forward(x.clone(), t.clone(), &c)));
    assert_eq!(before, after);
}

#[test]
fn only_adapters_receive_gradients() {
    let device = Device::flex().autodiff();
    let (x, t, c) = inputs(&device);
    let base = base(&device);
    let adapted = base.with_lora(&LoraConfig::default(), 9).unwrap();
    let grads = adapted
        .forward(x.clone(), t.clone(), &c)
        .powi_scalar(2)
        .mean()
        .backward();
    let by_key = gradients_by_key(&adapted, &grads);
    for (key, grad) in &by_key {
        // B is zero, so the gradient of A is computed and zero; that of B is not zero.
        let is_b = key.ends_with("lora_b");
        assert_eq!(grad.is_empty(), !(is_b || key.ends_with("lora_a")), "{key}");
        assert_eq!(grad.iter().any(|g| *g != 0.0), is_b, "{key}");
    }
    assert_eq!(
        parameters::count_trainable(&adapted),
        adapted.lora_parameter_count()
    );

    // The base that was adapted still trains.
    let grads = base.forward(x, t, &c).powi_scalar(2).mean().backward();
    assert!(
        gradients_by_key(&base, &grads)
            .values()
            .all(|grad| !grad.is_empty())
    );
}

#[test]
fn an_evaluated_network_trains_its_adapters_alone_again() {
    let device = Device::flex().autodiff();
    let adapted = base(&device).with_lora(&LoraConfig::default(), 9).unwrap();
    let (trainable, again) = (
        parameters::count_trainable(&adapted),
        adapted.valid().train(),
    );
    assert_eq!(parameters::count_trainable(&again), trainable);
}

#[test]
fn targets_are_patterns_over_paths() {
    let device = Device::flex();
    let layers = |targets: &[&str]| -> Result<Vec<String>, NetsError> {
        let config = LoraConfig {
            targets: targets.iter().map(|t| (*t).to_owned()).collect(),
            ..LoraConfig::default()
        };
        let adapted = base(&device).with_lora(&config, 0)?;
        let paths = named_parameters(&adapted)
            .into_iter()
            .filter_map(|p| p.path.strip_suffix(".lora.lora_a").map(str::to_owned));
        Ok(paths.collect())
    };
    // Three transformers (down, middle, two in the up block) with two attentions of four projections each.
    assert_eq!(layers(&[]).unwrap().len(), 4 * 8);
    assert_eq!(
        layers(&[r"^mid_block.*attn1\.to_q$", r"time_embedding"]).unwrap(),
        [
            "time_embedding.linear_1",
            "time_embedding.linear_2",
            "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
        ]
    );
    assert!(
        matches!(layers(&["attn9"]), Err(NetsError::NoTargets { example, .. }) if example.ends_with("to_q"))
    );
    assert!(matches!(
        layers(&["("]),
        Err(NetsError::TargetPattern { .. })
    ));
}

#[test]
fn sizes_of_the_decision_table() {
    // Rank 8 on a [c, c] projection adds 16 c; on to_k and to_v of attn2, 8 (c + text features).
    let device = Device::flex();
    let adapted = base(&device).with_lora(&LoraConfig::default(), 0).unwrap();
    assert_eq!(
        adapted.lora_parameter_count(),
        4 * (6 * 16 * 16 + 2 * 8 * (16 + 12))
    );
}

#[test]
fn fresh_adapters_follow_from_the_seed() {
    let device = Device::flex();
    let a = |seed| -> Vec<Vec<f32>> {
        let adapted = base(&device)
            .with_lora(&LoraConfig::default(), seed)
            .unwrap();
        named_parameters(&adapted)
            .into_iter()
            .filter(|p| p.path.ends_with("lora_a"))
            .map(|p| p.values)
            .collect()
    };
    assert_eq!(a(1), a(1));
    assert_ne!(a(1), a(2));
}

fn write_peft(adapted: &Denoiser, folder: &Path) {
    let export = LoraExport::of(adapted).unwrap();
    export.write_peft(folder, WeightDType::F32).unwrap();
}

/// The adapters as diffusers, PEFT and kohya's scripts write them: where they lie.
fn write_every_kind(adapted: &Denoiser, folder: &Path) -> [PathBuf; 3] {
    let [diffusers, peft, kohya] =
        ["diffusers", "peft", "kohya.safetensors"].map(|name| folder.join(name));
    let export = LoraExport::of(adapted).unwrap();
    let dtype = WeightDType::F32;
    export.write_diffusers(&diffusers, dtype).unwrap();
    export.write_peft(&peft, dtype).unwrap();
    export.write_kohya(&kohya, dtype, &BTreeMap::new()).unwrap();
    [diffusers, peft, kohya]
}

fn read_adapter(base: &Denoiser, path: &Path) -> Result<Denoiser, NetsError> {
    LoraFile::read(path)?.attach(base, 1.0)
}

#[test]
fn an_adapter_survives_a_peft_folder() {
    let device = Device::flex();
    let (x, t, c) = inputs(&device);
    let base = base(&device);
    let adapted = base
        .with_lora(
            &LoraConfig {
                rank: 2,
                alpha: 6.0,
                ..LoraConfig::default()
            },
            4,
        )
        .unwrap();
    let adapted = loud(adapted);
    let folder = tempfile::tempdir().unwrap();
    write_peft(&adapted, folder.path());
    let read = read_adapter(&base, folder.path()).unwrap();
    let [a, b, plain] =
        [&adapted, &read, &base].map(|net| values(net.forward(x.clone(), t.clone(), &c)));
    assert_eq!(a, b);
    assert_ne!(a, plain);
    assert!(!read.is_at_identity());
}

/// Linear layers, 1×1 and 3×3 convolutions at every stride, in every program's files.
#[test]
fn adapters_of_convolutions_survive_every_kind_of_file() {
    let device = Device::flex();
    let (x, t, c) = inputs(&device);
    let base = base(&device);
    let config = LoraConfig {
        rank: 2,
        alpha: 6.0,
        targets: ["attn1", "proj_in", "conv", "shortcut"]
            .map(String::from)
            .to_vec(),
        ..LoraConfig::default()
    };
    let adapted = loud(base.with_lora(&config, 4).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let files = write_every_kind(&adapted, folder.path());
    let expected = values(adapted.forward(x.clone(), t.clone(), &c));
    assert_ne!(expected, values(base.forward(x.clone(), t.clone(), &c)));
    for path in files {
        let read = read_adapter(&base, &path).unwrap();
        let found = values(read.forward(x.clone(), t.clone(), &c));
        for (a, b) in found.iter().zip(&expected) {
            // The factor inside B rounds otherwise than outside.
            assert!(
                (a - b).abs() < 1e-5 * (1.0 + b.abs()),
                "{}: {a}, not {b}",
                path.display()
            );
        }
    }
}

/// transformers 4 has the layers of a `CLIPTextModel` in `text_model`, newer versions have not; SDXL's second encoder has them
/// there in both.
#[test]
fn adapters_of_text_encoders_have_the_names_of_either_version_in_a_peft_folder() {
    let device = Device::flex();
    let encoder = r#"{"with_projection": true, "text": {"vocab_size": 50, "hidden_size": 8, "intermediate_size": 16,
        "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 6, "projection_dim": 8,
        "eos_token_id": 49}}"#;
    let config = format!(r#"{{"text_encoder": {encoder}, "text_encoder_2": {encoder}}}"#);
    let config: PipelineTextConfig = serde_json::from_str(&config).unwrap();
    let plain = PipelineText::new(&config, &ParameterInit::new(0, &device)).unwrap();
    let adapters = LoraConfig {
        rank: 2,
        alpha: 6.0,
        ..LoraConfig::default()
    };
    let adapted = loud(plain.with_named_lora(&adapters, 4, "generator").unwrap());
    let mut export = LoraExport::default();
    for (component, encoder) in adapted.encoders() {
        export = export.with_text_encoder(encoder, component);
    }
    let folder = tempfile::tempdir().unwrap();
    export.write_peft(folder.path(), WeightDType::F32).unwrap();

    let ids = Tensor::<2, Int>::from_ints([[48, 3, 9, 49]], &device);
    let names = [vec!["text_model.", ""], vec!["text_model."]];
    let encoders = adapted.encoders().zip(plain.encoders());
    for (((component, adapted), (_, plain)), names) in encoders.zip(names) {
        let folder = folder.path().join(component.name());
        let config = std::fs::read(folder.join("adapter_config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        let targets = config["target_modules"].as_array().unwrap();
        let targets: Vec<&str> = targets.iter().map(|name| name.as_str().unwrap()).collect();
        assert!(targets.contains(&"encoder.layers.1.self_attn.q_proj"));
        assert!(targets.iter().all(|name| name.starts_with("encoder.")));
        let file = WeightFile::open(&folder.join("adapter_model.safetensors")).unwrap();
        let mut expected: Vec<String> = (names.iter())
            .flat_map(|prefix| targets.iter().map(move |name| format!("{prefix}{name}")))
            .flat_map(|name| {
                ["A", "B"].map(|part| format!("base_model.model.{name}.lora_{part}.weight"))
            })
            .collect();
        expected.sort();
        assert_eq!(file.keys(), expected);

        // Which of two encoders a folder is of, only its reader knows.
        let read = LoraFile::read(&folder).unwrap();
        let read = read.attach_to_text_encoder(plain, LoraComponent::TextEncoder, 1.0);
        let pooled = |encoder: &ClipTextModel| values(encoder.forward(ids.clone()).pooled);
        assert_eq!(pooled(&read.unwrap()), pooled(adapted));
        assert_ne!(pooled(plain), pooled(adapted));
    }
}

/// Adapters whose B is not zero.
fn loud<M: Module>(network: M) -> M {
    struct Loud(bool);
    impl ModuleMapper for Loud {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.0 = name == "lora_b";
        }

        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if self.0 {
                param.map(|value| value + 0.05)
            } else {
                param
            }
        }
    }
    network.map(&mut Loud(false))
}

#[test]
fn a_peft_adapter_of_another_network_is_refused() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    let adapted = base(&device).with_lora(&LoraConfig::default(), 0).unwrap();
    write_peft(&adapted, folder.path());
    let mut config = small_config();
    if let dsl_nets::DenoiserConfig::Unet(unet) = &mut config.denoiser {
        unet.cross_attention_dim = dsl_nets::OneOrMany::One(20);
    }
    config.text_encoder = None;
    let other = config.init(0, &device).unwrap().denoiser;
    let message = read_adapter(&other, folder.path()).unwrap_err().to_string();
    assert!(
        message.contains("attn2.to_k` takes A [rank, 20]"),
        "{message}"
    );
}

/// Needs `dsl`, whose `lora` folder is a PEFT adapter for the UNet of its `meta.base`.
#[test]
fn peft_adapter_fixture_is_read() {
    let fixture = Fixture::open("dsl");
    let device = Device::flex();
    let base = Denoiser::Unet(fixture.unet(&device));
    let adapted = read_adapter(&base, &fixture.folder.join("lora")).unwrap();
    let default_targets = base
        .with_lora(
            &LoraConfig {
                rank: 1,
                ..LoraConfig::default()
            },
            0,
        )
        .unwrap();
    let count = |net: &Denoiser| {
        named_parameters(net)
            .iter()
            .filter(|p| p.is_adapter())
            .count()
    };
    assert_eq!(count(&adapted), count(&default_targets));
    assert!(adapted.has_lora());
}

/// Needs `lora`: one adapter in five files, and what the network gives with it.
#[test]
fn lora_fixture_in_every_form() {
    let fixture = Fixture::open("lora");
    let device = Device::flex().autodiff();
    let base = Denoiser::Unet(fixture.unet(&device));
    let conditioning = Conditioning::text(fixture.tensor("in.encoder_hidden_states", &device));
    let forward = |net: &Denoiser| {
        let x = fixture.tensor::<4>("in.sample", &device);
        net.forward(x, fixture.tensor("in.timestep", &device), &conditioning)
    };
    fixture.check("out", "out.base", &values(forward(&base)));
    for (form, output) in [
        ("diffusers", "out.lora"),
        ("diffusers_no_metadata", "out.lora_alpha_eq_rank"),
        ("diffusers_adapter", "out.lora"),
        ("peft", "out.lora"),
        ("kohya", "out.lora"),
    ] {
        let file = LoraFile::read(&fixture.folder.join(form)).unwrap();
        let adapted = file.attach(&base, 1.0).unwrap();
        fixture.check("out", output, &values(forward(&adapted)));
        if output == "out.lora" {
            let half = file.attach(&base, 0.5).unwrap();
            fixture.check("out", "out.lora_scale_0.5", &values(forward(&half)));
        }
    }
}

#[test]
fn lora_fixture_gradients() {
    let fixture = Fixture::open("lora");
    let device = Device::flex().autodiff();
    let base = Denoiser::Unet(fixture.unet(&device));
    let file = LoraFile::read(&fixture.folder.join("peft")).unwrap();
    let adapted = file.attach(&base, 1.0).unwrap();
    let conditioning = Conditioning::text(fixture.tensor("in.encoder_hidden_states", &device));
    let timestep = fixture.tensor("in.timestep", &device);
    let prediction = adapted.forward(
        fixture.tensor("in.sample", &device),
        timestep,
        &conditioning,
    );
    let target = fixture.tensor::<4>("in.target", &device);
    let loss = (prediction - target).powi_scalar(2).mean();
    fixture.check("loss", "loss.train", &values(loss.clone()));
    let grads = loss.backward();
    let by_key = gradients_by_key(&adapted, &grads);
    let shapes: std::collections::BTreeMap<_, _> = named_parameters(&adapted)
        .into_iter()
        .map(|p| (p.path, p.shape))
        .collect();
    let mut checked = 0;
    for key in fixture.io.keys() {
        let Some(name) = key.strip_prefix("grad.") else {
            continue;
        };
        let path = name
            .replace(".lora_A.weight", ".lora.lora_a")
            .replace(".lora_B.weight", ".lora.lora_b");
        // Files hold the transpose.
        let (grad, shape) = (&by_key[&path], &shapes[&path]);
        let turned: Vec<f32> = (0..shape[1])
            .flat_map(|c| (0..shape[0]).map(move |r| r * shape[1] + c))
            .map(|i| grad[i])
            .collect();
        fixture.check("grad", &key, &turned);
        checked += 1;
    }
    assert!(checked > 5, "only {checked} gradients in the fixture");
}

#[test]
fn an_adapter_survives_every_kind_of_file() {
    let device = Device::flex();
    let (x, t, c) = inputs(&device);
    let base = base(&device);
    let config = LoraConfig {
        rank: 2,
        alpha: 6.0,
        ..LoraConfig::default()
    };
    let adapted = loud(base.with_lora(&config, 4).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let files = write_every_kind(&adapted, folder.path());
    let expected = values(adapted.forward(x.clone(), t.clone(), &c));
    for path in &files {
        let read = read_adapter(&base, path).unwrap();
        let found = values(read.forward(x.clone(), t.clone(), &c));
        crate::fixture::assert_close(&path.display().to_string(), &found, &expected, 1e-6);
    }
    let [_, _, kohya] = &files;
    let metadata = dsl_nets::WeightFile::open(kohya).unwrap().metadata();
    assert_eq!(
        (
            metadata["ss_network_dim"].as_str(),
            metadata["ss_network_alpha"].as_str()
        ),
        ("2", "6")
    );
    assert!(LoraExport::of(&base).is_err());
}

#[test]
fn lora_of_another_model_is_refused_fixture() {
    let fixture = Fixture::open("lora");
    let other = base(&Device::flex());
    for form in ["diffusers", "peft", "kohya"] {
        let file = LoraFile::read(&fixture.folder.join(form)).unwrap();
        let message = file.attach(&other, 1.0).unwrap_err().to_string();
        assert!(message.contains("it is of another network"), "{message}");
    }
    let unet = fixture
        .folder
        .join("../unet_sd15/unet/diffusion_pytorch_model.safetensors");
    let message = LoraFile::read(&unet).unwrap_err().to_string();
    assert!(
        message.contains("is not a matrix of a plain low-rank adapter"),
        "{message}"
    );
}
