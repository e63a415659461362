//! A decoder that takes features from an encoder, and the discriminator of patches it is trained against.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use dsl_nets::{
    AutoencoderKL, AutoencoderKLConfig, ControllableFeatureWrapping,
    ControllableFeatureWrappingConfig, ParameterInit, PatchDiscriminator, Tiling,
};
use serde_json::json;

use crate::fixture::values;
use crate::tasks::wave;
use crate::unet::gradients_by_key;

/// Four sizes, like the reference's.
fn config() -> AutoencoderKLConfig {
    let down = vec!["DownEncoderBlock2D"; 4];
    let up = vec!["UpDecoderBlock2D"; 4];
    serde_json::from_value(json!({
        "block_out_channels": [4, 8, 12, 12],
        "down_block_types": down,
        "up_block_types": up,
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "latent_channels": 2
    }))
    .unwrap()
}

fn autoencoder(device: &Device) -> AutoencoderKL {
    AutoencoderKL::new(&config(), &ParameterInit::new(1, device)).unwrap()
}

fn wrapping(zero_output: bool, device: &Device) -> ControllableFeatureWrapping {
    let wrapping = ControllableFeatureWrappingConfig {
        dense_blocks: 2,
        growth: 4,
        zero_output,
    };
    ControllableFeatureWrapping::new(&wrapping, &config(), &ParameterInit::new(2, device)).unwrap()
}

#[test]
fn features_come_from_the_sizes_between_the_smallest_and_the_largest() {
    let device = Device::flex();
    let autoencoder = autoencoder(&device);
    let image = wave([1, 3, 16, 24], 0.31, &device);
    let (latents, features) = autoencoder.encode_with_features(image.clone());
    let shapes: Vec<_> = features.iter().map(Tensor::dims).collect();
    assert_eq!(
        shapes,
        [[1, 4, 16, 24], [1, 8, 8, 12], [1, 12, 4, 6], [1, 12, 2, 3]]
    );
    assert_eq!(
        values(latents.mode()),
        values(autoencoder.encode(image).mode())
    );
    let channels: Vec<usize> = wrapping(false, &device)
        .fusions
        .iter()
        .map(|fusion| fusion.resnet_out.conv2.bias.dims()[0])
        .collect();
    assert_eq!(channels, [12, 8]);
}

#[test]
fn a_weight_of_zero_is_the_decoder_alone() {
    let device = Device::flex();
    let autoencoder = autoencoder(&device);
    let (latents, features) = autoencoder.encode_with_features(wave([1, 3, 16, 24], 0.31, &device));
    let latents = latents.mode();
    let plain = values(autoencoder.decode(latents.clone()));
    let decode = |wrapping: &ControllableFeatureWrapping, w| {
        values(wrapping.decode(&autoencoder, latents.clone(), &features, w))
    };
    let fresh = wrapping(false, &device);
    assert_eq!(decode(&fresh, 0.0), plain);
    let [half, whole] = [0.5, 1.0].map(|w| decode(&fresh, w));
    assert_ne!(half, plain);
    assert_ne!(half, whole);
    assert_eq!(half.len(), plain.len());
    assert_eq!(decode(&wrapping(true, &device), 1.0), plain);
    // The features matter, not only that there are some.
    let (_, others) = autoencoder.encode_with_features(wave([1, 3, 16, 24], 0.77, &device));
    let other = fresh.decode(&autoencoder, latents.clone(), &others, 1.0);
    assert_ne!(values(other), whole);
}

/// Where tiles do not overlap, a tiled picture is that of its tiles.
#[test]
fn each_tile_takes_the_features_of_its_own_place() {
    let device = Device::flex();
    let (autoencoder, wrapping) = (autoencoder(&device), wrapping(false, &device));
    let picture = wave([1, 3, 16, 32], 0.31, &device);
    let latents = wave([1, 2, 2, 4], 0.77, &device);
    let tiling = Tiling {
        tile_sample_min_size: 16,
        tile_latent_min_size: 2,
        tile_overlap_factor: 0.0,
    };
    let tiled = wrapping.decode_tiled(&autoencoder, latents.clone(), picture.clone(), 0.5, &tiling);
    let half = |side: usize| {
        let (_, features) =
            autoencoder.encode_with_features(picture.clone().narrow(3, 16 * side, 16));
        wrapping.decode(
            &autoencoder,
            latents.clone().narrow(3, 2 * side, 2),
            &features,
            0.5,
        )
    };
    assert_eq!(
        values(tiled),
        values(Tensor::cat(vec![half(0), half(1)], 3))
    );
    // One tile is all of it.
    let whole = Tiling {
        tile_latent_min_size: 4,
        tile_sample_min_size: 32,
        ..tiling
    };
    let (_, features) = autoencoder.encode_with_features(picture.clone());
    let expected = wrapping.decode(&autoencoder, latents.clone(), &features, 0.5);
    let tiled = wrapping.decode_tiled(&autoencoder, latents, picture, 0.5, &whole);
    assert_eq!(values(tiled), values(expected));
}

#[test]
fn every_layer_of_the_wrapping_learns_and_the_autoencoder_can_be_frozen() {
    let device = Device::flex().autodiff();
    let autoencoder = autoencoder(&device).no_grad();
    let wrapping = wrapping(false, &device);
    let (latents, features) = autoencoder.encode_with_features(wave([1, 3, 16, 16], 0.31, &device));
    let picture = wrapping.decode(&autoencoder, latents.mode(), &features, 1.0);
    let grads = picture.powi_scalar(2).mean().backward();
    for (path, grad) in gradients_by_key(&wrapping, &grads) {
        assert!(grad.iter().any(|g| *g != 0.0), "{path}");
    }
    assert!(
        gradients_by_key(&autoencoder, &grads)
            .values()
            .all(Vec::is_empty)
    );
}

#[test]
fn autoencoders_without_a_middle_size_are_refused() {
    let two: AutoencoderKLConfig = serde_json::from_value(json!({
        "block_out_channels": [4, 8],
        "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"],
        "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"],
        "norm_num_groups": 4
    }))
    .unwrap();
    let init = ParameterInit::new(0, &Device::flex());
    let config = ControllableFeatureWrappingConfig::default();
    let error = ControllableFeatureWrapping::new(&config, &two, &init).unwrap_err();
    assert!(error.to_string().contains("block_out_channels"), "{error}");
}

#[test]
fn patches_are_judged_each_for_itself() {
    let device = Device::flex().autodiff();
    let judge = PatchDiscriminator::new(&ParameterInit::new(0, &device), 3, 4);
    let picture = wave([2, 3, 40, 32], 0.31, &device);
    let verdict = judge.forward(picture.clone());
    assert_eq!(verdict.dims(), [2, 1, 3, 2]);
    let grads = verdict.powi_scalar(2).mean().backward();
    let by_key = gradients_by_key(&judge, &grads);
    assert_eq!(by_key.len(), 5 * 2 + 3 * 2);
    for (path, grad) in by_key {
        // What is added to every pixel before a norm, norms take away again, up to their groups.
        let vanishes = path.starts_with("convs.") && path.ends_with("bias");
        assert!(vanishes || grad.iter().any(|g| *g != 0.0), "{path}");
    }
}
