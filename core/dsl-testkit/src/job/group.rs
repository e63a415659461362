//! Children with all that they start: none of it outlives the question.

use std::process::{Child, Command};

/// The processes of a child. They form a group of their own, so that all of them can be ended; children of children belong
/// to the group that is there already.
pub(super) struct Group {
    leader: Option<u32>,
}

impl Group {
    /// Makes the process that `command` starts the leader of a group.
    pub(super) fn prepare(command: &mut Command) {
        #[cfg(unix)]
        if !crate::is_child() {
            signals::forward();
            std::os::unix::process::CommandExt::process_group(command, 0);
        }
        #[cfg(not(unix))]
        let _ = command;
    }

    /// The group that a prepared child leads.
    pub(super) fn of(child: &Child) -> Self {
        let leader = (cfg!(unix) && !crate::is_child()).then(|| child.id());
        #[cfg(unix)]
        signals::groups().extend(leader);
        Self { leader }
    }
}

/// Ends what is left of the group.
impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.leader {
            dsl_loader::kill_group(leader);
            #[cfg(unix)]
            signals::groups().retain(|group| *group != leader);
        }
    }
}

#[cfg(unix)]
mod signals {
    use std::{
        sync::{Mutex, MutexGuard, Once, PoisonError},
        thread,
    };

    use signal_hook::{
        consts::{SIGHUP, SIGINT, SIGTERM},
        iterator::Signals,
        low_level::emulate_default_handler,
    };

    static GROUPS: Mutex<Vec<u32>> = Mutex::new(Vec::new());

    pub(super) fn groups() -> MutexGuard<'static, Vec<u32>> {
        GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A terminal sends Ctrl-C to the group in front alone: what ends this process ends the groups of its children first.
    pub(super) fn forward() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let Ok(mut signals) = Signals::new([SIGHUP, SIGINT, SIGTERM]) else {
                return;
            };
            thread::spawn(move || {
                for signal in signals.forever() {
                    groups()
                        .iter()
                        .for_each(|leader| dsl_loader::kill_group(*leader));
                    let _ = emulate_default_handler(signal);
                }
            });
        });
    }
}
