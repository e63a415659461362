//! Samples for evaluators and pictures, made as the host makes them: noised or drawn, with what belongs to them.

use dsl_loader::{
    ColumnRole, DatasetHandle, EvaluatorHandle, HostColumnData, InputColumn, InputData,
    LoaderError, Requirements, TaskHandle,
};

use crate::{
    case::Verdict,
    context::{affordable, some_indices},
};

/// The column with the prediction that only some objectives have.
const DISCRIMINATOR: &str = "eps_pred/discriminator";

/// Some samples, in columns that can be fed in parts.
#[derive(Clone)]
pub(crate) struct Feed {
    count: usize,
    columns: Vec<FeedColumn>,
    /// The column that is measured before all others.
    main: &'static str,
}

#[derive(Clone)]
struct FeedColumn {
    name: String,
    /// Shape of one sample; for text it is not told.
    sample: Vec<u64>,
    values: Values,
}

#[derive(Clone)]
enum Values {
    F32(Vec<f32>),
    U8(Vec<u8>),
    I64(Vec<i64>),
    Text(Vec<String>),
}

/// Columns to leave out, for cases that feed what was not asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave<'a> {
    Nothing,
    Discriminator,
    /// The one that is measured before all others.
    Main,
    /// The one of that name.
    Column(&'a str),
    /// All but the one that is measured before all others.
    AllButMain,
}

impl Feed {
    /// `count` samples of the split that the evaluator asks for, or as many as fit into memory.
    pub(crate) fn new(
        task: &TaskHandle,
        evaluator: &EvaluatorHandle,
        count: usize,
    ) -> Result<Self, Verdict> {
        let (Requirements::NoisePredictions { split, .. } | Requirements::Samples { split, .. }) =
            evaluator.requirements();
        let dataset = task.dataset(split)?;
        if dataset.is_empty() {
            return Err(Verdict::failed(format!(
                "the evaluator wants samples of the split `{split}`, which is empty"
            )));
        }
        let target = &task.describe().target;
        Ok(match evaluator.requirements() {
            Requirements::NoisePredictions { .. } => Self::noised(&dataset, target, count)?,
            Requirements::Samples { .. } => Self::drawn(&dataset, target, count)?,
        })
    }

    /// Noised samples with the predictions of networks that are a little wrong.
    fn noised(dataset: &DatasetHandle, target: &str, count: usize) -> Result<Self, LoaderError> {
        let own = own_columns(dataset, count)?;
        let count = own.count;
        let alpha_bar: Vec<f32> = (0..count)
            .map(|row| 0.01 + 0.98 * (row as f32 + 0.5) / count as f32)
            .collect();
        let (sample, x_0) = own.target(target);
        let length = x_0.len() / count.max(1);
        let mut noise = Noise(0x5EED);
        let [mut x_t, mut eps, mut generator, mut discriminator] = [const { Vec::new() }; 4];
        for (place, &value) in x_0.iter().enumerate() {
            let alpha_bar = alpha_bar[place / length.max(1)];
            let drawn = noise.normal();
            eps.push(drawn);
            x_t.push(alpha_bar.sqrt() * value + (1.0 - alpha_bar).sqrt() * drawn);
            generator.push(0.9 * drawn + 0.1 * noise.normal());
            discriminator.push(0.8 * drawn + 0.2 * noise.normal());
        }
        let column = |name: &str, sample: &[u64], values| FeedColumn {
            name: name.to_owned(),
            sample: sample.to_vec(),
            values: Values::F32(values),
        };
        Ok(Self {
            count,
            columns: vec![
                column("alpha_bar", &[], alpha_bar),
                column("x_t", sample, x_t),
                column("eps", sample, eps),
                column("eps_pred/generator", sample, generator),
                column(DISCRIMINATOR, sample, discriminator),
            ],
            main: "x_t",
        })
    }

    /// Samples with all of the dataset's columns, the truth among them, and `generated`: something between the truth and
    /// noise, in the range of a picture where the target is one.
    pub(crate) fn drawn(
        dataset: &DatasetHandle,
        target: &str,
        count: usize,
    ) -> Result<Self, LoaderError> {
        let mut feed = own_columns(dataset, count)?;
        let is_picture = (dataset.columns().iter())
            .any(|spec| spec.name == target && spec.role == ColumnRole::Image);
        let (sample, x_0) = feed.target(target);
        let mut noise = Noise(0x5EED);
        let generated = x_0.iter().map(|value| {
            let value = 0.5 * (value + noise.normal());
            match is_picture {
                true => value.clamp(-1.0, 1.0),
                false => value,
            }
        });
        let generated = FeedColumn {
            name: "generated".to_owned(),
            values: Values::F32(generated.collect()),
            sample: sample.to_vec(),
        };
        feed.columns.push(generated);
        feed.main = "generated";
        Ok(feed)
    }

