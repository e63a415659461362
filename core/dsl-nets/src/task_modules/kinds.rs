//! Which parameters of a network a task has added, and whether its layers still compute nothing.
//!
//! A module whose output layer is exactly zero leaves the network as its base is: it is *at its identity*. A discriminator
//! made of low-rank adapters over such a network never learns the condition, since a gradient through a zero layer reaches
//! nothing before it.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

use crate::denoiser::Denoiser;
use crate::model::Model;
use crate::parameters::ParameterPath;
use crate::unet_2d_condition::UNet2DCondition;

/// What a task can add to a network, with the parameters it consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskModuleKind {
    /// Boxes: `position_net` and every `fuser`. Identity: the gates `alpha_attn` and `alpha_dense` are 0.
    GroundingTokens,
    /// Vectors or tokens to attend to: `context_embedding`. Has no identity.
    Context,
    /// Classes: `class_label_embedding`. Has no identity.
    ClassLabels,
    /// Further input channels: the last columns of `conv_in.weight`, which is one parameter with the others, so that all of
    /// it is the task's where parameters are chosen. Identity: these columns are 0.
    ConcatChannels,
    /// Numbers of a camera: `camera_pose_embedding`. Identity: its second layer is 0.
    CameraPose,
    /// A picture in every residual block: `feature_pyramid` and every `sft`. Identity: scales and shifts are 0, in networks
    /// with [`SftNorm::None`](super::SftNorm::None); the other kind has none, since it normalises.
    FeaturePyramid,
    /// A volume made of all views: `view_volume` and all `depth_attentions`. Identity: the last convolution of each of
    /// the latter, `conv_2`, is 0.
    ViewVolume,
    /// Attention across views: every `attn_mv` with its `norm_mv`, and `domain_embedding`. Identity: every `attn_mv.to_out` is
    /// 0; with several domains, self-attention runs over all of them even so.
    MultiView,
    /// The conditioning picture's camera: `camera_regression`. Has no identity.
    CameraRegression,
    /// New words of a text encoder: `learned_tokens` of a [`Model`]. Has no identity; texts without the words do not see it.
    LearnedTokens,
}

impl TaskModuleKind {
    /// All kinds.
    pub const ALL: [Self; 10] = [
        Self::GroundingTokens,
        Self::Context,
        Self::ClassLabels,
        Self::ConcatChannels,
        Self::CameraPose,
        Self::FeaturePyramid,
        Self::ViewVolume,
        Self::MultiView,
        Self::CameraRegression,
        Self::LearnedTokens,
    ];

    /// Its name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GroundingTokens => "grounding_tokens",
            Self::Context => "context",
            Self::ClassLabels => "class_labels",
            Self::ConcatChannels => "concat_channels",
            Self::CameraPose => "camera_pose",
            Self::FeaturePyramid => "feature_pyramid",
            Self::ViewVolume => "view_volume",
            Self::MultiView => "multi_view",
            Self::CameraRegression => "camera_regression",
            Self::LearnedTokens => "learned_tokens",
        }
    }

    /// The kind that a parameter belongs to as a whole, by its path in a [`Model`] or a [`UNet2DCondition`]. Adapters belong to
    /// none, and neither does `conv_in.weight`.
    pub fn of(path: &str) -> Option<Self> {
        let kind = path.split('.').find_map(|name| {
            Some(match name {
                "position_net" | "fuser" => Self::GroundingTokens,
                "context_embedding" => Self::Context,
                "class_label_embedding" => Self::ClassLabels,
                "camera_pose_embedding" => Self::CameraPose,
                "feature_pyramid" | "sft" => Self::FeaturePyramid,
                "view_volume" | "depth_attentions" => Self::ViewVolume,
                "attn_mv" | "norm_mv" | "domain_embedding" => Self::MultiView,
                "camera_regression" => Self::CameraRegression,
                "learned_tokens" => Self::LearnedTokens,
                _ => return None,
            })
        });
        kind.filter(|_| !path.ends_with("lora.lora_a") && !path.ends_with("lora.lora_b"))
    }

    /// The kind that the parameter at `path` below a UNet belongs to, `conv_in.weight` of one with `concat_channels` included.
    pub(crate) fn in_unet(path: &str, concat_channels: usize) -> Option<Self> {
        if path == CONV_IN && concat_channels > 0 {
            Some(Self::ConcatChannels)
        } else {
            Self::of(path)
        }
    }

    /// Whether the module computes nothing while this parameter of it, and all others of which this is true, are zero.
    fn is_output(self, path: &str) -> bool {
        let ends = |names: &[&str]| {
            names.iter().any(|name| {
                path.strip_suffix(name)
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            })
        };
        match self {
            Self::GroundingTokens => ends(&["alpha_attn", "alpha_dense"]),
            Self::CameraPose => ends(&["linear_2.weight", "linear_2.bias"]),
            Self::FeaturePyramid => {
                path.contains(".sft.conv_gamma.") || path.contains(".sft.conv_beta.")
            }
            Self::ViewVolume => {
                path.contains("depth_attentions.") && ends(&["conv_2.weight", "conv_2.bias"])
            }
            Self::MultiView => path.contains("attn_mv.to_out."),
            Self::ConcatChannels => true,
            Self::Context | Self::ClassLabels | Self::CameraRegression | Self::LearnedTokens => {
                false
            }
        }
    }
}

