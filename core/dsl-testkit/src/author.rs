//! For the tests of authors.

use std::{
    env,
    path::{Path, PathBuf},
};

use crate::{CheckOptions, Launcher, check, is_child, run_child};

/// A test that puts every conformance case to a plugin: to the library `NAME` of this package, or to the file at a path.
///
/// For integration tests, that is files in `tests/`; the library needs `crate-type = ["cdylib", "rlib"]`. The test is
/// called `plugin_conforms`, once in a file.
///
/// ```no_run
/// dsl_testkit::conformance_test!(my_task);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! conformance_test {
    ($library:ident) => {
        $crate::conformance_test!(path: $crate::built_plugin(stringify!($library)), options: $crate::CheckOptions::default());
    };
    (path: $path:expr, options: $options:expr) => {
        #[test]
        fn plugin_conforms() {
            $crate::assert_conforms(module_path!(), "plugin_conforms", &$path, &$options);
        }
    };
}

/// The library `name` of the package whose integration test this is, as `cargo test` has built it.
///
/// # Panics
/// In a program that Cargo did not put where it puts tests.
pub fn built_plugin(name: &str) -> PathBuf {
    let test = env::current_exe().expect("the system says where a program lies");
    let deps = test.parent().expect("a file lies in a folder");
    let file = format!(
        "{}{name}{}",
        env::consts::DLL_PREFIX,
        env::consts::DLL_SUFFIX
    );
    // `cargo test` leaves the library beside the tests, in target/PROFILE/deps. Only `cargo build` puts it a folder
    // higher as well, where it may be older than the tests.
    let beside = deps.join(&file);
    match deps.parent() {
        Some(higher) if !beside.exists() => higher.join(file),
        _ => beside,
    }
}

/// What [`conformance_test!`](crate::conformance_test) calls, from the test `test` in the module `module`.
///
/// # Panics
/// When a case fails or crashes, with the report; when the check cannot be made.
pub fn assert_conforms(module: &str, test: &str, plugin: &Path, options: &CheckOptions) {
    if is_child() {
        run_child();
    }
    // The name of a test leaves out the crate.
    let name = match module.split_once("::") {
        Some((_, inner)) => format!("{inner}::{test}"),
        None => test.to_owned(),
    };
    let arguments = [&name, "--exact", "--nocapture", "--include-ignored"];
    let report = Launcher::this_program(arguments)
        .and_then(|launcher| check(&launcher, plugin, options, &|_| {}))
        .unwrap_or_else(|error| panic!("{error}"));
    println!("{report}");
    assert!(report.conforms, "the plugin does not conform:\n{report}");
}
