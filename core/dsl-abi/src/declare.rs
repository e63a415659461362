//! What plugin and host tell each other as JSON: the Rust types of the cold documents.

use serde::{Deserialize, Serialize};

use crate::{RawDType, RawErrorCode};

/// Who a plugin is, as its root module states it. Keys that this build does not know are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Short kebab-case name of the task, such as `t2i`.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// One sentence.
    pub description: String,
    /// Version of the plugin itself.
    pub version: String,
    /// Licence of the plugin, as its package states it; empty if it states none.
    #[serde(default)]
    pub license: String,
    /// Authors of the plugin, as its package states them; empty if it states none.
    #[serde(default)]
    pub authors: String,
    /// Version of the SDK that built it.
    #[serde(default)]
    pub sdk: String,
    /// Compiler that built it, as `rustc --version` prints it.
    #[serde(default)]
    pub rustc: String,
    /// What it was built for, such as `x86_64-unknown-linux-gnu`.
    #[serde(default)]
    pub target: String,
    /// `unwind` or `abort`. With `abort` a panic in the plugin ends the host.
    #[serde(default)]
    pub panic_strategy: String,
    /// Ids of the interfaces that `extension` answers to.
    #[serde(default)]
    pub extensions: Vec<String>,
}

/// Type of the elements of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// 32-bit float.
    F32,
    /// Unsigned byte.
    U8,
    /// 64-bit signed integer.
    I64,
    /// UTF-8 text of any length.
    Text,
}

impl DType {
    /// Size of one element in bytes; 1 for text, whose elements are bytes.
    pub const fn size_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::U8 | Self::Text => 1,
            Self::I64 => 8,
        }
    }

    /// Name used in JSON and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::U8 => "u8",
            Self::I64 => "i64",
            Self::Text => "text",
        }
    }

    /// The number that crosses the boundary with a tensor; `None` for text, which crosses as a [`crate::TextColumn`].
    pub const fn raw(self) -> Option<RawDType> {
        match self {
            Self::F32 => Some(RawDType::F32),
            Self::U8 => Some(RawDType::U8),
            Self::I64 => Some(RawDType::I64),
            Self::Text => None,
        }
    }

    /// Reads the number of a tensor.
    ///
    /// # Errors
    /// Gives the number back when this build cannot read such a tensor.
    pub const fn from_raw(raw: RawDType) -> Result<Self, RawDType> {
        match raw {
            RawDType::F32 => Ok(Self::F32),
            RawDType::U8 => Ok(Self::U8),
            RawDType::I64 => Ok(Self::I64),
            other => Err(other),
        }
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What a column is for; the host decides by it how the column is drawn and stored, never how it is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ColumnRole {
    /// A picture, `[channels, height, width]`, values in −1..1 when `f32`; several with their number before.
    Image,
    /// A point, `[dimensions]`.
    Vector,
    /// Text such as a caption.
    Text,
    /// A class or another number that stands for a choice.
    Label,
    /// Anything else.
    Other,
}

/// One column of a dataset, declared before the first batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnSpec {
    /// Name, unique in its dataset.
    pub name: String,
    /// Type of its elements.
    pub dtype: DType,
    /// Shape of one sample, without the batch axis; `None` where the length varies from batch to batch.
    /// Empty for one text and for one number per sample; the lengths of a text's shape are fixed.
    pub shape: Vec<Option<u64>>,
    /// What it is for.
    pub role: ColumnRole,
}

/// What a task trains on, and how its data conditions the network.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskDescription {
    /// Column that holds the clean sample `x_0`: role `image`, `f32`, `[channels, height, width]` in −1..1, or
    /// `[rows, channels, height, width]` for the views of one object; or role `vector`, `f32`, `[dimensions]`.
    pub target: String,
    /// How other columns condition the network; both networks of an objective receive the same.
    pub injections: Vec<Injection>,
    /// Prompts worth sampling while training; empty when the task has no text.
    pub sample_prompts: Vec<String>,
    /// Share of samples, 0..1, that lose all of their conditions together, as classifier-free guidance with several of them
    /// needs it; drawn before each kind draws for itself.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropout: f64,
}

