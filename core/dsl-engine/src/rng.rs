//! Random numbers that depend on nothing but their name: no generator carries state.
//!
//! Every draw comes from a ChaCha8 generator keyed by (seed, stream, step, sample). So a resumed run
//! sees the numbers that the uninterrupted one saw, a sample's numbers do not depend on the batch size
//! or on the number of workers, and an extra pass (margin, validation, pictures) cannot disturb
//! training: it has a stream of its own.
//!
//! The key and all integer draws are written out here, and ChaCha is portable, so the numbers stay
//! the same across platforms and versions; tests pin them.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use rand_distr::{Distribution, StandardNormal};

/// A named family of random numbers, independent of all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    name: &'static str,
    id: u64,
}

impl Stream {
    /// Timesteps of training samples.
    pub const TIMESTEP: Self = Self::new("timestep");
    /// Noise added to training samples.
    pub const NOISE: Self = Self::new("noise");
    /// Which conditions are dropped.
    pub const DROP: Self = Self::new("drop");
    /// Order of the data.
    pub const ORDER: Self = Self::new("order");
    /// Seeds handed to a dataset for its random changes.
    pub const AUGMENT: Self = Self::new("augment");
    /// Everything drawn while the margin is measured.
    pub const MARGIN: Self = Self::new("margin");
    /// Everything drawn for validation and evaluation.
    pub const VALIDATION: Self = Self::new("validation");
    /// Initial and added noise of sampling.
    pub const SAMPLE: Self = Self::new("sample");
    /// Initial weights.
    pub const INIT: Self = Self::new("init");
    /// Initial weights of low-rank adapters.
    pub const LORA: Self = Self::new("lora");

    /// A stream by its name; different names give independent numbers.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            id: fnv1a(name.as_bytes()),
        }
    }

    /// A stream derived from this one, e.g. the timesteps of the margin pass:
    /// `Stream::MARGIN.part("timestep")`.
    pub const fn part(self, name: &'static str) -> Self {
        Self {
            name,
            id: fnv1a_from(self.id, name.as_bytes()),
        }
    }

    /// The name, without the names of the streams it is a part of.
    pub const fn name(self) -> &'static str {
        self.name
    }
}

const fn fnv1a(bytes: &[u8]) -> u64 {
    fnv1a_from(0xcbf2_9ce4_8422_2325, bytes)
}

const fn fnv1a_from(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        i += 1;
    }
    // A separator that no UTF-8 name holds: "a" then "bc" is not "ab" then "c".
    (hash ^ 0xff).wrapping_mul(0x0000_0100_0000_01b3)
}

/// All random numbers of a run.
///
/// In the helpers below, `step` is whatever counts repetitions of a stream (optimiser step, epoch),
/// and samples are numbered from `first_sample` within it. Sample `i` of a call with `first_sample` 0
/// equals sample 0 of a call with `first_sample = i`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streams {
    seed: u64,
}

impl Streams {
    /// The streams of a run with this seed.
    pub const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The seed of the run.
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// The generator of one sample in one step of one stream.
    pub fn rng(&self, stream: Stream, step: u64, sample: u64) -> ChaCha8Rng {
        let mut key = [0u8; 32];
        for (part, value) in key
            .chunks_exact_mut(8)
            .zip([self.seed, stream.id, step, sample])
        {
            part.copy_from_slice(&value.to_le_bytes());
        }
        ChaCha8Rng::from_seed(key)
    }

    /// Standard normal numbers, row-major.
    ///
    /// # Shapes
    /// - result: `shape[0] * shape[1] * shape[2] * shape[3]` values; axis 0 counts the samples
    pub fn normal(
        &self,
        stream: Stream,
        step: u64,
        first_sample: u64,
        shape: [usize; 4],
    ) -> Vec<f32> {
        let [batch, channels, height, width] = shape;
        let per_sample = channels * height * width;
        let mut values = Vec::with_capacity(batch * per_sample);
        for mut rng in self.per_sample(stream, step, first_sample, batch) {
            let normal = |_| -> f32 { StandardNormal.sample(&mut rng) };
            values.extend((0..per_sample).map(normal));
        }
        values
    }

    /// One timestep per sample, each of `0..num_train_timesteps` equally likely.
    pub fn uniform_timesteps(
        &self,
        stream: Stream,
        step: u64,
        first_sample: u64,
        batch: usize,
        num_train_timesteps: usize,
    ) -> Vec<u32> {
        self.per_sample(stream, step, first_sample, batch)
            .map(|mut rng| below(&mut rng, num_train_timesteps as u64) as u32)
            .collect()
    }