/// One thing that a task has added to a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskModule {
    /// What it is.
    pub kind: TaskModuleKind,
    /// Paths of its parameters, adapters left out.
    pub parameters: Vec<String>,
    /// Number of elements; of `conv_in.weight` only those of the further channels.
    pub elements: usize,
    /// Those of them with whose zeros the network is as its base, however the others are; none where there are no such.
    pub outputs: Vec<String>,
    /// Whether they are zero.
    pub at_identity: bool,
}

impl TaskModule {
    /// Whether there are values with which the network is as its base.
    pub fn has_identity(&self) -> bool {
        !self.outputs.is_empty()
    }
}

impl UNet2DCondition {
    /// What tasks have added, in the order of [`TaskModuleKind::ALL`]. Reads the output layers from the device.
    pub fn task_modules(&self) -> Vec<TaskModule> {
        let mut collector = Collector {
            concat_channels: self.concat_channels(),
            path: ParameterPath::default(),
            found: BTreeMap::new(),
        };
        self.visit(&mut collector);
        collector.found.into_values().collect()
    }

    /// Whether the parameter at `path` below this network belongs to a task's modules.
    pub fn is_task_parameter(&self, path: &str) -> bool {
        self.task_module_of(path).is_some()
    }

    /// The task's module that the parameter at `path` below this network belongs to; of `conv_in.weight` a part of it does.
    pub fn task_module_of(&self, path: &str) -> Option<TaskModuleKind> {
        TaskModuleKind::in_unet(path, self.concat_channels())
    }
}

impl Denoiser {
    /// What tasks have added to a UNet; nothing for other networks.
    pub fn task_modules(&self) -> Vec<TaskModule> {
        match self {
            Self::Unet(unet) => unet.task_modules(),
            Self::Mlp(_) => Vec::new(),
        }
    }

    /// Input channels of a UNet that hold a condition; 0 for other networks.
    pub(crate) fn concat_channels(&self) -> usize {
        match self {
            Self::Unet(unet) => unet.concat_channels(),
            Self::Mlp(_) => 0,
        }
    }

    /// Whether the parameter at `path` below this network belongs to a task's modules.
    pub fn is_task_parameter(&self, path: &str) -> bool {
        match self {
            Self::Unet(unet) => unet.is_task_parameter(path),
            Self::Mlp(_) => false,
        }
    }
}

impl Model {
    /// What tasks have added to the denoiser and the text encoder. Paths are below the model.
    pub fn task_modules(&self) -> Vec<TaskModule> {
        let mut modules = self.denoiser.task_modules();
        for module in &mut modules {
            for path in module.parameters.iter_mut().chain(&mut module.outputs) {
                *path = format!("{DENOISER}{path}");
            }
        }
        if let Some(tokens) = &self.learned_tokens {
            modules.push(TaskModule {
                kind: TaskModuleKind::LearnedTokens,
                parameters: vec!["learned_tokens.weight".to_owned()],
                elements: tokens.weight.lazy_shape().num_elements(),
                outputs: Vec::new(),
                at_identity: false,
            });
        }
        modules
    }

    /// Whether the parameter at `path` below this model belongs to a task's modules.
    pub fn is_task_parameter(&self, path: &str) -> bool {
        self.task_module_of(path).is_some()
    }

