//! The host, as a plugin sees it.

mod features;

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use dsl_abi::{
    Service,
    abi_stable::{StableAbi, std_types::RResult},
    host::HostObject,
    services::{CACHE_DIR_V1, CacheDirObject, FEATURES_V1, Job, PARALLEL_V1, ParallelObject},
};

pub use features::Features;

use crate::{PluginError, guard::catch};

/// The host, as a plugin sees it. Clones are the same host. Log through [`crate::tracing`], not through this.
///
/// All methods: `[any thread]`. A host need not offer every service: what is missing is an error of the code
/// [`crate::ErrorCode::Unsupported`], except for [`Host::parallel`], which then works on the calling thread.
#[derive(Clone)]
pub struct Host {
    attached: Option<Arc<Attached>>,
}

struct Attached {
    object: Arc<HostObject>,
    // Asked for once each, when first needed.
    parallel: OnceLock<Option<Service>>,
    cache_dir: OnceLock<Option<Service>>,
    features: OnceLock<Option<Service>>,
}

impl Host {
    /// A host that never asks for a stop, hears no progress and offers no service, for an author's own tests.
    pub const fn detached() -> Self {
        Self { attached: None }
    }

    pub(crate) fn attached(object: Arc<HostObject>) -> Self {
        Self {
            attached: Some(Arc::new(Attached {
                object,
                parallel: OnceLock::new(),
                cache_dir: OnceLock::new(),
                features: OnceLock::new(),
            })),
        }
    }

    /// Whether the user asked for a stop. Long work asks from time to time, and ends with
    /// [`PluginError::cancelled`].
    pub fn cancelled(&self) -> bool {
        self.attached
            .as_ref()
            .is_some_and(|host| host.object.cancelled())
    }

    /// Reports that `done` of `total` steps of long work are done; `total` 0 means unknown. `what` names the work, such
    /// as `reading shards`.
    pub fn progress(&self, done: u64, total: u64, what: &str) {
        if let Some(host) = &self.attached {
            host.object.progress(done, total, what.into());
        }
    }

    /// How many pieces of work [`Host::parallel`] does at once; 1 with a host that has no pool of threads.
    pub fn threads(&self) -> usize {
        match self.parallel_service() {
            Ok(Some(pool)) => usize::try_from(pool.threads()).unwrap_or(usize::MAX).max(1),
            _ => 1,
        }
    }

    /// Does `work` for each of `0..count` on the host's threads; the results come in that order.
    ///
    /// Use it instead of threads of your own: the host divides the processor between plugins and training. The work of
    /// one index should take a millisecond or more. After a failure, pieces that have not begun are left out.
    /// A piece may ask for more work, also while it holds a lock: it then does all of that on its own thread.
    ///
    /// # Errors
    /// The first error of `work`, by index, among the pieces that were done; a panic in it is one as well.
    pub fn parallel<T: Send>(
        &self,
        count: usize,
        work: impl Fn(usize) -> Result<T, PluginError> + Sync,
    ) -> Result<Vec<T>, PluginError> {
        let Some(pool) = self.parallel_service()? else {
            return (0..count).map(work).collect();
        };
        let failed = AtomicBool::new(false);
        let slots: Vec<Mutex<Option<Result<T, PluginError>>>> =
            (0..count).map(|_| Mutex::new(None)).collect();
        let piece = |index: u64| {
            let Some((slot, index)) = usize::try_from(index)
                .ok()
                .and_then(|index| Some((slots.get(index)?, index)))
            else {
                return;
            };
            if failed.load(Ordering::Relaxed) {
                return;
            }
            let done = catch(|| work(index));
            if done.is_err() {
                failed.store(true, Ordering::Relaxed);
            }
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
        };
        pool.run(count as u64, &Job::new(&piece));
        let mut results = Vec::with_capacity(count);
        let mut missing = false;
        for slot in slots {
            match slot.into_inner().unwrap_or_else(PoisonError::into_inner) {
                Some(done) => results.push(done?),
                None => missing = true,
            }
        }
        if missing {
            return Err(PluginError::contract(
                "the host left out a piece of parallel work",
            ));
        }
        Ok(results)
    }

    /// A folder of this plugin's own, the same in every run, for what is expensive to make again. It exists.
    ///
    /// The user may empty it between runs, and several processes may use it at once: write a file under another name
    /// and rename it, and be ready to make it again.
    ///
    /// # Errors
    /// A host without such a folder, or one that cannot be made.
    pub fn cache_dir(&self) -> Result<PathBuf, PluginError> {
        let service = self.service(CACHE_DIR_V1, |host| &host.cache_dir)?;
        let service = service.ok_or_else(|| not_offered("a cache folder", CACHE_DIR_V1))?;
        let path = answer(typed::<CacheDirObject>(service, CACHE_DIR_V1)?.path())?;
        Ok(PathBuf::from(path.into_string()))
    }

    /// Feature networks and distances, such as `inception-v3/pool3`, on the host's device.
    ///
    /// # Errors
    /// A host that offers none.
    pub fn features(&self) -> Result<Features<'_>, PluginError> {
        let service = self.service(FEATURES_V1, |host| &host.features)?;
        let service = service.ok_or_else(|| not_offered("feature networks", FEATURES_V1))?;
        Ok(Features(typed(service, FEATURES_V1)?))
    }

    fn parallel_service(&self) -> Result<Option<&ParallelObject>, PluginError> {
        self.service(PARALLEL_V1, |host| &host.parallel)?
            .map(|service| typed(service, PARALLEL_V1))
            .transpose()
    }

    fn service(
        &self,
        id: &str,
        slot: impl FnOnce(&Attached) -> &OnceLock<Option<Service>>,
    ) -> Result<Option<&Service>, PluginError> {
        let Some(host) = &self.attached else {
            return Ok(None);
        };
        Ok(slot(host)
            .get_or_init(|| host.object.service(id.into()).into_option())
            .as_ref())
    }
}

fn not_offered(what: &str, id: &str) -> PluginError {
    PluginError::unsupported(format!("this host does not offer {what} (`{id}`)"))
        .with_help("run the plugin in a release of dsl-host that does")
}

fn typed<'a, T: StableAbi + 'static>(service: &'a Service, id: &str) -> Result<&'a T, PluginError> {
    service.get().map_err(|mismatch| {
        PluginError::unsupported(format!(
            "the host's service `{id}` is laid out otherwise than in the SDK that built this plugin"
        ))
        .with_help("build the plugin again with the SDK of the host's release")
        .with_detail(mismatch.report)
    })
}

fn answer<T>(result: RResult<T, dsl_abi::AbiError>) -> Result<T, PluginError> {
    result.into_result().map_err(PluginError::from)
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("attached", &self.attached.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorCode;

    #[test]
    fn without_a_host_work_is_done_here_and_services_are_unsupported() {
        let host = Host::detached();
        assert_eq!((host.threads(), host.cancelled()), (1, false));
        assert_eq!(
            host.parallel(4, |index| Ok(index * 2)).unwrap(),
            [0, 2, 4, 6]
        );
        let error = host.parallel(4, |index| match index {
            0 => Ok(()),
            _ => Err(PluginError::other(format!("piece {index}"))),
        });
        assert_eq!(error.unwrap_err().message, "piece 1");
        let error = host.cache_dir().unwrap_err();
        assert_eq!(error.code, ErrorCode::Unsupported);
        assert!(error.message.contains("dsl.cache-dir/1") && !error.help.is_empty());
        let error = host.features().err().unwrap();
        assert!(
            error.message.contains("dsl.features/1"),
            "{}",
            error.message
        );
    }
}
