//! A feature volume made of all noised views of an object, and read again along the rays of each view (Liu et al. 2023,
//! SyncDreamer, arXiv 2309.03453, section 3.2).
//!
//! | step | where | from | to |
//! |---|---|---|---|
//! | features of each view | [`view_encoder`] | `x_t` of all rows | `[rows, 16, height, width]` |
//! | unprojection | [`sampling`] | features, cameras | `[objects, views * 16, resolution³]` |
//! | one volume | [`unet_3d`] | all views' features at each point | `[objects, channels[0], resolution³]` |
//! | a frustum for each view | [`sampling`] | volume, cameras | `[rows, channels[0], depths, height, width]` |
//! | features at all levels | [`unet_3d`] | frustums | level i: `[rows, channels[i], ..]`, each axis halved i times |
//! | into the UNet | [`depth_attention`] | features of a level | the middle's and up blocks' hidden states |

mod depth_attention;
mod sampling;
mod unet_3d;
mod view_encoder;

pub use depth_attention::DepthAttention;
pub(crate) use depth_attention::DepthAttentionShape;
pub use unet_3d::{Block3D, Conv3d, Level3D, UNet3D, Upsample3D};
pub use view_encoder::{ViewEncoder, ViewResnetBlock};

use std::cell::RefCell;

use burn::module::Module;
use burn::tensor::{DType, Tensor};

use super::ViewVolumeConfig;
use crate::conditioning::VolumeConditioning;
use crate::embeddings::{TimestepEmbedding, Timesteps};
use crate::error::NetsError;
use crate::gradient_checkpointing::Passed;
use crate::layers::Linear;
use crate::lora::impl_for_each_linear;
use crate::parameter_init::ParameterInit;
use unet_3d::UNet3DShape;

impl ViewVolumeConfig {
    /// Whether the fields fit together, and a network of `levels` sizes.
    ///
    /// # Errors
    /// [`NetsError::InvalidConfig`] naming the first field that does not fit, and why.
    pub(crate) fn validate(&self, levels: usize) -> Result<(), NetsError> {
        let name = |field: &str| format!("task_modules.view_volume.{field}");
        for (field, value) in [
            ("views", self.views),
            ("resolution", self.resolution),
            ("depths", self.depths),
        ] {
            // A sample is linear between two grid points, and so is a ray between two depths.
            let least = if field == "views" { 1 } else { 2 };
            if value < least {
                let reason = format!("it must be at least {least}");
                return Err(NetsError::config(name(field), value, reason));
            }
        }
        if !(self.half_side.is_finite() && self.half_side > 0.0) {
            let reason = "it must be positive";
            return Err(NetsError::config(name("half_side"), self.half_side, reason));
        }
        let [near, far] = self.depth_range;
        if !(near > 0.0 && near < far && far.is_finite()) {
            return Err(NetsError::config(
                name("depth_range"),
                self.depth_range,
                "it needs two positive depths, the smaller one first",
            ));
        }
        if self.channels.len() != levels || self.channels.contains(&0) {
            let reason = format!(
                "block_out_channels has {levels} entries, so it needs as many, each at least 1"
            );
            return Err(NetsError::config(name("channels"), &self.channels, reason));
        }
        Ok(())
    }
}

/// Makes features for every level of a UNet out of all noised views.
#[derive(Module, Debug)]
pub struct ViewVolume {
    /// Two linear layers after the sinusoids, apart from the UNet's.
    pub time_embedding: TimestepEmbedding,
    /// Features of each view.
    pub view_encoder: ViewEncoder,
    /// Over the cube.
    pub volume_unet: UNet3D,
    /// Over the frustum of each view.
    pub frustum_unet: UNet3D,
    #[module(skip)]
    time_proj: Timesteps,
    #[module(skip)]
    config: ViewVolumeConfig,
}

impl_for_each_linear!(ViewVolume {
    time_embedding,
    view_encoder,
    volume_unet,
    frustum_unet
});

/// Sizes of a [`ViewVolume`] that its configuration does not hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ViewVolumeShape {
    /// Channels of `x_t`.
    pub channels_in: usize,
    /// Numbers of a camera, where the network gets them.
    pub camera_numbers: Option<usize>,
    /// As in [`Timesteps::new`].
    pub flip_sin_to_cos: bool,
    /// As in [`Timesteps::new`].
    pub freq_shift: f64,
}

impl ViewVolume {
    /// `config` has been validated.
    pub(crate) fn new(
        init: &ParameterInit,
        config: &ViewVolumeConfig,
        shape: ViewVolumeShape,
    ) -> Self {
        // The reference has 256 for 64 features.
        let time_embed_dim = config.channels[0] * 4;
        let of_rows = RowEmbeddingShape {
            time_embed_dim,
            camera_numbers: shape.camera_numbers,
        };
        let of_objects = RowEmbeddingShape {
            time_embed_dim,
            camera_numbers: None,
        };
        Self {
            time_embedding: TimestepEmbedding::new(
                &init.at("time_embedding"),
                time_embed_dim,
                time_embed_dim,
            ),
            view_encoder: ViewEncoder::new(&init.at("view_encoder"), shape.channels_in, of_rows),
            volume_unet: UNet3D::new(
                &init.at("volume_unet"),
                &UNet3DShape {
                    channels_in: config.views * ViewEncoder::FEATURES,
                    channels: &config.channels,
                    embedding: of_objects,
                    first_blocks: 1,
                    further_blocks: 2,
                },
            ),
            frustum_unet: UNet3D::new(
                &init.at("frustum_unet"),
                &UNet3DShape {
                    channels_in: config.channels[0],
                    channels: &config.channels,
                    embedding: of_rows,
                    first_blocks: 0,
                    further_blocks: 1,
                },
            ),
            time_proj: Timesteps::new(time_embed_dim, shape.flip_sin_to_cos, shape.freq_shift),
            config: config.clone(),
        }
    }

