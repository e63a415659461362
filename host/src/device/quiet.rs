//! Calls into driver libraries that panic where they should return an error.

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, PoisonError};

/// Does `work`, and gives what it panicked with as a message instead of printing it. Panics of
/// other threads count as those of `work`, since drivers start threads of their own; for use before
/// the program does anything else.
pub(super) fn quietly<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    /// The hook is one per process.
    static HOOK: Mutex<()> = Mutex::new(());
    let _one_at_a_time = HOOK.lock().unwrap_or_else(PoisonError::into_inner);

    let first = Arc::new(Mutex::new(None::<String>));
    let heard = first.clone();
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let message = info
            .payload_as_str()
            .unwrap_or("a panic without a message")
            .to_owned();
        heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(message);
    }));
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    panic::set_hook(before);

    result.map_err(|_| {
        let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
        first.take().unwrap_or_else(|| "a panic".into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message() {
        assert_eq!(quietly(|| 3), Ok(3));
        let library = "libnvrtc.so";
        let result = quietly(|| -> u8 { panic!("cannot load {library}") });
        assert_eq!(result, Err("cannot load libnvrtc.so".into()));
        // From a thread of the driver, whose join then fails in ours.
        let result = quietly(|| {
            let server = std::thread::spawn(|| panic!("no context"));
            server.join().expect("the server is gone")
        });
        assert_eq!(result, Err("no context".into()));
    }
}
