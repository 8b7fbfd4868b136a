//! Whether source and backup hold the same: guids as zfs-safe reports them, contents by sha256sum.

use std::fs;
use std::path::Path;

use zfs_safe::Zfs;
use zfs_safe::guid::Guid;
use zfs_safe::name::{DatasetPath, SnapshotName};
use zfs_safe::zfs::VersionQuery;

use crate::device::Devices;
use crate::shell::{self, zfs};
use crate::world::{self, DIRECTORY, Material};
use crate::{Recorded, Result};

/// Digits of a checksum that are printed.
const SHOWN: usize = 10;

/// What a snapshot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Number of files; none for a volume.
    files: Option<usize>,
    /// Checksum of a volume, or of the names and checksums of all files.
    checksum: String,
}

impl Contents {
    pub(crate) fn of(material: Material, snapshot: &SnapshotName) -> Result<Self> {
        if material.volume {
            return Self::of_volume(snapshot);
        }
        let dataset = snapshot.dataset().to_string();
        let locked = material.encrypted
            && zfs(&["get", "-H", "-o", "value", "keystatus", &dataset])? == "unavailable";
        if locked {
            zfs(&[
                "load-key",
                "-L",
                &format!("file://{}", world::key()),
                &dataset,
            ])?;
        }
        let contents = Self::of_filesystem(snapshot);
        if locked {
            zfs(&["unload-key", &dataset])?;
        }
        contents
    }

    fn of_filesystem(snapshot: &SnapshotName) -> Result<Self> {
        let directory = format!("{DIRECTORY}/check");
        fs::create_dir_all(&directory)?;
        shell::run(
            "mount",
            ["-t", "zfs", "-o", "ro", snapshot.as_str(), &directory],
        )?;
        let listed = checksums_of_files(&directory);
        shell::run("umount", [directory.as_str()])?;
        let (files, checksum) = listed?;
        Ok(Self {
            files: Some(files),
            checksum,
        })
    }

    /// A snapshot of a volume has no device of its own by default, so this looks at a clone.
    fn of_volume(snapshot: &SnapshotName) -> Result<Self> {
        let clone = format!("{}/check", snapshot.pool());
        let devices = Devices::now()?;
        zfs(&["clone", "-o", "readonly=on", snapshot.as_str(), &clone])?;
        let device = devices.wait_for_another()?;
        let sum = shell::run("sha256sum", [path_text(&device)?]);
        zfs(&["destroy", &clone])?;
        Ok(Self {
            files: None,
            checksum: first_word(&sum?),
        })
    }
}

fn checksums_of_files(directory: &str) -> Result<(usize, String)> {
    const SUM: &str = "printf %s \"$0\" | sha256sum";
    const SCRIPT: &str =
        "cd \"$0\" && find . -type f | sort | while read -r file; do sha256sum \"$file\"; done";
    let list = shell::run("sh", ["-c", SCRIPT, directory])?;
    let sum = shell::run("sh", ["-c", SUM, &list])?;
    Ok((list.lines().count(), first_word(&sum)))
}

fn first_word(text: &str) -> String {
    text.split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn path_text(path: &Path) -> Result<&str> {
    Ok(path.to_str().ok_or("a device with a strange name")?)
}

/// One snapshot on both sides.
#[derive(Debug)]
pub(crate) struct Comparison {
    name: String,
    guids: [Guid; 2],
    contents: [Contents; 2],
}

impl Comparison {
    /// Source and backup. Of a snapshot that the source has destroyed there is a bookmark.
    pub(crate) fn make(zfs: &dyn Zfs, recorded: &Recorded) -> Result<Self> {
        let Recorded {
            material,
            snapshot,
            contents,
        } = recorded;
        let backup = material.backup()?.snapshot(snapshot)?;
        Ok(Self {
            name: format!("{}@{snapshot}", material.name),
            guids: [
                guid(zfs, &material.source()?, snapshot)?,
                guid(zfs, &material.backup()?, snapshot)?,
            ],
            contents: [contents.clone(), Contents::of(*material, &backup)?],
        })
    }

    pub(crate) fn is_equal(&self) -> bool {
        let [source, backup] = &self.contents;
        self.guids[0] == self.guids[1] && source == backup
    }

    /// What the columns of [`lines`](Self::lines) are.
    pub(crate) fn header() -> String {
        format!("{:<20} {:<7} {:<21} sha256", "snapshot", "side", "guid")
    }

    /// One line for each side.
    pub(crate) fn lines(&self) -> [String; 2] {
        let values = |side: usize| {
            let checksum = &self.contents[side].checksum;
            let shown = checksum.get(..SHOWN).unwrap_or(checksum);
            format!("{:<21} {shown}…", self.guids[side])
        };
        let what = match self.contents[1].files {
            Some(1) => "one file".to_owned(),
            Some(files) => format!("{files} files"),
            None => "volume".to_owned(),
        };
        [
            format!("{:<20} source  {}", self.name, values(0)),
            format!("  {what:<18} backup  {}", values(1)),
        ]
    }
}

pub(crate) fn guid(zfs: &dyn Zfs, dataset: &DatasetPath, name: &str) -> Result<Guid> {
    let versions = zfs.versions(dataset, &VersionQuery::ALL)?;
    let version = versions
        .into_iter()
        .find(|version| version.name.name() == name);
    Ok(version
        .ok_or_else(|| format!("{dataset} has neither snapshot nor bookmark {name}"))?
        .guid)
}
