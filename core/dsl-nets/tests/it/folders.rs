//! Folders and files as people have them: written, read again, damaged, and of something else.

use std::path::Path;

use burn::tensor::Device;
use dsl_nets::{
    AutoencoderKL, Denoiser, LoadOptions, LoraExport, LoraFile, NetsError, Pipeline, SaveOptions,
    UNet2DCondition, WeightDType, inspect, load_folder, named_parameters, save_folder,
};
use serde_json::Value;

use crate::fixture::{Fixture, root};

fn load_unet(folder: &Path) -> Result<dsl_nets::Loaded<UNet2DCondition>, NetsError> {
    load_folder(folder, &LoadOptions::default(), &Device::flex())
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn unet_folder_survives_writing_fixture() {
    for name in [
        "unet_sd15",
        "unet_sdxl",
        "unet_gligen",
        "unet_gligen_text_image",
    ] {
        let source = Fixture::open(name).folder.join("unet");
        let loaded = load_unet(&source).unwrap();
        let copy = tempfile::tempdir().unwrap();
        // Small shards: several files and an index.
        let options = SaveOptions {
            max_shard_bytes: 100_000,
            ..SaveOptions::default()
        };
        save_folder(&loaded, copy.path(), &options).unwrap();
        assert!(
            copy.path()
                .join("diffusion_pytorch_model.safetensors.index.json")
                .is_file()
        );
        let again = load_unet(copy.path()).unwrap();
        let (a, b) = (
            named_parameters(&loaded.module),
            named_parameters(&again.module),
        );
        assert!(
            a.iter()
                .zip(&b)
                .all(|(a, b)| a.path == b.path && a.values == b.values)
        );
        assert!(again.report.unused.is_empty() && a.len() == b.len());
        // The configuration says what it said, to the last field.
        let (before, after) = (
            json(&source.join("config.json")),
            json(&copy.path().join("config.json")),
        );
        for (field, value) in before.as_object().unwrap() {
            let found = &after[field];
            let equal =
                found == value || found.as_f64().is_some() && found.as_f64() == value.as_f64();
            assert!(equal, "{name}: {field} was {value}, is {found}");
        }
    }
}

#[test]
fn half_precision_variants_are_found_and_named_fixture() {
    let loaded: dsl_nets::Loaded<AutoencoderKL> = load_folder(
        &Fixture::open("vae").folder.join("vae"),
        &LoadOptions::default(),
        &Device::flex(),
    )
    .unwrap();
    let copy = tempfile::tempdir().unwrap();
    let options = SaveOptions {
        dtype: WeightDType::Bf16,
        ..SaveOptions::default()
    };
    save_folder(&loaded, copy.path(), &options).unwrap();
    let plain = copy.path().join("diffusion_pytorch_model.safetensors");
    let variant = copy.path().join("diffusion_pytorch_model.fp16.safetensors");
    std::fs::rename(plain, variant).unwrap();
    let load = |variant: Option<&str>| {
        let options = LoadOptions {
            variant: variant.map(str::to_owned),
            ..LoadOptions::default()
        };
        load_folder::<AutoencoderKL>(copy.path(), &options, &Device::flex())
    };
    let message = load(None).unwrap_err().to_string();
    assert!(message.contains("name the variant"), "{message}");
    let half = load(Some("fp16")).unwrap();
    for (a, b) in named_parameters(&loaded.module)
        .iter()
        .zip(named_parameters(&half.module))
    {
        for (a, b) in a.values.iter().zip(b.values) {
            assert!((a - b).abs() <= 4e-3 * a.abs(), "{a} {b}");
        }
    }
}

#[test]
fn pipeline_fixture_survives_writing() {
    for name in ["pipeline_sd", "pipeline_sdxl"] {
        let source = root().join(name).join("pipeline");
        let open = |folder: &Path| Pipeline::open(folder, &LoadOptions::default(), &Device::flex());
        let pipeline = open(&source).unwrap();
        assert_eq!(pipeline.text_encoder_2.is_some(), name == "pipeline_sdxl");
        assert_eq!(pipeline.tokenizer_2.is_some(), name == "pipeline_sdxl");
        assert!(
            pipeline
                .scheduler_config
                .as_ref()
                .unwrap()
                .contains("beta_schedule")
        );
        let copy = tempfile::tempdir().unwrap();
        pipeline.save(copy.path(), &SaveOptions::default()).unwrap();
        let again = open(copy.path()).unwrap();
        assert_eq!(again.scheduler_config, pipeline.scheduler_config);
        assert_eq!(again.index, pipeline.index);
        let [a, b] = [&pipeline, &again].map(|p| named_parameters(&p.vae.module));
        assert!(a.iter().zip(&b).all(|(a, b)| a.values == b.values));
        let inspected = inspect(copy.path()).unwrap();
        assert!(inspected.is_complete(), "{inspected:?}");
        assert!(pipeline.save(&source, &SaveOptions::default()).is_err());
    }
}

#[test]
fn pipelines_with_parts_of_other_classes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let index = r#"{"_class_name": "X", "text_encoder": ["transformers", "T5EncoderModel"]}"#;
    std::fs::write(folder.path().join("model_index.json"), index).unwrap();
    let error =
        Pipeline::open(folder.path(), &LoadOptions::default(), &Device::flex()).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("`text_encoder` = \"T5EncoderModel\" is not supported"),
        "{message}"
    );
}

