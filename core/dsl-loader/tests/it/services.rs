//! What a plugin gets when it asks the host for its services.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use dsl_loader::{
    ErrorCode, FeatureInfo, FeatureKind, HostCallbacks, HostError, LoaderError, Pictures, Plugin,
    missing_features,
};
use dsl_test_support::says;
use serde_json::json;

use super::support::path;

/// What the plugin `misbehave` says that the host answered, by the first word.
fn answers(host: Arc<dyn HostCallbacks>) -> impl Fn(&str) -> String {
    let plugin = Plugin::open(&path("misbehave"), host).unwrap();
    let error = plugin
        .open_task(&json!({"fault": "tells-services"}))
        .unwrap_err();
    let detail = error.detail().unwrap().to_owned();
    move |name| {
        let line = detail.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("no `{name}` in {detail}"))
            .to_owned()
    }
}

/// A host with threads, a folder, and one feature that it can compute.
struct Generous {
    folder: PathBuf,
}

impl HostCallbacks for Generous {
    fn threads(&self) -> usize {
        3
    }

    fn cache_dir(&self, plugin: &str) -> Result<PathBuf, HostError> {
        assert_eq!(plugin, "misbehave");
        Ok(self.folder.clone())
    }

    fn features(&self) -> Vec<FeatureInfo> {
        vec![FeatureInfo {
            id: "mean/rgb".into(),
            kind: FeatureKind::Vector(1),
            available: true,
            help: String::new(),
        }]
    }

    fn extract(&self, id: &str, images: &Pictures<'_>) -> Result<Vec<f32>, HostError> {
        if id != "mean/rgb" {
            return Err(missing_features(id));
        }
        Ok(images
            .values
            .chunks(3)
            .map(|pixel| pixel.iter().sum::<f32>() / 3.0)
            .collect())
    }

    fn distance(
        &self,
        _: &str,
        first: &Pictures<'_>,
        second: &Pictures<'_>,
    ) -> Result<Vec<f32>, HostError> {
        Ok(vec![
            first.values[0] - second.values[0];
            first.shape[0] as usize
        ])
    }
}

#[test]
fn a_host_that_offers_everything_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let host = Arc::new(Generous {
        folder: folder.path().to_owned(),
    });
    let answer = answers(host);
    assert_eq!(answer("threads"), "threads 3");
    assert_eq!(answer("squares"), "squares Ok([0, 1, 4, 9, 16])");
    assert_eq!(answer("nested"), "nested Ok([0, 6, 12, 18])");
    assert!(
        answer("failed").contains("is heavy"),
        "{}",
        answer("failed")
    );
    let panicked = answer("panicked");
    assert!(
        panicked.contains("Panic") && panicked.contains("told to panic in piece 1"),
        "{panicked}"
    );
    assert_eq!(
        answer("cache"),
        format!("cache Ok(\"{} true\")", folder.path().display())
    );
    assert_eq!(answer("known"), "known [\"mean/rgb true\"]");
    assert_eq!(answer("own"), "own Ok([0.0, 1.0])");
    assert_eq!(answer("distance"), "distance Ok([0.0, 0.0])");
    assert!(
        answer("misshapen").contains("Contract"),
        "{}",
        answer("misshapen")
    );
}

/// The lock of the plugin is held while it asks for more work: on threads that take over each other's pieces this would
/// never end. A thread that the test does not wait for: a deadlock fails, and does not hang.
#[test]
fn work_may_be_asked_for_under_a_lock() {
    struct Eight;
    impl HostCallbacks for Eight {
        fn threads(&self) -> usize {
            8
        }
    }
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let plugin = Plugin::open(&path("misbehave"), Arc::new(Eight)).unwrap();
        let task = plugin.open_task(&json!({"fault": "works-under-lock"}));
        let dataset = task.unwrap().dataset("train").unwrap();
        for _ in 0..20 {
            dataset.batch(&[0], &[0], true).unwrap();
        }
        tell.send(()).unwrap();
    });
    assert_eq!(told.recv_timeout(Duration::from_secs(60)), Ok(()));
}

/// A host with a folder, and the default for all else.
struct Bare(PathBuf);

impl HostCallbacks for Bare {
    fn cache_dir(&self, _: &str) -> Result<PathBuf, HostError> {
        Ok(self.0.clone())
    }
}

#[test]
fn features_that_are_not_there_say_how_to_get_them() {
    let folder = tempfile::tempdir().unwrap();
    let answer = answers(Arc::new(Bare(folder.path().to_owned())));
    assert_eq!(answer("threads"), "threads 1");
    assert_eq!(answer("squares"), "squares Ok([0, 1, 4, 9, 16])");
    assert!(
        answer("failed").contains("piece 7 is heavy"),
        "{}",
        answer("failed")
    );
    let inception = answer("inception");
    says(
        &inception,
        &[
            "Unsupported",
            "this host does not compute `inception-v3/pool3`",
            "inside the plugin",
        ],
    );
    let unknown = answer("unknown");
    assert!(
        unknown.contains("Unsupported")
            && unknown.contains("no features `no/such`")
            && unknown.contains("lpips/alex"),
        "{unknown}"
    );
    assert!(answer("known").contains("st-lpips/alex false"));
}

#[test]
fn a_file_that_the_host_does_not_accept_is_refused() {
    struct Refuses;
    impl HostCallbacks for Refuses {
        fn accept(&self, path: &Path, sha256: &str) -> Result<(), HostError> {
            assert!(path.is_absolute() && sha256.len() == 64);
            Err(HostError {
                code: ErrorCode::Config,
                message: "not today".into(),
                help: "ask tomorrow".into(),
            })
        }
    }
    let error = Plugin::open(&path("misbehave"), Arc::new(Refuses)).unwrap_err();
    assert!(matches!(error, LoaderError::Refused { .. }), "{error:?}");
    assert!(
        error.to_string().ends_with("is refused: not today"),
        "{error}"
    );
    assert_eq!(error.help().unwrap(), "ask tomorrow");
}
