//! The order in which training visits samples that come in several shapes.

use crate::rng::{Stream, Streams};

/// The endless order of batches over a set whose samples are sorted into buckets: every batch is of one bucket.
///
/// In each epoch all samples are shuffled, each bucket is cut into batches in that order, and the batches of all buckets are
/// shuffled. A bucket whose samples do not fill their last batch has a smaller one, so that every sample is seen once in
/// every epoch. All follows from the seed and the epoch, and every epoch has the same number of batches: a resumed run needs
/// nothing but its step.
#[derive(Debug, Clone)]
pub struct BucketOrder {
    streams: Streams,
    of_sample: Vec<u32>,
    batch_size: usize,
    batches_per_epoch: u64,
    epoch: Option<u64>,
    batches: Vec<Vec<u64>>,
}

impl BucketOrder {
    /// Batches of at most `batch_size` samples of a set; `of_sample` holds the bucket of each sample.
    ///
    /// # Panics
    /// When there are no samples, or batches of none: both are to be refused before.
    pub fn new(streams: Streams, of_sample: Vec<u32>, batch_size: usize) -> Self {
        assert!(!of_sample.is_empty(), "an empty dataset has no order");
        assert!(batch_size > 0, "batches have samples");
        Self {
            batches_per_epoch: batches_per_epoch(&bucket_sizes(&of_sample), batch_size),
            streams,
            of_sample,
            batch_size,
            epoch: None,
            batches: Vec::new(),
        }
    }

    /// Batches, and so steps, of one epoch.
    pub fn batches_per_epoch(&self) -> u64 {
        self.batches_per_epoch
    }

    /// The epoch of the batch of `step` (from 0), and the indices of its samples.
    pub fn batch(&mut self, step: u64) -> (u64, &[u64]) {
        let epoch = step / self.batches_per_epoch;
        if self.epoch != Some(epoch) {
            self.batches = self.batches_of(epoch);
            self.epoch = Some(epoch);
        }
        (
            epoch,
            &self.batches[(step % self.batches_per_epoch) as usize],
        )
    }

    fn batches_of(&self, epoch: u64) -> Vec<Vec<u64>> {
        let order = (self.streams).permutation(Stream::ORDER, epoch, self.of_sample.len() as u64);
        let mut open: Vec<Vec<u64>> = vec![Vec::new(); buckets(&self.of_sample)];
        let mut batches = Vec::with_capacity(self.batches_per_epoch as usize);
        for index in order {
            let batch = &mut open[self.of_sample[index as usize] as usize];
            batch.push(index);
            if batch.len() == self.batch_size {
                batches.push(std::mem::take(batch));
            }
        }
        batches.extend(open.into_iter().filter(|batch| !batch.is_empty()));
        let places = Stream::ORDER.part("batches");
        let order = (self.streams).permutation(places, epoch, batches.len() as u64);
        (order.into_iter())
            .map(|place| std::mem::take(&mut batches[place as usize]))
            .collect()
    }
}

/// Number of samples in each bucket, given the bucket of each sample.
pub fn bucket_sizes(of_sample: &[u32]) -> Vec<u64> {
    let mut sizes = vec![0; buckets(of_sample)];
    for &bucket in of_sample {
        sizes[bucket as usize] += 1;
    }
    sizes
}

/// Batches of one epoch, given the number of samples in each bucket: for each as many as its samples fill, the last one
/// perhaps in part.
pub fn batches_per_epoch(bucket_sizes: &[u64], batch_size: usize) -> u64 {
    let size = batch_size.max(1) as u64;
    bucket_sizes.iter().map(|count| count.div_ceil(size)).sum()
}

fn buckets(of_sample: &[u32]) -> usize {
    of_sample.iter().max().map_or(0, |&last| last as usize + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 7 samples of bucket 0, 4 of bucket 1, none of 2, 1 of 3.
    const OF_SAMPLE: [u32; 12] = [0, 1, 0, 0, 3, 1, 0, 0, 1, 1, 0, 0];

    fn order(seed: u64) -> BucketOrder {
        BucketOrder::new(Streams::new(seed), OF_SAMPLE.to_vec(), 3)
    }

    fn epoch(order: &mut BucketOrder, epoch: u64) -> Vec<Vec<u64>> {
        let first = epoch * order.batches_per_epoch();
        (first..first + order.batches_per_epoch())
            .map(|step| {
                let (of, batch) = order.batch(step);
                assert_eq!(of, epoch);
                batch.to_vec()
            })
            .collect()
    }

    #[test]
    fn every_batch_is_of_one_bucket_and_every_sample_comes_once_an_epoch() {
        let mut order = order(1);
        // 3 + 3 + 1 of bucket 0, 3 + 1 of bucket 1, 1 of bucket 3.
        assert_eq!(order.batches_per_epoch(), 6);
        for number in 0..20 {
            let batches = epoch(&mut order, number);
            for batch in &batches {
                let bucket = OF_SAMPLE[batch[0] as usize];
                assert!(batch.iter().all(|&i| OF_SAMPLE[i as usize] == bucket));
            }
            let mut sizes: Vec<usize> = batches.iter().map(Vec::len).collect();
            sizes.sort_unstable();
            assert_eq!(sizes, [1, 1, 1, 3, 3, 3]);
            let mut all: Vec<u64> = batches.concat();
            all.sort_unstable();
            assert_eq!(all, (0..12).collect::<Vec<u64>>());
        }
    }

    #[test]
    fn an_epoch_follows_from_seed_and_number_wherever_one_begins() {
        let whole: Vec<_> = (0..4).map(|number| epoch(&mut order(1), number)).collect();
        let mut later = order(1);
        for (step, batch) in (0..24).zip(whole.concat()).skip(9) {
            assert_eq!(later.batch(step).1, batch);
        }
        assert!(whole.windows(2).all(|pair| pair[0] != pair[1]));
        assert_ne!(epoch(&mut order(2), 0), whole[0]);
    }

    #[test]
    fn small_batches_come_anywhere_in_an_epoch() {
        let mut order = order(1);
        let mut places = [0; 6];
        for number in 0..60 {
            let batches = epoch(&mut order, number);
            for (place, batch) in places.iter_mut().zip(&batches) {
                *place += usize::from(batch.len() < 3);
            }
        }
        assert!(places.iter().all(|&times| times > 10), "{places:?}");
    }
}
