//! Which plugin call each thread is in: for the message when a call ends the process, and for whoever watches for calls
//! that do not come back.

mod crash;

use std::{
    cell::Cell,
    ptr,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering},
    },
};

pub use crash::{end_process, explain_crashes, kill_group};

/// Names of a call. They live for ever, so that a signal handler may read them; there are as many as there are calls and
/// splits, not as many as there are batches.
#[derive(Debug)]
pub(crate) struct Label {
    plugin: String,
    call: String,
}

/// The label of these names, always the same one.
pub(crate) fn label(plugin: &str, call: &str) -> &'static Label {
    static LABELS: Mutex<Vec<&'static Label>> = Mutex::new(Vec::new());
    let mut labels = LABELS.lock().unwrap_or_else(PoisonError::into_inner);
    let known = labels
        .iter()
        .find(|label| label.plugin == plugin && label.call == call);
    if let Some(label) = known {
        return label;
    }
    let label: &'static Label = Box::leak(Box::new(Label {
        plugin: plugin.to_owned(),
        call: call.to_owned(),
    }));
    labels.push(label);
    label
}

/// A label that one thread writes and all may read, also in a signal handler.
#[derive(Debug, Default)]
struct Shown(AtomicPtr<Label>);

impl Shown {
    const fn nothing() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    fn set(&self, label: Option<&'static Label>) {
        let pointer = label.map_or(ptr::null_mut(), |label| ptr::from_ref(label).cast_mut());
        self.0.store(pointer, Ordering::Release);
    }

    fn get(&self) -> Option<&'static Label> {
        // SAFETY: `set` alone stores pointers, and they come from references that live for ever.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }
}

/// What one thread does, for others to read.
#[derive(Default)]
struct Slot {
    label: Shown,
    /// How many calls the threads of this slot have begun.
    begun: AtomicU64,
    taken: AtomicBool,
    next: OnceLock<&'static Slot>,
}

/// The slots, one after the other. A list that only grows can be read where a lock cannot be waited for; a thread that
/// ends leaves its slot to the next that begins.
static SLOTS: OnceLock<&'static Slot> = OnceLock::new();

fn slots() -> impl Iterator<Item = &'static Slot> {
    std::iter::successors(SLOTS.get().copied(), |slot| slot.next.get().copied())
}

fn free_slot() -> &'static Slot {
    if let Some(slot) = slots().find(|slot| !slot.taken.swap(true, Ordering::AcqRel)) {
        return slot;
    }
    let slot: &'static Slot = Box::leak(Box::default());
    slot.taken.store(true, Ordering::Release);
    let mut end = &SLOTS;
    while end.set(slot).is_err() {
        end = match end.get() {
            Some(other) => &other.next,
            None => end,
        };
    }
    slot
}

/// The slot of a thread, which ends with the thread.
struct OfThread(&'static Slot);

impl Drop for OfThread {
    fn drop(&mut self) {
        self.0.label.set(None);
        self.0.taken.store(false, Ordering::Release);
    }
}

thread_local! {
    /// For the thread itself. Without a destructor and without an initialiser: a signal handler reads it.
    static CURRENT: Cell<Option<&'static Label>> = const { Cell::new(None) };
    static SLOT: OfThread = OfThread(free_slot());
}

/// A call in progress; it ends when this is dropped.
pub(crate) struct Entered {
    before: Option<&'static Label>,
    is_shown: bool,
}

impl Entered {
    fn begin(label: &'static Label, is_shown: bool) -> Self {
        let before = CURRENT.replace(Some(label));
        if is_shown {
            show(Some(label), 1);
        }
        Self { before, is_shown }
    }
}

fn show(label: Option<&'static Label>, begins: u64) {
    // A thread that is ending has no slot any more, and nobody waits for it.
    let _ = SLOT.try_with(|OfThread(slot)| {
        slot.begun.fetch_add(begins, Ordering::Relaxed);
        slot.label.set(label);
    });
}

pub(crate) fn enter(label: &'static Label) -> Entered {
    Entered::begin(label, true)
}

/// Does a part of a call that another thread is in: a crash is named, and whoever watches sees the call once.
pub(crate) fn assist(label: &'static Label) -> Entered {
    Entered::begin(label, false)
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.before);
        if self.is_shown {
            show(self.before, 0);
        }
    }
}

