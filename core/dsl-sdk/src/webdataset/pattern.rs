//! Names of shards, and patterns that stand for many of them.

use crate::PluginError;

/// A pattern that stands for more names than this is taken for a slip.
const MAX_NAMES: usize = 100_000;

/// Whether a file name ends like a shard: `.tar`, `.tar.gz` or `.tgz`, in any case. Names that begin with a dot are none.
pub fn is_shard_name(file_name: &str) -> bool {
    let name = file_name.to_ascii_lowercase();
    !name.starts_with('.')
        && [".tar", ".tar.gz", ".tgz"]
            .iter()
            .any(|ending| name.ends_with(ending))
}

/// Whether a path is a pattern for [`expand_braces`].
pub fn has_braces(path: &str) -> bool {
    path.contains('{')
}

/// The names that a pattern stands for: `{000000..000017}` counts (with leading zeros where the numbers have them), `{a,b}` lists;
/// several groups multiply, the last one running fastest.
///
/// # Errors
/// A brace without its partner, an empty or falling range, numbers that are none, and patterns for more than 100,000 names.
pub fn expand_braces(pattern: &str) -> Result<Vec<String>, PluginError> {
    let wrong = |why: String| {
        PluginError::config(format!("the pattern `{pattern}` cannot be read: {why}"))
            .with_help("such as `train-{000000..000017}.tar` or `{train,extra}-0.tar`")
    };
    let mut names = vec![String::new()];
    let mut rest = pattern;
    while let Some(open) = rest.find(['{', '}']) {
        let Some(group) = rest[open..].strip_prefix('{') else {
            return Err(wrong("a `}` stands without its `{`".to_owned()));
        };
        let Some(close) = group
            .find(['{', '}'])
            .filter(|&at| group.as_bytes()[at] == b'}')
        else {
            return Err(wrong("a `{` stands without its `}`".to_owned()));
        };
        let options = expand_group(&group[..close]).map_err(wrong)?;
        if names.len().saturating_mul(options.len()) > MAX_NAMES {
            return Err(wrong(format!("it stands for more than {MAX_NAMES} names")));
        }
        let before = &rest[..open];
        names = names
            .iter()
            .flat_map(|name| {
                options
                    .iter()
                    .map(move |option| format!("{name}{before}{option}"))
            })
            .collect();
        rest = &group[close + 1..];
    }
    names.iter_mut().for_each(|name| name.push_str(rest));
    Ok(names)
}

fn expand_group(group: &str) -> Result<Vec<String>, String> {
    let Some((first, last)) = group.split_once("..") else {
        let options: Vec<String> = group.split(',').map(str::to_owned).collect();
        return if options.len() > 1 {
            Ok(options)
        } else {
            Err(format!("`{{{group}}}` is neither a range nor a list"))
        };
    };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u64>()
            .ok()
            .filter(|_| digits)
            .ok_or_else(|| format!("`{text}` is not a number"))
    };
    let (from, to) = (number(first)?, number(last)?);
    if from > to {
        return Err(format!("the range `{first}..{last}` falls"));
    }
    if to - from >= MAX_NAMES as u64 {
        return Err(format!(
            "the range `{first}..{last}` has more than {MAX_NAMES} numbers"
        ));
    }
    let padded = first.starts_with('0') || last.starts_with('0');
    let width = if padded {
        first.len().max(last.len())
    } else {
        0
    };
    Ok((from..=to)
        .map(|number| format!("{number:0width$}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_lists() {
        assert_eq!(
            expand_braces("a-{000009..000011}.tar").unwrap(),
            ["a-000009.tar", "a-000010.tar", "a-000011.tar"]
        );
        assert_eq!(expand_braces("{9..11}").unwrap(), ["9", "10", "11"]);
        assert_eq!(
            expand_braces("{a,b}/{0..1}.tgz").unwrap(),
            ["a/0.tgz", "a/1.tgz", "b/0.tgz", "b/1.tgz"]
        );
        assert_eq!(expand_braces("plain.tar").unwrap(), ["plain.tar"]);
    }

    #[test]
    fn slips_are_errors() {
        for pattern in [
            "a{1..2",
            "a1..2}",
            "{1..}",
            "{x..y}",
            "{5..1}",
            "{a}",
            "{}",
            "{{1..2}}",
            "{0..999999999}",
            "{-1..2}",
        ] {
            let error = expand_braces(pattern).unwrap_err();
            assert!(error.message.contains(pattern), "{}", error.message);
        }
    }

    #[test]
    fn shard_names() {
        for (name, expected) in [
            ("a.tar", true),
            ("a.TAR.GZ", true),
            ("b.tgz", true),
            (".a.tar", false),
            ("a.tar.zst", false),
        ] {
            assert_eq!(is_shard_name(name), expected, "{name}");
        }
    }
}
