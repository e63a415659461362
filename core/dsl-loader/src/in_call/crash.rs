//! What is said when a plugin ends the process: which plugin it was, and in which call.

/// From now on, when a plugin ends the process (by `abort`, a wrong memory access, `exit`), one message on stderr names
/// plugin, call and way, followed by `hint`: for certain where the thread is in a call, and as the likely cause where a
/// plugin's own thread did it, or where memory that it lent was read. A process that a plugin meant to end as a success
/// ends with code 1: this process itself ends by [`end_process`].
///
/// Nothing is said when the system kills the process, for instance because memory ran out, and when a plugin calls
/// `_exit`, which no process hears of itself. Once for each process; does nothing on systems other than Unix.
/// `[any thread]`
pub fn explain_crashes(hint: &'static str) {
    #[cfg(unix)]
    unix::install(hint);
    #[cfg(not(unix))]
    let _ = hint;
}

/// Ends this process with an exit code, once stdout is flushed. What plugins have left to be done at the end of a process
/// (`atexit`, destructors of their libraries) is not done: a mistake there cannot spoil work that is finished.
pub fn end_process(code: u8) -> ! {
    use std::io::Write;
    // A reader that has gone is no concern any more.
    let _ = std::io::stdout().flush();
    #[cfg(unix)]
    // SAFETY: `_exit` takes any number, and runs no code of anybody.
    unsafe {
        libc::_exit(code.into())
    }
    #[cfg(not(unix))]
    std::process::exit(code.into())
}

/// Ends every process of the group that `leader` leads, as far as they are still there: what a child process has left
/// behind. Does nothing on systems other than Unix.
pub fn kill_group(leader: u32) {
    #[cfg(unix)]
    if let Ok(leader) = libc::pid_t::try_from(leader)
        && leader > 1
    {
        // SAFETY: it has no conditions; a group that is gone is an error that nobody needs to hear of.
        unsafe { libc::kill(-leader, libc::SIGKILL) };
    }
    #[cfg(not(unix))]
    let _ = leader;
}

#[cfg(unix)]
mod unix {
    use std::{
        mem::MaybeUninit,
        sync::{
            Once, OnceLock,
            atomic::{AtomicBool, AtomicI32, Ordering},
        },
    };

    use libc::{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP, c_int};

    use super::super::{CURRENT, LENDER, LENT, LOADED, Label, slots};

    const SIGNALS: [(c_int, &str); 7] = [
        (SIGABRT, "SIGABRT, it aborted"),
        (SIGSEGV, "SIGSEGV, a wrong memory access"),
        (SIGBUS, "SIGBUS, a wrong memory access"),
        (SIGILL, "SIGILL, a wrong instruction"),
        (SIGFPE, "SIGFPE, wrong arithmetic"),
        (SIGTRAP, "SIGTRAP, a trap"),
        (SIGSYS, "SIGSYS, a forbidden system call"),
    ];

    static BEFORE: [OnceLock<libc::sigaction>; SIGNALS.len()] =
        [const { OnceLock::new() }; SIGNALS.len()];
    static HINT: OnceLock<&'static str> = OnceLock::new();
    static SAID: AtomicBool = AtomicBool::new(false);
    /// The process that is explained, and not one that a plugin has forked.
    static PROCESS: AtomicI32 = AtomicI32::new(0);

