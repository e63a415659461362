//! How children are started.

use std::{env, ffi::OsString, path::PathBuf, process::Command};

use crate::TestkitError;

/// How this program is started again, to be a child.
#[derive(Debug, Clone)]
pub struct Launcher {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Launcher {
    /// This program with these arguments. With them it has to come to [`crate::run_child`], and to do nothing else
    /// before that would write to stdout or load a plugin.
    ///
    /// # Errors
    /// A system that does not tell where the program lies.
    pub fn this_program<A: Into<OsString>>(
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self, TestkitError> {
        Ok(Self {
            program: env::current_exe().map_err(TestkitError::system("find this program"))?,
            arguments: arguments.into_iter().map(Into::into).collect(),
        })
    }

    /// Another program with these arguments, under the same conditions; such as `env`, which sets a variable and goes on
    /// with this one.
    pub fn of<A: Into<OsString>>(
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            program: program.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
        }
    }

    /// As this process was started: for children that start children.
    pub(crate) fn like_this_process() -> Result<Self, TestkitError> {
        Self::this_program(env::args_os().skip(1))
    }

    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        command
    }
}
