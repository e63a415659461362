//! The pictures of a data set on the disk: where its splits are, and each picture decoded, fitted and kept in memory.
//!
//! [`locate`] finds the splits of a path; a plugin reads the records there ([`crate::image_folder`], [`crate::webdataset`]) and
//! hands their pictures to [`Pictures`]. Keys in messages are those of image tasks: `task.data.path`, `task.data.train_split`,
//! `task.data.test_split`, `task.data.format`, `task.data.on_error`.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cache::Cache;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::buckets::{Bucketing, Placed};
use crate::image::{Filter, Picture, Resize, cut_for_random_crop};
use crate::webdataset::WebDataset;
use crate::{Host, PluginError};

mod cache;
mod locate;

pub use cache::Fitted;
pub use locate::{Located, Location, TEST_SPLITS, Wanted, locate, no_such_path};

/// How many pictures are checked in one piece of work.
const CHECKED_AT_ONCE: usize = 32;
/// How many headers are read in one piece of work.
const SORTED_AT_ONCE: usize = 256;
/// A header is looked for in this much of a file before all of it is read.
const HEADER_BYTES: u64 = 256 << 10;

const UNREADABLE: &str = "replace or remove this picture, or set `task.data.on_error: skip` to leave out all that cannot be read";

/// How `path` is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// By what is found there; the log says what was taken where both were possible.
    #[default]
    Auto,
    /// A folder of pictures with metadata.jsonl, or with a .txt beside each.
    ImageFolder,
    /// Tar archives, plain or gzip-compressed.
    WebDataset,
}

/// What becomes of a picture that cannot be read, or has no caption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The run stops with an error that names it.
    #[default]
    Fail,
    /// It is left out and counted. All pictures are decoded once before the first step, to know which ones.
    Skip,
}

/// Where a picture lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PictureRef {
    /// A file.
    File(PathBuf),
    /// A member of a sample in shards, by their places.
    Member {
        /// Place of the sample in its set.
        sample: usize,
        /// Place of the member in the sample.
        member: usize,
    },
    /// Bytes that travel inside the plugin.
    Embedded {
        /// A name for messages.
        name: String,
        /// The file.
        bytes: &'static [u8],
    },
}

/// How a picture becomes one of the wanted size.
#[derive(Clone, Copy, Debug)]
pub struct Fitting {
    /// Width and height, in pixels.
    pub resolution: u32,
    /// How it becomes a square.
    pub resize: Resize,
    /// The resampling filter.
    pub filter: Filter,
    /// What shows through transparent pixels and at padded borders.
    pub background: [u8; 3],
}

/// Pictures of a set, decoded when they are first asked for and then kept, up to a limit of memory. `[any thread]`
#[derive(Debug)]
pub struct Pictures {
    places: Vec<PictureRef>,
    shards: Option<WebDataset>,
    fitting: Fitting,
    /// Where each picture goes, once they are sorted into buckets.
    placed: Option<Vec<Placed>>,
    cache: Cache,
}

impl Pictures {
    /// Pictures at `places`; those that are members lie in `shards`. At most `cache_mib` MiB stay in memory. Nothing is opened.
    pub fn new(
        places: Vec<PictureRef>,
        shards: Option<WebDataset>,
        fitting: Fitting,
        cache_mib: u64,
    ) -> Self {
        let cache = Cache::new(places.len(), cache_mib);
        Self {
            places,
            shards,
            fitting,
            placed: None,
            cache,
        }
    }

    /// Sorts the pictures into buckets of aspect ratios by what their headers say; from then on each is fitted to its bucket.
    /// Returns the width and height of the buckets that have pictures, sorted, and the place of each picture's among them.
    ///
    /// # Errors
    /// The first picture whose header cannot be read; a stop that the host asked for.
    pub fn sort_into(
        &mut self,
        buckets: &Bucketing,
        host: &Host,
    ) -> Result<(Vec<[u32; 2]>, Vec<u32>), PluginError> {
        let total = self.len();
        let done = AtomicU64::new(0);
        let pieces = host.parallel(total.div_ceil(SORTED_AT_ONCE), |piece| {
            if host.cancelled() {
                return Err(PluginError::cancelled());
            }
            let first = piece * SORTED_AT_ONCE;
            let places = first..total.min(first + SORTED_AT_ONCE);
            let count = places.len() as u64;
            let placed: Vec<Placed> = places
                .map(|place| {
                    let [width, height] = self.size(place)?;
                    let cut = cut_for_random_crop(width, height);
                    Ok(buckets.place([cut.width, cut.height]))
                })
                .collect::<Result<_, PluginError>>()?;
            let done = done.fetch_add(count, Ordering::Relaxed) + count;
            host.progress(done, total as u64, "sorting pictures into buckets");
            Ok(placed)
        })?;
        let placed: Vec<Placed> = pieces.into_iter().flatten().collect();
        let mut sizes: Vec<[u32; 2]> = placed.iter().map(|placed| placed.bucket).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let bucket_of = |placed: &Placed| {
            let place = sizes.binary_search(&placed.bucket);
            u32::try_from(place.unwrap_or_else(|place| place)).unwrap_or(u32::MAX)
        };
        let of_picture = placed.iter().map(bucket_of).collect();
        self.cache = Cache::new(total, self.cache.max_mib());
        self.placed = Some(placed);
        Ok((sizes, of_picture))
    }