    /// As [`UNet2DCondition::task_module_of`], for paths below the model.
    pub fn task_module_of(&self, path: &str) -> Option<TaskModuleKind> {
        match (&self.denoiser, path.strip_prefix(DENOISER)) {
            (Denoiser::Unet(unet), Some(below)) => unet.task_module_of(below),
            (Denoiser::Mlp(_), Some(_)) => None,
            (_, None) => TaskModuleKind::of(path),
        }
    }
}

/// The one parameter that a task shares with the base.
const CONV_IN: &str = "conv_in.weight";
const DENOISER: &str = "denoiser.";

struct Collector {
    concat_channels: usize,
    path: ParameterPath,
    found: BTreeMap<TaskModuleKind, TaskModule>,
}

impl Collector {
    fn add(&mut self, kind: TaskModuleKind, path: String, elements: usize, zero: Option<bool>) {
        let module = self.found.entry(kind).or_insert_with(|| TaskModule {
            kind,
            parameters: Vec::new(),
            elements: 0,
            outputs: Vec::new(),
            at_identity: true,
        });
        // What is normalised is never as it was.
        let normalises = kind == TaskModuleKind::FeaturePyramid && path.contains(".sft.norm.");
        if zero.is_some() {
            module.outputs.push(path.clone());
        }
        module.parameters.push(path);
        module.elements += elements;
        module.at_identity &= zero.unwrap_or(true) && !normalises;
    }
}

impl ModuleVisitor for Collector {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.joined();
        let shape = param.lazy_shape();
        if path == CONV_IN && self.concat_channels > 0 {
            let from = shape[1] - self.concat_channels;
            let columns = param.val().inner().narrow(1, from, self.concat_channels);
            let elements = shape.num_elements() / shape[1] * self.concat_channels;
            let zero = Some(is_zero(columns));
            self.add(TaskModuleKind::ConcatChannels, path, elements, zero);
        } else if let Some(kind) = TaskModuleKind::of(&path) {
            let zero = kind.is_output(&path).then(|| is_zero(param.val().inner()));
            self.add(kind, path, shape.num_elements(), zero);
        }
    }
}

fn is_zero<const D: usize>(tensor: Tensor<D>) -> bool {
    tensor.abs().max().into_scalar::<f32>() == 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_the_kind_and_whether_it_is_an_output() {
        use TaskModuleKind as Kind;
        let block = "up_blocks.1.attentions.0.transformer_blocks.0";
        for (path, kind, is_output) in [
            (
                "position_net.linears.0.weight",
                Kind::GroundingTokens,
                false,
            ),
            ("fuser.alpha_attn", Kind::GroundingTokens, true),
            ("fuser.attn.to_out.0.weight", Kind::GroundingTokens, false),
            ("attn_mv.to_out.0.bias", Kind::MultiView, true),
            ("attn_mv.to_q.weight", Kind::MultiView, false),
            ("norm_mv.weight", Kind::MultiView, false),
            ("domain_embedding", Kind::MultiView, false),
            ("view_volume.unet.conv_2.weight", Kind::ViewVolume, false),
            ("depth_attentions.0.conv_2.weight", Kind::ViewVolume, true),
            ("depth_attentions.0.to_out.weight", Kind::ViewVolume, false),
            ("sft.conv_gamma.bias", Kind::FeaturePyramid, true),
            (
                "feature_pyramid.conv_in.weight",
                Kind::FeaturePyramid,
                false,
            ),
            (
                "camera_pose_embedding.linear_2.weight",
                Kind::CameraPose,
                true,
            ),
            (
                "camera_regression.camera_embedding.linear_2.bias",
                Kind::CameraRegression,
                false,
            ),
        ] {
            for path in [path.to_owned(), format!("{block}.{path}")] {
                assert_eq!(Kind::of(&path), Some(kind), "{path}");
            }
            assert_eq!(
                kind.is_output(&format!("{block}.{path}")),
                is_output,
                "{path}"
            );
            let adapter = format!("{block}.{path}.lora.lora_a");
            assert_eq!(Kind::of(&adapter), None);
        }
        for path in [
            "conv_in.weight",
            "mid_block.resnets.0.conv1.weight",
            "attn1.to_out.0.weight",
        ] {
            assert_eq!(Kind::of(path), None, "{path}");
        }
        assert_eq!(
            Kind::in_unet("conv_in.weight", 4),
            Some(Kind::ConcatChannels)
        );
        assert_eq!(
            Kind::in_unet("feature_pyramid.conv_in.weight", 4),
            Some(Kind::FeaturePyramid)
        );
        assert_eq!(Kind::in_unet("conv_in.weight", 0), None);
    }
}
