//! The host, as a plugin sees it.

use std::{fmt, sync::Arc};

use dsl_abi::host::HostObject;

/// The host, as a plugin sees it. Clones are the same host. Log through [`crate::tracing`], not through this.
#[derive(Clone)]
pub struct Host {
    object: Option<Arc<HostObject>>,
}

impl Host {
    /// A host that never asks for a stop and hears no progress, for an author's own tests.
    pub const fn detached() -> Self {
        Self { object: None }
    }

    pub(crate) const fn attached(object: Arc<HostObject>) -> Self {
        Self {
            object: Some(object),
        }
    }

    /// Whether the user asked for a stop. Long work asks from time to time, and ends with
    /// [`crate::PluginError::cancelled`].
    pub fn cancelled(&self) -> bool {
        self.object.as_ref().is_some_and(|host| host.cancelled())
    }

    /// Reports that `done` of `total` steps of long work are done; `total` 0 means unknown. `what` names the work, such
    /// as `reading shards`.
    pub fn progress(&self, done: u64, total: u64, what: &str) {
        if let Some(host) = &self.object {
            host.progress(done, total, what.into());
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("attached", &self.object.is_some())
            .finish()
    }
}