    /// Width and height of a picture, from its header.
    fn size(&self, place: usize) -> Result<[u32; 2], PluginError> {
        let origin = self.origin(place);
        if let Some(PictureRef::File(path)) = self.places.get(place) {
            // The beginning tells, unless what comes before the header is long; a WebP's orientation stands at its end.
            let mut bytes = Vec::with_capacity(HEADER_BYTES as usize);
            let read = File::open(path)
                .and_then(|file| file.take(HEADER_BYTES).read_to_end(&mut bytes))
                .map_err(|error| PluginError::io_at("read the image", path, &error))?;
            let whole = (read as u64) < HEADER_BYTES;
            if (whole || !bytes.starts_with(b"RIFF"))
                && let Ok(size) = Picture::size(&bytes, &origin)
            {
                return Ok(size);
            }
        }
        self.read(place)
            .and_then(|bytes| Picture::size(&bytes, &origin))
            .map_err(|error| error.with_help(UNREADABLE))
    }

    /// Width and height of a picture's bucket, once they are sorted.
    pub fn bucket(&self, place: usize) -> Option<[u32; 2]> {
        Some(self.placed.as_ref()?.get(place)?.bucket)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The place of the sample that a dataset is asked for by `index`.
    ///
    /// # Errors
    /// A broken contract, when there is no such sample.
    pub fn place(&self, index: u64) -> Result<usize, PluginError> {
        usize::try_from(index)
            .ok()
            .filter(|&place| place < self.len())
            .ok_or_else(|| {
                PluginError::contract(format!(
                    "index {index} of a dataset of {} samples",
                    self.len()
                ))
            })
    }

    /// The name of a picture, for messages; empty when there is none.
    pub fn origin(&self, place: usize) -> String {
        match (self.places.get(place), &self.shards) {
            (Some(PictureRef::Member { sample, member }), Some(shards)) => {
                let sample = &shards.samples()[*sample];
                shards.member_origin(sample, &sample.members[*member])
            }
            (Some(PictureRef::File(path)), _) => path.display().to_string(),
            (Some(PictureRef::Embedded { name, .. }), _) => name.clone(),
            _ => String::new(),
        }
    }

    /// The picture at its resolution, before cropping: from memory, or decoded.
    ///
    /// # Errors
    /// A picture that cannot be read, by its name.
    pub fn fitted(&self, place: usize) -> Result<Arc<Fitted>, PluginError> {
        if let Some(picture) = self.cache.get(place) {
            return Ok(picture);
        }
        let picture = Arc::new(self.decode(place)?);
        self.cache.put(place, &picture);
        Ok(picture)
    }

    fn decode(&self, place: usize) -> Result<Fitted, PluginError> {
        let how = self.fitting;
        let decoded = self
            .read(place)
            .and_then(|bytes| Picture::decode(&bytes, &self.origin(place), how.background))
            .map_err(|error| error.with_help(UNREADABLE))?;
        let placed = self.placed.as_ref().and_then(|placed| placed.get(place));
        Ok(Fitted {
            original: [decoded.height(), decoded.width()],
            picture: match placed {
                Some(placed) => decoded.fit_bucket(*placed, how.resize, how.filter, how.background),
                None => decoded.fit(how.resolution, how.resize, how.filter, how.background),
            },
        })
    }

    fn read(&self, place: usize) -> Result<Vec<u8>, PluginError> {
        match (self.places.get(place), &self.shards) {
            (Some(PictureRef::Member { sample, member }), Some(shards)) => {
                let sample = &shards.samples()[*sample];
                shards.read(sample, &sample.members[*member])
            }
            (Some(PictureRef::File(path)), _) => std::fs::read(path)
                .map_err(|error| PluginError::io_at("read the image", path, &error)),
            (Some(PictureRef::Embedded { bytes, .. }), _) => Ok(bytes.to_vec()),
            (Some(PictureRef::Member { .. }), None) => {
                Err(PluginError::other("a member without its shard"))
            }
            (None, _) => Err(PluginError::other(format!("there is no picture {place}"))),
        }
    }

    /// Decodes every picture on the host's threads, and looks at each with `check`; returns what is wrong, in order.
    ///
    /// # Errors
    /// A stop that the host asked for.
    pub fn check_all(
        &self,
        host: &Host,
        check: impl Fn(usize, &Fitted) -> Result<(), PluginError> + Sync,
    ) -> Result<Vec<(usize, PluginError)>, PluginError> {
        let total = self.len();
        let done = AtomicU64::new(0);
        let pieces = host.parallel(total.div_ceil(CHECKED_AT_ONCE), |piece| {
            if host.cancelled() {
                return Err(PluginError::cancelled());
            }
            let first = piece * CHECKED_AT_ONCE;
            let places = first..total.min(first + CHECKED_AT_ONCE);
            let count = places.len() as u64;
            let flaws: Vec<_> = places
                .filter_map(|place| {
                    let checked = self.fitted(place).and_then(|fitted| check(place, &fitted));
                    checked.err().map(|error| (place, error))
                })
                .collect();
            let done = done.fetch_add(count, Ordering::Relaxed) + count;
            host.progress(done, total as u64, "checking pictures");
            Ok(flaws)
        })?;
        Ok(pieces.into_iter().flatten().collect())
    }

    /// Keeps the pictures whose flag is set.
    pub fn retain(&mut self, keep: &[bool]) {
        let mut flags = keep.iter();
        self.places
            .retain(|_| flags.next().copied().unwrap_or(true));
        if let Some(placed) = &mut self.placed {
            let mut flags = keep.iter();
            placed.retain(|_| flags.next().copied().unwrap_or(true));
        }
        self.cache.retain(keep);
    }

    /// Memory that decoded pictures take now, in bytes.
    pub fn cached_bytes(&self) -> u64 {
        self.cache.used_bytes()
    }
}
