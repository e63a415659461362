//! New words of a text encoder whose embeddings are all that is trained (Gal et al. 2022, Textual Inversion, arXiv 2208.01618).
//!
//! The rows are a parameter of their own: the encoder's table is neither copied nor touched, and can be frozen.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor, TensorData, module};

use crate::error::NetsError;
use crate::layers::Embedding;
use crate::parameter_init::ParameterInit;

/// Embeddings of the token ids from a text encoder's `vocab_size` on.
#[derive(Module, Debug)]
pub struct LearnedTokens {
    /// `[tokens, hidden_size]`.
    pub weight: Param<Tensor<2>>,
}

impl LearnedTokens {
    /// `count` equal rows: the mean of the rows of `table` at the ids in `initializer`. `name` is the parameter's place in a
    /// model, which its id follows from.
    ///
    /// # Errors
    /// [`NetsError::InvalidConfig`] for no tokens, no ids, or an id that the table does not have.
    pub fn from_table(
        table: &Embedding,
        name: &str,
        count: usize,
        initializer: &[u32],
    ) -> Result<Self, NetsError> {
        let [entries, features] = table.weight.lazy_shape().dims();
        if count == 0 {
            return Err(NetsError::config(
                "learned_tokens",
                count,
                "at least one is needed",
            ));
        }
        if initializer.is_empty() || initializer.iter().any(|id| *id as usize >= entries) {
            let reason = format!(
                "they must be known tokens, one at least: ids from 0 to {}",
                entries - 1
            );
            return Err(NetsError::config("initializer", initializer, reason));
        }
        let device = table.weight.lazy_device();
        let ids: Vec<i64> = initializer.iter().map(|id| i64::from(*id)).collect();
        let rows = ids.len();
        let plain = device.clone().inner();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [rows]), &plain);
        let mean = table.weight.val().inner().select(0, ids).mean_dim(0);
        let values = mean.expand([count, features]).into_data();
        let place = ParameterInit::new(0, &device).at(name);
        let weight = place.constant("weight", [count, features], 0.0);
        Ok(Self {
            weight: weight.map(|zeros| {
                let trains = zeros.is_require_grad();
                Tensor::from_data(values, (&device, zeros.dtype())).set_require_grad(trains)
            }),
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.weight.lazy_shape().dims::<2>()[0]
    }

    /// Never, unless somebody made it so by hand.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Puts `rows` at the end of `table`, which keeps its id and whether it trains.
///
/// # Shapes
/// - `rows`: `[tokens, features]`
pub(crate) fn append_rows(table: &mut Embedding, rows: Tensor<2>) {
    let device = table.weight.lazy_device();
    table.weight = table.weight.clone().map(|values| {
        let trains = values.is_require_grad();
        let dtype = values.dtype();
        let rows = rows.to_device(&device).cast(dtype);
        let all = Tensor::cat(vec![values.detach(), rows.detach()], 0);
        all.detach().set_require_grad(trains)
    });
}

/// Rows of `table` for ids that it has, rows of `learned` for those that follow.
///
/// # Shapes
/// - `ids`: `[batch, tokens]`, each in `0..entries + learned`; result: `[batch, tokens, features]`
pub(crate) fn look_up(
    table: &Embedding,
    learned: Option<&LearnedTokens>,
    ids: Tensor<2, Int>,
) -> Tensor<3> {
    let Some(learned) = learned else {
        return table.forward(ids);
    };
    let [entries, features] = table.weight.dims();
    let [batch, tokens] = ids.dims();
    let is_new = ids.clone().greater_equal_elem(entries as i64);
    let known = table.forward(ids.clone().mask_fill(is_new.clone(), 0));
    let place = (ids - entries as i64).mask_fill(is_new.clone().bool_not(), 0);
    let new = module::embedding(learned.weight.val(), place);
    let is_new = is_new
        .reshape([batch, tokens, 1])
        .expand([batch, tokens, features]);
    known.mask_where(is_new, new)
}
