//! What goes wrong.

use dsl_sdk::{
    schemars::JsonSchema,
    serde::{Deserialize, Serialize},
    serde_json,
};

/// Environment variable with a fault, for what no configuration reaches.
const VARIABLE: &str = "DSL_MISBEHAVE";

/// What goes wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", rename_all = "kebab-case")]
#[schemars(crate = "dsl_sdk::schemars")]
pub enum Fault {
    /// Nothing: points on a line.
    #[default]
    None,

    /// Panics in the schema of the configuration.
    PanicInSchema,
    /// Panics in the default configuration.
    PanicInDefaultConfig,
    /// Panics in the recommendations for the host.
    PanicInHostDefaults,
    /// Panics in the list of files.
    PanicInAssets,
    /// Panics while opening.
    PanicInOpen,
    /// Panics in the description.
    PanicInDescribe,
    /// Panics in the list of splits.
    PanicInSplits,
    /// Panics while a dataset is made.
    PanicInDataset,
    /// Panics when asked for the number of samples.
    PanicInLen,
    /// Panics when asked for columns.
    PanicInColumns,
    /// Panics in every batch.
    PanicInBatch,
    /// Panics on a thread of the host, in work of a batch.
    PanicInParallel,
    /// Panics when its dataset is dropped.
    PanicInDrop,
    /// Panics while an evaluator is made.
    PanicInEvaluator,
    /// Panics in the requirements of the evaluator.
    PanicInRequirements,
    /// Panics when the evaluator is fed.
    PanicInUpdate,
    /// Panics at the end of an evaluation.
    PanicInFinish,
    /// Panics in an empty batch.
    PanicOnEmpty,
    /// Panics on a `scale` of 0.
    PanicOnZeroScale,
    /// Panics at the end of an evaluation without samples.
    PanicWithoutSamples,

    /// Returns an error with help.
    ErrorInBatch,
    /// Returns batches of another shape than declared.
    WrongShape,
    /// Returns batches of another type than declared.
    WrongDtype,
    /// Leaves out a column.
    MissingColumn,
    /// Sends a column that is not declared.
    ExtraColumn,
    /// Sends one text too few.
    FewTexts,
    /// Names a target that is no column.
    NoTarget,
    /// Asks for a dropout of 2.
    WrongDropout,
    /// Sends a value that is no number.
    NotFinite,
    /// Gives a dataset for every name of a split.
    AnySplit,
    /// Has no samples.
    Empty,

    /// A sample depends on its place in the batch.
    DependsOnNeighbours,
    /// Sends samples in the order of their indices.
    SortsIndices,
    /// A sample depends on how many batches there were.
    DependsOnCalls,
    /// A sample depends on how many datasets there were.
    DependsOnTasks,
    /// A sample depends on the thread.
    DependsOnThread,
    /// A sample depends on the process.
    DependsOnProcess,
    /// Uses seeds when they do not count.
    UsesSeedsAlways,

    /// Never comes back from opening.
    HangInOpen,
    /// Never comes back from a batch, whatever the host asks.
    HangInBatch,
    /// Never comes back from the end of an evaluation.
    HangInFinish,
    /// Asks for a stop once, and then works for 7 s whatever the host asks.
    AsksOnce,
    /// Works until the host asks for a stop.
    Endless,
    /// The same, after four batches of training.
    EndlessAfterFour,

    /// Ends the process while opening, by abort.
    AbortInOpen,
    /// Ends the process in a batch, by abort.
    AbortInBatch,
    /// Ends the process on a thread of the host, in work of a batch.
    AbortInParallel,
    /// Ends the process when its dataset is dropped.
    AbortInDrop,
    /// Ends the process on a thread of its own, during a batch, by abort.
    AbortOnOwnThread,
    /// Ends the process on a thread of its own, during a batch, as a success.
    ExitOnOwnThread,
    /// Ends the process on a thread of its own, some time after opening, as a success.
    ExitLater,
    /// Ends the process at the end of an evaluation.
    AbortInFinish,
    /// Ends the process in a batch, as a success.
    ExitInBatch,
    /// Runs out of stack in a batch.
    StackOverflow,
    /// Asks for more memory than there is.
    HugeAllocation,
    /// Writes to stderr without an end, in a batch.
    Shouts,
    /// Leaves a process behind that would sleep for a minute, and never comes back from opening.
    LeavesProcess,
    /// Goes to another folder while opening.
    ChangesFolder,
    /// Keeps a little memory of every batch.
    Leaks,
    /// Keeps a thread for every task.
    LeaksThreads,
    /// Starts a thread before a task is open.
    WorksBeforeOpen,
    /// Takes its time before a task is open.
    SlowBeforeOpen,
    /// Describes a key of its configuration with no word.
    SilentKey,
    /// Declares other columns each time.
    ColumnsChange,
    /// Cannot do without predictions of a discriminator.
    NeedsDiscriminator,