fn is_zero(share: &f64) -> bool {
    *share == 0.0
}

/// One way in which columns condition the network. The host builds the layers; a kind that it does not know is an error
/// there.
///
/// Kinds can be combined freely, each at most once. No column is the target itself, and lengths are fixed, but for those
/// that are the target's. `dropout` is the share of samples, 0..1, whose condition is replaced by
/// the unconditional one while training, as classifier-free guidance needs it; each kind draws for itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Injection {
    /// Tokens for the cross-attention layers: of a text column through a text encoder; of an `f32` column of shape
    /// `[features]` (one token) or `[tokens, features]` through a linear layer. With several rows per sample the shape may
    /// begin with their number. Unconditional: the empty text; zeros.
    CrossAttention {
        /// The column.
        column: String,
        /// Share of samples without it.
        dropout: f64,
    },
    /// A class, by an embedding that is added to the timestep's. Unconditional: a class of its own.
    ClassLabel {
        /// An `i64` column of shape `[]`, values in `0..classes`.
        column: String,
        /// Number of classes.
        classes: u64,
        /// Share of samples without it.
        dropout: f64,
    },
    /// Further channels of the first convolution, whose weights for them start at 0. Unconditional: zeros.
    ConcatChannels {
        /// An `f32` column of shape `[channels, height, width]`, the size of the target, with values like the target's; one
        /// for all rows of a sample, or with their number before.
        column: String,
        /// Share of samples without it.
        dropout: f64,
    },
    /// Boxes with phrases through gated self-attention (Li et al. 2023, GLIGEN). Needs a text encoder, so a text
    /// [`Injection::CrossAttention`] as well. Unconditional: no boxes.
    GroundingTokens {
        /// An `f32` column of shape `[most boxes, 4]`: left, top, right, bottom in 0..1.
        boxes: String,
        /// A text column of shape `[most boxes]`; the empty text where there is no box.
        phrases: String,
        /// An `f32` column of shape `[most boxes]`: 1 for a box, 0 for an empty slot.
        mask: String,
        /// Share of samples without boxes.
        dropout: f64,
    },
    /// New words of the text encoder, whose embeddings are the only thing that is trained (Gal et al. 2022, Textual
    /// Inversion). Needs a text [`Injection::CrossAttention`] whose column has the words in its texts.
    LearnedTokens {
        /// The words, such as `<chair>`; one embedding each.
        tokens: Vec<String>,
        /// A known word whose embedding the new ones start from.
        initializer: String,
    },
    /// A picture through a time-aware encoder into every residual block, by spatial feature transforms (Wang et al. 2023,
    /// StableSR). Unconditional: zeros.
    FeaturePyramid {
        /// An `f32` column of shape `[channels, height, width]`, the size of the target.
        column: String,
        /// Share of samples without it.
        dropout: f64,
    },
    /// A volume made of all noised views of an object, read by depth-wise attention (Liu et al. 2023, SyncDreamer). The
    /// target holds several views.
    ViewVolume {
        /// An `f32` column of shape `[views, 3, 4]`: takes a point of the object's cube, homogeneous, to `(x d, y d, d)`,
        /// where x and y are 0..1 over the picture, from its top left corner, and d is the depth.
        projections: String,
        /// Half the side of the cube around the origin that the volume fills.
        half_side: f64,
        /// Nearest and farthest depth at which each pixel's ray is sampled.
        depth_range: [f64; 2],
        /// Share of samples whose volume is zeros.
        dropout: f64,
    },
    /// Self-attention across the views of an object. The target holds several views.
    MultiView {
        /// Who attends to whom.
        attention: MultiViewAttention,
        /// Number of pictures of each view in different domains, such as 2 for colour and normals. The rows of the target
        /// are domain by domain, in each of them view by view. With 2 or more, self-attention runs over the domains of a
        /// view together, and each domain has an embedding of its own and a timestep of its own.
        domains: u64,
    },
    /// Numbers that say where the camera is, through two linear layers, added to the timestep's embedding. Unconditional:
    /// zeros.
    CameraPose {
        /// An `f32` column of shape `[numbers]`, or `[rows, numbers]` for each row of a sample.
        column: String,
        /// Share of samples without it.
        dropout: f64,
    },
    /// The camera of the conditioning picture, estimated from the middle block and fed to the up blocks; the generator has
    /// two further losses for it (Li et al. 2024, Era3D).
    CameraRegression {
        /// An `f32` column of shape `[]`: elevation in radians.
        elevation: String,
        /// An `f32` column of shape `[]`: inverse focal length, 24 mm / f for a 35 mm film's camera; 0 for an orthographic one.
        inverse_focal: String,
        /// Weight of each of the two squared errors in the generator's loss.
        weight: f64,
    },
}

