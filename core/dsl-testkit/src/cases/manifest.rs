//! What a plugin says of itself, and of its interfaces.

use dsl_loader::{ErrorCode, LoaderError};

use super::case;
use crate::{
    Case,
    case::{Outcome, Verdict},
    context::Context,
    listen::listen,
};

pub(super) const CASES: &[Case] = &[
    case(
        "manifest-complete",
        "The manifest states id, name, description, version, SDK, compiler and target; authors and licence are wanted",
        complete,
    ),
    case(
        "manifest-extensions-answer",
        "Every interface that the manifest lists is there, and `dsl.task/1` is among them",
        extensions_answer,
    ),
    case(
        "unknown-extension",
        "An unknown interface id is answered with nothing",
        unknown_extension,
    ),
    case(
        "panic-strategy",
        "The plugin is built with panic = \"unwind\", so that a mistake in it does not end the host",
        panic_strategy,
    ),
    case(
        "panic-comes-back",
        "A panic comes back as an error with message, place and backtrace",
        panic_comes_back,
    ),
    case(
        "log-reaches-the-host",
        "Log events of the plugin arrive at the host with level, message and fields",
        log_reaches_the_host,
    ),
    case(
        "assets-readable",
        "Every asset that is listed can be read, is not empty, and an unknown one is answered with nothing",
        assets,
    ),
];

fn complete(context: &Context) -> Outcome {
    let plugin = context.plugin()?;
    let manifest = plugin.manifest();
    let missing = |fields: &[(&'static str, &str)]| -> Vec<&'static str> {
        (fields.iter())
            .filter(|(_, value)| value.trim().is_empty())
            .map(|(name, _)| *name)
            .collect()
    };
    let needed = missing(&[
        ("name", &manifest.name),
        ("description", &manifest.description),
        ("version", &manifest.version),
        ("sdk", &manifest.sdk),
        ("rustc", &manifest.rustc),
        ("target", &manifest.target),
        ("panic_strategy", &manifest.panic_strategy),
    ]);
    if !needed.is_empty() {
        return Err(Verdict::failed(format!(
            "the manifest leaves out {}",
            needed.join(", ")
        )));
    }
    let wanted = missing(&[
        ("authors", &manifest.authors),
        ("license", &manifest.license),
    ]);
    if !wanted.is_empty() {
        return Ok(
            Verdict::warning(format!("the manifest leaves out {}", wanted.join(", ")))
                .with_help("state them in the plugin's Cargo.toml"),
        );
    }
    if manifest.description.ends_with('.') {
        return Ok(Verdict::warning(
            "the description ends with a full stop, where it stands in a table",
        ));
    }
    Ok(Verdict::passed(""))
}

fn extensions_answer(context: &Context) -> Outcome {
    let plugin = context.plugin()?;
    let listed = &plugin.manifest().extensions;
    if let Some(id) = listed.iter().find(|id| !plugin.answers(id)) {
        return Err(Verdict::failed(format!(
            "the manifest lists `{id}`, and the plugin does not offer it"
        )));
    }
    if !listed.iter().any(|id| id == "dsl.task/1") {
        return Err(Verdict::failed("the manifest does not list `dsl.task/1`"));
    }
    Ok(Verdict::passed(listed.join(", ")))
}

fn unknown_extension(context: &Context) -> Outcome {
    let plugin = context.plugin()?;
    for id in ["dsl.no-such-interface/7", "", "dsl.task/4000000000"] {
        if plugin.answers(id) {
            return Err(Verdict::failed(format!(
                "the plugin offers an interface for the id `{id}`, which nobody has defined"
            )));
        }
    }
    Ok(Verdict::passed(""))
}

fn panic_strategy(context: &Context) -> Outcome {
    let plugin = context.plugin()?;
    match plugin.manifest().panic_strategy.as_str() {
        "unwind" => Ok(Verdict::passed("")),
        other => Err(Verdict::failed(format!(
            "the plugin is built with panic = \"{other}\": a mistake in it ends the host"
        ))
        .with_help("leave `panic` out of the profile that builds the plugin")),
    }
}

fn panic_comes_back(context: &Context) -> Outcome {
    let plugin = context.plugin()?;
    if plugin.manifest().panic_strategy == "abort" {
        return Ok(Verdict::skipped(
            "built with panic = \"abort\"; `panic-strategy` speaks of that",
        ));
    }
    let message = "asked to panic by a conformance check";
    let Some(test) = plugin.self_test()? else {
        return Ok(Verdict::skipped(
            "the plugin does not offer `dsl.self-test/1`, which the SDK brings",
        ));
    };
    let error = test.panic(message);
    let LoaderError::Plugin { code, .. } = &error else {
        return Err(error.into());
    };
    let text = error.to_string();
    if *code != ErrorCode::Panic || !text.contains(message) {
        return Err(Verdict::failed(format!(
            "expected an error of the code panic with the message, found {code}: {text}"
        )));
    }
    if !text.contains(".rs:") {
        return Err(Verdict::failed(format!("the error names no place: {text}")));
    }
    if error.detail().is_none() {
        return Err(Verdict::failed("the error comes without a backtrace"));
    }
    Ok(Verdict::passed(""))
}

fn log_reaches_the_host(context: &Context) -> Outcome {
    let message = "asked to log by a conformance check";
    let (can, said) = listen(tracing::Level::INFO, || {
        match context.plugin()?.self_test()? {
            Some(test) => test.log(message).map(|()| true),
            None => Ok(false),
        }
    });
    if !can? {
        return Ok(Verdict::skipped(
            "the plugin does not offer `dsl.self-test/1`, which the SDK brings",
        ));
    }
    let parts = [message, "number=7", "INFO"];
    match parts.iter().find(|part| !said.contains(**part)) {
        None => Ok(Verdict::passed("")),
        Some(part) => Err(Verdict::failed(format!(
            "`{part}` did not arrive; the host heard: {}",
            if said.is_empty() {
                "nothing"
            } else {
                said.trim()
            }
        ))
        .with_help("a subscriber of the plugin's own keeps the SDK from forwarding events")),
    }
}

fn assets(context: &Context) -> Outcome {
    let plugin = context.plugin()?;
    let names = plugin.asset_names()?;
    let mut bytes = 0;
    for name in &names {
        match plugin.asset(name)? {
            Some(asset) if !asset.is_empty() => bytes += asset.len(),
            Some(_) => return Err(Verdict::failed(format!("the asset `{name}` is empty"))),
            None => {
                return Err(Verdict::failed(format!(
                    "the asset `{name}` is listed and cannot be read"
                )));
            }
        }
    }
    if plugin.asset("no such asset")?.is_some() {
        return Err(Verdict::failed(
            "there is an asset by a name that is not listed",
        ));
    }
    Ok(Verdict::passed(match names.len() {
        0 => String::new(),
        count => format!("{count} files, {bytes} bytes"),
    }))
}
