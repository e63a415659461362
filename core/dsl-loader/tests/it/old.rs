//! Plugins that were built in the past, kept as files.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::{path::PathBuf, sync::Arc};

use dsl_loader::{LoaderError, Plugin, Quiet};

fn kept(name: &str) -> PathBuf {
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/plugins");
    PathBuf::from(tests).join(name)
}

#[test]
fn a_plugin_of_the_first_draft_is_refused_in_one_line() {
    let error = Plugin::open(&kept("draft-0.1.so"), Arc::new(Quiet)).unwrap_err();
    let LoaderError::OtherAbi { reason, detail, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(
        reason,
        "incompatible package versions: expected 0.2.0, found 0.1.0"
    );
    assert!(detail.lines().count() > 50, "{detail}");
    assert_eq!(
        error.help().unwrap(),
        "build the plugin again with the SDK of this release"
    );
}

/// The draft that is current: it has to load until the interface's version moves.
#[test]
fn a_plugin_of_the_current_draft_loads_and_works() {
    let plugin = Plugin::open(&kept("draft-0.2.so"), Arc::new(Quiet)).unwrap();
    assert_eq!(plugin.manifest().id, "draft");
    let task = plugin.open_task(&plugin.default_config().unwrap()).unwrap();
    let train = task.dataset("train").unwrap();
    let batch = train.batch(&[0, 90], &[0, 0], false).unwrap();
    let dsl_loader::HostColumnData::Tensor(tensor) = &batch[0].data else {
        panic!("{batch:?}")
    };
    assert_eq!(tensor.shape(), [2, 2]);
    assert_eq!(tensor.as_f32().unwrap()[0], 1.0);
}
