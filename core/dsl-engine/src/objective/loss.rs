//! How far two predictions are apart: the one place where norms, spaces and weights of losses are decided.

use burn::tensor::{DType, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::loss_weighting::LossWeighting;
use crate::parameterization::LossSpace;

/// Conventions of all losses, whatever the objective.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LossConfig {
    /// What `||.||^2` is. The paper does not say; the libraries of the field take the mean.
    pub reduction: Reduction,
    /// Space in which predictions are compared. The paper's losses are in noise space.
    pub space: LossSpace,
    /// Weight of a sample by its timestep; multiplies the regression and the hinge alike.
    pub weighting: LossWeighting,
}

/// Reduction of a squared difference over all axes but the batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// Mean: independent of resolution, so one lambda and one learning rate serve all.
    #[default]
    Mean,
    /// Sum: the norm as it is printed. Margins are then larger by the number of elements.
    Sum,
}

/// Measures squared distances of a batch under one convention.
pub struct Measure {
    reduction: Reduction,
    /// Turns differences of the native parameterisation into differences of the loss space; `None` is 1.
    scale: Option<Tensor<4>>,
    weight: Option<Tensor<1>>,
    views: usize,
}

impl Measure {
    /// A measure over `views` rows per object.
    ///
    /// # Shapes
    /// - `scale`: `[batch, 1, 1, 1]`; `None` leaves differences as they are, bit for bit
    /// - `weight`: `[batch]`
    pub fn new(
        reduction: Reduction,
        scale: Option<Tensor<4>>,
        weight: Option<Tensor<1>>,
        views: usize,
    ) -> Self {
        Self {
            reduction,
            scale,
            weight,
            views: views.max(1),
        }
    }

    /// Unweighted, in the native parameterisation, one view per object.
    pub fn plain(reduction: Reduction) -> Self {
        Self::new(reduction, None, None, 1)
    }

    /// Weight per row, `[batch]`.
    pub fn weight(&self) -> Option<&Tensor<1>> {
        self.weight.as_ref()
    }

    /// Rows that belong to one object.
    pub fn views(&self) -> usize {
        self.views
    }

    /// Elementwise squared differences in the loss space, `[batch, channels, height, width]`, in float32: squares of
    /// half-precision differences would lose the small ones that DSL is about.
    pub fn squares(&self, a: Tensor<4>, b: Tensor<4>) -> Tensor<4> {
        let difference = to_f32(a) - to_f32(b);
        let difference = match &self.scale {
            Some(scale) => difference * scale.clone(),
            None => difference,
        };
        difference.clone() * difference
    }

    /// Reduces `[batch, channels, height, width]` to `[batch]`.
    pub fn reduce(&self, squares: Tensor<4>) -> Tensor<1> {
        let rows = squares.flatten::<2>(1, 3);
        match self.reduction {
            Reduction::Mean => rows.mean_dim(1).squeeze_dim::<1>(1),
            Reduction::Sum => rows.sum_dim(1).squeeze_dim::<1>(1),
        }
    }

    /// `||a - b||^2` per row, `[batch]`.
    pub fn squared_distance(&self, a: Tensor<4>, b: Tensor<4>) -> Tensor<1> {
        self.reduce(self.squares(a, b))
    }

    /// Mean over the views of each object: `[batch]` to `[batch / views]`.
    pub fn per_object(&self, rows: Tensor<1>) -> Tensor<1> {
        if self.views == 1 {
            return rows;
        }
        let objects = rows.dims()[0] / self.views;
        rows.reshape([objects, self.views])
            .mean_dim(1)
            .squeeze_dim::<1>(1)
    }
}

/// Mean of `values`, each times its weight. Weights are not normalised, as in min-SNR.
pub fn weighted_mean(values: Tensor<1>, weight: Option<&Tensor<1>>) -> Tensor<1> {
    match weight {
        Some(weight) => (values * weight.clone()).mean(),
        None => values.mean(),
    }
}

fn to_f32(tensor: Tensor<4>) -> Tensor<4> {
    if tensor.dtype() == DType::F32 {
        tensor
    } else {
        tensor.cast(DType::F32)
    }
}
