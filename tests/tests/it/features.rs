//! Feature networks of the host, asked for by a plugin: with weight files whose answers follow from a formula, and without.

use std::path::Path;

use safetensors::{Dtype, tensor::TensorView};

use crate::support::{Outcome, SMALL_LINE};
use crate::support::{config, dsl_host, metrics, plugin};

/// A weight file: zeros but for single values.
struct Weights(Vec<(String, Vec<usize>, Vec<f32>)>);

impl Weights {
    /// A tensor of one value everywhere, or of zeros with some values at places.
    fn tensor(&mut self, key: impl Into<String>, shape: &[usize], all: f32, some: &[(usize, f32)]) {
        let mut values = vec![all; shape.iter().product()];
        for &(place, value) in some {
            values[place] = value;
        }
        self.0.push((key.into(), shape.to_vec(), values));
    }

    fn write(&self, path: &Path) {
        let bytes: Vec<Vec<u8>> = (self.0.iter())
            .map(|(_, _, values)| {
                values
                    .iter()
                    .flat_map(|value| value.to_le_bytes())
                    .collect()
            })
            .collect();
        let tensors = self.0.iter().zip(&bytes).map(|((key, shape, _), bytes)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap();
            (key.clone(), view)
        });
        safetensors::serialize_to_file(tensors, None, path).unwrap();
    }
}

/// LPIPS whose first layer holds the red of a pixel and a constant 1, and whose other layers hold nothing.
fn lpips_alex(folder: &Path) {
    let mut weights = Weights(vec![]);
    let convolutions = [
        ("net.slice1.0", 3, 64, 11),
        ("net.slice2.3", 64, 192, 5),
        ("net.slice3.6", 192, 384, 3),
        ("net.slice4.8", 384, 256, 3),
        ("net.slice5.10", 256, 256, 3),
    ];
    for (index, (key, channels_in, channels_out, kernel)) in convolutions.into_iter().enumerate() {
        let first = index == 0;
        // The middle of the kernel, of the first channel out and the first colour.
        let middle = [(kernel * kernel / 2, 1.0)];
        let shape = [channels_out, channels_in, kernel, kernel];
        let some: &[_] = if first { &middle } else { &[] };
        weights.tensor(format!("{key}.weight"), &shape, 0.0, some);
        let one: &[_] = if first { &[(1, 1.0)] } else { &[] };
        weights.tensor(format!("{key}.bias"), &[channels_out], 0.0, one);
        weights.tensor(
            format!("lin{index}.model.1.weight"),
            &[1, channels_out, 1, 1],
            1.0,
            &[],
        );
    }
    weights.write(&folder.join("lpips_alex.safetensors"));
}

/// MobileNetV2 whose features are 1.25 and 0, whatever the picture.
fn mobilenet_v2(folder: &Path) {
    let mut weights = Weights(vec![]);
    let mut layer = |key: &str, conv: &str, norm: &str, shape: [usize; 4]| {
        weights.tensor(format!("{key}.{conv}.weight"), &shape, 0.0, &[]);
        let last = key == "features.18";
        for (name, value) in [
            ("weight", 1.0),
            ("bias", 0.0),
            ("running_mean", 0.0),
            ("running_var", 1.0),
        ] {
            let first = [(0, 1.25)];
            let some: &[_] = if last && name == "bias" { &first } else { &[] };
            weights.tensor(format!("{key}.{norm}.{name}"), &shape[..1], value, some);
        }
    };
    layer("features.0", "0", "1", [32, 3, 3, 3]);
    let (mut number, mut width) = (1, 32);
    for [expansion, channels, repeats] in [
        [1, 16, 1],
        [6, 24, 2],
        [6, 32, 3],
        [6, 64, 4],
        [6, 96, 3],
        [6, 160, 3],
        [6, 320, 1],
    ] {
        for _ in 0..repeats {
            let (key, inner) = (format!("features.{number}.conv"), width * expansion);
            let depthwise = [inner, 1, 3, 3];
            if expansion == 1 {
                layer(&key, "0.0", "0.1", depthwise);
                layer(&key, "1", "2", [channels, inner, 1, 1]);
            } else {
                layer(&key, "0.0", "0.1", [inner, width, 1, 1]);
                layer(&key, "1.0", "1.1", depthwise);
                layer(&key, "2", "3", [channels, inner, 1, 1]);
            }
            (number, width) = (number + 1, channels);
        }
    }
    layer("features.18", "0", "1", [1280, 320, 1, 1]);
    weights.write(&folder.join("mobilenet_v2.safetensors"));
}

