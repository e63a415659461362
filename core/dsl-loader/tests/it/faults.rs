//! Plugins that are wrong on purpose, and files that are no plugins.

use std::{
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use dsl_loader::{DatasetHandle, ErrorCode, HostCallbacks, LoaderError, Plugin, Quiet};
use dsl_test_support::says;
use serde_json::json;

use super::support::{open, path};

fn dataset(fault: &str) -> Result<DatasetHandle, LoaderError> {
    open("misbehave")
        .open_task(&json!({ "fault": fault }))?
        .dataset("train")
}

fn check_batch_fails(fault: &str, expected_code: ErrorCode, expected: &[&str]) {
    let error = dataset(fault)
        .unwrap()
        .batch(&[7, 8], &[0, 0], false)
        .unwrap_err();
    let text = format!(
        "{error} | {} | {}",
        error.help().unwrap_or_default(),
        error.detail().unwrap_or_default()
    );
    says(&text, expected);
    says(
        &text,
        &["plugin `misbehave`, batch of dataset `train` (2 samples, 7 … 8): "],
    );
    assert!(
        matches!(error, LoaderError::Plugin { code, .. } if code == expected_code),
        "{error:?}"
    );
}

#[test]
fn panics_come_back_as_errors() {
    check_batch_fails(
        "panic-in-batch",
        ErrorCode::Panic,
        &[
            "told to panic at sample Some(7)",
            "dataset.rs:",
            "this is a mistake in the plugin",
            "misbehave",
        ],
    );
    let error = dataset("panic-in-open").unwrap_err().to_string();
    assert!(
        error.starts_with("plugin `misbehave`, open: the plugin panicked at "),
        "{error}"
    );
    drop(dataset("panic-in-drop").unwrap());
}

#[test]
fn errors_keep_code_help_and_detail() {
    check_batch_fails(
        "error-in-batch",
        ErrorCode::Io,
        &["shard 7 is gone", "bring it back", "all of it"],
    );
}

#[test]
fn broken_contracts_name_column_expected_and_found() {
    check_batch_fails(
        "wrong-shape",
        ErrorCode::Contract,
        &["column `point`: expected shape [2, 2], found shape [2, 3]"],
    );
    assert_eq!(
        dataset("no-target").unwrap_err().to_string(),
        "plugin `misbehave`, columns of dataset `train`: expected the target column `nowhere`, found only `point`, `name`"
    );
    assert_eq!(
        dataset("wrong-dropout").unwrap_err().to_string(),
        "plugin `misbehave`, describe: expected a dropout in 0..1 for injection cross_attention, found 2.0"
    );
}

#[derive(Default)]
struct StopsAfter {
    asked: AtomicU64,
    heard: Mutex<Vec<String>>,
}

impl HostCallbacks for StopsAfter {
    fn cancelled(&self) -> bool {
        self.asked.fetch_add(1, Ordering::SeqCst) >= 3
    }

    fn progress(&self, plugin: &str, done: u64, total: u64, what: &str) {
        self.heard
            .lock()
            .unwrap()
            .push(format!("{plugin}: {done} of {total}, {what}"));
    }
}

#[test]
fn a_plugin_hears_a_stop_and_reports_progress() {
    let host = Arc::new(StopsAfter::default());
    let plugin = Plugin::open(&path("misbehave"), host.clone()).unwrap();
    let task = plugin.open_task(&json!({"fault": "endless"})).unwrap();
    let error = task
        .dataset("train")
        .unwrap()
        .batch(&[0], &[0], false)
        .unwrap_err();
    assert!(error.is_cancelled(), "{error}");
    let heard = host.heard.lock().unwrap();
    assert_eq!(heard.len(), 3);
    assert_eq!(heard[2], "misbehave: 2 of 0, waiting for a stop");
}

#[test]
fn log_records_arrive_in_the_span_of_the_caller() {
    use std::io::Write;
    #[derive(Clone, Default)]
    struct Text(Arc<Mutex<Vec<u8>>>);
    impl Write for Text {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let text = Text::default();
    let writer = text.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_max_level(tracing::Level::INFO)
        .with_ansi(false)
        .without_time()
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        let dataset = dataset("warns").unwrap();
        let _span = tracing::info_span!("step", number = 3).entered();
        dataset.batch(&[1, 2], &[0, 0], false).unwrap();
    });
    let text = String::from_utf8(text.0.lock().unwrap().clone()).unwrap();
    assert_eq!(
        text,
        " WARN step{number=3}: misbehave: told to warn plugin=\"misbehave\" count=2\n"
    );
}

#[test]
fn another_interface_is_refused_in_one_line() {
    let error = Plugin::open(&path("other_abi"), Arc::new(Quiet)).unwrap_err();
    let LoaderError::OtherAbi { reason, detail, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(reason.starts_with("dsl.task/1 differs"), "{reason}");
    assert!(
        !reason.contains('\n') && reason.chars().count() < 250,
        "{reason}"
    );
    assert!(detail.lines().count() > 3, "{detail}");
    assert!(error.help().unwrap().contains("build the plugin again"));
}

#[test]
fn files_that_are_no_plugins_are_named_for_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, bytes: &[u8], expected: &str| {
        let file = folder.path().join(name);
        fs::write(&file, bytes).unwrap();
        let error = Plugin::open(&file, Arc::new(Quiet)).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.to_string().contains(name), "{error}");
        assert!(error.help().is_some(), "{error}");
    };
    check("notes.so", b"not a plugin", "it is a text file");
    check("empty.so", b"", "it is empty");
    // Half a plugin has the right header, and loading it could end the process.
    let whole = fs::read(path("misbehave")).unwrap();
    check("half.so", &whole[..whole.len() / 2], "cut off after");
    check("most.so", &whole[..whole.len() - 1], "cut off after");
    let error = Plugin::open(Path::new("/no/such/folder/x.so"), Arc::new(Quiet)).unwrap_err();
    assert!(matches!(error, LoaderError::Unreadable { .. }), "{error:?}");
}
