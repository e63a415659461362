//! `task.data.only`: which samples are kept, by what their records say.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use dsl_sdk::PluginError;
use dsl_sdk::serde_json::{Map, Value};

use crate::config::Wanted;

/// How many columns or values a message lists.
const MAX_LISTED: usize = 12;
/// How many different columns or values are remembered for messages: a column of names may have as many as there are samples.
const MAX_REMEMBERED: usize = 10_000;
/// Jaro-Winkler likeness from which a name is offered instead of an unknown one: `Food` is 0.87 like `Food & Drink`.
const ALIKE: f64 = 0.8;

/// The filter, and what it saw.
#[derive(Debug)]
pub(super) struct Only<'a> {
    /// In the order in which they are applied.
    columns: Vec<Column<'a>>,
    /// The names of all columns of all samples.
    names: Vec<String>,
    seen: u64,
}

#[derive(Debug)]
struct Column<'a> {
    name: &'a str,
    wanted: &'a [Wanted],
    /// For each wanted value, whether any sample has it.
    found: Vec<bool>,
    /// Whether any sample has the column.
    exists: bool,
    /// The values of the samples that the columns before kept: how often, and which came how early.
    values: HashMap<String, (u64, usize)>,
    kept: u64,
}

/// What was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub samples: u64,
    pub of: u64,
    /// A sentence for each wanted value that no sample has.
    pub unmatched: Vec<String>,
}

impl<'a> Only<'a> {
    /// `None` for an empty filter, which keeps everything.
    pub(super) fn new(only: &'a BTreeMap<String, Vec<Wanted>>) -> Option<Self> {
        let column = |(name, wanted): (&'a String, &'a Vec<Wanted>)| Column {
            name,
            wanted,
            found: vec![false; wanted.len()],
            exists: false,
            values: HashMap::new(),
            kept: 0,
        };
        (!only.is_empty()).then(|| Self {
            columns: only.iter().map(column).collect(),
            names: Vec::new(),
            seen: 0,
        })
    }

    /// Whether a sample with this record is kept: in every column of the filter it has one of the values.
    pub(super) fn keeps(&mut self, record: &Map<String, Value>) -> bool {
        self.seen += 1;
        for name in record.keys() {
            if self.names.len() < MAX_REMEMBERED && !self.names.contains(name) {
                self.names.push(name.clone());
            }
        }
        let mut keep = true;
        for column in &mut self.columns {
            keep &= column.keeps(record.get(column.name), keep);
        }
        keep
    }

    /// The outcome.
    ///
    /// # Errors
    /// A column that no sample has, and a filter that keeps no sample; both say what there is.
    pub(super) fn finish(self) -> Result<Kept, PluginError> {
        // Nothing seen means that no record could be read, which is told as such.
        if self.seen > 0 {
            if let Some(column) = self.columns.iter().find(|column| !column.exists) {
                return Err(self.no_such_column(column.name));
            }
            if let Some(place) = self.columns.iter().position(|column| column.kept == 0) {
                return Err(self.nothing_left(place));
            }
        }
        Ok(Kept {
            samples: self.columns.last().map_or(0, |column| column.kept),
            of: self.seen,
            unmatched: self.columns.iter().flat_map(Column::unmatched).collect(),
        })
    }

    fn no_such_column(&self, name: &str) -> PluginError {
        let names = self.names.iter().map(String::as_str);
        let help = match nearest(name, names.clone()) {
            Some(near) => format!("did you mean `task.data.only.{near}`?"),
            None => "the columns are the keys in metadata.jsonl, or in the .json files of shards"
                .to_owned(),
        };
        PluginError::config(format!(
            "`task.data.only.{name}`: no sample has the column `{name}`; there are {}",
            listed(names.map(|name| format!("`{name}`")).collect())
        ))
        .with_help(help)
    }

    /// No sample has passed the column at `place`, but some have come so far.
    fn nothing_left(&self, place: usize) -> PluginError {
        let column = &self.columns[place];
        let before: Vec<String> = self.columns[..place]
            .iter()
            .map(|column| format!("`{}`", column.name))
            .collect();
        let among = match before.is_empty() {
            true => String::new(),
            false => format!(" among those that {} keeps", before.join(" and ")),
        };
        let mut values: Vec<_> = column.values.iter().collect();
        values.sort_by_key(|(_, (count, early))| (Reverse(*count), *early));
        let there = values
            .iter()
            .map(|(value, (count, _))| format!("`{value}` ({count})"))
            .collect();
        let near = column.wanted.iter().find_map(|wanted| column.near(wanted));
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "name values that there are, written alike, or leave the column out".to_owned(),
        };
        let wanted = column.wanted.iter().map(|wanted| format!("`{}`", wanted.0));
        PluginError::config(format!(
            "`task.data.only.{}`: no sample{among} has the value {}; there are {}",
            column.name,
            wanted.collect::<Vec<_>>().join(" or "),
            listed(there)
        ))
        .with_help(help)
    }
}

impl Column<'_> {
    /// Whether `value` is or holds a wanted one. `counts` is false for a sample that was left out already.
    fn keeps(&mut self, value: Option<&Value>, counts: bool) -> bool {
        self.exists |= value.is_some();
        let mut keep = false;
        for text in value.map(texts).unwrap_or_default() {
            for (wanted, found) in self.wanted.iter().zip(&mut self.found) {
                let same = wanted.0 == text;
                *found |= same;
                keep |= same;
            }
            if counts {
                self.count(text);
            }
        }
        self.kept += u64::from(keep && counts);
        keep
    }

    fn count(&mut self, text: String) {
        let early = self.values.len();
        if early < MAX_REMEMBERED || self.values.contains_key(&text) {
            self.values.entry(text).or_insert((0, early)).0 += 1;
        }
    }

    fn unmatched(&self) -> Vec<String> {
        let missing = self
            .wanted
            .iter()
            .zip(&self.found)
            .filter(|(_, found)| !**found);
        missing
            .map(|(wanted, _)| {
                let near = self.near(wanted);
                let near = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                format!(
                    "`task.data.only.{}`: no sample has the value `{}`{near}",
                    self.name, wanted.0
                )
            })
            .collect()
    }

    fn near(&self, wanted: &Wanted) -> Option<&str> {
        nearest(&wanted.0, self.values.keys().map(String::as_str))
    }
}

/// What a value of a record is compared as: a list by its entries, `null` as nothing.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Null => Vec::new(),
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        other => vec![other.to_string()],
    }
}

fn listed(mut items: Vec<String>) -> String {
    let more = items.len().saturating_sub(MAX_LISTED);
    items.truncate(MAX_LISTED);
    match (items.is_empty(), more) {
        (true, _) => "none".to_owned(),
        (false, 0) => items.join(", "),
        (false, _) => format!("{} and {more} more", items.join(", ")),
    }
}

/// The candidate that is most like `word`, letter case aside, if any is like it.
fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    candidates
        .map(|candidate| {
            (
                strsim::jaro_winkler(&word, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(likeness, _)| *likeness > ALIKE)
        // The name decides between equals: the candidates come in no fixed order.
        .max_by(|(a, one), (b, other)| a.total_cmp(b).then_with(|| other.cmp(one)))
        .map(|(_, candidate)| candidate)
}
