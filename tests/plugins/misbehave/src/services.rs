//! Asks the host for everything that it offers.

use dsl_sdk::{Host, PluginError};

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