    pub(super) fn install(hint: &'static str) {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let _ = HINT.set(hint);
            // SAFETY: it has no conditions.
            PROCESS.store(unsafe { libc::getpid() }, Ordering::SeqCst);
            for (index, (signal, _)) in SIGNALS.iter().enumerate() {
                let mut before = MaybeUninit::<libc::sigaction>::zeroed();
                // SAFETY: both structures are plain data for which zero is a value; the handler does only what a
                // signal handler may do. The stack of signals is used where a thread has one, for overflows.
                unsafe {
                    let mut action = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
                    action.sa_sigaction = on_signal as *const () as libc::sighandler_t;
                    action.sa_flags = libc::SA_ONSTACK;
                    libc::sigemptyset(&mut action.sa_mask);
                    if libc::sigaction(*signal, std::ptr::null(), before.as_mut_ptr()) == 0 {
                        let _ = BEFORE[index].set(before.assume_init());
                        libc::sigaction(*signal, &action, std::ptr::null_mut());
                    }
                }
            }
            // SAFETY: the function lives as long as the process.
            unsafe { libc::atexit(on_exit) };
        });
    }

    /// What the end of the process is put down to.
    struct Cause {
        label: &'static Label,
        /// What stands between the plugin's name and the call's.
        did: &'static str,
        names_call: bool,
    }

    /// The plugin that ended the process: surely, where this thread is in a call of it. Otherwise the likely one, for
    /// `exit` and `abort` are called on threads of plugins' own, and memory that a plugin lent is read outside of calls.
    fn cause(is_exit: bool, is_memory: bool) -> Option<Cause> {
        let named = |label, did| Cause {
            label,
            did,
            names_call: true,
        };
        let unnamed = |label, did| Cause {
            label,
            did,
            names_call: false,
        };
        if let Ok(Some(label)) = CURRENT.try_with(std::cell::Cell::get) {
            return Some(named(label, "ended the program in the call"));
        }
        if is_memory && LENT.load(Ordering::Acquire) > 0 {
            let did = "may have ended the program, by lending memory that is not there";
            return LENDER.get().map(|label| unnamed(label, did));
        }
        let (during, outside) = match is_exit {
            true => (
                "ended the program on a thread of its own, during the call",
                "ended the program on a thread of its own, outside of every call",
            ),
            false => (
                "may have ended the program on a thread of its own, during the call",
                "may have ended the program on a thread of its own, outside of every call",
            ),
        };
        (slots().find_map(|slot| slot.label.get()))
            .map(|label| named(label, during))
            .or_else(|| LOADED.get().map(|label| unnamed(label, outside)))
    }

    /// Writes with nothing but `write`, which a signal handler may call. Says whether there was a plugin to name.
    fn say(way: &str, is_exit: bool, is_memory: bool) -> bool {
        // SAFETY: it has no conditions.
        if PROCESS.load(Ordering::SeqCst) != unsafe { libc::getpid() } {
            return false;
        }
        let Some(cause) = cause(is_exit, is_memory) else {
            return false;
        };
        if SAID.swap(true, Ordering::SeqCst) {
            return true;
        }
        let (quote, call) = match cause.names_call {
            true => ("`", cause.label.call.as_str()),
            false => ("", ""),
        };
        let hint = HINT.get().copied().unwrap_or_default();
        for part in [
            "\nerror: plugin `",
            &cause.label.plugin,
            "` ",
            cause.did,
            if call.is_empty() { "" } else { " " },
            quote,
            call,
            quote,
            " (",
            way,
            ")\nhint: ",
            hint,
            "\n",
        ] {
            let mut rest = part.as_bytes();
            while !rest.is_empty() {
                // SAFETY: pointer and length are those of a slice.
                let written = unsafe { libc::write(2, rest.as_ptr().cast(), rest.len()) };
                match usize::try_from(written) {
                    Ok(count) if count > 0 => rest = rest.get(count..).unwrap_or_default(),
                    _ => return true,
                }
            }
        }
        true
    }

    extern "C" fn on_signal(signal: c_int) {
        let known = SIGNALS.iter().position(|(number, _)| *number == signal);
        let way = known.map_or("a signal", |index| SIGNALS[index].1);
        say(way, false, [SIGSEGV, SIGBUS].contains(&signal));
        // Whoever handled it before has its turn: for a fault when the instruction is tried again, else by a second
        // signal, which waits until this handler returns.
        // SAFETY: `sigaction` and `raise` may be called in a handler; the structure is the one that was read before.
        unsafe {
            match known.and_then(|index| BEFORE[index].get()) {
                Some(before) => libc::sigaction(signal, before, std::ptr::null_mut()),
                None => {
                    libc::signal(signal, libc::SIG_DFL);
                    0
                }
            };
            if signal == SIGABRT {
                libc::raise(signal);
            }
        }
    }

    extern "C" fn on_exit() {
        // `abi_stable` ends a panic that would cross the boundary in this way, too.
        if say("it called `exit`, or a panic was not caught", true, false) {
            // SAFETY: ends the process at once; what other handlers would do is moot, since the call never returns.
            unsafe { libc::_exit(1) }
        }
    }
}
