use super::*;

fn pictures(values: &[f32], side: u64) -> Pictures<'_> {
    Pictures {
        shape: [values.len() as u64 / (3 * side * side), 3, side, side],
        values,
    }
}

#[test]
fn the_identifiers_are_those_that_the_loader_knows() {
    let described = FeatureService::default().describe();
    let named: Vec<_> = described
        .into_iter()
        .map(|info| (info.id, info.kind))
        .collect();
    let known = dsl_loader::known_features().into_iter();
    assert_eq!(
        named,
        known.map(|info| (info.id, info.kind)).collect::<Vec<_>>()
    );
}

#[test]
fn weights_that_are_not_there_are_named_with_folders_and_a_way_to_get_them() {
    let folder = tempfile::tempdir().unwrap();
    let service = FeatureService::default();
    let config = FeaturesConfig {
        path: Some(folder.path().to_owned()),
        ..FeaturesConfig::default()
    };
    service.configure(&config, &Device::flex());
    // A network that no folder of a tester is likely to have.
    let error = service.distance(
        "lpips/vgg",
        &pictures(&[0.0; 12], 2),
        &pictures(&[0.0; 12], 2),
    );
    let Err(error) = error else {
        return;
    };
    assert_eq!(error.code, ErrorCode::Unsupported);
    let folder = folder.path().display().to_string();
    for part in [
        "`lpips/vgg`",
        "lpips_vgg.safetensors",
        &folder,
        "features.path",
        "cache folder",
    ] {
        assert!(error.message.contains(part), "`{part}` is not in {error}");
    }
    for part in ["save_file", "lpips.LPIPS(net='vgg')", "DSL_FEATURES_PATH"] {
        assert!(
            error.help.contains(part),
            "`{part}` is not in {}",
            error.help
        );
    }
}

#[test]
fn unknown_identifiers_and_the_wrong_question_are_told_apart() {
    let service = FeatureService::default();
    let picture = [0.0; 12];
    let picture = pictures(&picture, 2);
    let error = service.extract("inception", &picture).unwrap_err();
    assert_eq!(error.code, ErrorCode::Unsupported);
    assert!(
        error.message.contains("no features `inception`")
            && error.message.contains("`inception-v3/pool3`"),
        "{error}"
    );
    let error = service.extract("lpips/alex", &picture).unwrap_err();
    assert_eq!(
        (error.code, error.help.as_str()),
        (ErrorCode::Contract, "ask for it with `distance`")
    );
    let error = service
        .distance("mobilenet-v2/pool", &picture, &picture)
        .unwrap_err();
    assert_eq!(
        (error.code, error.help.as_str()),
        (ErrorCode::Contract, "ask for it with `extract`")
    );
}

#[test]
fn pictures_that_are_none_are_refused_and_no_pictures_are_no_features() {
    let service = FeatureService::default();
    let wrong = [f32::NAN; 12];
    let error = service
        .extract("inception-v3/pool3", &pictures(&wrong, 2))
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::Contract);
    assert!(error.message.contains("not finite"), "{error}");
    let none = Pictures {
        shape: [0, 3, 8, 8],
        values: &[],
    };
    assert!(
        service
            .extract("inception-v3/pool3", &none)
            .unwrap()
            .is_empty()
    );
    let flat = Pictures {
        shape: [2, 3, 0, 8],
        values: &[],
    };
    let error = service.extract("inception-v3/pool3", &flat).unwrap_err();
    assert!(error.message.contains("no pixels"), "{error}");
}
