//! Says what a plugin is doing when it does not come back, or when it ends the program.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use dsl_loader::{CallInProgress, calls_in_progress, explain_crashes};

/// A call is named when it has taken this long, and again each time that this has passed.
const PATIENCE: Duration = Duration::from_secs(30);

/// From now on a plugin call that ends the program leaves a message with plugin and call, and one that does not come
/// back is named in the log every 30 s. Once for each process.
pub fn begin() {
    explain_crashes(
        "this is a mistake in the plugin: `dsl-host plugin check` on its file shows more. What the last checkpoint has is \
         safe, and `dsl-host run --resume` goes on from there",
    );
    // A program without this thread works as well.
    let started = thread::Builder::new()
        .name("plugin-watch".to_owned())
        .spawn(|| {
            let mut watch = Watch::default();
            loop {
                thread::sleep(PATIENCE / 10);
                for (call, waited) in watch.look(calls_in_progress(), Instant::now()) {
                    tracing::warn!(
                        "plugin `{}` has not come back from `{}` for {} s; Ctrl-C twice ends the program, and the last \
                         checkpoint stays",
                        call.plugin,
                        call.call,
                        waited.as_secs()
                    );
                }
            }
        });
    if let Err(error) = started {
        tracing::debug!("plugins are not watched: {error}");
    }
}

/// What was seen of each call: since when, and how long it had taken when it was last named.
#[derive(Default)]
struct Watch(HashMap<CallInProgress, (Instant, Duration)>);

impl Watch {
    /// The calls to name now, with how long each has taken.
    fn look(
        &mut self,
        calls: Vec<CallInProgress>,
        now: Instant,
    ) -> Vec<(CallInProgress, Duration)> {
        self.0.retain(|call, _| calls.contains(call));
        let mut due = Vec::new();
        for call in calls {
            let (since, named) = self.0.entry(call.clone()).or_insert((now, Duration::ZERO));
            let waited = now.duration_since(*since);
            if waited >= *named + PATIENCE {
                *named = waited;
                due.push((call, waited));
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_calls_are_named_again_and_again_and_short_ones_never() {
        let call = |number: u64| CallInProgress {
            plugin: "slow".into(),
            call: "batch".into(),
            ticket: (1, number),
        };
        let begun = Instant::now();
        let mut watch = Watch::default();
        let mut named = Vec::new();
        for second in (0..200).step_by(3) {
            // The first call takes 100 s; each of the later ones 20 s.
            let number = if second < 100 { 0 } else { second / 20 };
            let now = begun + Duration::from_secs(second);
            for (call, waited) in watch.look(vec![call(number)], now) {
                named.push((call.ticket.1, waited.as_secs()));
            }
        }
        assert_eq!(named, [(0, 30), (0, 60), (0, 90)]);
        assert!(watch.look(vec![], begun).is_empty() && watch.0.is_empty());
    }
}
