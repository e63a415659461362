//! Checks and describes task plugins: `dsl-host plugin check` and `plugin inspect`, as a library.
//!
//! Used by the host, and by authors in the tests of their own plugins. It must never depend on anything that trains.
//!
//! Loading a plugin runs it, and a plugin that is wrong may end the process or never come back. So every question is put
//! in a child process with limits of time and memory, and the answer says what happened: a [`Case`] ends [`Status::Passed`],
//! [`Status::Failed`], [`Status::Crashed`], [`Status::Skipped`] or with a [`Status::Warning`].
//!
//! # In the tests of a plugin
//! An integration test (a file in `tests/`) of one line runs all cases against the library that `cargo test` has built:
//!
//! ```no_run
//! dsl_testkit::conformance_test!(my_task);
//! # fn main() {}
//! ```
//!
//! # In a program
//! The program starts itself again for every child, so that it has to hand over to [`run_child`] when it is one:
//!
//! ```no_run
//! use dsl_testkit::{CheckOptions, Launcher, check, is_child, run_child};
//!
//! # fn main() -> Result<(), dsl_testkit::TestkitError> {
//! if is_child() {
//!     run_child();
//! }
//! let launcher = Launcher::this_program(["check"])?;
//! let report = check(&launcher, "target/release/libmy_task.so".as_ref(), &CheckOptions::default(), &|_| {})?;
//! println!("{report}");
//! # Ok(())
//! # }
//! ```

mod author;
mod case;
mod cases;
mod check;
mod child;
mod context;
mod digest;
mod error;
mod feed;
mod inspect;
mod job;
mod listen;
mod report;

pub use author::{assert_conforms, built_plugin};
pub use case::{Case, Status, all_cases};
pub use check::{CheckOptions, check};
pub use child::{is_child, run_child};
pub use context::merge;
pub use error::TestkitError;
pub use inspect::{
    AssetFact, ConfigKey, EvaluatorFacts, Inspection, MetricFact, SplitFacts, inspect, manifest,
};
pub use job::Launcher;
pub use report::{CaseReport, Counts, JSON_FORMAT, Report};
