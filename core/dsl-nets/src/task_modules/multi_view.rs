//! Self-attention across the views of an object, and over the domains of a view together (Li et al. 2024, Era3D, arXiv
//! 2405.11616; dense: Shi et al. 2023, MVDream, arXiv 2308.16512).
//!
//! Rows of a batch are object by object, in an object domain by domain, in a domain view by view. Who attends to whom is a
//! matter of how tokens are arranged: nothing is masked, and no score is computed that does not count.

use burn::tensor::Tensor;

use super::{AcrossViews, MultiViewConfig};
use crate::attention::Attention;
use crate::error::NetsError;

impl MultiViewConfig {
    /// # Errors
    /// [`NetsError::InvalidConfig`] for a number that is 0.
    pub(crate) fn validate(&self) -> Result<(), NetsError> {
        for (field, value) in [("views", self.views), ("domains", self.domains)] {
            if value == 0 {
                let field = format!("task_modules.multi_view.{field}");
                return Err(NetsError::config(field, value, "it must be at least 1"));
            }
        }
        Ok(())
    }

    /// How many objects a batch holds.
    ///
    /// # Panics
    /// When its last object is not complete, which is a mistake of the caller.
    pub(crate) fn objects(&self, batch: usize) -> usize {
        assert!(
            batch.is_multiple_of(self.rows()),
            "a batch of {batch} is not made of objects of {} domains × {} views",
            self.domains,
            self.views
        );
        batch / self.rows()
    }

    /// Self attention, each position to all positions of the same view in all domains.
    ///
    /// # Shapes
    /// - `x`, result: `[batch, tokens, channels]`
    pub(crate) fn within_views(&self, attention: &Attention, x: Tensor<3>) -> Tensor<3> {
        let joined = self.join_domains(x);
        self.split_domains(attention.forward(joined.clone(), joined))
    }

    /// Self attention, each position to positions in all views of the same domain.
    ///
    /// # Shapes
    /// - `x`, result: `[batch, height * width, channels]`; `size`: height and width
    pub(crate) fn across_views(
        &self,
        attention: &Attention,
        x: Tensor<3>,
        size: [usize; 2],
    ) -> Tensor<3> {
        let joined = self.join_views(x, size);
        self.split_views(attention.forward(joined.clone(), joined), size)
    }

