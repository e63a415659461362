//! What the tables of papers are made of: distances between sets of features, scores of pictures and of captions.
//!
//! Plain functions and small structs of numbers in float64. Used by the host and by tools that evaluate; it must never depend
//! on networks, tensors or plugins: features come as rows of numbers from wherever they were computed.
//!
//! A number of a paper can be compared only with one of the same variant. So variants are named, and what a record should
//! say beside a value stands in the documentation of each function.

mod clip;
mod error;
mod features;
mod frechet;
mod inception_score;
mod kid;
mod pair_scores;
mod picture;
mod precision_recall;
mod psnr;
mod ssim;
mod summary;

pub use clip::{clip_i, clip_score, clip_score_hessel, clip_score_percent, cosine, cosines};
pub use error::MetricsError;
pub use features::{FeatureStatistics, Features};
pub use frechet::frechet_distance;
pub use inception_score::{InceptionScoreConfig, IsSplits, inception_score};
pub use kid::{KidConfig, kid, kid_of_subsets, mmd2_unbiased};
pub use pair_scores::PairScores;
pub use picture::Picture;
pub use precision_recall::{PrecisionRecall, precision_recall};
pub use psnr::{MeanPsnr, psnr};
pub use ssim::{SsimVariant, ssim};
pub use summary::MeanStd;
