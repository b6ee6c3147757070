//! Where things run: the server on one processor, the driver and the upstream on another.

use std::process::Command;

use crate::process::command;

/// On which processors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    pub(super) server: Option<usize>,
    pub(super) driver: Option<usize>,
}

impl Places {
    /// One each where there are two; nothing is pinned otherwise.
    pub(super) fn here() -> Places {
        match std::thread::available_parallelism() {
            Ok(cores) if cores.get() > 1 => Places { server: Some(1), driver: Some(0) },
            _ => Places { server: None, driver: None },
        }
    }

    pub(super) fn free() -> Places {
        Places { server: None, driver: None }
    }
}

/// A command on this processor. It stays the same process: `taskset` becomes the program.
pub(super) fn pinned(core: Option<usize>, program: &str) -> Command {
    match core {
        Some(core) => {
            let mut pinned = command("taskset");
            pinned.args(["-c", &core.to_string(), program]);
            pinned
        }
        None => command(program),
    }
}
