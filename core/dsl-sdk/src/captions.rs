//! Captions: cleaning them, finding them in a record, and choosing one for a sample.
//!
//! Plain data and functions: any thread may use them, several at once.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Columns that are tried, in this order, when the config names none.
pub const DEFAULT_COLUMNS: [&str; 2] = ["text", "caption"];

/// Which text stands for a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CaptionChoice {
    /// The caption. Where a record lists several, one is drawn for each augmented sample, and the first is taken otherwise.
    #[default]
    Caption,
    /// The keywords, separated by commas; in a drawn order for augmented samples. The caption where there are none.
    Keywords,
    /// The caption, then the keywords.
    CaptionAndKeywords,
    /// For each augmented sample one of: the caption (half of the time), or keywords, each kept with probability 1/2 and at least
    /// one. The caption for samples that are not augmented.
    Random,
}

/// The texts of one sample.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captions {
    /// Equally good captions, cleaned, none of them empty.
    pub texts: Vec<String>,
    /// Keywords, cleaned; may be empty.
    pub keywords: Vec<String>,
}

impl Captions {
    /// The text of one sample.
    ///
    /// `uniform` gives numbers in 0..1 for an augmented sample; without it the choice is fixed. Empty when there are no captions,
    /// which a reader of data sets reports long before.
    pub fn choose(
        &self,
        choice: CaptionChoice,
        uniform: Option<&mut dyn FnMut() -> f64>,
    ) -> String {
        let mut draw = uniform;
        match choice {
            CaptionChoice::Caption => self.text(&mut draw),
            CaptionChoice::Keywords if self.keywords.is_empty() => self.text(&mut draw),
            CaptionChoice::Keywords => shuffled(&self.keywords, &mut draw).join(", "),
            CaptionChoice::CaptionAndKeywords => {
                let text = self.text(&mut draw);
                let keywords = shuffled(&self.keywords, &mut draw);
                let parts: Vec<&str> = std::iter::once(text.as_str())
                    .chain(keywords)
                    .filter(|part| !part.is_empty())
                    .collect();
                parts.join(", ")
            }
            CaptionChoice::Random => {
                let with_keywords = match &mut draw {
                    Some(uniform) => uniform() >= 0.5,
                    None => false,
                };
                if !with_keywords || self.keywords.is_empty() {
                    return self.text(&mut draw);
                }
                let order = shuffled(&self.keywords, &mut draw);
                let mut kept: Vec<&str> = Vec::with_capacity(order.len());
                for (place, keyword) in order.iter().enumerate() {
                    let keep = draw.as_mut().is_none_or(|uniform| uniform() < 0.5);
                    if keep || (place + 1 == order.len() && kept.is_empty()) {
                        kept.push(keyword);
                    }
                }
                kept.join(", ")
            }
        }
    }

    fn text(&self, draw: &mut Option<&mut dyn FnMut() -> f64>) -> String {
        let index = match draw {
            Some(uniform) if self.texts.len() > 1 => pick(self.texts.len(), uniform()),
            _ => 0,
        };
        self.texts.get(index).cloned().unwrap_or_default()
    }
}

/// Fisher and Yates' shuffle; the given order without random numbers.
fn shuffled<'a>(words: &'a [String], draw: &mut Option<&mut dyn FnMut() -> f64>) -> Vec<&'a str> {
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let Some(uniform) = draw {
        for last in (1..words.len()).rev() {
            words.swap(last, pick(last + 1, uniform()));
        }
    }
    words
}

fn pick(count: usize, uniform: f64) -> usize {
    ((uniform * count as f64) as usize).min(count.saturating_sub(1))
}