/// The label of the call that this thread is in.
pub(crate) fn current() -> Option<&'static Label> {
    CURRENT.get()
}

/// The plugin that was loaded last, for crashes outside of every call.
static LOADED: Shown = Shown::nothing();

/// From now on there are threads that this plugin may have started.
pub(crate) fn loaded(plugin: &str) {
    LOADED.set(Some(label(plugin, "no call")));
}

/// Pieces of plugins' memory in the host's hands, and who lent the last.
static LENT: AtomicUsize = AtomicUsize::new(0);
static LENDER: Shown = Shown::nothing();

/// Memory of a plugin in the host's hands, as long as this lives.
pub(crate) struct Loan;

impl Loan {
    pub(crate) fn new(lender: &'static Label) -> Self {
        LENT.fetch_add(1, Ordering::AcqRel);
        LENDER.set(Some(lender));
        Self
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        LENT.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A plugin call that some thread of this process is in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CallInProgress {
    /// Id of the plugin, or its path before the id is known.
    pub plugin: String,
    /// The call, such as `batch of dataset train`.
    pub call: String,
    /// Tells calls apart: thread and number of the call there. The same at two moments means the same call.
    pub ticket: (usize, u64),
}

/// The plugin calls that threads of this process are in just now, each once, however many threads the host lends to it.
/// Whoever sees one for too long knows what hangs. `[any thread]`
pub fn calls_in_progress() -> Vec<CallInProgress> {
    let calls = slots().filter_map(|slot| {
        let label = slot.label.get()?;
        Some(CallInProgress {
            plugin: label.plugin.clone(),
            call: label.call.clone(),
            ticket: (
                ptr::from_ref(slot) as usize,
                slot.begun.load(Ordering::Relaxed),
            ),
        })
    });
    calls.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_seen_from_other_threads_and_nest() {
        let of_test = || -> Vec<CallInProgress> {
            let calls = calls_in_progress().into_iter();
            let mut calls: Vec<_> = calls.filter(|call| call.plugin == "of-this-test").collect();
            calls.sort_by(|a, b| a.call.cmp(&b.call));
            calls
        };
        let names = || -> Vec<String> { of_test().into_iter().map(|call| call.call).collect() };
        let (outer, inner) = (
            label("of-this-test", "outer"),
            label("of-this-test", "inner"),
        );
        assert!(ptr::eq(outer, label("of-this-test", "outer")));
        let entered = enter(outer);
        let second = enter(inner);
        assert_eq!(names(), ["inner"]);
        drop(second);
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                let _entered = enter(inner);
                assert_eq!(names(), ["inner", "outer"]);
            });
            other.join().unwrap();
            let helper = scope.spawn(|| {
                let _part = assist(outer);
                assert!(current().is_some_and(|label| ptr::eq(label, outer)));
                assert_eq!(names(), ["outer"]);
            });
            helper.join().unwrap();
        });
        assert_eq!(names(), ["outer"]);
        let ticket = of_test()[0].ticket;
        drop(entered);
        assert!(of_test().is_empty());
        let _again = enter(outer);
        assert!(of_test().iter().all(|call| call.ticket != ticket));
    }

    #[test]
    fn threads_that_come_one_after_the_other_share_a_slot() {
        let work = || {
            std::thread::spawn(|| drop(enter(label("of-this-test", "short"))))
                .join()
                .unwrap();
        };
        work();
        let count = slots().count();
        (0..100).for_each(|_| work());
        // Other tests have threads as well.
        assert!(slots().count() < count + 50, "{count}");
    }
}
