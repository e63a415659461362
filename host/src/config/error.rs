//! What is wrong with a configuration: every mistake at once, each with its place, an excerpt and a hint.

use std::{fmt, ops::Range, sync::Arc};

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, MietteSpanContents,
    SourceCode, SourceSpan, SpanContents,
};

use super::document::Source;

/// Lines longer than this are shown only around the mark: a JSON file may be one line.
const MAX_EXCERPT_WIDTH: usize = 160;

/// Where a mistake stands.
#[derive(Debug, Clone)]
pub struct Place {
    source: Arc<Source>,
    span: Range<usize>,
    label: String,
}

impl Place {
    /// A marked part of a source, in bytes. Only its first line is marked.
    pub fn new(source: Arc<Source>, span: Range<usize>, label: impl Into<String>) -> Self {
        let text = &source.text;
        let mut start = span.start.min(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        // A mark on the line break after the last character, or past the end, shows nothing: step back on the text.
        if span.end <= start
            && text[start..]
                .trim_start_matches([' ', '\t'])
                .starts_with(['\n', '\r'])
            || start == text.len()
        {
            start = text[..start]
                .trim_end()
                .char_indices()
                .next_back()
                .map_or(0, |(at, _)| at);
        }
        let line_end = text[start..]
            .find(['\n', '\r'])
            .map_or(text.len(), |at| start + at);
        let mut end = span.end.clamp(start, line_end);
        while !text.is_char_boundary(end) {
            end += 1;
        }
        Self {
            span: start..end,
            source,
            label: label.into(),
        }
    }

    /// The file or argument.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Line and column of the mark, from 1.
    pub fn line_column(&self) -> (usize, usize) {
        self.source.line_column(self.span.start)
    }

    /// The marked text.
    pub fn marked(&self) -> &str {
        &self.source.text[self.span.clone()]
    }
}

/// One mistake in a configuration.
#[derive(Debug, Clone)]
pub struct ConfigError {
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Where, when there is a text to point at.
    pub place: Option<Place>,
}

impl ConfigError {
    /// A mistake without a place.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
            place: None,
        }
    }

    /// Adds what to do.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the place.
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// `error: …`, the marked excerpt, `hint: …`; ends with a line break.
    pub fn render(&self, colour: bool) -> String {
        let paint = |code: &str, text: &str| match colour {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        };
        let mut out = format!("{} {}\n", paint("1;31", "error:"), self.message);
        if let Some(place) = &self.place {
            out.push_str(&excerpt(place, colour));
        }
        if let Some(help) = &self.help {
            out.push_str(&format!("{} {help}\n", paint("1;36", "hint:")));
        }
        out
    }
}

/// All mistakes found in a configuration; never empty.
#[derive(Debug, Clone)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// The mistakes, in the order of their places.
    pub fn errors(&self) -> &[ConfigError] {
        &self.0
    }

    /// All mistakes as text, an empty line between them; with ANSI colours when asked.
    pub fn render(&self, colour: bool) -> String {
        let mistakes: Vec<String> = self.0.iter().map(|error| error.render(colour)).collect();
        mistakes.join("\n")
    }
}

impl From<Vec<ConfigError>> for ConfigErrors {
    fn from(mut errors: Vec<ConfigError>) -> Self {
        let order = |error: &ConfigError| {
            let place = error.place.as_ref();
            // Mistakes of arguments come after those of the file.
            place.map(|place| {
                (
                    is_set(&place.source),
                    place.source.name.clone(),
                    place.span.start,
                )
            })
        };
        errors.sort_by_key(order);
        Self(errors)
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for ConfigErrors {}

fn is_set(source: &Source) -> bool {
    source.name == super::overrides::SOURCE_NAME
}

fn excerpt(place: &Place, colour: bool) -> String {
    let theme = match colour {
        true => GraphicalTheme::unicode(),
        false => GraphicalTheme::unicode_nocolor(),
    };
    let label = LabeledSpan::new_primary_with_span(Some(place.label.clone()), place.span.clone());
    let diagnostic = MietteDiagnostic::new("").with_label(label);
    let report = miette::Report::new(diagnostic).with_source_code(Excerpt(place.source.clone()));
    let mut out = String::new();
    let handler = GraphicalReportHandler::new_themed(theme)
        .without_syntax_highlighting()
        .without_cause_chain()
        .with_width(MAX_EXCERPT_WIDTH);
    // Formatting into a String cannot fail; an excerpt that miette refuses is left out.
    if handler.render_report(&mut out, report.as_ref()).is_err() {
        return String::new();
    }
    // The first line is miette's own header, which the message above replaces.
    match out.split_once('\n') {
        Some((_, excerpt)) => excerpt.to_owned(),
        None => out,
    }
}

/// A source for miette that shows only a window of very long lines.
#[derive(Debug)]
struct Excerpt(Arc<Source>);

impl SourceCode for Excerpt {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, miette::MietteError> {
        let text = &self.0.text;
        let inner = text.read_span(span, lines_before, lines_after)?;
        let widest = inner
            .data()
            .split(|&byte| byte == b'\n')
            .map(<[u8]>::len)
            .max();
        if widest <= Some(MAX_EXCERPT_WIDTH) {
            return Ok(named(
                &self.0,
                inner.data(),
                *inner.span(),
                inner.line(),
                inner.column(),
            ));
        }
        let (line, column) = self.0.line_column(span.offset());
        let line_start = text[..span.offset()].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[span.offset()..]
            .find('\n')
            .map_or(text.len(), |at| span.offset() + at);
        let (mut start, mut end) = match lines_before {
            0 => (span.offset(), span.offset() + span.len()),
            _ => (
                span.offset()
                    .saturating_sub(MAX_EXCERPT_WIDTH / 2)
                    .max(line_start),
                (span.offset() + span.len().max(1) + MAX_EXCERPT_WIDTH / 4).min(line_end),
            ),
        };
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        while !text.is_char_boundary(end) {
            end += 1;
        }
        let window = SourceSpan::from(start..end);
        let column = if lines_before == 0 { column - 1 } else { 0 };
        Ok(named(
            &self.0,
            &text.as_bytes()[start..end],
            window,
            line - 1,
            column,
        ))
    }
}

fn named<'a>(
    source: &Source,
    data: &'a [u8],
    span: SourceSpan,
    line: usize,
    column: usize,
) -> Box<dyn SpanContents<'a> + 'a> {
    let name = source.name.clone();
    let line_count = data.iter().filter(|&&byte| byte == b'\n').count();
    Box::new(MietteSpanContents::new_named(
        name, data, span, line, column, line_count,
    ))
}