    /// `count` timesteps, one from each of `count` equal parts of `0..num_train_timesteps`, in random
    /// order: each is uniform by itself, and together they cover the range evenly, which takes most of
    /// the variance out of a mean over timesteps.
    ///
    /// `count` is the whole set (say, of a margin pass), not a batch: draw once, then slice.
    pub fn stratified_timesteps(
        &self,
        stream: Stream,
        step: u64,
        count: usize,
        num_train_timesteps: usize,
    ) -> Vec<u32> {
        let parts = self.permutation(stream.part("strata"), step, count as u64);
        self.per_sample(stream, step, 0, count)
            .zip(parts)
            .map(|(mut rng, part)| {
                let position = (part as f64 + unit(&mut rng)) / count as f64;
                // Rounding can lift the last part's upper end to 1.
                let timestep = (position * num_train_timesteps as f64) as usize;
                timestep.min(num_train_timesteps - 1) as u32
            })
            .collect()
    }

    /// One decision per sample, true with `probability` (0..1).
    pub fn bernoulli(
        &self,
        stream: Stream,
        step: u64,
        first_sample: u64,
        batch: usize,
        probability: f64,
    ) -> Vec<bool> {
        self.per_sample(stream, step, first_sample, batch)
            .map(|mut rng| unit(&mut rng) < probability)
            .collect()
    }

    /// One seed per sample, for code that keeps its own generator (a dataset's augmentation).
    pub fn seeds(&self, stream: Stream, step: u64, first_sample: u64, batch: usize) -> Vec<u64> {
        self.per_sample(stream, step, first_sample, batch)
            .map(|mut rng| rng.next_u64())
            .collect()
    }

    /// A random order of `0..len`, the same for the same `epoch`.
    pub fn permutation(&self, stream: Stream, epoch: u64, len: u64) -> Vec<u64> {
        let mut rng = self.rng(stream, epoch, 0);
        let mut order: Vec<u64> = (0..len).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, below(&mut rng, i as u64 + 1) as usize);
        }
        order
    }

    fn per_sample(
        self,
        stream: Stream,
        step: u64,
        first_sample: u64,
        batch: usize,
    ) -> impl Iterator<Item = ChaCha8Rng> {
        (0..batch as u64).map(move |i| self.rng(stream, step, first_sample + i))
    }
}

/// The endless order in which training visits a dataset: each epoch a fresh permutation.
///
/// Positions count samples since the start of the run, so a resumed run needs nothing but its
/// position. One permutation is kept, 8 bytes per item.
#[derive(Debug, Clone)]
pub struct DataOrder {
    streams: Streams,
    len: u64,
    epoch: Option<u64>,
    permutation: Vec<u64>,
}

impl DataOrder {
    /// The order over `len` items; `len` must not be 0.
    ///
    /// # Panics
    /// When `len` is 0: an empty dataset is to be refused before.
    pub fn new(streams: Streams, len: u64) -> Self {
        assert!(len > 0, "an empty dataset has no order");
        Self {
            streams,
            len,
            epoch: None,
            permutation: Vec::new(),
        }
    }

    /// Epoch and place within it of the sample at `position`.
    pub fn epoch_and_place(&self, position: u64) -> (u64, u64) {
        (position / self.len, position % self.len)
    }

    /// Index into the dataset of the sample at `position`.
    pub fn index(&mut self, position: u64) -> u64 {
        let (epoch, place) = self.epoch_and_place(position);
        if self.epoch != Some(epoch) {
            self.permutation = self.streams.permutation(Stream::ORDER, epoch, self.len);
            self.epoch = Some(epoch);
        }
        self.permutation[place as usize]
    }

    /// Indices of the `count` samples from `position` on; may cross into the next epoch.
    pub fn indices(&mut self, position: u64, count: usize) -> Vec<u64> {
        (position..position + count as u64)
            .map(|p| self.index(p))
            .collect()
    }
}

/// A number in `0..bound` without bias (Lemire 2019), written out so that it never changes.
fn below(rng: &mut impl RngCore, bound: u64) -> u64 {
    debug_assert!(bound > 0);
    let reject_under = bound.wrapping_neg() % bound;
    loop {
        let product = u128::from(rng.next_u64()) * u128::from(bound);
        if product as u64 >= reject_under {
            return (product >> 64) as u64;
        }
    }
}

