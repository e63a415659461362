//! Asks the host for everything that it offers.

use dsl_sdk::{Direction, Host, MetricValue, PluginError};

/// What the host answered, as an error: message for what works, detail for what does not.
pub(crate) fn tell(host: &Host) -> PluginError {
    let squares = host.parallel(5, |index| Ok(index * index));
    let failed = host.parallel(50, |index| match index {
        0..7 => Ok(()),
        _ => Err(PluginError::other(format!("piece {index} is heavy"))),
    });
    let panicked = host.parallel(3, |index| {
        assert!(index != 1, "told to panic in piece 1");
        Ok(())
    });
    // The same twice: nested work must not lock up.
    let nested = host.parallel(4, |outer| {
        Ok(host
            .parallel(4, |inner| Ok(outer * inner))?
            .iter()
            .sum::<usize>())
    });
    let cache = host.cache_dir().map(|folder| {
        let file = folder.join("misbehave.txt");
        let wrote = std::fs::write(&file, "kept").is_ok();
        format!("{} {wrote}", folder.display())
    });
    let shape = [2, 3, 1, 1];
    let pictures = [0.5, -0.5, 0.0, 1.0, 1.0, 1.0];
    let features = |id: &str| host.features()?.extract(id, shape, &pictures);
    let distance = |id: &str| host.features()?.distance(id, shape, &pictures, &pictures);
    let misshapen = host
        .features()
        .and_then(|features| features.extract("lpips/alex", [2, 3, 1, 2], &pictures));
    let known = host.features().and_then(|features| features.describe());
    let known: Vec<String> = known
        .unwrap_or_default()
        .into_iter()
        .map(|feature| format!("{} {}", feature.id, feature.available))
        .collect();
    let answers = [
        format!("threads {}", host.threads()),
        format!("squares {squares:?}"),
        format!("nested {nested:?}"),
        format!("failed {failed:?}"),
        format!("panicked {panicked:?}"),
        format!("cache {cache:?}"),
        format!("known {known:?}"),
        format!("inception {:?}", features("inception-v3/pool3")),
        format!("unknown {:?}", features("no/such")),
        format!("own {:?}", features("mean/rgb")),
        format!("distance {:?}", distance("mean/distance")),
        format!("misshapen {misshapen:?}"),
    ];
    PluginError::other("the host answered").with_detail(answers.join("\n"))
}

/// Height and width of the pictures of [`measure`].
const SIDE: usize = 32;

/// The distance of a grey picture from a red one, and the first feature of each.
pub(crate) fn measure(host: &Host) -> Result<Vec<MetricValue>, PluginError> {
    let picture = |colour: [f32; 3]| colour.map(|value| vec![value; SIDE * SIDE]).concat();
    let (grey, red) = (picture([0.5; 3]), picture([1.0, -1.0, -1.0]));
    let features = host.features()?;
    let shape = [1, 3, SIDE as u64, SIDE as u64];
    let distance = features.distance("lpips/alex", shape, &grey, &red)?;
    let both = features.extract(
        "mobilenet-v2/pool",
        [2, 3, SIDE as u64, SIDE as u64],
        &[grey, red].concat(),
    )?;
    let metric = |name: &str, value: f32| MetricValue {
        name: name.into(),
        value: f64::from(value),
        direction: Direction::LowerIsBetter,
        unit: String::new(),
    };
    let (first, second) = both.split_at(both.len() / 2);
    Ok(vec![
        metric("lpips", distance[0]),
        metric("grey_feature", first[0]),
        metric("red_feature", second[0]),
        metric("features", first.len() as f32),
    ])
}
