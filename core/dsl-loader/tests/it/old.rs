//! Plugins that were built in the past, kept as files.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::{path::PathBuf, sync::Arc};

use dsl_loader::{LoaderError, Plugin, Quiet};

fn kept(name: &str) -> PathBuf {
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/plugins");
    PathBuf::from(tests).join(name)
}

#[test]
fn plugins_of_earlier_drafts_are_refused_in_one_line() {
    for (name, version) in [("draft-0.1.so", "0.1.0"), ("draft-0.2.so", "0.2.0")] {
        let error = Plugin::open(&kept(name), Arc::new(Quiet)).unwrap_err();
        let LoaderError::OtherAbi { reason, detail, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(
            reason,
            &format!("incompatible package versions: expected 0.3.0, found {version}")
        );
        assert!(detail.lines().count() > 50, "{detail}");
        assert_eq!(
            error.help().unwrap(),
            "build the plugin again with the SDK of this release"
        );
    }
}