    /// To `[objects * views, domains * tokens, channels]`.
    pub(crate) fn join_domains(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, tokens, channels] = x.dims();
        let objects = self.objects(batch);
        if self.domains == 1 {
            return x;
        }
        x.reshape([objects, self.domains, self.views, tokens, channels])
            .swap_dims(1, 2)
            .reshape([objects * self.views, self.domains * tokens, channels])
    }

    /// The inverse of [`Self::join_domains`].
    pub(crate) fn split_domains(&self, x: Tensor<3>) -> Tensor<3> {
        let [groups, tokens, channels] = x.dims();
        if self.domains == 1 {
            return x;
        }
        let (objects, tokens) = (groups / self.views, tokens / self.domains);
        x.reshape([objects, self.views, self.domains, tokens, channels])
            .swap_dims(1, 2)
            .reshape([objects * self.rows(), tokens, channels])
    }

    /// To `[objects * domains, views * height * width, channels]`, or with one sequence for each row of pixels,
    /// `[objects * domains * height, views * width, channels]`.
    pub(crate) fn join_views(&self, x: Tensor<3>, [height, width]: [usize; 2]) -> Tensor<3> {
        let [batch, _, channels] = x.dims();
        let groups = self.objects(batch) * self.domains;
        match self.attention {
            AcrossViews::Dense => x.reshape([groups, self.views * height * width, channels]),
            AcrossViews::RowWise => x
                .reshape([groups, self.views, height, width, channels])
                .swap_dims(1, 2)
                .reshape([groups * height, self.views * width, channels]),
        }
    }

    /// The inverse of [`Self::join_views`].
    pub(crate) fn split_views(&self, x: Tensor<3>, [height, width]: [usize; 2]) -> Tensor<3> {
        let [groups, tokens, channels] = x.dims();
        let batch = groups * tokens / (height * width);
        match self.attention {
            AcrossViews::Dense => x.reshape([batch, height * width, channels]),
            AcrossViews::RowWise => x
                .reshape([batch / self.views, height, self.views, width, channels])
                .swap_dims(1, 2)
                .reshape([batch, height * width, channels]),
        }
    }

    /// One vector for each domain, repeated for the rows of a batch.
    ///
    /// # Shapes
    /// - `of_domains`: `[domains, features]`; result: `[batch, features]`
    pub(crate) fn of_rows(&self, of_domains: Tensor<2>, batch: usize) -> Tensor<2> {
        let [domains, features] = of_domains.dims();
        let objects = self.objects(batch);
        of_domains
            .reshape([1, domains, 1, features])
            .expand([objects, domains, self.views, features])
            .reshape([batch, features])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameter_init::ParameterInit;
    use burn::tensor::{Device, Int, activation};

    fn config(attention: AcrossViews) -> MultiViewConfig {
        MultiViewConfig {
            views: 3,
            domains: 2,
            attention,
        }
    }

    /// Tokens that hold their own number; 2 objects of 2 domains of 3 views of 2×5 pixels.
    fn numbered() -> Tensor<3> {
        Tensor::<1, Int>::arange(0..120, &Device::flex())
            .float()
            .reshape([12, 10, 1])
    }

    fn numbers<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.into_data().iter::<f32>().collect()
    }

    /// The number of a token in [`numbered`].
    fn at(object: usize, domain: usize, view: usize, pixel: usize) -> f32 {
        ((((object * 2) + domain) * 3 + view) * 10 + pixel) as f32
    }

    #[test]
    fn joined_domains_are_of_one_view() {
        let joined = config(AcrossViews::Dense).join_domains(numbered());
        assert_eq!(joined.dims(), [6, 20, 1]);
        let (object, view) = (1, 2);
        let expected: Vec<f32> = (0..20)
            .map(|token| at(object, token / 10, view, token % 10))
            .collect();
        assert_eq!(numbers(joined.narrow(0, object * 3 + view, 1)), expected);
    }

    #[test]
    fn joined_rows_are_of_one_height_and_domain() {
        let joined = config(AcrossViews::RowWise).join_views(numbered(), [2, 5]);
        assert_eq!(joined.dims(), [8, 15, 1]);
        let (object, domain, height) = (1, 0, 1);
        let expected: Vec<f32> = (0..15)
            .map(|token| at(object, domain, token / 5, height * 5 + token % 5))
            .collect();
        let sequence = (object * 2 + domain) * 2 + height;
        assert_eq!(numbers(joined.narrow(0, sequence, 1)), expected);
    }

    #[test]
    fn what_was_joined_comes_apart() {
        for attention in [AcrossViews::Dense, AcrossViews::RowWise] {
            let config = config(attention);
            let again = config.split_domains(config.join_domains(numbered()));
            assert_eq!(numbers(again), numbers(numbered()));
            let again = config.split_views(config.join_views(numbered(), [2, 5]), [2, 5]);
            assert_eq!(numbers(again), numbers(numbered()));
        }
    }

    /// Values without any pattern that a wrong arrangement could keep.
    fn wave(dims: [usize; 3]) -> Tensor<3> {
        let count = dims.iter().product::<usize>() as i64;
        Tensor::<1, Int>::arange(0..count, &Device::flex())
            .float()
            .mul_scalar(0.7391)
            .sin()
            .reshape(dims)
    }

    fn attention() -> Attention {
        Attention::new(&ParameterInit::new(5, &Device::flex()), 8, 8, 2)
    }

    /// `softmax(q kᵀ / sqrt(4) + mask) v` of one sequence, in plain tensor operations.
    fn plain(attention: &Attention, x: Tensor<2>, mask: Option<Tensor<2>>) -> Tensor<2> {
        let heads = (0..2).map(|head| {
            let [q, k, v] = [&attention.to_q, &attention.to_k, &attention.to_v]
                .map(|layer| x.clone().matmul(layer.weight.val()).narrow(1, head * 4, 4));
            let mut scores = q.matmul(k.transpose()) / 2.0;
            if let Some(mask) = &mask {
                scores = scores + mask.clone();
            }
            activation::softmax(scores, 1).matmul(v)
        });
        let hidden = Tensor::cat(heads.collect(), 1);
        let out = &attention.to_out[0];
        hidden.matmul(out.weight.val()) + out.bias.as_ref().unwrap().val().unsqueeze()
    }

    #[track_caller]
    fn assert_near(found: Vec<f32>, expected: Vec<f32>) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }

    #[test]
    fn attention_to_rows_is_dense_attention_with_a_mask() {
        let (attention, x) = (attention(), wave([12, 10, 8]));
        let found = config(AcrossViews::RowWise).across_views(&attention, x.clone(), [2, 5]);
        let row = |token: usize| token % 10 / 5;
        let mask: Vec<f32> = (0..30 * 30)
            .map(|i| {
                if row(i / 30) == row(i % 30) {
                    0.0
                } else {
                    f32::NEG_INFINITY
                }
            })
            .collect();
        let mask = Tensor::<1>::from_floats(mask.as_slice(), &Device::flex()).reshape([30, 30]);
        let groups = x
            .reshape([4, 30, 8])
            .iter_dim(0)
            .map(|group| plain(&attention, group.reshape([30, 8]), Some(mask.clone())));
        let expected = Tensor::cat(groups.collect(), 0);
        assert_near(numbers(found), numbers(expected));
    }

    #[test]
    fn dense_attention_joins_all_views_of_a_domain() {
        let (attention, x) = (attention(), wave([12, 10, 8]));
        let found = config(AcrossViews::Dense).across_views(&attention, x.clone(), [2, 5]);
        let groups = x
            .reshape([4, 30, 8])
            .iter_dim(0)
            .map(|group| plain(&attention, group.reshape([30, 8]), None));
        assert_near(numbers(found), numbers(Tensor::cat(groups.collect(), 0)));
    }

    #[test]
    fn attention_within_a_view_joins_its_domains() {
        let (attention, x) = (attention(), wave([12, 10, 8]));
        let found = config(AcrossViews::Dense).within_views(&attention, x.clone());
        let row = |row: usize| x.clone().narrow(0, row, 1).reshape([10, 8]);
        let mut expected = vec![Vec::new(); 12];
        for object in 0..2 {
            for view in 0..3 {
                let rows = [0, 1].map(|domain| (object * 2 + domain) * 3 + view);
                let both = Tensor::cat(rows.map(row).to_vec(), 0);
                let both = plain(&attention, both, None);
                for (at, first) in rows.into_iter().zip([0, 10]) {
                    expected[at] = numbers(both.clone().narrow(0, first, 10));
                }
            }
        }
        assert_near(numbers(found), expected.concat());
    }

    #[test]
    fn permuted_views_have_permuted_results() {
        let order =
            Tensor::<1, Int>::from_ints([1, 2, 0, 4, 5, 3, 7, 8, 6, 10, 11, 9], &Device::flex());
        let (attention, x) = (attention(), wave([12, 10, 8]));
        for kind in [AcrossViews::Dense, AcrossViews::RowWise] {
            let config = config(kind);
            let result = config.across_views(&attention, x.clone(), [2, 5]);
            let permuted = x.clone().select(0, order.clone());
            let of_permuted = config.across_views(&attention, permuted, [2, 5]);
            assert_near(
                numbers(of_permuted),
                numbers(result.select(0, order.clone())),
            );
        }
    }

    #[test]
    fn a_row_of_pixels_is_seen_in_that_row_alone() {
        let (attention, x) = (attention(), wave([12, 10, 8]));
        let config = config(AcrossViews::RowWise);
        let before = config.across_views(&attention, x.clone(), [2, 5]);
        // The second row of pixels of the first object's second view, turned over.
        let row = x.clone().slice([1..2, 5..10]);
        let changed = x.slice_assign([1..2, 5..10], row.neg());
        let difference = config.across_views(&attention, changed, [2, 5]) - before;
        let rows = difference.abs().reshape([4, 3, 2, 40]).sum_dim(3);
        for (i, sum) in numbers(rows).into_iter().enumerate() {
            let (group, row) = (i / 6, i % 2);
            assert_eq!(sum > 1e-4, group == 0 && row == 1, "{i}: {sum}");
        }
    }

    #[test]
    fn every_row_has_the_vector_of_its_domain() {
        let device = Device::flex();
        let of_domains = Tensor::from_floats([[1.0], [2.0]], &device);
        let rows = config(AcrossViews::Dense).of_rows(of_domains, 12);
        let one = [1.0, 1.0, 1.0, 2.0, 2.0, 2.0];
        assert_eq!(numbers(rows), [one, one].concat());
    }

    #[test]
    #[should_panic(expected = "a batch of 7 is not made of objects of 2 domains × 3 views")]
    fn an_object_without_all_its_rows_is_a_mistake() {
        config(AcrossViews::Dense).objects(7);
    }
}
