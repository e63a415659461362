//! `dsl-host plugin new`: a complete plugin to start from.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;

use crate::failure;

/// Files of the new crate: path in it, and content with `{{…}}` to be filled in.
const FILES: [(&str, &str); 9] = [
    (
        "Cargo.toml",
        include_str!("../../../templates/plugin/Cargo.toml.in"),
    ),
    (
        ".gitignore",
        include_str!("../../../templates/plugin/gitignore.in"),
    ),
    (
        "README.md",
        include_str!("../../../templates/plugin/README.md.in"),
    ),
    (
        "src/lib.rs",
        include_str!("../../../templates/plugin/src/lib.rs.in"),
    ),
    (
        "src/config.rs",
        include_str!("../../../templates/plugin/src/config.rs.in"),
    ),
    (
        "src/task.rs",
        include_str!("../../../templates/plugin/src/task.rs.in"),
    ),
    (
        "src/dataset.rs",
        include_str!("../../../templates/plugin/src/dataset.rs.in"),
    ),
    (
        "src/evaluator.rs",
        include_str!("../../../templates/plugin/src/evaluator.rs.in"),
    ),
    (
        "tests/conformance.rs",
        include_str!("../../../templates/plugin/tests/conformance.rs.in"),
    ),
];

/// The source that this program was built from: where it still lies, it has the SDK.
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Words that are no name of a crate.
const RESERVED: [&str; 54] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate",
    "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl",
    "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref",
    "return", "self", "static", "struct", "super", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "where", "while", "yield", "test", "core", "std",
];

/// Write a complete plugin to start from
///
/// The crate builds as it is, within seconds and without the host's libraries, and passes `plugin check`. It trains on
/// drawn pictures; its files say where to put your own data.
#[derive(Debug, Args)]
pub(super) struct NewArgs {
    /// Name of the plugin: lower-case letters, digits and hyphens, such as `my-task`
    name: String,
    /// Folder to make; its name is the plugin's by default
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Where the SDK is: a copy of the source of dsl-host, or the address of a git repository with it
    ///
    /// By default the source that this program was built from.
    #[arg(long, value_name = "PATH_OR_URL")]
    sdk: Option<String>,
    /// Author in the plugin's manifest
    #[arg(long, default_value = "The authors of this plugin")]
    author: String,
}

pub(super) fn new(args: &NewArgs) -> Result<()> {
    check_name(&args.name).map_err(failure::usage)?;
    let folder = args
        .dir
        .clone()
        .unwrap_or_else(|| PathBuf::from(&args.name));
    let is_taken = folder.exists()
        && !(folder.is_dir()
            && fs::read_dir(&folder).is_ok_and(|mut files| files.next().is_none()));
    if is_taken {
        return Err(failure::usage(anyhow!(
            "`{}` is there already, and not an empty folder\nhint: `--dir` names another",
            folder.display()
        )));
    }
    let sdk = Sdk::find(args.sdk.as_deref()).map_err(failure::usage)?;
    for (path, content) in files(args, &sdk) {
        let path = folder.join(path);
        let parent = path.parent().unwrap_or(&folder);
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&path, content))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let crate_name = args.name.replace('-', "_");
    let library = format!(
        "{}{crate_name}{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    );
    failure::print(&format!(
        "{folder}\n  cd {folder} && cargo build --release\n  dsl-host plugin check target/release/{library}\n  \
         dsl-host run --plugin target/release/{library}\n",
        folder = folder.display()
    ))
}

/// The files with everything filled in.
fn files(args: &NewArgs, sdk: &Sdk) -> Vec<(&'static str, String)> {
    let crate_name = args.name.replace('-', "_");
    let words: Vec<String> = args
        .name
        .split('-')
        .filter(|word| !word.is_empty())
        .map(capital)
        .collect();
    let quoted = args.author.replace(['\\', '"', '\n'], " ");
    let values = [
        ("{{name}}", args.name.clone()),
        ("{{crate}}", crate_name.clone()),
        ("{{library}}", format!("lib{crate_name}.so")),
        ("{{Type}}", type_name(&words)),
        ("{{title}}", words.join(" ")),
        ("{{author}}", quoted),
        ("{{sdk}}", sdk.dependency("dsl-sdk")),
        ("{{testkit}}", sdk.dependency("dsl-testkit")),
    ];
    let fill = |content: &str| {
        let mut text = content.to_owned();
        for (key, value) in &values {
            text = text.replace(key, value);
        }
        text
    };
    FILES
        .iter()
        .map(|(path, content)| (*path, fill(content)))
        .collect()
}

