//! `zrepl test`: parts of zrepl, tried by hand on this host. A file per command.

pub(crate) mod decoderesumetoken;
pub(crate) mod filesystems;
pub(crate) mod placeholder;
pub(crate) mod zfs;

use std::sync::Arc;

use anyhow::Context;
use zfs_safe::name::DatasetPath;
use zfs_safe::property::{Property, PropertyName};
use zfs_safe::zfs::{DatasetQuery, Zfs};
use zrepl_daemon::zfs_backend::{self, Choice};

use crate::output::complain;

/// Opens ZFS as the environment asks for.
pub(crate) fn open() -> anyhow::Result<Arc<dyn Zfs>> {
    // What is not text is shown as it is and refused, not taken for unset.
    let wanted = std::env::var_os(zfs_backend::VARIABLE);
    let wanted = wanted.as_deref().map(std::ffi::OsStr::to_string_lossy);
    let opened = zfs_backend::open(Choice::parse(wanted.as_deref())?)?;
    if let Some(reason) = opened.fallback {
        complain(format_args!("warning: using zfs(8): {reason}"));
    }
    Ok(opened.zfs)
}

/// All filesystems and volumes of this host with these properties, sorted by name.
pub(crate) fn all_datasets(
    zfs: &dyn Zfs,
    properties: &[PropertyName],
) -> anyhow::Result<Vec<(String, Vec<Property>)>> {
    let query = DatasetQuery {
        properties: properties.to_vec(),
        depth: None,
    };
    let mut datasets = Vec::new();
    for pool in zfs.pools()? {
        let name = pool.name.as_str();
        let root = DatasetPath::new(name).with_context(|| format!("cannot list pool {name}"))?;
        match zfs.datasets(&[root], &query) {
            Ok(found) => datasets.extend(
                found
                    .into_iter()
                    .map(|dataset| (dataset.path.as_str().to_owned(), dataset.properties)),
            ),
            // Exported since.
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    // zfs(8) compares whole names, so that `a-b` comes before `a/b` although they are of different pools.
    datasets.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(datasets)
}
