//! What the demo works on: two pools on files, three datasets, and changes to their data.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use zfs_safe::name::{DatasetPath, NameError};

use crate::Result;
use crate::device::Devices;
use crate::shell::{zfs, zpool};

pub(crate) const SOURCE: &str = "source";
pub(crate) const BACKUP: &str = "backup";

pub(crate) const DOCUMENTS: Material = Material {
    name: "documents",
    volume: false,
    encrypted: false,
};
pub(crate) const DISK: Material = Material {
    name: "disk",
    volume: true,
    encrypted: false,
};
pub(crate) const SECRET: Material = Material {
    name: "secret",
    volume: false,
    encrypted: true,
};
pub(crate) const ALL: [Material; 3] = [DOCUMENTS, DISK, SECRET];

/// Where the files of the pools are, and where the pools are mounted.
pub(crate) const DIRECTORY: &str = "/tmp/zrepl-demo";
const POOL_SIZE: u64 = 512 << 20;
const MIB: u64 = 1 << 20;

/// One of the datasets that are replicated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Material {
    pub(crate) name: &'static str,
    pub(crate) volume: bool,
    pub(crate) encrypted: bool,
}

impl Material {
    pub(crate) fn source(self) -> Result<DatasetPath, NameError> {
        DatasetPath::new(format!("{SOURCE}/{}", self.name))
    }

    pub(crate) fn backup(self) -> Result<DatasetPath, NameError> {
        DatasetPath::new(format!("{BACKUP}/{}", self.name))
    }
}

/// Data that was written.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) text: String,
    pub(crate) bytes: u64,
}

/// The pools and their files. Dropping it destroys them, unless they are to be kept.
#[derive(Debug)]
pub(crate) struct World {
    created: Vec<&'static str>,
    /// Block device of the source's volume.
    disk: PathBuf,
    keep: bool,
}

impl World {
    pub(crate) fn create(keep: bool) -> Result<Self> {
        for pool in [SOURCE, BACKUP] {
            if zpool(&["list", pool]).is_ok() {
                return Err(format!(
                    "there is a pool {pool} already, and the demo would destroy it"
                )
                .into());
            }
        }
        fs::create_dir_all(DIRECTORY)?;
        let mut world = Self {
            created: Vec::new(),
            disk: PathBuf::new(),
            keep,
        };
        for pool in [SOURCE, BACKUP] {
            let file = format!("{DIRECTORY}/{pool}.pool");
            File::create(&file)?.set_len(POOL_SIZE)?;
            zpool(&[
                "create",
                "-O",
                "compression=off",
                "-O",
                &format!("mountpoint={DIRECTORY}/{pool}"),
                pool,
                &file,
            ])?;
            world.created.push(pool);
        }
        Ok(world)
    }

    /// Creates the datasets of the source and their first data.
    pub(crate) fn fill(&mut self) -> Result<Vec<Written>> {
        zfs(&["create", &full_name(DOCUMENTS)])?;
        let documents = files(DOCUMENTS);
        let mut bytes = write_random(&documents.join("picture"), 6 * MIB)?;
        for number in 1..=20 {
            bytes += write_text(&documents.join(format!("letter {number}")), number)?;
        }
        let documents = Written {
            text: format!("{}, a filesystem with 21 files", full_name(DOCUMENTS)),
            bytes,
        };

        let devices = Devices::now()?;
        zfs(&["create", "-V", &(16 * MIB).to_string(), &full_name(DISK)])?;
        self.disk = devices.wait_for_another()?;
        let bytes = self.overwrite_disk(0, 8 * MIB)?;
        let disk = Written {
            text: format!(
                "{}, a volume of 16 MiB, half of it written",
                full_name(DISK)
            ),
            bytes,
        };

        let key = key();
        write_random(Path::new(&key), 32)?;
        let location = format!("keylocation=file://{key}");
        zfs(&[
            "create",
            "-o",
            "encryption=on",
            "-o",
            "keyformat=raw",
            "-o",
            &location,
            &full_name(SECRET),
        ])?;
        let bytes = write_random(&files(SECRET).join("diary"), 2 * MIB)?;
        let secret = Written {
            text: format!("{}, an encrypted filesystem", full_name(SECRET)),
            bytes,
        };
        Ok(vec![documents, disk, secret])
    }

    /// Changes a little of everything.
    pub(crate) fn change(&self) -> Result<Written> {
        let documents = files(DOCUMENTS);
        fs::remove_file(documents.join("letter 7"))?;
        fs::rename(documents.join("letter 8"), documents.join("letter eight"))?;
        let mut bytes = write_text(&documents.join("letter 21"), 21)?;
        bytes += write_random(&documents.join("second picture"), 2 * MIB)?;
        bytes += self.overwrite_disk(4 * MIB, MIB)?;
        bytes += write_random(&files(SECRET).join("diary, volume 2"), MIB)?;
        Ok(Written {
            text: "files added, renamed and removed, blocks overwritten".to_owned(),
            bytes,
        })
    }

    fn overwrite_disk(&self, at: u64, length: u64) -> Result<u64> {
        let mut disk = OpenOptions::new().write(true).open(&self.disk)?;
        disk.seek(SeekFrom::Start(at))?;
        let written = copy_random(&mut disk, length)?;
        disk.sync_all()?;
        Ok(written)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.keep {
            println!("kept: pools {SOURCE} and {BACKUP}, files in {DIRECTORY}");
            return;
        }
        for pool in &self.created {
            if let Err(error) = zpool(&["destroy", pool]) {
                eprintln!("cannot clean up: {error}");
            }
        }
        if let Err(error) = fs::remove_dir_all(DIRECTORY) {
            eprintln!("cannot remove {DIRECTORY}: {error}");
        }
    }
}

/// Adds a file that takes a while to send.
pub(crate) fn grow() -> Result<Written> {
    let bytes = write_random(&files(DOCUMENTS).join("film"), 24 * MIB)?;
    Ok(Written {
        text: format!("a large file in {}", full_name(DOCUMENTS)),
        bytes,
    })
}

/// The file that holds the key of the encrypted dataset.
pub(crate) fn key() -> String {
    format!("{DIRECTORY}/key")
}

fn files(material: Material) -> PathBuf {
    Path::new(DIRECTORY).join(full_name(material))
}

fn full_name(material: Material) -> String {
    format!("{SOURCE}/{}", material.name)
}

fn write_text(path: &Path, number: u64) -> Result<u64> {
    let text = format!("Dear reader, this is letter number {number}.\n")
        .repeat(50 * usize::try_from(number)?);
    fs::write(path, &text)?;
    Ok(text.len() as u64)
}

fn write_random(path: &Path, length: u64) -> Result<u64> {
    copy_random(&mut File::create(path)?, length)
}

fn copy_random(to: &mut File, length: u64) -> Result<u64> {
    Ok(io::copy(&mut File::open("/dev/urandom")?.take(length), to)?)
}