/// Name of the type that is the task. It ends with `Task`, so that it is no name that the files use for something else.
fn type_name(words: &[String]) -> String {
    let name = words.concat();
    match name.strip_suffix("Task") {
        Some(rest) if !rest.is_empty() => name,
        _ => name + "Task",
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
        .unwrap_or_default()
}

fn check_name(name: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let begins = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_lowercase());
    if !begins || !name.bytes().all(plain) || name.ends_with('-') || name.contains("--") {
        bail!(
            "`{name}` cannot be the name of a plugin\nhint: a name has lower-case letters, digits and single hyphens, and \
             begins with a letter: `my-task`"
        );
    }
    if RESERVED.contains(&name) || name.starts_with("dsl-") {
        bail!("`{name}` has a meaning already\nhint: choose another name, such as `my-{name}`");
    }
    Ok(())
}

/// Where the SDK comes from.
enum Sdk {
    Folder(PathBuf),
    Git(String),
}

impl Sdk {
    fn find(given: Option<&str>) -> Result<Self> {
        if let Some(url) = given.filter(|given| given.contains("://") || given.starts_with("git@"))
        {
            return Ok(Self::Git(url.to_owned()));
        }
        let folder = Path::new(given.unwrap_or(SOURCE));
        let manifest = folder.join("core/dsl-sdk/Cargo.toml");
        if !manifest.is_file() {
            bail!(
                "there is no SDK in {}\nhint: `--sdk` takes a copy of the source of dsl-host, or the address of its git \
                 repository",
                folder.display()
            );
        }
        let folder = folder
            .canonicalize()
            .with_context(|| format!("cannot read {}", folder.display()))?;
        Ok(Self::Folder(folder))
    }

    fn dependency(&self, package: &str) -> String {
        match self {
            Self::Folder(folder) => {
                let path = folder.join("core").join(package);
                format!("path = {:?}", path.display().to_string())
            }
            Self::Git(url) => format!("git = {url:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_placeholder_is_filled_in() {
        let args = NewArgs {
            name: "my-3d-task".into(),
            dir: None,
            sdk: None,
            author: "A \"B\" C".into(),
        };
        let sdk = Sdk::Git("https://example.org/x.git".into());
        for (path, content) in files(&args, &sdk) {
            assert!(!content.contains("{{"), "{path}: {content}");
            if path == "Cargo.toml" {
                let manifest: toml::Value = toml::from_str(&content).unwrap();
                assert_eq!(manifest["package"]["name"].as_str(), Some("my-3d-task"));
                assert_eq!(
                    manifest["dependencies"]["dsl-sdk"]["git"].as_str(),
                    Some("https://example.org/x.git")
                );
            }
            if path == "src/config.rs" {
                assert!(content.contains("pub struct My3dTaskConfig {"), "{content}");
            }
            if path == "src/task.rs" {
                assert!(content.contains("pub struct My3dTask {"), "{content}");
            }
        }
    }

    #[test]
    fn types_have_names_of_their_own() {
        for (name, expected) in [
            ("my-task", "MyTask"),
            ("task", "TaskTask"),
            ("option", "OptionTask"),
            ("host", "HostTask"),
        ] {
            let words: Vec<String> = name.split('-').map(capital).collect();
            assert_eq!(type_name(&words), expected);
        }
    }

    #[test]
    fn names_that_would_not_build_are_refused() {
        for name in ["my-task", "x", "a1-b2"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in [
            "", "My", "1a", "-a", "a-", "a--b", "a_b", "ä", "fn", "dsl-task", "../x",
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
