//! The autoencoder against its reference: outputs, gradients, tiles.

use burn::tensor::{Device, Tensor};
use dsl_nets::{AutoencoderKL, AutoencoderKLConfig, NetsError, ParameterInit, Tiling, read_config};

use crate::fixture::{Fixture, assert_close, check_gradients, values};

#[test]
fn vae_fixture_outputs() {
    check_outputs("vae", "vae");
}

#[test]
fn vae_fixture_with_old_attention_names_outputs() {
    check_outputs("vae", "vae_deprecated_keys");
}

#[test]
fn vae_sharded_no_quant_fixture_outputs() {
    check_outputs("vae_sharded_no_quant", "vae");
}

fn check_outputs(name: &str, folder: &str) {
    let fixture = Fixture::open(name);
    let device = Device::flex();
    let vae: AutoencoderKL = fixture.load(folder, &device);
    let image = fixture.tensor::<4>("in.image", &device);
    let moments = vae.moments(image.clone());
    fixture.check("out", "out.moments", &values(moments));
    let latents = vae.encode(image);
    fixture.check("out", "out.mean", &values(latents.mean.clone()));
    fixture.check("out", "out.logvar", &values(latents.logvar.clone()));
    fixture.check("out", "out.kl", &values(latents.kl()));
    let sample = latents.sample(fixture.tensor("in.noise", &device));
    fixture.check("out", "out.sample", &values(sample));
    let decoded = vae.decode(fixture.tensor("in.latent", &device));
    fixture.check("out", "out.decoded", &values(decoded));
}

#[test]
fn vae_fixture_gradients() {
    for name in ["vae", "vae_sharded_no_quant"] {
        let fixture = Fixture::open(name);
        let device = Device::flex().autodiff();
        let vae: AutoencoderKL = fixture.load("vae", &device);
        let image = fixture.tensor::<4>("in.image", &device).require_grad();
        let latent = fixture.tensor::<4>("in.latent", &device).require_grad();
        let target = fixture.tensor::<4>("in.image", &device);
        let decode = (vae.decode(latent.clone()) - target).powi_scalar(2).mean();
        let encode = vae.encode(image.clone()).mean.powi_scalar(2).mean();
        fixture.check("loss", "loss.decode", &values(decode.clone()));
        fixture.check("loss", "loss.encode", &values(encode.clone()));
        let grads = (decode + encode).backward();
        let image = image.grad(&grads).unwrap();
        fixture.check("grad", "grad.in.image", &values(image));
        let latent = latent.grad(&grads).unwrap();
        fixture.check("grad", "grad.in.latent", &values(latent));
        check_gradients(&fixture, &vae, &grads, str::to_owned);
    }
}

#[test]
fn scaling_is_undone_fixture() {
    let device = Device::flex();
    for name in ["vae", "vae_sharded_no_quant"] {
        let fixture = Fixture::open(name);
        let folder = fixture.folder.join("vae");
        let (config, _) = read_config::<AutoencoderKL>(&folder).unwrap();
        let vae: AutoencoderKL = fixture.load("vae", &device);
        let latents = fixture.tensor::<4>("in.latent", &device);
        let scaled = vae.scale_latents(latents.clone());
        let by_hand = (values(latents.clone())[0] as f64 - config.shift_factor.unwrap_or(0.0))
            * config.scaling_factor;
        assert_close(
            "scaled",
            &values(scaled.clone())[..1],
            &[by_hand as f32],
            1e-6,
        );
        let back = values(vae.unscale_latents(scaled));
        assert_close("unscaled", &back, &values(latents), 1e-6);
    }
}

fn small() -> AutoencoderKLConfig {
    AutoencoderKLConfig::from_diffusers_json(
        r#"{"block_out_channels": [4, 8], "norm_num_groups": 2, "sample_size": 16,
            "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"],
            "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"]}"#,
    )
    .unwrap()
}

fn wave(shape: [usize; 4], device: &Device) -> Tensor<4> {
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i| (i as f32 * 0.37).sin()).collect();
    Tensor::<1>::from_floats(values.as_slice(), device).reshape(shape)
}

#[test]
fn one_sample_at_a_time_gives_the_same_numbers() {
    let device = Device::flex();
    let vae = AutoencoderKL::new(&small(), &ParameterInit::new(3, &device)).unwrap();
    let image = wave([3, 3, 8, 12], &device);
    let whole = values(vae.encode(image.clone()).mean);
    assert_close(
        "encode",
        &values(vae.encode_sliced(image).mean),
        &whole,
        1e-6,
    );
    let latents = wave([3, 4, 4, 6], &device);
    let whole = values(vae.decode(latents.clone()));
    assert_close("decode", &values(vae.decode_sliced(latents)), &whole, 1e-6);
}

