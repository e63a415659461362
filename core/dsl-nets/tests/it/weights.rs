//! Weight files: what is written is read, and what does not fit is named.

use std::collections::BTreeMap;

use burn::tensor::Device;
use dsl_nets::{
    LoraConfig, ModelConfig, NetsError, WeightDType, WeightFile, WeightSet, named_parameters,
};

use crate::fixture::root;
use crate::init::{same_parameters, small_config};

#[test]
fn a_model_survives_its_file() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let model = small_config().init(1, &device).unwrap();
    let metadata = BTreeMap::from([("tokenizer".to_owned(), "{}".to_owned())]);
    model.save(&path, WeightDType::F32, &metadata).unwrap();
    let file = WeightFile::open(&path).unwrap();
    assert_eq!(file.metadata()["tokenizer"], "{}");
    assert_eq!(file.metadata()["format"], "pt");

    let read = small_config()
        .init(2, &device)
        .unwrap()
        .load_complete(&file)
        .unwrap();
    assert!(same_parameters(&model, &read));
    let bytes = WeightFile::from_bytes("bundled", std::fs::read(&path).unwrap()).unwrap();
    let read = small_config()
        .init(2, &device)
        .unwrap()
        .load_complete(&bytes)
        .unwrap();
    assert!(same_parameters(&model, &read));
    // Nothing but the file itself is left behind.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn loading_keeps_what_trains_and_under_which_id() {
    let device = Device::flex().autodiff();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let mut model = small_config().init(1, &device).unwrap();
    model
        .save(&path, WeightDType::F32, &BTreeMap::new())
        .unwrap();
    model.denoiser = model.denoiser.with_lora(&LoraConfig::default(), 0).unwrap();
    let state = |model: &_| -> Vec<_> {
        named_parameters::<dsl_nets::Model>(model)
            .into_iter()
            .map(|p| (p.path, p.id, p.require_grad))
            .collect()
    };
    let before = state(&model);
    let model = model
        .load_complete(&WeightFile::open(&path).unwrap())
        .unwrap();
    assert_eq!(before, state(&model));
    assert!(model.denoiser.has_lora());
}

#[test]
fn half_precision_rounds_once() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("half.safetensors");
    let model = small_config().init(1, &device).unwrap();
    model
        .save(&path, WeightDType::F16, &BTreeMap::new())
        .unwrap();
    let read = small_config()
        .init(2, &device)
        .unwrap()
        .load_complete(&WeightFile::open(&path).unwrap())
        .unwrap();
    for (a, b) in named_parameters(&model).iter().zip(named_parameters(&read)) {
        for (a, b) in a.values.iter().zip(b.values) {
            assert!((a - b).abs() <= 5e-4 * a.abs().max(1e-4), "{a} {b}");
        }
    }
}

#[test]
fn linear_weights_are_transposed_in_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    small_config()
        .init(1, &Device::flex())
        .unwrap()
        .save(&path, WeightDType::F32, &BTreeMap::new())
        .unwrap();
    let file = WeightFile::open(&path).unwrap();
    assert_eq!(
        file.shape("text_encoder.encoder.layers.0.mlp.fc1.weight"),
        Some([24, 12].as_slice())
    );
    assert_eq!(
        file.shape("denoiser.time_embedding.linear_1.weight"),
        Some([32, 8].as_slice())
    );
    assert_eq!(
        file.shape("text_encoder.embeddings.token_embedding.weight"),
        Some([30, 12].as_slice())
    );
}

#[test]
fn what_does_not_fit_is_named() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let mut config = small_config();
    let text = config.text_encoder.as_mut().unwrap();
    text.vocab_size = 31;
    text.num_hidden_layers = 2;
    config
        .init(1, &device)
        .unwrap()
        .save(&path, WeightDType::F32, &BTreeMap::new())
        .unwrap();
    let file = WeightFile::open(&path).unwrap();

    let (_, report) = small_config()
        .init(2, &device)
        .unwrap()
        .load(&file)
        .unwrap();
    assert_eq!(report.mismatched.len(), 1);
    assert_eq!(
        (&report.mismatched[0].expected, &report.mismatched[0].found),
        (&vec![30, 12], &vec![31, 12])
    );
    assert_eq!(report.unused.len(), 16);
    assert!(report.missing.is_empty() && !report.is_complete());
    let error = small_config()
        .init(2, &device)
        .unwrap()
        .load_complete(&file)
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("expected [30, 12], found [31, 12]"),
        "{error}"
    );

    // The other way round, keys are missing; the text encoder alone has no near neighbour.
    let plain = ModelConfig {
        text_encoder: None,
        ..small_config()
    };
    plain
        .init(1, &device)
        .unwrap()
        .save(&path, WeightDType::F32, &BTreeMap::new())
        .unwrap();
    let (_, report) = small_config()
        .init(2, &device)
        .unwrap()
        .load(&WeightFile::open(&path).unwrap())
        .unwrap();
    assert!(
        report
            .missing
            .iter()
            .all(|m| m.key.starts_with("text_encoder."))
    );
    assert!(!report.missing.is_empty() && report.unused.is_empty());
}