/// Who attends to whom across views.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MultiViewAttention {
    /// Every position to every position of every view.
    Dense,
    /// Every position to the same row of pixels in every view: for orthographic views of one elevation.
    RowWise,
}

impl Injection {
    /// The kind, as JSON names it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::CrossAttention { .. } => "cross_attention",
            Self::ClassLabel { .. } => "class_label",
            Self::ConcatChannels { .. } => "concat_channels",
            Self::GroundingTokens { .. } => "grounding_tokens",
            Self::LearnedTokens { .. } => "learned_tokens",
            Self::FeaturePyramid { .. } => "feature_pyramid",
            Self::ViewVolume { .. } => "view_volume",
            Self::MultiView { .. } => "multi_view",
            Self::CameraPose { .. } => "camera_pose",
            Self::CameraRegression { .. } => "camera_regression",
        }
    }
}

/// What an evaluator wants to be fed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Requirements {
    /// `count` noised samples of `split`. Columns of each batch of `n`: `x_t` `f32 [n, …]`; `alpha_bar` `f32 [n]`, 0..1;
    /// `eps`, the drawn noise, like `x_t`; `eps_pred/generator` like `x_t`; and `eps_pred/discriminator` when the
    /// objective has a discriminator.
    NoisePredictions {
        /// Split of the dataset that the clean samples come from.
        split: String,
        /// How many noised samples in all.
        count: u64,
    },
    /// `count` samples drawn under the conditions of the first samples of `split`. Columns of each batch of `n`: all of the
    /// dataset's own, the truth among them, and `generated`, `f32`, shaped like the target.
    Samples {
        /// Split of the dataset that the conditions come from.
        split: String,
        /// How many samples in all.
        count: u64,
    },
}

/// Which way a metric gets better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Such as an error or a distance.
    LowerIsBetter,
    /// Such as an accuracy.
    HigherIsBetter,
}

/// One number out of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricValue {
    /// Name such as `score_error/generator`.
    pub name: String,
    /// The value. Not-a-number and the infinities survive the way through JSON, as the texts `NaN`, `inf`, `-inf`.
    #[serde(with = "any_float")]
    pub value: f64,
    /// Which way it gets better.
    pub direction: Direction,
    /// Unit such as `nats`; empty when it has none.
    pub unit: String,
}

/// A feature network or distance that the host knows, one entry of what the service `dsl.features/1` describes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureInfo {
    /// Identifier such as `inception-v3/pool3`.
    pub id: String,
    /// What it gives.
    pub kind: FeatureKind,
    /// Whether it can be asked for now.
    pub available: bool,
    /// How to get it where it is not available; empty where it is.
    #[serde(default)]
    pub help: String,
}

/// What a feature network gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "length")]
pub enum FeatureKind {
    /// A vector of this length for each picture.
    Vector(u64),
    /// A distance for each pair of pictures.
    Distance,
}

