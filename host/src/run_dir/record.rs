use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// The version of burn this program is built on.
pub const BURN_VERSION: &str = "0.22.1";

/// `run.json`: what is needed, beside the configuration, to know what a run was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Version of this file's own layout.
    pub format: u32,
    /// The plugin that named the task.
    pub plugin: PluginRecord,
    /// `train.seed`.
    pub seed: u64,
    /// The start, and every resume after it.
    pub sessions: Vec<SessionRecord>,
}

/// A plugin as it was loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginRecord {
    /// The plugin's own name, such as `t2i`.
    pub id: String,
    /// Where it was loaded from.
    pub path: PathBuf,
    /// Its own version.
    pub version: String,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

/// The program that trained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// Version of dsl-host.
    pub version: String,
    /// Version of burn.
    pub burn: String,
    /// Operating system and processor, such as `linux-x86_64`.
    pub platform: String,
}

impl HostRecord {
    /// This program.
    pub fn current() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            burn: BURN_VERSION.into(),
            platform: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
        }
    }
}

/// One process that trained in this folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// When it began, as RFC 3339 in UTC.
    pub started: String,
    /// The step it began after: 0 for a new run.
    pub from_step: u64,
    /// The device it ran on.
    pub device: String,
    /// The program.
    pub host: HostRecord,
    /// SHA-256 of the plugin's file.
    pub plugin_sha256: String,
    /// When it ended. Absent for a process that was killed or still runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<SessionEnd>,
    /// The last step it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_step: Option<u64>,
}

/// How a session ended, when it could say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionEnd {
    /// All steps are done.
    Finished,
    /// Stopped by a signal, after saving.
    Interrupted,
    /// Stopped by an error.
    Failed,
}

impl SessionRecord {
    /// A session that begins now, after `from_step`.
    pub fn begin(from_step: u64, device: &str, plugin: &PluginRecord) -> Self {
        Self {
            started: now(),
            from_step,
            device: device.into(),
            host: HostRecord::current(),
            plugin_sha256: plugin.sha256.clone(),
            ended: None,
            end: None,
            to_step: None,
        }
    }
}

impl RunRecord {
    /// The record of a run that begins now.
    pub fn begin(plugin: PluginRecord, device: &str, seed: u64) -> Self {
        let session = SessionRecord::begin(0, device, &plugin);
        Self {
            format: 1,
            plugin,
            seed,
            sessions: vec![session],
        }
    }

    /// What is not as it was when the run last trained, one sentence each: reasons for which a
    /// resumed run may not give the numbers of an uninterrupted one.
    pub fn differences(&self, next: &SessionRecord) -> Vec<String> {
        let Some(last) = self.sessions.last() else {
            return Vec::new();
        };
        let mut found = Vec::new();
        let mut compare = |what: &str, before: &str, now: &str| {
            if before != now {
                found.push(format!("{what} was `{before}` and is now `{now}`"));
            }
        };
        compare("dsl-host", &last.host.version, &next.host.version);
        compare("burn", &last.host.burn, &next.host.burn);
        compare("the platform", &last.host.platform, &next.host.platform);
        compare("the device", &last.device, &next.device);
        compare(
            &format!("the hash of plugin `{}`", self.plugin.id),
            &last.plugin_sha256,
            &next.plugin_sha256,
        );
        found
    }
}

/// The time as RFC 3339 in UTC, to the second.
pub(super) fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}