    /// Shape of a sample and values of the target; the loader has checked that it is there and holds floats.
    fn target(&self, name: &str) -> (&[u64], &[f32]) {
        let column = self.columns.iter().find(|column| column.name == name);
        match column.map(|column| (&column.sample, &column.values)) {
            Some((sample, Values::F32(values))) => (sample, values),
            _ => (&[], &[]),
        }
    }

    /// The column that is measured before all others.
    pub(crate) const fn main(&self) -> &'static str {
        self.main
    }

    /// Names of the columns.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// Hands the rows `from..to` to `body`, as far as there are so many; nothing where there are none.
    pub(crate) fn rows<T>(
        &self,
        from: usize,
        to: usize,
        leave: Leave<'_>,
        body: impl FnOnce(&[InputColumn<'_>]) -> T,
    ) -> Option<T> {
        let to = to.min(self.count);
        if from >= to {
            return None;
        }
        let stays = |column: &&FeedColumn| match leave {
            Leave::Nothing => true,
            Leave::Discriminator => column.name != DISCRIMINATOR,
            Leave::Main => column.name != self.main,
            Leave::Column(name) => column.name != name,
            Leave::AllButMain => column.name == self.main,
        };
        let columns: Vec<_> = self.columns.iter().filter(stays).collect();
        let shapes: Vec<_> = (columns.iter())
            .map(|column| [&[(to - from) as u64], &column.sample[..]].concat())
            .collect();
        let inputs: Vec<_> = (columns.iter().zip(&shapes))
            .map(|(column, shape)| InputColumn {
                name: &column.name,
                data: column.values.part(shape, self.count, from, to),
            })
            .collect();
        Some(body(&inputs))
    }

    /// Feeds the rows `from..to`, as far as there are so many.
    pub(crate) fn feed(
        &self,
        evaluator: &mut EvaluatorHandle,
        from: usize,
        to: usize,
        leave: Leave<'_>,
    ) -> Result<(), LoaderError> {
        let update = |inputs: &[InputColumn<'_>]| evaluator.update(inputs, from as u64);
        self.rows(from, to, leave, update).unwrap_or(Ok(()))
    }
}

impl Values {
    /// The rows `from..to` of `count`.
    fn part<'a>(&'a self, shape: &'a [u64], count: usize, from: usize, to: usize) -> InputData<'a> {
        fn part<T>(values: &[T], count: usize, from: usize, to: usize) -> &[T] {
            let length = values.len() / count.max(1);
            &values[from * length..to * length]
        }
        match self {
            Self::F32(values) => InputData::F32 {
                shape,
                values: part(values, count, from, to),
            },
            Self::U8(values) => InputData::U8 {
                shape,
                values: part(values, count, from, to),
            },
            Self::I64(values) => InputData::I64 {
                shape,
                values: part(values, count, from, to),
            },
            Self::Text(texts) => InputData::Text(part(texts, count, from, to)),
        }
    }
}

/// The columns of `count` samples of a dataset, or of as many as fit into memory.
fn own_columns(dataset: &DatasetHandle, count: usize) -> Result<Feed, LoaderError> {
    // Five arrays like the target are held here, and whoever is fed may hold as much.
    let count = affordable(dataset, 10 * count)?.div_ceil(10).min(count);
    // The same samples again where there are too few.
    let some = some_indices(dataset, count);
    let indices: Vec<u64> = some.iter().copied().cycle().take(count).collect();
    let columns = dataset.batch(&indices, &vec![0; count], false)?;
    let columns = columns.into_iter().filter_map(|column| {
        let (sample, values) = match column.data {
            HostColumnData::Text(texts) => (vec![], Values::Text(texts)),
            HostColumnData::Tensor(tensor) => {
                let sample = tensor.shape().get(1..).unwrap_or_default().to_vec();
                let values = (tensor.as_f32().map(|values| Values::F32(values.to_vec())))
                    .or_else(|| tensor.as_u8().map(|values| Values::U8(values.to_vec())))
                    .or_else(|| tensor.as_i64().map(|values| Values::I64(values.to_vec())))?;
                (sample, values)
            }
        };
        Some(FeedColumn {
            name: column.name,
            sample,
            values,
        })
    });
    Ok(Feed {
        count,
        columns: columns.collect(),
        main: "",
    })
}

/// Normal numbers, always the same ones.
struct Noise(u64);

impl Noise {
    fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ (bits >> 31)) >> 40) as f32 / (1_u64 << 24) as f32
    }

    fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f32::consts::TAU * self.uniform()).cos()
    }
}
