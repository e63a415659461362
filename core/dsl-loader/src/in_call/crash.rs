//! What is said when a plugin ends the process: which plugin it was, and in which call.

/// From now on, when a plugin call ends the process (by `abort`, a wrong memory access, `exit`), one message on stderr
/// names plugin, call and way, followed by `hint`. A process that a plugin meant to end as a success ends with code 1.
///
/// A process that the system kills, for instance because memory ran out, says nothing. Once for each process; does
/// nothing on systems other than Unix. `[any thread]`
pub fn explain_crashes(hint: &'static str) {
    #[cfg(unix)]
    unix::install(hint);
    #[cfg(not(unix))]
    let _ = hint;
}

#[cfg(unix)]
mod unix {
    use std::{
        mem::MaybeUninit,
        sync::{
            Once, OnceLock,
            atomic::{AtomicBool, Ordering},
        },
    };

    use libc::{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP, c_int};

    use super::super::CURRENT;

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

    pub(super) fn install(hint: &'static str) {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let _ = HINT.set(hint);
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

    /// Writes with nothing but `write`, which a signal handler may call. Says whether there was a call to name.
    fn say(way: &str) -> bool {
        let Ok(Some(label)) = CURRENT.try_with(std::cell::Cell::get) else {
            return false;
        };
        if SAID.swap(true, Ordering::SeqCst) {
            return true;
        }
        let hint = HINT.get().copied().unwrap_or_default();
        for part in [
            "\nerror: plugin `",
            &label.plugin,
            "` ended the program in the call `",
            &label.call,
            "` (",
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
        say(known.map_or("a signal", |index| SIGNALS[index].1));
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
        if say("it called `exit`") {
            // SAFETY: ends the process at once; what other handlers would do is moot, since the call never returns.
            unsafe { libc::_exit(1) }
        }
    }
}
