//! The `dsl-host` program: arguments in, exit code out.

use clap::Parser;
use dsl_host::cli::{Cli, Command};
use dsl_host::{command, failure, logging, plugin_watch};

/// What Rust's runtime ends with after a panic.
const PANICKED: u8 = 101;

fn main() {
    // Questions to plugins are put in processes of their own, which are this program again.
    if dsl_testkit::is_child() {
        dsl_testkit::run_child();
    }
    dsl_engine::keep_freed_memory();
    let cli = Cli::parse();
    plugin_watch::begin();
    let code = std::panic::catch_unwind(|| run(&cli)).unwrap_or(PANICKED);
    // Not by returning: what a plugin does when a process ends in order cannot spoil what is done, and an `exit` is always
    // a plugin's.
    dsl_loader::end_process(code)
}

/// Does what the arguments say, and gives the exit code.
fn run(cli: &Cli) -> u8 {
    let done = logging::init(cli.verbosity)
        .map_err(failure::usage)
        .and_then(|()| match &cli.command {
            Command::Run(args) => command::run::run(args, cli.verbosity.quiet),
            Command::Sample(args) => command::sample::sample(args),
            Command::Wrap(args) => command::wrap::wrap(args, cli.verbosity.quiet),
            Command::Export(args) => command::export::export(args),
            Command::Schema(args) => command::schema::schema(args, &mut std::io::stdout()),
            Command::Devices(args) => command::devices::devices(args, &mut std::io::stdout())
                .or_else(failure::closed_pipe),
            Command::Model(args) => command::model::model(args),
            Command::Plugin(args) => command::plugin::plugin(args),
        });
    match done {
        Ok(()) => 0,
        Err(error) => failure::report(&error),
    }
}
