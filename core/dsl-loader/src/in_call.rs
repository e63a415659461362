//! Which plugin call each thread is in: for the message when a call ends the process, and for whoever watches for calls
//! that do not come back.

mod crash;

use std::{
    cell::{Cell, RefCell},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

pub use crash::explain_crashes;

/// Names of a call. They live for ever, so that a signal handler may read them; there are as many as there are calls and
/// splits, not as many as there are batches.
#[derive(Debug)]
pub(crate) struct Label {
    plugin: String,
    call: String,
    /// Place in [`LABELS`], plus 1.
    number: usize,
}

static LABELS: Mutex<Vec<&'static Label>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The label of these names, always the same one.
pub(crate) fn label(plugin: &str, call: &str) -> &'static Label {
    let mut labels = lock(&LABELS);
    let known = labels
        .iter()
        .find(|label| label.plugin == plugin && label.call == call);
    if let Some(label) = known {
        return label;
    }
    let label: &'static Label = Box::leak(Box::new(Label {
        plugin: plugin.to_owned(),
        call: call.to_owned(),
        number: labels.len() + 1,
    }));
    labels.push(label);
    label
}

/// What one thread does, for others to read.
#[derive(Default)]
struct Slot {
    /// Number of the label; 0 outside of calls.
    label: AtomicUsize,
    /// How many calls the thread has begun.
    begun: AtomicU64,
}

static SLOTS: Mutex<Vec<Arc<Slot>>> = Mutex::new(Vec::new());

/// The slot of a thread; it leaves the list with the thread.
struct OfThread(Arc<Slot>);

impl Drop for OfThread {
    fn drop(&mut self) {
        lock(&SLOTS).retain(|slot| !Arc::ptr_eq(slot, &self.0));
    }
}

thread_local! {
    /// For the thread itself. Without a destructor and without an initialiser: a signal handler reads it.
    static CURRENT: Cell<Option<&'static Label>> = const { Cell::new(None) };
    static SLOT: RefCell<Option<OfThread>> = const { RefCell::new(None) };
}

fn publish(label: Option<&'static Label>, begins: bool) {
    CURRENT.set(label);
    // A thread that is ending has no slot any more, and nobody waits for it.
    let _ = SLOT.try_with(|slot| {
        let mut slot = slot.borrow_mut();
        let OfThread(slot) = slot.get_or_insert_with(|| {
            let slot = Arc::new(Slot::default());
            lock(&SLOTS).push(slot.clone());
            OfThread(slot)
        });
        if begins {
            slot.begun.fetch_add(1, Ordering::Relaxed);
        }
        slot.label
            .store(label.map_or(0, |label| label.number), Ordering::Release);
    });
}

/// A call in progress; it ends when this is dropped.
pub(crate) struct Entered(Option<&'static Label>);

pub(crate) fn enter(label: &'static Label) -> Entered {
    let before = CURRENT.get();
    publish(Some(label), true);
    Entered(before)
}

impl Drop for Entered {
    fn drop(&mut self) {
        publish(self.0, false);
    }
}

/// The label of the call that this thread is in.
pub(crate) fn current() -> Option<&'static Label> {
    CURRENT.get()
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

/// The plugin calls that threads of this process are in just now. Whoever sees one for too long knows what hangs.
/// `[any thread]`
pub fn calls_in_progress() -> Vec<CallInProgress> {
    let labels = lock(&LABELS).clone();
    let slots = lock(&SLOTS).clone();
    let calls = slots.iter().filter_map(|slot| {
        let number = slot.label.load(Ordering::Acquire).checked_sub(1)?;
        let label = labels.get(number)?;
        Some(CallInProgress {
            plugin: label.plugin.clone(),
            call: label.call.clone(),
            ticket: (
                Arc::as_ptr(slot) as usize,
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
        let of_test = || -> Vec<String> {
            let calls = calls_in_progress().into_iter();
            let mut calls: Vec<_> = calls.filter(|call| call.plugin == "of-this-test").collect();
            calls.sort_by(|a, b| a.call.cmp(&b.call));
            calls.into_iter().map(|call| call.call).collect()
        };
        let (outer, inner) = (
            label("of-this-test", "outer"),
            label("of-this-test", "inner"),
        );
        assert!(std::ptr::eq(outer, label("of-this-test", "outer")));
        let entered = enter(outer);
        let second = enter(inner);
        assert_eq!(of_test(), ["inner"]);
        drop(second);
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    let _entered = enter(inner);
                    assert_eq!(of_test(), ["inner", "outer"]);
                })
                .join()
                .unwrap();
        });
        assert_eq!(of_test(), ["outer"]);
        let ticket = calls_in_progress()[0].ticket;
        drop(entered);
        assert!(of_test().is_empty());
        let _again = enter(outer);
        assert!(calls_in_progress().iter().all(|call| call.ticket != ticket));
    }
}
