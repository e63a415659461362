//! What a person sees on stderr while a run goes on.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Everything drawn on stderr, so that a line of text never tears a bar.
fn screen() -> &'static MultiProgress {
    static SCREEN: OnceLock<MultiProgress> = OnceLock::new();
    SCREEN.get_or_init(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()))
}

/// Writes whole lines to stderr, above whatever bar is there. A stderr that is closed is no reason
/// to stop a run: errors are left out.
pub fn write_stderr(text: &[u8]) {
    screen().suspend(|| {
        let mut stderr = std::io::stderr().lock();
        let _ = stderr.write_all(text).and_then(|()| stderr.flush());
    });
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressMode {
    /// A bar that is drawn again in place.
    Bar,
    /// A log line now and then.
    Lines,
    /// Not at all.
    Off,
}

impl ProgressMode {
    /// A bar where stderr is a terminal, lines where it is a file or a pipe, nothing when the user
    /// asked for quiet.
    pub fn detect(quiet: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        match (quiet, std::io::stderr().is_terminal() && !dumb) {
            (true, _) => Self::Off,
            (false, true) => Self::Bar,
            (false, false) => Self::Lines,
        }
    }
}

/// Between two lines of [`ProgressMode::Lines`].
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The progress of a piece of work in steps, with what the last step gave.
#[derive(Debug)]
pub struct Progress {
    mode: ProgressMode,
    what: String,
    bar: Option<ProgressBar>,
    first: u64,
    total: u64,
    step: u64,
    begun: Instant,
    last_line: Option<Instant>,
    details: String,
}

impl Progress {
    /// Begins to show `what` (such as `training`): `total` steps, of which `first` were done before
    /// (by the run that this one resumes) and do not count for the speed.
    pub fn begin(mode: ProgressMode, what: &str, first: u64, total: u64) -> Self {
        let bar = (mode == ProgressMode::Bar).then(|| {
            let style = ProgressStyle::with_template("{prefix} [{bar:24}] {pos}/{len} · {msg}")
                .expect("a fixed template")
                .progress_chars("=> ");
            let bar = screen().add(ProgressBar::new(total));
            bar.set_style(style);
            bar.set_prefix(what.to_owned());
            bar.set_position(first);
            bar
        });
        Self {
            mode,
            what: what.into(),
            bar,
            first,
            total,
            step: first,
            begun: Instant::now(),
            last_line: None,
            details: String::new(),
        }
    }

    /// Shows that `step` steps are done, with `details` such as
    /// [`training_details`]`(loss, images_per_second)`.
    pub fn update(&mut self, step: u64, details: &str) {
        self.step = step;
        self.details = details.into();
        let now = Instant::now();
        let left = time_left(
            now - self.begun,
            step.saturating_sub(self.first),
            self.left(),
        );
        let text = match left {
            Some(left) => format!("{details} · {} left", describe_duration(left)),
            None => details.to_owned(),
        };
        match (self.mode, &self.bar) {
            (ProgressMode::Bar, Some(bar)) => {
                clear_plugin_bar(2 * PLUGIN_EVERY);
                bar.set_position(step);
                bar.set_message(text);
            }
            (ProgressMode::Lines, _) => {
                let due = self
                    .last_line
                    .is_none_or(|last| now - last >= LINE_EVERY || self.left() == 0);
                if due {
                    self.last_line = Some(now);
                    tracing::info!("{} {step}/{} · {text}", self.what, self.total);
                }
            }
            _ => {}
        }
    }

    /// Shows what happens between two steps, such as `margin over the training set`.
    pub fn note(&mut self, text: &str) {
        match (self.mode, &self.bar) {
            (ProgressMode::Bar, Some(bar)) => bar.set_message(text.to_owned()),
            (ProgressMode::Lines, _) => tracing::debug!("{} {}: {text}", self.what, self.step),
            _ => {}
        }
    }

    /// Ends: the bar gives way to a line that says how far it came and how long that took. So does
    /// dropping it, where an error ends the work.
    pub fn finish(self) {}

    fn left(&self) -> u64 {
        self.total.saturating_sub(self.step)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let Some(bar) = &self.bar else {
            return;
        };
        clear_plugin_bar(Duration::ZERO);
        bar.finish_and_clear();
        let took = describe_duration(self.begun.elapsed());
        let mut parts = vec![
            format!("{} {}/{}", self.what, self.step, self.total),
            self.details.clone(),
            format!("{took}\n"),
        ];
        parts.retain(|part| !part.is_empty());
        write_stderr(parts.join(" · ").as_bytes());
    }
}

/// The progress that plugins report of long work, such as reading shards: at most once in a second, in a line of its own
/// where there are bars, otherwise in the log.
#[derive(Debug, Default)]
pub struct PluginProgress(Mutex<Option<Instant>>);

/// Between two showings of [`PluginProgress`].
const PLUGIN_EVERY: Duration = Duration::from_secs(1);

/// The line of plugins, and when it last said something.
static PLUGIN_BAR: Mutex<Option<(Instant, ProgressBar)>> = Mutex::new(None);

impl PluginProgress {
    /// Shows that `done` of `total` steps of `what` are done; a `total` of 0 is unknown.
    pub fn show(&self, plugin: &str, done: u64, total: u64, what: &str) {
        // Who shows it just now does so for all.
        let Ok(mut last) = self.0.try_lock() else {
            return;
        };
        let now = Instant::now();
        if last.is_some_and(|shown| now - shown < PLUGIN_EVERY) {
            return;
        }
        *last = Some(now);
        let text = plugin_progress(plugin, done, total, what);
        // `-q` wants neither lines nor bars.
        let is_quiet = !tracing::enabled!(tracing::Level::INFO);
        match ProgressMode::detect(is_quiet) {
            ProgressMode::Bar => show_plugin_bar(now, text),
            ProgressMode::Lines => tracing::info!("{text}"),
            ProgressMode::Off => {}
        }
    }
}

fn show_plugin_bar(now: Instant, text: String) {
    let Ok(mut shown) = PLUGIN_BAR.try_lock() else {
        return;
    };
    let bar = shown.take().map(|(_, bar)| bar).unwrap_or_else(|| {
        let style = ProgressStyle::with_template("{msg}").expect("a fixed template");
        screen().add(ProgressBar::new_spinner().with_style(style))
    });
    bar.set_message(text);
    *shown = Some((now, bar));
}

/// Takes the line of plugins away when it has said nothing for `silent`: plugins need not say that they are done.
fn clear_plugin_bar(silent: Duration) {
    let Ok(mut shown) = PLUGIN_BAR.try_lock() else {
        return;
    };
    if let Some((_, bar)) = shown.take_if(|(last, _)| last.elapsed() >= silent) {
        bar.finish_and_clear();
    }
}

/// `t2i: reading shards 3/17`.
fn plugin_progress(plugin: &str, done: u64, total: u64, what: &str) -> String {
    match total {
        0 => format!("{plugin}: {what} {done}"),
        total => format!("{plugin}: {what} {done}/{total}"),
    }
}

/// `loss 0.02310 · 45.2 images/s`.
pub fn training_details(loss: Option<f64>, images_per_second: Option<f64>) -> String {
    let mut parts = Vec::new();
    if let Some(loss) = loss {
        parts.push(format!("loss {loss:.5}"));
    }
    if let Some(speed) = images_per_second {
        parts.push(format!("{} images/s", significant(speed)));
    }
    parts.join(" · ")
}

/// Three digits that mean something.
fn significant(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn time_left(elapsed: Duration, done: u64, left: u64) -> Option<Duration> {
    if done == 0 {
        return None;
    }
    let seconds = elapsed.as_secs_f64() / done as f64 * left as f64;
    Duration::try_from_secs_f64(seconds).ok()
}

/// A time for people: `12 s`, `2 min 31 s`, `3 h 05 min`, `2 d 4 h`.
pub fn describe_duration(duration: Duration) -> String {
    let seconds = (duration.as_secs_f64()).round() as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min {:02} s", seconds % 60),
        3600..86_400 => format!("{hours} h {:02} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// Images and steps per second over the last steps, pauses left out.
#[derive(Debug, Clone)]
pub struct SpeedMeter {
    /// Single steps, oldest first.
    steps: std::collections::VecDeque<MeteredStep>,
    time: Duration,
    mark: Instant,
    /// Time that the step under way has waited for its data.
    waited: Duration,
}

#[derive(Debug, Clone, Copy)]
struct MeteredStep {
    time: Duration,
    waited: Duration,
    images: u64,
}

/// The time over which speed is averaged.
const SPEED_WINDOW: Duration = Duration::from_secs(20);

impl Default for SpeedMeter {
    fn default() -> Self {
        Self::new()
    }
}

impl SpeedMeter {
    /// Begins with the next step.
    pub fn new() -> Self {
        Self {
            steps: std::collections::VecDeque::new(),
            time: Duration::ZERO,
            mark: Instant::now(),
            waited: Duration::ZERO,
        }
    }

    /// The data of the step under way has just come, after a wait.
    pub fn waited(&mut self, wait: Duration) {
        self.waited += wait;
    }

    /// A step with so many images has just ended.
    pub fn step(&mut self, images: u64) {
        let now = Instant::now();
        self.record(now - self.mark, images);
        self.mark = now;
    }

    /// What happened since the last step (a checkpoint, samples) was no training.
    pub fn skip(&mut self) {
        self.mark = Instant::now();
    }

    fn record(&mut self, time: Duration, images: u64) {
        let waited = std::mem::take(&mut self.waited);
        self.steps.push_back(MeteredStep {
            time,
            waited,
            images,
        });
        self.time += time;
        while self.time > SPEED_WINDOW && self.steps.len() > 1 {
            if let Some(oldest) = self.steps.pop_front() {
                self.time -= oldest.time;
            }
        }
    }

    /// Share of the time that steps have waited for their data, 0..1; `None` before the first step.
    pub fn data_wait_fraction(&self) -> Option<f64> {
        let waited: Duration = self.steps.iter().map(|step| step.waited).sum();
        let seconds = self.time.as_secs_f64();
        (seconds > 0.0).then(|| waited.as_secs_f64() / seconds)
    }

    /// Images per second; `None` before the first step.
    pub fn images_per_second(&self) -> Option<f64> {
        let images: u64 = self.steps.iter().map(|step| step.images).sum();
        self.per_second(images)
    }

    /// Steps per second; `None` before the first step.
    pub fn steps_per_second(&self) -> Option<f64> {
        self.per_second(self.steps.len() as u64)
    }

    fn per_second(&self, count: u64) -> Option<f64> {
        let seconds = self.time.as_secs_f64();
        (seconds > 0.0).then(|| count as f64 / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_named_with_their_progress() {
        assert_eq!(
            plugin_progress("t2i", 3, 17, "reading shards"),
            "t2i: reading shards 3/17"
        );
        assert_eq!(
            plugin_progress("t2i", 3, 0, "reading shards"),
            "t2i: reading shards 3"
        );
    }

    #[test]
    fn times_are_written_for_people() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (151, "2 min 31 s"),
            (3600, "1 h 00 min"),
            (11_100, "3 h 05 min"),
            (187_200, "2 d 4 h"),
        ] {
            assert_eq!(describe_duration(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn the_time_left_counts_this_sessions_steps_alone() {
        let left = time_left(Duration::from_secs(20), 100, 300);
        assert_eq!(left, Some(Duration::from_secs(60)));
        assert_eq!(time_left(Duration::from_secs(20), 0, 300), None);
    }

    #[test]
    fn details_have_what_is_known() {
        assert_eq!(
            training_details(Some(0.0231), Some(45.23)),
            "loss 0.02310 · 45.2 images/s"
        );
        assert_eq!(training_details(None, Some(4000.0)), "4000 images/s");
        assert_eq!(training_details(Some(1.0), None), "loss 1.00000");
    }

    #[test]
    fn speed_is_that_of_the_last_steps() {
        let mut speed = SpeedMeter::new();
        assert_eq!(speed.images_per_second(), None);
        // A slow start is forgotten.
        speed.record(Duration::from_secs(9), 8);
        for _ in 0..200 {
            speed.record(Duration::from_millis(200), 8);
        }
        let images = speed.images_per_second().unwrap();
        assert!((images - 40.0).abs() < 1e-9, "{images}");
        assert!((speed.steps_per_second().unwrap() - 5.0).abs() < 1e-9);
        // A single step longer than the window still counts.
        speed.record(Duration::from_secs(60), 6);
        let images = speed.images_per_second().unwrap();
        assert!((images - 0.1).abs() < 1e-9, "{images}");
    }

    #[test]
    fn every_mode_takes_every_call() {
        for mode in [ProgressMode::Bar, ProgressMode::Lines, ProgressMode::Off] {
            let mut progress = Progress::begin(mode, "training", 5, 10);
            progress.note("margin over the training set");
            for step in 6..=10 {
                progress.update(step, "loss 1");
            }
            assert_eq!(progress.left(), 0);
            progress.finish();
        }
    }
}
