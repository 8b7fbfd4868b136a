//! A small language for what is there before something is tested, a statement on each line; names are relative to the case's root, and
//! quoted if they have blanks:
//!
//! ```text
//! + fs                 create a filesystem; with `encrypted` behind it, an encrypted one
//! + fs@snap            take a snapshot
//! + fs#mark fs@snap    make a bookmark
//! - x                  destroy a filesystem, snapshot or bookmark
//! W fs 1024            write so many KiB into it
//! H fs@snap tag        hold a snapshot
//! U fs@snap tag        release it
//! ! x                  this does not exist
//! ? x                  this exists
//! ```

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::process::Command;

use zfs_safe::Outcome;
use zfs_safe::name::{DatasetPath, EntityName, HoldTag, VersionName};
use zfs_safe::zfs::{BookmarkRequest, HoldRequest, Zfs};

use crate::pool::{FOLDER, KEY};

type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Does what the script says, below `root`.
pub(crate) fn set_up(zfs: &dyn Zfs, root: &str, script: &str) -> Result {
    for line in script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        statement(zfs, root, line).map_err(|error| format!("set-up, {line:?}: {error}"))?;
    }
    Ok(())
}

fn statement(zfs: &dyn Zfs, root: &str, line: &str) -> Result {
    let words = words(line);
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let entity = |name: &str| EntityName::new(format!("{root}/{name}"));
    match words[..] {
        ["+", name, "encrypted"] => shell(&format!(
            "zfs create -o encryption=on -o keyformat=raw -o keylocation=file://{KEY} '{root}/{name}'"
        ))
        .map(drop),
        ["+", name] => match entity(name)? {
            EntityName::Dataset(path) => Ok(zfs.create_filesystem(&path, &[])?),
            EntityName::Snapshot(snapshot) => done(&zfs.snapshot(&[snapshot], &[])),
            EntityName::Bookmark(_) => Err("a bookmark of what?".into()),
        },
        ["+", name, source] => {
            let EntityName::Bookmark(bookmark) = entity(name)? else {
                return Err("not a bookmark".into());
            };
            let source = VersionName::new(format!("{root}/{source}"))?;
            done(&zfs.bookmark(&[BookmarkRequest { bookmark, source }]))
        }
        ["-", name] => match entity(name)? {
            EntityName::Dataset(path) => Ok(zfs.destroy_dataset(&path)?),
            EntityName::Snapshot(snapshot) => done(&zfs.destroy_snapshots(&[snapshot])),
            EntityName::Bookmark(bookmark) => done(&zfs.destroy_bookmarks(&[bookmark])),
        },
        ["W", name, kib] => write(&DatasetPath::new(format!("{root}/{name}"))?, kib.parse()?),
        [what @ ("H" | "U"), name, tag] => {
            let EntityName::Snapshot(snapshot) = entity(name)? else {
                return Err("not a snapshot".into());
            };
            let tag = HoldTag::new(tag)?;
            let request = [HoldRequest { snapshot, tag }];
            done(&if what == "H" {
                zfs.hold(&request)
            } else {
                zfs.release(&request)
            })
        }
        [what @ ("?" | "!"), name] => {
            let exists = zfs.exists(&entity(name)?)?;
            if exists == (what == "?") {
                Ok(())
            } else {
                Err(format!("exists: {exists}").into())
            }
        }
        _ => Err("not a statement".into()),
    }
}

/// Words, which blanks or double quotes limit.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('"').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

fn done(outcomes: &[Outcome]) -> Result {
    match outcomes.iter().find(|outcome| !outcome.is_done()) {
        None => Ok(()),
        Some(outcome) => Err(format!("{outcome:?}").into()),
    }
}

/// Writes what cannot be compressed into a file of the filesystem, and mounts it first if it is not.
fn write(dataset: &DatasetPath, kib: u64) -> Result {
    let folder = format!("{FOLDER}/mnt/{dataset}");
    if !fs::exists(&folder)? {
        fs::create_dir_all(&folder)?;
        rustix::mount::mount(
            dataset.as_str(),
            &*folder,
            "zfs",
            rustix::mount::MountFlags::empty(),
            None,
        )?;
    }
    let mut random = File::open("/dev/urandom")?.take(kib << 10);
    io::copy(&mut random, &mut File::create(format!("{folder}/data"))?)?;
    Ok(())
}

/// Runs a script of the shell, which must succeed; gives what it prints.
pub(crate) fn shell(script: &str) -> Result<String> {
    let output = Command::new("/bin/sh").args(["-c", script]).output()?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{script}: {}", message.trim()).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}
