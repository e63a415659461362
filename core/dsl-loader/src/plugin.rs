//! A loaded plugin.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use dsl_abi::{
    PluginRef,
    abi_stable::{
        StableAbi,
        std_types::{RNone, ROk, RSome},
    },
    assets::{ASSETS_V1, AssetsInterface},
    buckets::{BUCKETS_V1, BucketsInterface},
    self_test::SELF_TEST_V1,
    task::{TASK_V1, TaskInterface},
};
use serde_json::Value;

use crate::{
    HostCallbacks, LoaderError, Manifest, SelfTest, TaskHandle,
    call::Caller,
    file,
    find::{self, Places},
    host,
    in_call::{enter, loaded},
    open::{root_module, short_reason},
};

/// A loaded plugin. Dropping it does not unload it: a library stays until the process ends.
pub struct Plugin {
    path: PathBuf,
    sha256: String,
    manifest: Manifest,
    caller: Caller,
    root: PluginRef,
    callbacks: Arc<dyn HostCallbacks>,
    task: &'static TaskInterface,
    assets: Option<&'static AssetsInterface>,
    buckets: Option<&'static BucketsInterface>,
}

impl Plugin {
    /// The file of a plugin: `t2i.so`, `libt2i.so`, `t2i`, or a path to one of these.
    ///
    /// A path is looked for there alone. A bare name is looked for in the current folder (when it has the extension of a
    /// library), in the folders of `DSL_PLUGIN_PATH`, in `dsl/plugins` of the user's data folder (`XDG_DATA_HOME`,
    /// otherwise `~/.local/share`), beside the program, and in `../lib/dsl/plugins` from there.
    ///
    /// # Errors
    /// [`LoaderError::NotFound`], with everywhere it looked.
    pub fn find(name_or_path: &str) -> Result<PathBuf, LoaderError> {
        find::find(name_or_path, &Places::of_this_process())
    }

    /// SHA-256 of a file that may be a plugin, in hexadecimal. None of its code runs.
    ///
    /// # Errors
    /// A file that cannot be read, or is certainly no plugin of this machine.
    pub fn sha256_of(path: &Path) -> Result<String, LoaderError> {
        file::inspect(path)
    }

    /// Loads a plugin and checks its interfaces. Several plugins, and the same one several times, may be open at once.
    ///
    /// The log records of a plugin go to the `tracing` dispatcher of the thread that calls it. Which levels it makes at
    /// all is settled when a task is opened, so install the dispatcher before.
    ///
    /// # Errors
    /// A file that cannot be read, is no plugin, is refused by [`HostCallbacks::accept`], cannot be loaded, or has another
    /// interface. Unless it is one of the last two, none of its code ran.
    pub fn open(path: &Path, callbacks: Arc<dyn HostCallbacks>) -> Result<Self, LoaderError> {
        // A bare file name would make the dynamic linker search its own folders.
        let path = path
            .canonicalize()
            .map_err(|error| LoaderError::Unreadable {
                path: path.to_owned(),
                reason: error.to_string(),
            })?;
        let sha256 = file::inspect(&path)?;
        callbacks
            .accept(&path, &sha256)
            .map_err(|error| LoaderError::Refused {
                path: path.clone(),
                reason: error.message,
                help: error.help,
            })?;
        let unnamed = Caller {
            plugin: path.display().to_string().into(),
        };
        let root = {
            let _entered = enter(unnamed.label("loading the library"));
            root_module(&path)?
        };
        let manifest: Manifest =
            unnamed.json("manifest", "a JSON manifest", || ROk(root.manifest()()))?;
        if !is_plain_id(&manifest.id) {
            let expected = "an `id` of lower-case letters, digits and hyphens";
            return Err(unnamed.contract("manifest", expected, format!("`{}`", manifest.id)));
        }
        let caller = Caller {
            plugin: manifest.id.as_str().into(),
        };
        loaded(&manifest.id);
        if manifest.panic_strategy == "abort" {
            tracing::warn!(
                plugin = manifest.id,
                "this plugin was built with panic = \"abort\": a mistake in it ends the whole program"
            );
        }
        let task = extension::<TaskInterface>(&caller, root, &path, TASK_V1)?.ok_or_else(|| {
            LoaderError::OtherAbi {
                path: path.clone(),
                reason: format!(
                    "this host needs {TASK_V1}, and the plugin offers {}",
                    manifest.extensions.join(", ")
                ),
                detail: String::new(),
            }
        })?;
        let assets = extension::<AssetsInterface>(&caller, root, &path, ASSETS_V1)?;
        let buckets = extension::<BucketsInterface>(&caller, root, &path, BUCKETS_V1)?;
        tracing::debug!(plugin = manifest.id, version = manifest.version, path = %path.display(), sha256, "plugin loaded");
        Ok(Self {
            path,
            sha256,
            manifest,
            caller,
            root,
            callbacks,
            task,
            assets,
            buckets,
        })
    }