/// One line of text: no byte-order mark, no control characters, every run of white space one space, none at the ends.
pub fn clean(text: &str) -> String {
    let text = text.trim_start_matches('\u{feff}');
    let words = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// The captions in a value: a text, or a list of equally good texts. What is not text counts as nothing.
pub fn texts_in(value: &Value) -> Vec<String> {
    let texts: Vec<&str> = match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    texts
        .into_iter()
        .map(clean)
        .filter(|text| !text.is_empty())
        .collect()
}

/// The keywords in a value: a list of texts, or one text with commas.
pub fn keywords_in(value: &Value) -> Vec<String> {
    let words: Vec<&str> = match value {
        Value::String(text) => text.split(',').collect(),
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    words
        .into_iter()
        .map(clean)
        .filter(|word| !word.is_empty())
        .collect()
}

/// The column of `record` that holds captions, and the captions: `column`, or else the first of [`DEFAULT_COLUMNS`] that holds any.
pub fn find_in<'a>(
    record: &Map<String, Value>,
    column: Option<&'a str>,
) -> Option<(&'a str, Vec<String>)> {
    let candidates = match &column {
        Some(column) => std::slice::from_ref(column),
        None => DEFAULT_COLUMNS.as_slice(),
    };
    candidates.iter().find_map(|&column| {
        let texts = record.get(column).map(texts_in).unwrap_or_default();
        (!texts.is_empty()).then_some((column, texts))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn apple() -> Captions {
        Captions {
            texts: vec!["red apple".into(), "an apple".into()],
            keywords: ["fruit", "mac", "school", "red"].map(String::from).into(),
        }
    }

    /// A fixed sequence of numbers in 0..1, another for each `seed`.
    fn numbers(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed;
        move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        }
    }

    fn all(choice: CaptionChoice) -> std::collections::BTreeSet<String> {
        (0..200)
            .map(|seed| apple().choose(choice, Some(&mut numbers(seed * 77 + 5))))
            .collect()
    }

    #[test]
    fn without_random_numbers_the_choice_is_fixed() {
        use CaptionChoice::*;
        let expected = [
            (Caption, "red apple"),
            (Keywords, "fruit, mac, school, red"),
            (CaptionAndKeywords, "red apple, fruit, mac, school, red"),
            (Random, "red apple"),
        ];
        for (choice, text) in expected {
            assert_eq!(apple().choose(choice, None), text);
        }
    }

    #[test]
    fn random_numbers_reach_every_caption_and_order() {
        assert_eq!(
            all(CaptionChoice::Caption).into_iter().collect::<Vec<_>>(),
            ["an apple", "red apple"]
        );
        assert_eq!(all(CaptionChoice::Keywords).len(), 24);
        let random = all(CaptionChoice::Random);
        assert!(random.contains("red apple") && random.contains("mac") && random.len() > 20);
        assert!(random.iter().all(|text| !text.is_empty()));
    }

    #[test]
    fn no_keywords_means_the_caption() {
        let plain = Captions {
            texts: vec!["a cat".into()],
            keywords: vec![],
        };
        for choice in [
            CaptionChoice::Keywords,
            CaptionChoice::CaptionAndKeywords,
            CaptionChoice::Random,
            CaptionChoice::Caption,
        ] {
            for seed in 0..20 {
                assert_eq!(plain.choose(choice, Some(&mut numbers(seed))), "a cat");
            }
        }
    }

    #[test]
    fn cleaning() {
        assert_eq!(
            clean("\u{feff}  two\r\n words\t\u{0} here \n"),
            "two words here"
        );
        assert_eq!(clean(" \n\t"), "");
    }

    #[test]
    fn captions_are_found_in_records() {
        let record = json!({"text": "  ", "caption": ["a", "", "b"], "other": "c", "number": 3});
        let record = record.as_object().unwrap();
        assert_eq!(
            find_in(record, None),
            Some(("caption", vec!["a".to_owned(), "b".to_owned()]))
        );
        assert_eq!(
            find_in(record, Some("other")),
            Some(("other", vec!["c".to_owned()]))
        );
        assert_eq!(find_in(record, Some("number")), None);
        assert_eq!(keywords_in(&json!("a, b ,,c")), ["a", "b", "c"]);
        assert_eq!(keywords_in(&json!(["a b", " c"])), ["a b", "c"]);
    }
}
