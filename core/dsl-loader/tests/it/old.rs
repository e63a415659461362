//! Plugins that were built in the past, kept as files.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::{path::PathBuf, sync::Arc};

use dsl_loader::{HostColumnData, InputColumn, InputData, LoaderError, Plugin, Quiet};

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
            &format!("incompatible package versions: expected 1.0.0, found {version}")
        );
        assert!(detail.lines().count() > 50, "{detail}");
        assert_eq!(
            error.help().unwrap(),
            "build the plugin again with the SDK of this release"
        );
    }
}

/// Version 1 is frozen: this file has to load, and to give what it gave, for ever.
#[test]
fn the_plugin_of_version_1_loads_and_works() {
    let plugin = Plugin::open(&kept("v1.so"), Arc::new(Quiet)).unwrap();
    assert_eq!(plugin.manifest().id, "circle");
    let task = plugin.open_task(&plugin.default_config().unwrap()).unwrap();
    assert_eq!(task.describe().injections[0].kind(), "class_label");

    let train = task.dataset("train").unwrap();
    let batch = train.batch(&[0, 90], &[0, 0], false).unwrap();
    let numbers = |index: usize| match &batch[index].data {
        HostColumnData::Tensor(tensor) => tensor,
        other => panic!("{other:?}"),
    };
    assert_eq!(numbers(0).shape(), [2, 2]);
    assert_eq!(numbers(0).as_f32().unwrap()[0], 1.0);
    assert_eq!(numbers(1).as_i64().unwrap(), [0, 1]);
    let HostColumnData::Text(names) = &batch[2].data else {
        panic!("{batch:?}")
    };
    assert_eq!(names[..], ["degree", "0", "degree", "90"]);

    let given = task
        .conditions(&serde_json::json!({"quadrant": 3}))
        .unwrap();
    let HostColumnData::Tensor(quadrant) = &given[0].data else {
        panic!("{given:?}")
    };
    assert_eq!(quadrant.as_i64().unwrap(), [3]);
    let refused = task.conditions(&serde_json::json!({})).unwrap_err();
    assert!(refused.to_string().contains("`quadrant`"), "{refused}");

    let generated = [InputColumn {
        name: "generated",
        data: InputData::F32 {
            shape: &[2, 2],
            values: &[3.0, 4.0, 0.0, 1.0],
        },
    }];
    let picture = task.picture(&generated).unwrap().unwrap();
    assert_eq!((picture.width, picture.height), (2, 1));
    let mut evaluator = task.evaluator().unwrap().unwrap();
    evaluator.update(&generated, 0).unwrap();
    let (metrics, artefacts) = evaluator.finish().unwrap();
    assert_eq!(
        (metrics[0].name.as_str(), metrics[0].value),
        ("radius", 3.0)
    );
    assert_eq!(artefacts[0].bytes[..], *b"2\n");
}