    /// Measures something that is no number.
    NanMetric,
    /// Measures two things by one name.
    SameMetricTwice,
    /// Makes a file whose name has a folder.
    ArtefactWithFolder,
    /// Makes a picture that is none.
    ArtefactOfOtherKind,
    /// Remembers samples of the evaluation before.
    EvaluatorRemembers,
    /// Weights batches alike, and not samples.
    WeightsBatches,
    /// Panics when a column is missing.
    PanicOnMissingColumn,
    /// Wants a split that is not there.
    EvaluatorSplit,
    /// Nothing, with an evaluator of drawn samples.
    MeasuresSamples,
    /// Panics when fed samples without the truth.
    PanicWithoutTruth,

    /// Nothing, with classes, boxes, a word to be learned and a camera for every point.
    Conditioned,
    /// Sends a class beyond the last one.
    LabelOutOfRange,
    /// Sends a box that ends beyond the picture.
    BoxOutOfRange,
    /// Sends a mask of 0.5.
    MaskBetween,
    /// Sends a phrase for an empty box.
    PhraseWithoutBox,
    /// Never says the word that is to be learned.
    TokenNeverSaid,
    /// Sends an elevation in degrees.
    ElevationInDegrees,

    /// Panics when a user asks for conditions.
    PanicInConditions,
    /// Panics on an input that is no text.
    PanicOnOddInput,
    /// Takes inputs of any name.
    AnyInputs,
    /// Makes conditions of two samples.
    ConditionsTwice,
    /// Makes other conditions each time.
    ConditionsChange,
    /// Panics when asked for a picture.
    PanicInPicture,
    /// Panics on samples without their conditions.
    PanicOnMissingCondition,
    /// Makes no picture where the truth is not known.
    PictureNeedsTruth,
    /// Makes another picture each time.
    PictureChanges,
    /// Makes a picture of whatever it is given, even of nothing.
    PicturesNothing,

    /// Nothing, with points of two or three numbers, in a bucket each.
    InBuckets,
    /// The same, and other buckets each time.
    BucketsChange,
    /// The same, and a point of a bucket comes in the shape of the other.
    OtherBucketsShape,
    /// The same, and a sample of a bucket that is not there.
    NoSuchBucket,

    /// Logs a warning in every batch.
    Warns,
    /// Nothing, with work on the host's threads that asks for more work while it holds a lock.
    WorksUnderLock,
    /// Nothing, with batches of 12.5 MB for each sample, made before they are asked for.
    Large,
    /// Ends opening with an error that says what the services of the host answered.
    TellsServices,
    /// Nothing, with an evaluator that compares a grey picture with a red one by features of the host.
    MeasuresFeatures,
}

impl Fault {
    /// The fault that the environment asks for.
    pub(crate) fn of_environment() -> Self {
        let text = std::env::var(VARIABLE).unwrap_or_default();
        serde_json::from_value(text.into()).unwrap_or_default()
    }

    /// Whether points lie in buckets.
    pub(crate) fn has_buckets(self) -> bool {
        use Fault::{BucketsChange, InBuckets, NoSuchBucket, OtherBucketsShape};
        matches!(
            self,
            InBuckets | BucketsChange | OtherBucketsShape | NoSuchBucket
        )
    }

    /// Panics if this is the fault.
    pub(crate) fn panic_if(self, fault: Self, place: &str) {
        assert!(self != fault, "told to panic {place}");
    }
}

/// Comes back in about 30,000 years.
pub(crate) fn hang() -> ! {
    loop {
        std::thread::sleep(std::time::Duration::from_secs(1_000_000));
    }
}