    /// Who it is.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Canonical path of its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 of its file, in hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// JSON Schema of the task's part of the configuration.
    ///
    /// # Errors
    /// An error of the plugin, or something that is not JSON.
    pub fn config_schema(&self) -> Result<Value, LoaderError> {
        self.caller.json("config_schema", "a JSON Schema", || {
            (self.task.config_schema)()
        })
    }

    /// The task's part of the configuration when the user says nothing.
    ///
    /// # Errors
    /// An error of the plugin, or something that is not JSON.
    pub fn default_config(&self) -> Result<Value, LoaderError> {
        self.caller.json("default_config", "a JSON value", || {
            (self.task.default_config)()
        })
    }

    /// What the plugin recommends for the host's part of the configuration: an object.
    ///
    /// # Errors
    /// An error of the plugin, or something that is not a JSON object.
    pub fn host_defaults(&self) -> Result<Value, LoaderError> {
        let call = "host_defaults";
        let value: Value = self
            .caller
            .json(call, "a JSON object", || (self.task.host_defaults)())?;
        if value.is_object() {
            return Ok(value);
        }
        Err(self
            .caller
            .contract(call, "a JSON object", value.to_string()))
    }

    /// Names of the files that travel inside the plugin.
    ///
    /// # Errors
    /// An error of the plugin.
    pub fn asset_names(&self) -> Result<Vec<String>, LoaderError> {
        self.assets.map_or(Ok(Vec::new()), |assets| {
            self.caller
                .json("asset names", "a JSON array of names", || (assets.names)())
        })
    }

    /// A file that travels inside the plugin, or nothing when there is none by that name.
    ///
    /// # Errors
    /// An error of the plugin.
    pub fn asset(&self, name: &str) -> Result<Option<Vec<u8>>, LoaderError> {
        let Some(assets) = self.assets else {
            return Ok(None);
        };
        let call = format!("asset `{name}`");
        // The bytes are read within the call, which is to blame when they are not there.
        let bytes = self.caller.call(&call, || {
            (assets.get)(name.into()).map(|found| match found {
                RSome(bytes) if bytes.as_ptr().is_null() && !bytes.is_empty() => Some(None),
                RSome(bytes) => Some(Some(bytes.to_vec())),
                RNone => None,
            })
        })?;
        match bytes {
            Some(None) => Err(self.caller.contract(call, "bytes", "a null pointer")),
            Some(bytes) => Ok(bytes),
            None => Ok(None),
        }
    }

    /// Opens the task with its part of the configuration, complete.
    ///
    /// # Errors
    /// An error of the plugin, such as data that cannot be read, or a description that breaks the contract.
    pub fn open_task(&self, config: &Value) -> Result<TaskHandle, LoaderError> {
        let host = host::object(&self.caller.plugin, &self.callbacks);
        let text = config.to_string();
        let object = self
            .caller
            .call("open", || (self.task.open)(text.as_str().into(), host))?;
        TaskHandle::new(self.caller.clone(), object, self.buckets)
    }

    /// Whether the plugin offers an interface of that id, whatever its layout.
    pub fn answers(&self, id: &str) -> bool {
        let _entered = enter(self.caller.label("extension"));
        self.root.extension()(id.into()).is_some()
    }

    /// The plugin's self-test; nothing when it does not offer `dsl.self-test/1`, as every plugin built with the SDK does.
    ///
    /// # Errors
    /// Another layout of that interface.
    pub fn self_test(&self) -> Result<Option<SelfTest>, LoaderError> {
        let interface = extension(&self.caller, self.root, &self.path, SELF_TEST_V1)?;
        Ok(interface
            .map(|interface| SelfTest::new(self.caller.clone(), self.callbacks.clone(), interface)))
    }
}

/// An id names folders and log targets.
fn is_plain_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !id.is_empty() && !id.starts_with('-') && id.bytes().all(plain)
}

fn extension<T: StableAbi>(
    caller: &Caller,
    root: PluginRef,
    path: &Path,
    id: &str,
) -> Result<Option<&'static T>, LoaderError> {
    // The comparison of the layouts reads the plugin's, by functions of the plugin.
    let _entered = enter(caller.label("extension"));
    (root.extension()(id.into()).into_option())
        .map(dsl_abi::Extension::get::<T>)
        .transpose()
        .map_err(|mismatch| LoaderError::OtherAbi {
            path: path.to_owned(),
            reason: format!("{id} differs: {}", short_reason(&mismatch.report)),
            detail: mismatch.report,
        })
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("id", &self.manifest.id)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