#[test]
fn damaged_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    small_config()
        .init(1, &Device::flex())
        .unwrap()
        .save(&path, WeightDType::F32, &BTreeMap::new())
        .unwrap();
    let whole = std::fs::read(&path).unwrap();
    for length in [0, 5, 100, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(
            matches!(WeightFile::open(&path), Err(NetsError::WeightFile { .. })),
            "{length}"
        );
        assert!(
            WeightFile::from_bytes("bytes", whole[..length].to_vec()).is_err(),
            "{length}"
        );
    }
    // A file of PyTorch's is named as one, whatever it is called.
    std::fs::write(&path, b"PK\x03\x04 and so on, as torch.save writes").unwrap();
    let message = WeightFile::open(&path).unwrap_err().to_string();
    assert!(
        message.contains("a PyTorch file that cannot be read"),
        "{message}"
    );
    assert!(matches!(
        WeightFile::open(&folder.path().join("none")),
        Err(NetsError::Io { .. })
    ));
}

fn pickle(name: &str) -> std::path::PathBuf {
    root().join("pickle").join(name)
}

/// Dictionaries of tensors as PyTorch saves them, its old form and what training programs write among them.
#[test]
fn the_tensors_of_pytorch_files_are_read() {
    for name in ["state_dict.bin", "legacy.bin", "training.ckpt"] {
        let file = WeightFile::open(&pickle(name)).unwrap();
        let keys = ["conv.bias", "conv.weight", "linear.weight", "steps"];
        assert_eq!(file.keys(), keys, "{name}");
        assert_eq!(file.dtype("conv.bias"), Some(safetensors::Dtype::F16));
        let of = |key: &str| {
            let tensor = file.read(key).unwrap();
            (tensor.shape, tensor.values)
        };
        assert_eq!(
            of("conv.weight"),
            (vec![2, 3, 1, 1], vec![0.0, 0.5, 1.0, 1.5, 2.0, 2.5])
        );
        assert_eq!(of("conv.bias"), (vec![2], vec![0.0, -1.0]));
        // Stored as the transpose, column by column.
        let rows: Vec<f32> = (0..3)
            .flat_map(|row| (0..4).map(move |column| (3 * column + row) as f32 * 0.25))
            .collect();
        assert_eq!(of("linear.weight"), (vec![3, 4], rows));
    }
}

/// A header of 640 bytes says so by the two bytes that a pickle begins with.
#[test]
fn a_header_may_begin_as_a_pickle_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let header = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let mut bytes = 640_u64.to_le_bytes().to_vec();
    assert_eq!(bytes[..2], *b"\x80\x02");
    bytes.extend(format!("{header:640}").into_bytes());
    bytes.extend(1.5_f32.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let file = WeightFile::open(&path).unwrap();
    assert_eq!(file.read("a").unwrap().values, [1.5]);
}

/// A pickle that asks for a program to be run when it is loaded: nothing is.
#[test]
fn nothing_in_a_pytorch_file_is_run() {
    let trace = std::path::Path::new("a-pickle-was-run");
    match WeightFile::open(&pickle("hostile.bin")) {
        Ok(file) => assert_eq!(file.keys(), ["conv.bias"]),
        Err(error) => assert!(error.to_string().contains("hostile.bin"), "{error}"),
    }
    assert!(!trace.exists());
}

#[test]
fn a_cut_pytorch_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["state_dict.bin", "legacy.bin", "training.ckpt"] {
        let whole = std::fs::read(pickle(name)).unwrap();
        let path = folder.path().join(name);
        for length in [10, whole.len() / 2, whole.len() - 40] {
            std::fs::write(&path, &whole[..length]).unwrap();
            let read = WeightFile::open(&path).and_then(|file| {
                file.keys()
                    .iter()
                    .try_for_each(|key| file.read(key).map(drop))
            });
            let message = read.unwrap_err().to_string();
            assert!(message.contains(name), "{message}");
        }
    }
}

/// Older models have PyTorch's files alone, under transformers' name or diffusers' own; safetensors files go before them.
#[test]
fn pytorch_files_are_found_where_there_is_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    for (stem, name) in [
        ("model", "pytorch_model.bin"),
        ("diffusion_pytorch_model", "diffusion_pytorch_model.bin"),
    ] {
        let open = |variant| WeightSet::open_folder(folder.path(), stem, variant);
        assert!(matches!(open(None), Err(NetsError::NoWeights { .. })));
        std::fs::copy(pickle("state_dict.bin"), folder.path().join(name)).unwrap();
        assert!(open(None).unwrap().contains("linear.weight"));
        assert!(open(Some("fp16")).is_err());
        std::fs::write(folder.path().join(format!("{stem}.safetensors")), "").unwrap();
        assert!(
            open(None).is_err(),
            "the damaged file is the one that counts"
        );
    }
}