/// Copies a UNet's folder, and lets `damage` at the copy.
fn damaged(damage: impl Fn(&Path)) -> String {
    let source = Fixture::open("unet_sd2_v").folder.join("unet");
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(source).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    damage(copy.path());
    load_unet(copy.path()).unwrap_err().to_string()
}

#[test]
fn what_is_wrong_with_a_folder_is_said_fixture() {
    const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
    let check = |damage: &dyn Fn(&Path), expected: &str| {
        let message = damaged(damage);
        assert!(message.contains(expected), "{message}");
    };
    let write = |name: &'static str, text: &'static str| {
        move |folder: &Path| std::fs::write(folder.join(name), text).unwrap()
    };
    check(
        &|folder| {
            let bytes = std::fs::read(folder.join(WEIGHTS)).unwrap();
            std::fs::write(folder.join(WEIGHTS), &bytes[..bytes.len() / 2]).unwrap();
        },
        "it was cut or changed",
    );
    check(&write(WEIGHTS, "not a model"), "its header would have");
    check(
        &|folder| std::fs::remove_file(folder.join("config.json")).unwrap(),
        "config.json",
    );
    check(&write("config.json", "{"), "config.json is not valid");
    check(
        &write(
            "config.json",
            r#"{"_class_name": "FluxTransformer2DModel"}"#,
        ),
        "only UNet2DConditionModel can be read",
    );
    // Another shape of the same kind: everything that does not fit is in the message.
    check(&write("config.json", "{}"), "does not fit the network");
    check(
        &|folder| {
            std::fs::rename(folder.join(WEIGHTS), folder.join("weights.bin")).unwrap();
        },
        "there is weights.bin, of another name",
    );
    check(
        &|folder| std::fs::remove_file(folder.join(WEIGHTS)).unwrap(),
        "there is no diffusion_pytorch_model",
    );
    assert!(matches!(
        inspect(&root().join("unet_sd2_v")),
        Err(NetsError::NoWeights { .. })
    ));
}

#[test]
fn files_and_folders_are_recognised_fixture() {
    let kind = |path: &str| inspect(&root().join(path)).unwrap();
    let unet = kind("unet_sd15/unet");
    assert_eq!(unet.kind, "UNet2DConditionModel folder");
    let parameters = Fixture::open("unet_sd15").meta["parameters"].as_u64();
    assert_eq!(Some(unet.parts[0].parameters), parameters);
    assert!(unet.is_complete());
    assert_eq!(
        kind("text_encoder_sd15/text_encoder_v4").parts[0].class,
        "CLIPTextModel"
    );
    assert_eq!(kind("lora/kohya/lora.safetensors").kind, "low-rank adapter");
    assert_eq!(kind("lora/peft").kind, "low-rank adapter");
    let learned = kind("textual_inversion/learned_embeds.safetensors");
    assert_eq!(learned.kind, "learned embedding");
}

/// Writes one of everything, to `DSL_EXPORT_TO` where it is set, so that the programs that files are for can be asked too.
#[test]
fn everything_is_written_fixture() {
    let temporary = tempfile::tempdir().unwrap();
    let out = std::env::var_os("DSL_EXPORT_TO")
        .map_or_else(|| temporary.path().to_owned(), std::path::PathBuf::from);
    let device = Device::flex();
    for name in ["pipeline_sd", "pipeline_sdxl"] {
        let folder = root().join(name).join("pipeline");
        let pipeline = Pipeline::open(&folder, &LoadOptions::default(), &device).unwrap();
        pipeline
            .save(&out.join(name), &SaveOptions::default())
            .unwrap();
    }
    for name in [
        "unet_sd15",
        "unet_sdxl",
        "unet_gligen",
        "unet_gligen_text_image",
    ] {
        let loaded = load_unet(&Fixture::open(name).folder.join("unet")).unwrap();
        let options = SaveOptions {
            max_shard_bytes: 300_000,
            ..SaveOptions::default()
        };
        save_folder(&loaded, &out.join(name), &options).unwrap();
    }
    let fixture = Fixture::open("lora");
    let base = Denoiser::Unet(fixture.unet(&device));
    let file = LoraFile::read(&fixture.folder.join("kohya")).unwrap();
    let export = LoraExport::of(&file.attach(&base, 1.0).unwrap()).unwrap();
    let dtype = WeightDType::F32;
    export
        .write_diffusers(&out.join("lora_diffusers"), dtype)
        .unwrap();
    export.write_peft(&out.join("lora_peft"), dtype).unwrap();
    let kohya = out.join("lora_kohya.safetensors");
    export
        .write_kohya(&kohya, dtype, &Default::default())
        .unwrap();
    for path in ["lora_diffusers", "lora_peft", "lora_kohya.safetensors"] {
        assert!(inspect(&out.join(path)).unwrap().is_complete(), "{path}");
    }
}
