//! The files in `schemas/` are what `dsl-host schema` prints. `UPDATE_SCHEMAS=1 cargo test --workspace` writes them anew.

use crate::support;

fn check(file: &str, plugin: Option<&str>) {
    let mut command = support::dsl_host();
    command.arg("schema");
    if let Some(plugin) = plugin {
        command.arg("--plugin").arg(support::plugin(plugin));
    }
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    let path = support::workspace().join("schemas").join(file);
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "schemas/{file} is stale: run `UPDATE_SCHEMAS=1 cargo test --workspace` and commit it"
    );
}

#[test]
fn host_schema_is_up_to_date() {
    check("host.schema.json", None);
}

/// A test for each plugin of the workspace.
macro_rules! plugins {
    ($($test:ident: $plugin:literal in $file:literal,)*) => {$(
        #[test]
        fn $test() {
            check($file, Some($plugin));
        }
    )*};
}

plugins! {
    era3d_schema_is_up_to_date: "era3d" in "era3d.schema.json",
    gligen_schema_is_up_to_date: "gligen" in "gligen.schema.json",
    mixture_schema_is_up_to_date: "mixture" in "mixture.schema.json",
    stablesr_schema_is_up_to_date: "stablesr" in "stablesr.schema.json",
    syncdreamer_schema_is_up_to_date: "syncdreamer" in "syncdreamer.schema.json",
    t2i_schema_is_up_to_date: "t2i" in "t2i.schema.json",
    textual_inversion_schema_is_up_to_date: "textual_inversion" in "textual-inversion.schema.json",
}
