//! Ctrl-C: the first asks the run to save and end, the second ends the process at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Whether the user (or a scheduler, by SIGTERM) has asked the run to end.
///
/// SIGHUP keeps its meaning: who starts a run under `nohup` wants it to outlive the terminal.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    requested: Arc<AtomicBool>,
    /// Whether plugins are not to know of it for now.
    held_back: Arc<AtomicBool>,
}

/// Why signals cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("cannot watch for Ctrl-C: {0}")]
pub struct InterruptError(#[from] std::io::Error);

impl Interrupt {
    /// One that no signal sets; for commands and tests that set it themselves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Watches for SIGINT and SIGTERM from now on. The first sets the flag and says so on stderr; a
    /// second ends the process at once with 128 + the signal's number: 130 for Ctrl-C. Every call
    /// gives the same flag.
    ///
    /// # Errors
    /// What the system says.
    pub fn watch() -> Result<Self, InterruptError> {
        static WATCHED: OnceLock<Interrupt> = OnceLock::new();
        if let Some(watched) = WATCHED.get() {
            return Ok(watched.clone());
        }
        let interrupt = Self::new();
        for signal in [SIGINT, SIGTERM] {
            // In this order: a signal that finds the flag set ends the process, and only then is
            // the flag set by the first.
            flag::register_conditional_shutdown(signal, 128 + signal, interrupt.flag())?;
            flag::register(signal, interrupt.flag())?;
        }
        #[cfg(unix)]
        announce_first()?;
        Ok(WATCHED.get_or_init(|| interrupt).clone())
    }

    /// Whether the run is to save and end.
    pub fn requested(&self) -> bool {
        self.requested.load(Ordering::Relaxed)
    }

    /// Asks the run to save and end.
    pub fn request(&self) {
        self.requested.store(true, Ordering::Relaxed);
    }

    /// The flag itself, for code that knows nothing of signals.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.requested.clone()
    }

    /// Whether plugins are to give up what they are doing.
    pub fn stops_plugins(&self) -> bool {
        self.requested() && !self.held_back.load(Ordering::SeqCst)
    }

    /// Does work that reads data and must not end half done: a step and its validation are saved whole. Plugins learn
    /// of a signal when it is over.
    pub fn hold_back<T>(&self, work: impl FnOnce() -> T) -> T {
        self.held_back.store(true, Ordering::SeqCst);
        let done = work();
        self.held_back.store(false, Ordering::SeqCst);
        done
    }
}

/// Says on stderr what the first signal does, from a thread of its own: the work may be in the
/// middle of a long step.
#[cfg(unix)]
fn announce_first() -> Result<(), InterruptError> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new()
        .name("interrupt".into())
        .spawn(move || {
            if signals.forever().next().is_some() {
                crate::report::write_stderr(
                    b"\nstopping after this step, and saving; once more stops at once, without saving\n",
                );
            }
        })?;
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::*;

    /// Set in the child process that receives the signals.
    const ROLE: &str = "DSL_HOST_TEST_INTERRUPT";

    /// The child: raises signals against itself and leaves with what it saw.
    #[test]
    fn child() {
        let Ok(role) = std::env::var(ROLE) else {
            return;
        };
        let interrupt = Interrupt::watch().unwrap();
        assert!(!interrupt.requested());
        let signal = if role.contains("term") {
            SIGTERM
        } else {
            SIGINT
        };
        signal_hook::low_level::raise(signal).unwrap();
        assert!(Interrupt::watch().unwrap().requested());
        if role.contains("twice") {
            // The message of the first comes from another thread.
            std::thread::sleep(Duration::from_millis(300));
            signal_hook::low_level::raise(signal).unwrap();
            unreachable!("the second signal ends the process");
        }
        std::thread::sleep(Duration::from_millis(300));
        std::process::exit(7);
    }

    #[test]
    fn plugins_learn_of_a_signal_when_the_step_is_over() {
        let interrupt = Interrupt::new();
        interrupt.hold_back(|| {
            interrupt.request();
            assert!(interrupt.requested() && !interrupt.stops_plugins());
        });
        assert!(interrupt.stops_plugins());
    }

    fn check(role: &str, code: i32) {
        let begun = Instant::now();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "interrupt::tests::child", "--nocapture"])
            .env(ROLE, role)
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{role}: {stderr}");
        assert!(stderr.contains("stopping after this step"), "{stderr}");
        assert!(begun.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn the_first_signal_sets_the_flag_and_leaves_the_process_running() {
        check("int once", 7);
        check("term once", 7);
    }

    #[test]
    fn the_second_signal_ends_the_process() {
        check("int twice", 130);
        check("term twice", 143);
    }
}