/// A run of `misbehave` whose evaluator asks for features, with the user's cache folder at `cache`.
fn measure(out: &Path, settings: &Path, cache: &Path, weights: Option<&Path>) -> Outcome {
    let mut command = dsl_host();
    command
        .args(["run", "--plugin"])
        .arg(plugin("misbehave"))
        .arg("--config")
        .arg(settings)
        .arg("--out")
        .arg(out)
        .env("DSL_MISBEHAVE", "measures-features")
        .env("XDG_CACHE_HOME", cache);
    if let Some(folder) = weights {
        command.env("DSL_FEATURES_PATH", folder);
    }
    Outcome::of(&mut command)
}

#[test]
fn a_plugin_gets_features_and_distances_from_weights_that_are_installed() {
    let place = tempfile::tempdir().unwrap();
    let folder = |name: &str| {
        let folder = place.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    };
    let (weights, empty) = (folder("weights"), folder("empty"));
    let settings = config(place.path(), "run.yaml", SMALL_LINE);
    let out = |name: &str| place.path().join(name);

    // Nothing installed: what is missing, where it was looked for, how to get it.
    let said = measure(&out("none"), &settings, &empty, None);
    let looked = empty.join("dsl/features").display().to_string();
    said.fails(
        1,
        &[
            "plugin `misbehave`",
            "the weights of `lpips/alex` are not installed",
            "lpips_alex.safetensors",
            &looked,
            "lpips.LPIPS(net='alex')",
            "DSL_FEATURES_PATH",
        ],
    );

    // A file that is none.
    std::fs::write(weights.join("lpips_alex.safetensors"), "no weights").unwrap();
    let said = measure(&out("damaged"), &settings, &empty, Some(&weights));
    said.fails(
        1,
        &[
            "the weights of `lpips/alex` cannot be used",
            "lpips_alex.safetensors",
        ],
    );

    lpips_alex(&weights);
    mobilenet_v2(&weights);
    let shown = |run: &Path| {
        let line = metrics(run).pop().unwrap();
        let value = |name: &str| {
            let members = line.as_object().unwrap();
            let found = members.iter().find(|(key, _)| key.ends_with(name));
            found
                .unwrap_or_else(|| panic!("no {name} in {line}"))
                .1
                .as_f64()
                .unwrap()
        };
        ["lpips", "grey_feature", "red_feature", "features"].map(value)
    };
    // Vectors (r, 1) of length 1, r = (x + 0.030) / 0.458 for the red of a picture.
    let unit = |red: f64| {
        let r = (red + 0.030) / 0.458;
        let length = (r * r + 1.0).sqrt();
        [r / length, 1.0 / length]
    };
    let (grey, red) = (unit(0.5), unit(1.0));
    let expected = (grey[0] - red[0]).powi(2) + (grey[1] - red[1]).powi(2);
    measure(&out("variable"), &settings, &empty, Some(&weights)).ok();
    let found = shown(&out("variable"));
    assert!(
        (found[0] - expected).abs() < 1e-5 * expected,
        "{found:?} {expected}"
    );
    assert_eq!(found[1..], [1.25, 1.25, 1280.0]);

    // By the configuration, and from the cache folder.
    let text = format!(
        "{SMALL_LINE}features: {{path: {:?}, batch_size: 1}}\n",
        weights
    );
    let named = config(place.path(), "named.yaml", &text);
    measure(&out("configured"), &named, &empty, None).ok();
    assert_eq!(shown(&out("configured")), found);
    let cache = folder("cache/dsl/features");
    for file in ["lpips_alex.safetensors", "mobilenet_v2.safetensors"] {
        std::fs::copy(weights.join(file), cache.join(file)).unwrap();
    }
    measure(&out("cached"), &settings, &place.path().join("cache"), None).ok();
    assert_eq!(shown(&out("cached")), found);

    let text = format!("{SMALL_LINE}features: {{path: {:?}}}\n", out("nowhere"));
    let wrong = config(place.path(), "wrong.yaml", &text);
    let said = measure(&out("wrong"), &wrong, &empty, None);
    said.fails(2, &["features", "there is no folder"]);
}