    /// Features of each level, finest first.
    ///
    /// # Shapes
    /// - `x_t`: `[rows, channels, height, width]`, object by object, in an object view by view
    /// - `timestep`: `[rows]`, the same for all views of an object; `camera_pose`: `[rows, numbers]`
    /// - result: level i is `[rows, channels[i], depths / 2^i, height / 2^i, width / 2^i]`, rounded up
    ///
    /// # Panics
    /// When the number of rows does not fit the cameras, which is a mistake of the caller.
    pub fn forward(
        &self,
        x_t: Tensor<4>,
        timestep: Tensor<1>,
        cameras: &VolumeConditioning,
        camera_pose: Option<Tensor<2>>,
    ) -> Vec<Tensor<5>> {
        let ([rows, _, height, width], views) = (x_t.dims(), self.config.views);
        let [objects, of_views, ..] = cameras.projections.dims();
        assert!(
            of_views == views && rows == objects * views,
            "{rows} rows do not fit the cameras of {objects} objects × {of_views} views, and a network for {views} views"
        );
        let dtype = x_t.dtype();
        let temb = self
            .time_embedding
            .forward(self.time_proj.forward(timestep).cast(dtype));
        let [_, features] = temb.dims();
        let of_first = temb
            .clone()
            .reshape([objects, views, features])
            .narrow(1, 0, 1)
            .reshape([objects, features]);
        let of_objects = Condition::new(&of_first, None);
        let of_rows = Condition::new(&temb, camera_pose);
        // Positions need more digits than features.
        let projections = cameras.projections.clone().detach().cast(DType::F32);
        let projections = projections.reshape([rows, 3, 4]);

        let seen = self.view_encoder.forward(x_t, &of_rows);
        let volume = sampling::unproject(seen, projections.clone(), &self.config);
        let volume = self.volume_unet.forward(volume, &of_objects).swap_remove(0);
        let frustums =
            sampling::sample_frustums(volume, projections, [height, width], &self.config);
        let kept = cameras.kept.clone().cast(dtype);
        let kept = kept
            .reshape([objects, 1])
            .expand([objects, views])
            .reshape([rows, 1, 1, 1, 1]);
        self.frustum_unet
            .forward(frustums, &of_rows)
            .into_iter()
            .map(|level| level * kept.clone())
            .collect()
    }
}

/// What every position of a row gets added.
pub(crate) struct Condition {
    /// `[batch, time_embed_dim]`, for all blocks one after the other.
    temb: RefCell<Passed<2>>,
    /// `[batch, numbers]`.
    camera: Option<Tensor<2>>,
}

impl Condition {
    /// # Shapes
    /// - `temb`: `[batch, time_embed_dim]`; `camera`: `[batch, numbers]`
    fn new(temb: &Tensor<2>, camera: Option<Tensor<2>>) -> Self {
        Self {
            temb: RefCell::new(Passed::new(temb)),
            camera,
        }
    }
}

/// Sizes of a [`RowEmbedding`]'s inputs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowEmbeddingShape {
    pub time_embed_dim: usize,
    pub camera_numbers: Option<usize>,
}

/// A linear layer from the timestep embedding, and one from the numbers of the camera where there are some.
#[derive(Module, Debug)]
pub struct RowEmbedding {
    /// `[time_embed_dim] -> [channels]`.
    pub time: Linear,
    /// `[numbers] -> [channels]`.
    pub camera: Option<Linear>,
}

impl_for_each_linear!(RowEmbedding { time, camera });

impl RowEmbedding {
    fn new(init: &ParameterInit, shape: RowEmbeddingShape, channels: usize) -> Self {
        Self {
            time: Linear::new(&init.at("time"), shape.time_embed_dim, channels),
            camera: shape
                .camera_numbers
                .map(|numbers| Linear::new(&init.at("camera"), numbers, channels)),
        }
    }

    /// `[batch, channels]`.
    fn forward(&self, condition: &Condition) -> Tensor<2> {
        let of_time = self.time.forward(condition.temb.borrow_mut().next());
        match (&self.camera, &condition.camera) {
            (Some(layer), Some(camera)) => of_time + layer.forward(camera.clone()),
            _ => of_time,
        }
    }
}

/// Groups of a norm over `channels`: the reference's 8, or as many as divide them into groups of two or more. A norm over a
/// single channel would take away what timestep and camera add to it.
fn groups(channels: usize) -> usize {
    let fits = |groups: &usize| channels.is_multiple_of(*groups) && channels / groups >= 2;
    (1..=8).rev().find(fits).unwrap_or(1)
}

/// PyTorch's default for group norms.
const NORM_EPS: f64 = 1e-5;
