//! The plugins of this project, two at a time.

use dsl_loader::{DatasetHandle, LoaderError, Plugin};

use super::support::{batch, folder, open, open_task, path, rows};

#[test]
fn two_plugins_in_one_process_keep_apart() {
    let (t2i, mixture) = (open("t2i"), open("mixture"));
    assert_eq!(t2i.manifest().id, "t2i");
    assert_eq!(mixture.manifest().id, "mixture");
    assert_ne!(
        t2i.config_schema().unwrap(),
        mixture.config_schema().unwrap()
    );
    assert_eq!(t2i.sha256().len(), 64);
    assert_ne!(t2i.sha256(), mixture.sha256());
    for plugin in [&t2i, &mixture] {
        let manifest = plugin.manifest();
        assert_eq!(manifest.panic_strategy, "unwind");
        assert!(
            !manifest.name.is_empty()
                && !manifest.description.is_empty()
                && manifest.rustc.starts_with("rustc")
        );
        assert!(plugin.host_defaults().unwrap().is_object());
        assert_eq!(plugin.asset("no such asset").unwrap(), None);
        for name in plugin.asset_names().unwrap() {
            assert!(
                plugin
                    .asset(&name)
                    .unwrap()
                    .is_some_and(|bytes| !bytes.is_empty()),
                "{name}"
            );
        }
    }
}

#[test]
fn the_same_plugin_opens_twice() {
    let (first, second) = (open("mixture"), open("mixture"));
    assert_eq!(first.sha256(), second.sha256());
    drop(first);
    let task = open_task(&second, &second.default_config().unwrap());
    assert!(!task.dataset("train").unwrap().is_empty());
}

#[test]
fn every_spelling_finds_a_built_plugin() {
    for name in ["mixture", "mixture.so", "libmixture.so"] {
        let given = folder().join(name);
        assert_eq!(
            Plugin::find(given.to_str().unwrap()).unwrap(),
            path("mixture")
        );
    }
    assert!(matches!(
        Plugin::find("no-such-plugin.so"),
        Err(LoaderError::NotFound { .. })
    ));
}

/// A sample depends on its index and its seed alone.
fn check_samples_stand_alone(dataset: &DatasetHandle) {
    let last = dataset.len() - 1;
    let indices = [3_u64.min(last), 0, last, 0];
    for augment in [false, true] {
        let together = batch(dataset, &indices, augment);
        assert_eq!(together.len(), dataset.columns().len());
        let alone: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = indices
                .iter()
                .map(|&index| scope.spawn(move || batch(dataset, &[index], augment)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        for (position, column) in together.iter().enumerate() {
            let joined: Vec<_> = alone
                .iter()
                .flat_map(|columns| rows(&columns[position]))
                .collect();
            assert_eq!(
                rows(column),
                joined,
                "column `{}`, augment {augment}",
                column.name
            );
        }
    }
}

#[test]
fn samples_depend_on_index_and_seed_alone() {
    for name in ["mixture", "t2i"] {
        let plugin = open(name);
        let task = open_task(&plugin, &plugin.default_config().unwrap());
        for split in task.splits() {
            let dataset = task.dataset(split).unwrap();
            if !dataset.is_empty() {
                check_samples_stand_alone(&dataset);
            }
        }
    }
}

#[test]
fn an_unknown_split_and_a_wrong_configuration_are_errors_of_the_plugin() {
    let plugin = open("mixture");
    let task = open_task(&plugin, &plugin.default_config().unwrap());
    let error = task.dataset("no such split").unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("plugin `mixture`, dataset `no such split`: "),
        "{error}"
    );
    let error = plugin
        .open_task(&serde_json::json!({"no_such_key": 1}))
        .unwrap_err();
    assert!(
        error.to_string().starts_with("plugin `mixture`, open: "),
        "{error}"
    );
    assert!(error.to_string().contains("no_such_key"), "{error}");
}
