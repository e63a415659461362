//! What identifiers mean, and which weights each needs.

use dsl_loader::{ErrorCode, FeatureKind, HostError};
use dsl_nets::features::{InceptionV3, MobileNetV2};

/// Something that a plugin can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Feature {
    InceptionPool3,
    InceptionSpatial,
    InceptionLogits,
    MobileNetPool,
    LpipsAlex,
    LpipsVgg,
    StLpipsAlex,
}

/// A weight file; several features may share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Weights {
    InceptionV3,
    MobileNetV2,
    LpipsAlex,
    LpipsVgg,
    StLpipsAlex,
}

impl Feature {
    pub(super) const ALL: [Self; 7] = [
        Self::InceptionPool3,
        Self::InceptionSpatial,
        Self::InceptionLogits,
        Self::MobileNetPool,
        Self::LpipsAlex,
        Self::LpipsVgg,
        Self::StLpipsAlex,
    ];

    /// # Errors
    /// `Unsupported` for an identifier without a meaning, with all that have one.
    pub(super) fn of_id(id: &str) -> Result<Self, HostError> {
        let mut all = Self::ALL.into_iter();
        all.find(|feature| feature.id() == id).ok_or_else(|| {
            let known = Self::ALL.map(|feature| format!("`{}`", feature.id()));
            HostError {
                code: ErrorCode::Unsupported,
                message: format!("there are no features `{id}`; known are {}", known.join(", ")),
                help: "leave the metric out when this error comes, or compute the features inside the plugin".to_owned(),
            }
        })
    }

    pub(super) const fn id(self) -> &'static str {
        match self {
            Self::InceptionPool3 => "inception-v3/pool3",
            Self::InceptionSpatial => "inception-v3/spatial",
            Self::InceptionLogits => "inception-v3/logits-unbiased",
            Self::MobileNetPool => "mobilenet-v2/pool",
            Self::LpipsAlex => "lpips/alex",
            Self::LpipsVgg => "lpips/vgg",
            Self::StLpipsAlex => "st-lpips/alex",
        }
    }

    pub(super) const fn kind(self) -> FeatureKind {
        match self {
            Self::InceptionPool3 => FeatureKind::Vector(InceptionV3::POOL3 as u64),
            Self::InceptionSpatial => FeatureKind::Vector(InceptionV3::SPATIAL as u64),
            Self::InceptionLogits => FeatureKind::Vector(InceptionV3::LOGITS as u64),
            Self::MobileNetPool => FeatureKind::Vector(MobileNetV2::POOLED as u64),
            Self::LpipsAlex | Self::LpipsVgg | Self::StLpipsAlex => FeatureKind::Distance,
        }
    }

    pub(super) const fn weights(self) -> Weights {
        match self {
            Self::InceptionPool3 | Self::InceptionSpatial | Self::InceptionLogits => {
                Weights::InceptionV3
            }
            Self::MobileNetPool => Weights::MobileNetV2,
            Self::LpipsAlex => Weights::LpipsAlex,
            Self::LpipsVgg => Weights::LpipsVgg,
            Self::StLpipsAlex => Weights::StLpipsAlex,
        }
    }
}

impl Weights {
    /// The file's name without its ending.
    pub(super) const fn stem(self) -> &'static str {
        match self {
            Self::InceptionV3 => "inception_v3_fid",
            Self::MobileNetV2 => "mobilenet_v2",
            Self::LpipsAlex => "lpips_alex",
            Self::LpipsVgg => "lpips_vgg",
            Self::StLpipsAlex => "stlpips_alex",
        }
    }

    /// Where the weights are published, and how they become a safetensors file.
    pub(super) fn how_to_get(self) -> String {
        let (source, packages, state) = match self {
            Self::InceptionV3 => (
                "pytorch-fid publishes them as pt_inception-2015-12-05-6726825d.pth (github.com/mseitzer/pytorch-fid/releases)",
                "torch",
                "torch.load('pt_inception-2015-12-05-6726825d.pth')",
            ),
            Self::MobileNetV2 => (
                "torchvision publishes them",
                "torch, torchvision",
                "torchvision.models.mobilenet_v2(weights='IMAGENET1K_V1').state_dict()",
            ),
            Self::LpipsAlex => (
                "the Python package `lpips` has the heads and fetches the trunk",
                "torch, lpips",
                "lpips.LPIPS(net='alex').state_dict()",
            ),
            Self::LpipsVgg => (
                "the Python package `lpips` has the heads and fetches the trunk",
                "torch, lpips",
                "lpips.LPIPS(net='vgg').state_dict()",
            ),
            Self::StLpipsAlex => (
                "the Python package `stlpips_pytorch` has them",
                "torch, stlpips_pytorch.stlpips as st",
                "st.LPIPS(net='alex', variant='shift_tolerant').state_dict()",
            ),
        };
        let stem = self.stem();
        // Clones: `lpips` names some tensors twice, which safetensors does not take.
        format!(
            "{source}; `python -c \"import {packages}; from safetensors.torch import save_file; save_file({{k: \
             v.clone().contiguous() for k, v in {state}.items()}}, '{stem}.safetensors')\"` makes the file"
        )
    }
}
