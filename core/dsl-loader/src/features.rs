//! Feature networks by name: what the host knows of them.

use dsl_abi::declare::{ErrorCode, FeatureInfo, FeatureKind};

use crate::HostError;

/// Identifiers with a meaning, and what each gives.
const KNOWN: [(&str, FeatureKind); 10] = [
    ("inception-v3/pool3", FeatureKind::Vector(2048)),
    ("inception-v3/spatial", FeatureKind::Vector(2023)),
    ("inception-v3/logits-unbiased", FeatureKind::Vector(1008)),
    ("mobilenet-v2/pool", FeatureKind::Vector(1280)),
    ("clip/vit-b-32", FeatureKind::Vector(512)),
    ("clip/vit-b-16", FeatureKind::Vector(512)),
    ("clip/vit-l-14", FeatureKind::Vector(768)),
    ("lpips/alex", FeatureKind::Distance),
    ("lpips/vgg", FeatureKind::Distance),
    ("st-lpips/alex", FeatureKind::Distance),
];

/// Says what to do where a host computes no features at all.
const HELP: &str = "this host computes no features, as a check does not; leave the metric out when this error comes, or \
                    compute the features inside the plugin";

/// Pictures lent for one call: `f32 [n, 3, height, width]` in −1..1, row-major. The number of values fits the shape.
#[derive(Debug, Clone, Copy)]
pub struct Pictures<'a> {
    /// Number, 3, height, width.
    pub shape: [u64; 4],
    /// As many as the shape says.
    pub values: &'a [f32],
}

/// Every identifier with a meaning, as a host without feature networks describes it: unavailable.
pub fn known_features() -> Vec<FeatureInfo> {
    let info = |(id, kind): (&str, FeatureKind)| FeatureInfo {
        id: id.to_owned(),
        kind,
        available: false,
        help: HELP.to_owned(),
    };
    KNOWN.map(info).to_vec()
}

/// The error for an identifier that a host cannot compute, with what to do.
pub fn missing_features(id: &str) -> HostError {
    let known = KNOWN.iter().any(|(name, _)| *name == id);
    let names: Vec<_> = KNOWN.iter().map(|(name, _)| format!("`{name}`")).collect();
    HostError {
        code: ErrorCode::Unsupported,
        message: if known {
            format!("this host does not compute `{id}`")
        } else {
            format!(
                "there are no features `{id}`; known are {}",
                names.join(", ")
            )
        },
        help: HELP.to_owned(),
    }
}
