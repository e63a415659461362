//! `dsl-host schema`: the configuration's JSON Schema, for editors.

use std::io::Write;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;

use crate::bridge::plugin;
use crate::config;
use crate::failure;
use crate::features::FeatureService;
use crate::interrupt::Interrupt;

/// Print the JSON Schema of the configuration
///
/// It covers the host's part and, with --plugin, the plugin's. Editors with a YAML or JSON language server complete and
/// check configuration files by it.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Plugin whose part is included: `t2i.so`, `t2i`, or a path
    #[arg(long)]
    plugin: Option<String>,
}

/// Prints the schema to `out`.
///
/// # Errors
/// A plugin that is not there or cannot be loaded.
pub fn schema(args: &SchemaArgs, out: &mut dyn Write) -> Result<()> {
    let parts = match &args.plugin {
        Some(name) => {
            let features = Arc::new(FeatureService::default());
            let plugin = plugin::open(name, &Interrupt::new(), &features)?;
            Some(plugin::parts(&plugin)?)
        }
        None => None,
    };
    let schema = config::schema(parts.as_ref()).map_err(config::ConfigErrors::from)?;
    out.write_all(config::schema_text(&schema).as_bytes())
        .or_else(failure::closed_pipe)
}
