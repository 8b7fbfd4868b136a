//! Block devices of volumes, found without udev, which names them elsewhere: the device that has just appeared is the one
//! that was just created.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Result;

/// The kernel creates devices of volumes in the background.
const PATIENCE: Duration = Duration::from_secs(20);

/// The volumes of all pools at one moment.
pub(crate) struct Devices(BTreeSet<String>);

impl Devices {
    pub(crate) fn now() -> Result<Self> {
        let mut names = BTreeSet::new();
        for entry in fs::read_dir("/sys/block")? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with("zd") {
                names.insert(name);
            }
        }
        Ok(Self(names))
    }

    /// The device that has been added since.
    pub(crate) fn wait_for_another(&self) -> Result<PathBuf> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let now = Self::now()?;
            if let Some(name) = now.0.difference(&self.0).next() {
                let path = Path::new("/dev").join(name);
                if path.exists() {
                    return Ok(path);
                }
            }
            sleep(Duration::from_millis(20));
        }
        Err("the kernel has not made a device for the new volume".into())
    }
}