#[test]
fn tiles_cover_a_picture_of_any_size() {
    let device = Device::flex();
    let config = small();
    let vae = AutoencoderKL::new(&config, &ParameterInit::new(3, &device)).unwrap();
    let tiling = Tiling::new(&config);
    assert_eq!(
        (tiling.tile_sample_min_size, tiling.tile_latent_min_size),
        (16, 8)
    );
    // No larger than a tile: the same computation.
    let small = wave([1, 3, 16, 12], &device);
    let [tiled, whole] = [vae.encode_tiled(small.clone(), &tiling), vae.encode(small)];
    assert_eq!(values(tiled.mean), values(whole.mean));
    for (height, width) in [(32, 16), (40, 24), (18, 52)] {
        let image = wave([2, 3, height, width], &device);
        let latents = vae.encode_tiled(image, &tiling).mean;
        assert_eq!(latents.dims(), [2, 4, height / 2, width / 2]);
        let picture = vae.decode_tiled(latents, &tiling);
        assert_eq!(picture.dims(), [2, 3, height, width]);
        assert!(values(picture).iter().all(|v| v.is_finite()));
    }
}

#[test]
fn options_of_another_autoencoder_are_named() {
    let check = |json: &str, expected: &str| {
        let message = AutoencoderKLConfig::from_diffusers_json(json)
            .unwrap_err()
            .to_string();
        assert!(message.contains(expected), "{message}");
    };
    check(
        r#"{"_class_name": "VQModel"}"#,
        "only AutoencoderKL can be read",
    );
    check(
        r#"{"act_fn": "mish"}"#,
        "`act_fn` = \"mish\" is not supported",
    );
    check(
        r#"{"down_block_types": ["AttnDownEncoderBlock2D"]}"#,
        "`down_block_types` = [\"AttnDownEncoderBlock2D\"] is not supported",
    );
    check(
        r#"{"block_out_channels": [64, 128]}"#,
        "`down_block_types` = 1",
    );
    check(r#"{"num_vq_embeddings": 8}"#, "this option is not known");
    check(
        r#"{"latents_mean": [0.0, 1.0]}"#,
        "there are 4 latent_channels",
    );
}

/// Needs `vae_sharded_no_quant`: its index lists two shards.
#[test]
fn a_shard_that_is_not_there_is_named_fixture() {
    let fixture = Fixture::open("vae_sharded_no_quant");
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture.folder.join("vae")).unwrap() {
        let entry = entry.unwrap();
        if !entry.file_name().to_string_lossy().contains("00002-of") {
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    let load = || {
        dsl_nets::load_folder::<AutoencoderKL>(copy.path(), &Default::default(), &Device::flex())
    };
    let error = load().unwrap_err();
    assert!(matches!(error, NetsError::Io { .. }), "{error}");
    assert!(error.to_string().contains("00002-of-00002"), "{error}");
}

/// Against diffusers' own tiles; `tests/tiles/export.py` made them with the autoencoder in the workspace's fixtures.
#[test]
fn tiles_are_blended_as_in_the_reference() {
    let manifest = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = manifest.join("../../tests/fixtures/vae/vae");
    let device = Device::flex();
    let vae: AutoencoderKL = crate::fixture::load_from(&folder, &device);
    let (config, _) = read_config::<AutoencoderKL>(&folder).unwrap();
    let tiling = Tiling::new(&config);
    let io = dsl_nets::WeightFile::open(&manifest.join("tests/tiles/io.safetensors")).unwrap();
    let tensor = |key: &str| {
        let tensor = io.read(key).unwrap();
        let shape: [usize; 4] = tensor.shape.try_into().unwrap();
        Tensor::<1>::from_floats(tensor.values.as_slice(), &device).reshape(shape)
    };
    let check = |key: &str, found: Tensor<4>| {
        assert_close(key, &values(found), &io.read(key).unwrap().values, 2e-5);
    };
    let latents = vae.encode_tiled(tensor("in.image"), &tiling);
    check("out.mean", latents.mean);
    check("out.logvar", latents.logvar);
    check(
        "out.decoded",
        vae.decode_tiled(tensor("in.latent"), &tiling),
    );
}
