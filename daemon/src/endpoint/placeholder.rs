//! Placeholders: filesystems that exist on a receiver only because something below them was received. Properties of a dataset flow
//! in, whether it is one flows out; the datasets that exist flow in, which parents to make, and how, flows out. What was received is
//! never taken for a placeholder, because only a value set on the dataset itself counts: what is below a placeholder inherits its
//! property.

use std::collections::BTreeSet;

use sha2::{Digest, Sha512_256};
use zfs_safe::name::DatasetPath;
use zfs_safe::property::{Property, Source};

use super::access::ReceiveRoot;
use crate::config::transfer::PlaceholderEncryption;

/// The property by which placeholders are known.
pub const PROPERTY: &str = "zrepl:placeholder";

/// The value of [`PROPERTY`] that makes a placeholder.
pub const ON: &str = "on";

/// The value of [`PROPERTY`] that is set before something is received into what was a placeholder.
pub const OFF: &str = "off";

/// A parent to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Creation {
    /// Its name.
    pub dataset: DatasetPath,
    /// Whether it is encrypted.
    pub encryption: Encryption,
}

/// Whether a placeholder is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encryption {
    /// As its parent.
    Inherit,
    /// Not.
    Off,
}

/// Why parents cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceholderError {
    /// The configuration does not say how.
    #[error(
        "cannot create placeholder filesystem {dataset}: placeholder filesystem encryption handling is unspecified in receiver \
         config"
    )]
    EncryptionUnspecified {
        /// The first one that would have to be made.
        dataset: DatasetPath,
    },
    /// The target is not below the client's root.
    #[error("{target} is not below {root}")]
    Outside {
        /// The target.
        target: DatasetPath,
        /// The client's root.
        root: DatasetPath,
    },
    /// The pool is not there.
    #[error("pool {pool:?} not imported")]
    PoolMissing {
        /// Its name.
        pool: String,
    },
    /// `root_fs` or a parent of it is not there. We never make those.
    #[error("root_fs {:?} does not exist", root.as_str())]
    RootMissing {
        /// `root_fs`.
        root: DatasetPath,
    },
}

/// The property's value if it was set on the dataset itself: neither inherited nor received ones count.
pub fn local_value(properties: &[Property]) -> &str {
    properties
        .iter()
        .find(|property| property.name.as_str() == PROPERTY && property.source == Source::Local)
        .map_or("", |property| &property.value)
}

/// Does this value, set on the dataset itself, make it a placeholder? It is `on`, or what zrepl wrote before 0.1: the dataset's
/// hashed name.
pub fn is_placeholder(dataset: &str, local_value: &str) -> bool {
    local_value == ON || local_value == legacy_value(dataset)
}

/// Finds the parents of `target` that are missing below `root_fs`, from the top down. `encryption` is asked for only if there are
/// any, so who has no placeholders need not configure it; and the client's root is made without it.
pub fn missing_parents(
    root: &ReceiveRoot,
    target: &DatasetPath,
    existing: &BTreeSet<DatasetPath>,
    encryption: PlaceholderEncryption,
) -> Result<Vec<Creation>, PlaceholderError> {
    if target == root.client_root() || !target.is_within(root.client_root()) {
        return Err(PlaceholderError::Outside {
            target: target.clone(),
            root: root.client_root().clone(),
        });
    }
    let mut missing: Vec<_> = std::iter::successors(target.parent(), DatasetPath::parent)
        .filter(|parent| !existing.contains(parent))
        .collect();
    missing.reverse();
    missing
        .into_iter()
        .map(|dataset| {
            if root.root_fs().is_within(&dataset) {
                return Err(not_ours_to_make(root, &dataset));
            }
            let encryption = match encryption {
                PlaceholderEncryption::Inherit => Encryption::Inherit,
                PlaceholderEncryption::Off => Encryption::Off,
                PlaceholderEncryption::Unspecified if &dataset == root.client_root() => {
                    Encryption::Inherit
                }
                PlaceholderEncryption::Unspecified => {
                    return Err(PlaceholderError::EncryptionUnspecified { dataset });
                }
            };
            Ok(Creation {
                dataset,
                encryption,
            })
        })
        .collect()
}

impl Creation {
    /// The properties to make it with: it is not mounted, and neither is what inherits from it.
    pub fn properties(&self) -> Vec<(&'static str, &'static str)> {
        let mut properties = vec![(PROPERTY, ON), ("mountpoint", "none")];
        match self.encryption {
            Encryption::Inherit => {}
            Encryption::Off => properties.push(("encryption", "off")),
        }
        properties
    }
}

fn not_ours_to_make(root: &ReceiveRoot, missing: &DatasetPath) -> PlaceholderError {
    match missing.parent() {
        None => PlaceholderError::PoolMissing {
            pool: missing.as_str().to_owned(),
        },
        Some(_) => PlaceholderError::RootMissing {
            root: root.root_fs().clone(),
        },
    }
}

fn legacy_value(dataset: &str) -> String {
    use std::fmt::Write;
    let mut hexadecimal = String::new();
    for byte in Sha512_256::digest(dataset) {
        // Writing to a string does not fail.
        write!(hexadecimal, "{byte:02x}").ok();
    }
    hexadecimal
}

#[cfg(test)]
mod tests;
