//! The end of what a child writes: a plugin may write without an end.

use std::{
    io::{PipeReader, Read},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

/// How much is kept.
const MAX_BYTES: usize = 64 << 10;
/// How long a process that has left the child's group may keep its output open.
const PATIENCE: Duration = Duration::from_secs(1);

/// Reads a pipe to its end on a thread of its own, and keeps the last of it.
pub(super) struct Tail {
    kept: Arc<Mutex<Vec<u8>>>,
    ended: mpsc::Receiver<()>,
}

impl Tail {
    pub(super) fn of(mut pipe: PipeReader) -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let (tell, ended) = mpsc::channel::<()>();
        let keep = kept.clone();
        thread::spawn(move || {
            // Hung up when this thread ends.
            let _tell = tell;
            let mut chunk = vec![0; MAX_BYTES];
            while let Ok(count @ 1..) = pipe.read(&mut chunk) {
                let mut kept = keep.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&chunk[..count]);
                let surplus = kept.len().saturating_sub(MAX_BYTES);
                kept.drain(..surplus);
            }
        });
        Self { kept, ended }
    }

    /// What is kept, when nobody writes any more.
    pub(super) fn text(self) -> String {
        let _ = self.ended.recv_timeout(PATIENCE);
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_end_is_kept_however_much_comes_before() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let tail = Tail::of(reader);
        for _ in 0..100 {
            writer.write_all(&[b'#'; 10_000]).unwrap();
        }
        writer.write_all(b"\nlast\n\nlines\n").unwrap();
        assert!(tail.kept.lock().unwrap().len() <= MAX_BYTES);
        drop(writer);
        let text = tail.text();
        assert!(text.ends_with("#\nlast\n\nlines\n") && text.len() <= MAX_BYTES);
    }

    #[test]
    fn a_pipe_that_stays_open_is_not_waited_for() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let tail = Tail::of(reader);
        writer.write_all(b"so far").unwrap();
        assert_eq!(tail.text(), "so far");
    }
}