/// Why a plugin call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// The configuration asks for something that cannot be: the user changes the configuration.
    Config,
    /// A file or folder could not be read or written.
    Io,
    /// The host asked for a stop, and the call stopped.
    Cancelled,
    /// The plugin panicked: a mistake in the plugin.
    Panic,
    /// The plugin does not offer what was asked for.
    Unsupported,
    /// One side broke a rule of the boundary: a mistake in the plugin or in the host, never of the user.
    Contract,
    /// Anything else, and every code that this build does not know.
    Other,
}

impl ErrorCode {
    /// Name for messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Io => "io",
            Self::Cancelled => "cancelled",
            Self::Panic => "panic",
            Self::Unsupported => "unsupported",
            Self::Contract => "contract",
            Self::Other => "other",
        }
    }

    /// The number that crosses the boundary.
    pub const fn raw(self) -> RawErrorCode {
        match self {
            Self::Config => RawErrorCode::CONFIG,
            Self::Io => RawErrorCode::IO,
            Self::Cancelled => RawErrorCode::CANCELLED,
            Self::Panic => RawErrorCode::PANIC,
            Self::Unsupported => RawErrorCode::UNSUPPORTED,
            Self::Contract => RawErrorCode::CONTRACT,
            Self::Other => RawErrorCode::OTHER,
        }
    }

    /// Reads the number; an unknown one is [`ErrorCode::Other`].
    pub const fn from_raw(raw: RawErrorCode) -> Self {
        match raw {
            RawErrorCode::CONFIG => Self::Config,
            RawErrorCode::IO => Self::Io,
            RawErrorCode::CANCELLED => Self::Cancelled,
            RawErrorCode::PANIC => Self::Panic,
            RawErrorCode::UNSUPPORTED => Self::Unsupported,
            RawErrorCode::CONTRACT => Self::Contract,
            _ => Self::Other,
        }
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// JSON has no words for the values of a float that are not finite, and a metric may well be one of them.
mod any_float {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum NumberOrText {
        Number(f64),
        Text(String),
    }

    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        if value.is_finite() {
            serializer.serialize_f64(*value)
        } else {
            serializer.collect_str(value)
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(value) => Ok(value),
            NumberOrText::Text(text) => text.parse().map_err(|_| {
                D::Error::custom(format!("expected a number, found the text `{text}`"))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_survive_json_even_when_not_finite() {
        for value in [1.5, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
            let metric = MetricValue {
                name: "m".into(),
                value,
                direction: Direction::LowerIsBetter,
                unit: String::new(),
            };
            let text = serde_json::to_string(&metric).unwrap();
            let back: MetricValue = serde_json::from_str(&text).unwrap();
            assert!(
                back.value == value || (back.value.is_nan() && value.is_nan()),
                "{value} became {text}"
            );
        }
    }

    #[test]
    fn unknown_injections_and_keys_are_refused() {
        for text in [
            r#"{"kind":"telepathy","column":"caption"}"#,
            r#"{"kind":"cross_attention","column":"caption","dropout":0.1,"strength":2}"#,
        ] {
            assert!(
                serde_json::from_str::<Injection>(text).is_err(),
                "{text} was read"
            );
        }
    }

    #[test]
    fn manifests_may_grow() {
        let text = r#"{"id":"t","name":"T","description":"d","version":"1","a_later_key":true}"#;
        let manifest: Manifest = serde_json::from_str(text).unwrap();
        assert_eq!((manifest.id.as_str(), manifest.rustc.as_str()), ("t", ""));
    }

    #[test]
    fn codes_are_open_sets() {
        assert_eq!(ErrorCode::from_raw(RawErrorCode(4_000)), ErrorCode::Other);
        assert_eq!(DType::from_raw(RawDType(4_000)), Err(RawDType(4_000)));
        for code in [
            ErrorCode::Config,
            ErrorCode::Io,
            ErrorCode::Panic,
            ErrorCode::Contract,
        ] {
            assert_eq!(ErrorCode::from_raw(code.raw()), code);
        }
    }
}