/// A number in 0..1 (1 excluded), of 53 random bits.
fn unit(rng: &mut impl RngCore) -> f64 {
    (rng.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAMS: Streams = Streams::new(42);

    #[test]
    fn a_sample_does_not_depend_on_its_batch() {
        let all = STREAMS.normal(Stream::NOISE, 5, 0, [6, 2, 3, 1]);
        let tail = STREAMS.normal(Stream::NOISE, 5, 4, [2, 2, 3, 1]);
        assert_eq!(all[4 * 6..], tail);
        let all = STREAMS.uniform_timesteps(Stream::TIMESTEP, 5, 0, 6, 1000);
        assert_eq!(
            all[4..],
            STREAMS.uniform_timesteps(Stream::TIMESTEP, 5, 4, 2, 1000)
        );
        let all = STREAMS.seeds(Stream::AUGMENT, 5, 0, 6);
        assert_eq!(all[4..], STREAMS.seeds(Stream::AUGMENT, 5, 4, 2));
        let all = STREAMS.bernoulli(Stream::DROP, 5, 0, 6, 0.5);
        assert_eq!(all[4..], STREAMS.bernoulli(Stream::DROP, 5, 4, 2, 0.5));
    }

    #[test]
    fn seed_stream_step_and_sample_all_count() {
        let first =
            |streams: Streams, stream, step, sample| streams.rng(stream, step, sample).next_u64();
        let mut numbers = vec![
            first(STREAMS, Stream::NOISE, 1, 2),
            first(STREAMS, Stream::NOISE, 2, 1),
            first(STREAMS, Stream::NOISE, 1, 1),
            first(STREAMS, Stream::TIMESTEP, 1, 1),
            first(STREAMS, Stream::MARGIN, 1, 1),
            first(STREAMS, Stream::MARGIN.part("noise"), 1, 1),
            first(STREAMS, Stream::VALIDATION.part("noise"), 1, 1),
            first(STREAMS, Stream::MARGIN.part("timestep"), 1, 1),
            first(Streams::new(43), Stream::NOISE, 1, 1),
        ];
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), count);
        assert_eq!(Stream::MARGIN.part("noise").name(), "noise");
    }

    #[test]
    fn normal_numbers_have_mean_0_and_variance_1() {
        let numbers = STREAMS.normal(Stream::NOISE, 0, 0, [100, 1, 20, 20]);
        let mean = |f: &dyn Fn(f64) -> f64| {
            numbers.iter().map(|&x| f(f64::from(x))).sum::<f64>() / numbers.len() as f64
        };
        // Five standard errors of 40,000 numbers.
        assert!(mean(&|x| x).abs() < 0.025);
        assert!((mean(&|x| x * x) - 1.0).abs() < 0.036);
        assert!((mean(&|x| x.powi(4)) - 3.0).abs() < 0.25);
    }

    #[test]
    fn uniform_timesteps_reach_every_value() {
        let timesteps = STREAMS.uniform_timesteps(Stream::TIMESTEP, 0, 0, 2000, 10);
        for value in 0..10 {
            let count = timesteps.iter().filter(|&&t| t == value).count();
            assert!((130..270).contains(&count), "{value} came {count} times");
        }
    }

    #[test]
    fn stratified_timesteps_take_one_of_each_part() {
        for (count, num_train_timesteps) in [(10, 1000), (1000, 1000), (7, 1000), (64, 50)] {
            let mut timesteps =
                STREAMS.stratified_timesteps(Stream::MARGIN, 3, count, num_train_timesteps);
            assert!(!timesteps.is_sorted(), "in random order");
            timesteps.sort_unstable();
            let width = num_train_timesteps as f64 / count as f64;
            for (part, &t) in timesteps.iter().enumerate() {
                let (from, to) = (part as f64 * width, (part + 1) as f64 * width);
                assert!(
                    f64::from(t) >= from.floor() && f64::from(t) <= to,
                    "{t} is not of part {part} of {count}"
                );
            }
        }
    }

    #[test]
    fn every_epoch_visits_every_item_once_in_its_own_order() {
        let mut order = DataOrder::new(STREAMS, 10);
        let first = order.indices(0, 10);
        let second = order.indices(10, 10);
        assert_ne!(first, second);
        for epoch in [&first, &second] {
            let mut sorted = epoch.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        }
        // A run that resumes in the middle, with other batches, sees the same.
        let mut resumed = DataOrder::new(STREAMS, 10);
        let expected: Vec<u64> = first[7..].iter().chain(&second[..2]).copied().collect();
        assert_eq!(resumed.indices(7, 5), expected);
        assert_eq!(resumed.epoch_and_place(12), (1, 2));
    }

    #[test]
    fn bernoulli_keeps_its_probability_and_its_ends() {
        let share = |p| {
            let drawn = STREAMS.bernoulli(Stream::DROP, 0, 0, 4000, p);
            drawn.into_iter().filter(|&drop| drop).count() as f64 / 4000.0
        };
        assert_eq!(share(0.0), 0.0);
        assert_eq!(share(1.0), 1.0);
        assert!((share(0.1) - 0.1).abs() < 0.025);
    }

    /// A change here changes every run: results of the same seed no longer compare, and resumed runs
    /// go another way than those never stopped.
    #[test]
    fn numbers_are_pinned() {
        assert_eq!(
            STREAMS.seeds(Stream::AUGMENT, 1, 0, 2),
            [18251012283985994252, 11886152375679503464]
        );
        assert_eq!(
            STREAMS.normal(Stream::NOISE, 1, 2, [1, 1, 1, 3]),
            [-1.1003526, 1.2344328, -1.2695956]
        );
        assert_eq!(
            STREAMS.uniform_timesteps(Stream::TIMESTEP, 1, 0, 4, 1000),
            [265, 823, 525, 417]
        );
        assert_eq!(
            STREAMS.stratified_timesteps(Stream::MARGIN, 1, 4, 1000),
            [843, 218, 531, 263]
        );
        assert_eq!(STREAMS.permutation(Stream::ORDER, 1, 6), [2, 5, 0, 1, 3, 4]);
        assert_eq!(
            STREAMS.bernoulli(Stream::DROP, 1, 0, 4, 0.5),
            [false, true, false, false]
        );
    }
}
