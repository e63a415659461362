//! "Did you mean": the known word nearest to one that is not known.

/// The candidate that `word` was most likely meant to be, if any is near.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (likeness(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// 1 for the same word (case, `-` and `_` aside) or its initials (`lr` for `learning_rate`), down to 0.
pub(super) fn likeness(word: &str, candidate: &str) -> f64 {
    let word = fold(word);
    let initials: String = candidate
        .split(['_', '-'])
        .filter_map(|part| part.chars().next())
        .collect();
    if initials.len() > 1 && word == initials {
        return 1.0;
    }
    let candidate = fold(candidate);
    // One slip in a short word weighs too much in Jaro-Winkler alone.
    if word.len() > 2 && strsim::damerau_levenshtein(&word, &candidate) == 1 {
        return 0.99;
    }
    strsim::jaro_winkler(&word, &candidate)
}

fn fold(word: &str) -> String {
    word.chars()
        .filter(|c| !matches!(c, '_' | '-'))
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::nearest;

    fn check(word: &str, expected: Option<&str>) {
        let known = ["learning_rate", "batch_size", "steps", "seed", "dsm", "dsl"];
        assert_eq!(nearest(word, known), expected, "for `{word}`");
    }

    #[test]
    fn finds_typing_slips_other_spellings_and_initials() {
        check("stepz", Some("steps"));
        check("batchSize", Some("batch_size"));
        check("batch-size", Some("batch_size"));
        check("learning_rat", Some("learning_rate"));
        check("lr", Some("learning_rate"));
        check("dlsm", Some("dsm"));
        check("banana", None);
    }
}
