//! Loads a library and checks its root module.

use std::path::Path;

use dsl_abi::{
    PluginRef,
    abi_stable::library::{AbiHeaderRef, ROOT_MODULE_LOADER_NAME_WITH_NUL},
};

use crate::LoaderError;

/// Loads the library at a canonical path and gives its root module. The library stays loaded until the process ends.
pub(crate) fn root_module(path: &Path) -> Result<PluginRef, LoaderError> {
    let load_failed = |error: libloading::Error| LoaderError::LoadFailed {
        path: path.to_owned(),
        reason: std::error::Error::source(&error)
            .map_or_else(|| error.to_string(), ToString::to_string),
    };
    // SAFETY: loading runs initialisers of the library, which is what the user asked for by naming it; nothing weaker
    // can be said of native code.
    #[cfg(unix)]
    let library = unsafe {
        use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
        // NOW: a symbol that is missing fails here, not in the middle of a run. LOCAL: two plugins never see each
        // other's symbols.
        libloading::Library::from(
            Library::open(Some(path), RTLD_NOW | RTLD_LOCAL).map_err(load_failed)?,
        )
    };
    // SAFETY: as above.
    #[cfg(not(unix))]
    let library = unsafe { libloading::Library::new(path).map_err(load_failed)? };

    // SAFETY: the symbol is abi_stable's own, and `upgrade` checks the magic text and the version that it begins with.
    let header =
        unsafe { library.get::<AbiHeaderRef>(ROOT_MODULE_LOADER_NAME_WITH_NUL.as_bytes()) }
            .map(|header| *header);
    // Its thread-locals and its static data outlive every handle. Forgotten before the errors below, which may hold
    // references into it.
    std::mem::forget(library);
    let header = header.map_err(|_| LoaderError::NotAPlugin {
        path: path.to_owned(),
        found: "it is a library that does not export the entry point of a plugin".to_owned(),
        help: "a plugin is built with `dsl_sdk::export_plugin!`".to_owned(),
    })?;
    let other_abi = |error: dsl_abi::abi_stable::library::LibraryError| {
        let report = error.to_string();
        LoaderError::OtherAbi {
            path: path.to_owned(),
            reason: short_reason(&report),
            detail: report,
        }
    };
    // `init_root_module` on this header, and not the cached loading functions of abi_stable: they keep one module for
    // each type, so that a second plugin would silently be the first.
    header
        .upgrade()
        .map_err(other_abi)?
        .init_root_module::<PluginRef>()
        .map_err(other_abi)
}

/// The last finding of a layout report, on one line: `incompatible package versions: expected 0.2.0, found 0.1.0`.
/// Reports have hundreds of lines; the last finding is the innermost.
pub(crate) fn short_reason(report: &str) -> String {
    const MAX_CHARS: usize = 200;
    let lines: Vec<&str> = report
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let text = match lines.iter().rposition(|line| line.starts_with("Error:")) {
        Some(at) => {
            let mut text = lines[at].trim_start_matches("Error:").trim().to_owned();
            let mut follows = ": ";
            for line in lines[at + 1..].iter().take(11) {
                match *line {
                    "Expected:" => text.push_str(&format!("{follows}expected ")),
                    "Found:" => text.push_str(&format!("{follows}found ")),
                    other => {
                        if !text.ends_with(' ') {
                            text.push(' ');
                        }
                        text.push_str(other);
                        continue;
                    }
                }
                follows = ", ";
            }
            text
        }
        None => lines.iter().take(3).copied().collect::<Vec<_>>().join(" "),
    };
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut short: String = text.chars().take(MAX_CHARS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::short_reason;

    #[test]
    fn the_innermost_finding_is_told_in_one_line() {
        let report = "Compared <this>:\n  Error:outer\n\n  Error:incompatible package versions\n  Expected:\n      0.2.0\n  \
                      Found:\n      0.1.0\n\n";
        assert_eq!(
            short_reason(report),
            "incompatible package versions: expected 0.2.0, found 0.1.0"
        );
        assert_eq!(
            short_reason("  the header\n is another "),
            "the header is another"
        );
        assert!(
            short_reason(&format!("Error:{}", "long ".repeat(99)))
                .chars()
                .count()
                <= 201
        );
    }
}
