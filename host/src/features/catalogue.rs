//! What identifiers mean, and which weights each needs.

use dsl_loader::{ErrorCode, FeatureKind, HostError};
use dsl_nets::features::{ClipVit, InceptionV3, LpipsNet, MobileNetV2};

/// Something that a plugin can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Feature {
    InceptionPool3,
    InceptionSpatial,
    InceptionLogits,
    MobileNetPool,
    ClipImage(ClipVit),
    Lpips(LpipsNet),
}

/// A weight file; several features may share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Weights {
    InceptionV3,
    MobileNetV2,
    Clip(ClipVit),
    Lpips(LpipsNet),
}

impl Feature {
    pub(super) const ALL: [Self; 10] = [
        Self::InceptionPool3,
        Self::InceptionSpatial,
        Self::InceptionLogits,
        Self::MobileNetPool,
        Self::ClipImage(ClipVit::B32),
        Self::ClipImage(ClipVit::B16),
        Self::ClipImage(ClipVit::L14),
        Self::Lpips(LpipsNet::Alex),
        Self::Lpips(LpipsNet::Vgg),
        Self::Lpips(LpipsNet::ShiftTolerantAlex),
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
            Self::ClipImage(ClipVit::B32) => "clip/vit-b-32",
            Self::ClipImage(ClipVit::B16) => "clip/vit-b-16",
            Self::ClipImage(ClipVit::L14) => "clip/vit-l-14",
            Self::Lpips(LpipsNet::Alex) => "lpips/alex",
            Self::Lpips(LpipsNet::Vgg) => "lpips/vgg",
            Self::Lpips(LpipsNet::ShiftTolerantAlex) => "st-lpips/alex",
        }
    }

    pub(super) const fn kind(self) -> FeatureKind {
        match self {
            Self::InceptionPool3 => FeatureKind::Vector(InceptionV3::POOL3 as u64),
            Self::InceptionSpatial => FeatureKind::Vector(InceptionV3::SPATIAL as u64),
            Self::InceptionLogits => FeatureKind::Vector(InceptionV3::LOGITS as u64),
            Self::MobileNetPool => FeatureKind::Vector(MobileNetV2::POOLED as u64),
            Self::ClipImage(vit) => FeatureKind::Vector(vit.embedding_size() as u64),
            Self::Lpips(_) => FeatureKind::Distance,
        }
    }

    pub(super) const fn weights(self) -> Weights {
        match self {
            Self::InceptionPool3 | Self::InceptionSpatial | Self::InceptionLogits => {
                Weights::InceptionV3
            }
            Self::MobileNetPool => Weights::MobileNetV2,
            Self::ClipImage(vit) => Weights::Clip(vit),
            Self::Lpips(net) => Weights::Lpips(net),
        }
    }
}

impl Weights {
    /// The file's name without its ending.
    pub(super) const fn stem(self) -> &'static str {
        match self {
            Self::InceptionV3 => "inception_v3_fid",
            Self::MobileNetV2 => "mobilenet_v2",
            Self::Clip(ClipVit::B32) => "clip_vit_b_32",
            Self::Clip(ClipVit::B16) => "clip_vit_b_16",
            Self::Clip(ClipVit::L14) => "clip_vit_l_14",
            Self::Lpips(LpipsNet::Alex) => "lpips_alex",
            Self::Lpips(LpipsNet::Vgg) => "lpips_vgg",
            Self::Lpips(LpipsNet::ShiftTolerantAlex) => "stlpips_alex",
        }
    }

    /// Where the weights are published, and how they become a safetensors file.
    pub(super) fn how_to_get(self) -> String {
        let lpips = "the Python package `lpips` has the heads and fetches the trunk";
        match self {
            Self::InceptionV3 => self.conversion(
                "pytorch-fid publishes them as pt_inception-2015-12-05-6726825d.pth \
                 (github.com/mseitzer/pytorch-fid/releases)",
                "torch",
                "torch.load('pt_inception-2015-12-05-6726825d.pth')",
            ),
            Self::MobileNetV2 => self.conversion(
                "torchvision publishes them",
                "torchvision",
                "torchvision.models.mobilenet_v2(weights='IMAGENET1K_V1').state_dict()",
            ),
            Self::Clip(ClipVit::B32) => self.on_the_hub("openai/clip-vit-base-patch32"),
            Self::Clip(ClipVit::B16) => self.on_the_hub("openai/clip-vit-base-patch16"),
            Self::Clip(ClipVit::L14) => self.on_the_hub("openai/clip-vit-large-patch14"),
            Self::Lpips(LpipsNet::Alex) => {
                self.conversion(lpips, "lpips", "lpips.LPIPS(net='alex').state_dict()")
            }
            Self::Lpips(LpipsNet::Vgg) => {
                self.conversion(lpips, "lpips", "lpips.LPIPS(net='vgg').state_dict()")
            }
            Self::Lpips(LpipsNet::ShiftTolerantAlex) => self.conversion(
                "the Python package `stlpips_pytorch` has them",
                "stlpips_pytorch.stlpips as st",
                "st.LPIPS(net='alex', variant='shift_tolerant').state_dict()",
            ),
        }
    }

    /// A line of Python that writes what `state` is.
    fn conversion(self, source: &str, package: &str, state: &str) -> String {
        // Clones: `lpips` names some tensors twice, which safetensors does not take.
        format!(
            "{source}; `python -c \"import {package}; from safetensors.torch import save_file; save_file({{k: \
             v.clone().contiguous() for k, v in {state}.items()}}, '{}.safetensors')\"` makes the file",
            self.stem()
        )
    }

    /// A file that is published as it has to be.
    fn on_the_hub(self, model: &str) -> String {
        format!(
            "it is the file `model.safetensors` of `{model}` on the Hugging Face Hub, renamed `{}.safetensors`",
            self.stem()
        )
    }
}
