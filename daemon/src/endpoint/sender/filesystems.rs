//! Which filesystems there are for whoever asks: the job's filter flows in, the datasets that pass it flow out. Only what is below the
//! filter's own paths is looked at, so that a job for one small tree does not list the whole of a large pool.

use std::collections::BTreeSet;

use zfs_safe::name::{DatasetPath, EntityName};
use zfs_safe::property::PropertyName;
use zfs_safe::zfs::{Dataset, DatasetQuery, Zfs};

use crate::filter::FilesystemFilter;

/// Where the filter's datasets can be.
#[derive(Debug, Default, PartialEq, Eq)]
struct Roots {
    /// The filter has a pattern for everything.
    everything: bool,
    /// With all below them; none is below another.
    subtrees: BTreeSet<DatasetPath>,
    /// Without what is below them; none is in a subtree.
    alone: BTreeSet<DatasetPath>,
}

/// Datasets that pass the filter, sorted by name, with these properties. What the filter names need not exist. Blocks.
pub(super) fn list(
    zfs: &dyn Zfs,
    filter: &FilesystemFilter,
    properties: Vec<PropertyName>,
) -> zfs_safe::Result<Vec<Dataset>> {
    let roots = Roots::of(filter);
    let subtrees = if roots.everything {
        let pools = zfs.pools()?;
        let paths = pools
            .iter()
            .map(|pool| DatasetPath::new(pool.name.as_str()));
        paths.filter_map(Result::ok).collect()
    } else {
        roots.subtrees
    };
    let all = DatasetQuery {
        properties,
        depth: None,
    };
    let mut found = present(zfs, subtrees, &all)?;
    let alone = DatasetQuery {
        depth: Some(0),
        ..all
    };
    found.extend(present(zfs, roots.alone, &alone)?);
    found.retain(|dataset| filter.accepts(dataset.path.as_str()));
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

impl Roots {
    fn of(filter: &FilesystemFilter) -> Self {
        let accepted = || filter.entries().filter(|(_, is_accepted)| *is_accepted);
        // A path that ZFS would not take matches nothing that exists.
        let paths = |subtree| {
            accepted()
                .filter(move |(pattern, _)| pattern.is_subtree() == subtree)
                .filter_map(|(pattern, _)| DatasetPath::new(pattern.path()).ok())
        };
        if accepted().any(|(pattern, _)| pattern.is_subtree() && pattern.path().is_empty()) {
            return Self {
                everything: true,
                ..Self::default()
            };
        }
        let trees: BTreeSet<_> = paths(true).collect();
        let parents =
            |path: &DatasetPath| std::iter::successors(path.parent(), DatasetPath::parent);
        let is_below = |path: &DatasetPath| parents(path).any(|parent| trees.contains(&parent));
        Self {
            everything: false,
            alone: paths(false)
                .filter(|path| !trees.contains(path) && !is_below(path))
                .collect(),
            subtrees: trees
                .iter()
                .filter(|path| !is_below(path))
                .cloned()
                .collect(),
        }
    }
}

/// Lists below those of the roots that exist.
fn present(
    zfs: &dyn Zfs,
    mut roots: BTreeSet<DatasetPath>,
    query: &DatasetQuery,
) -> zfs_safe::Result<Vec<Dataset>> {
    loop {
        if roots.is_empty() {
            return Ok(Vec::new());
        }
        let listed: Vec<_> = roots.iter().cloned().collect();
        let missing = match zfs.datasets(&listed, query) {
            Err(error) if error.is_not_found() => {
                let missing = DatasetPath::new(error.dataset.as_str()).ok();
                missing.filter(|path| roots.remove(path)).ok_or(error)?
            }
            other => return other,
        };
        // Filters can name many datasets of a pool that is not imported.
        let pool = missing.pool();
        let pool_path = DatasetPath::new(pool.as_str()).map(EntityName::from);
        if let Ok(path) = pool_path
            && !zfs.exists(&path)?
        {
            roots.retain(|root| root.pool() != pool);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots(entries: &[(&str, bool)]) -> (Vec<String>, Vec<String>) {
        let filter = FilesystemFilter::new(entries.iter().copied()).expect("valid");
        let roots = Roots::of(&filter);
        let texts = |paths: BTreeSet<DatasetPath>| paths.iter().map(ToString::to_string).collect();
        assert!(!roots.everything);
        (texts(roots.subtrees), texts(roots.alone))
    }

    #[test]
    fn a_filter_is_looked_for_below_its_own_paths_only() {
        let found = roots(&[
            ("tank/home<", true),
            ("tank/home/tmp<", false),
            ("tank/home/tmp/keep<", true),
            ("tank/home/x", true),
            ("tank/home", true),
            ("tank/homes", true),
            ("pool/a", true),
            ("pool/b", false),
            ("not//valid", true),
            ("pool/a b<", true),
        ]);
        assert_eq!(found.0, ["pool/a b", "tank/home"]);
        assert_eq!(found.1, ["pool/a", "tank/homes"]);
        assert_eq!(roots(&[("a<", false), ("b", false)]), (vec![], vec![]));
    }

    #[test]
    fn everything_is_everything() {
        let filter = FilesystemFilter::new([("<", true), ("p/a<", true)]).expect("valid");
        assert!(Roots::of(&filter).everything);
        let filter = FilesystemFilter::new([("<", false), ("p/a<", true)]).expect("valid");
        assert!(!Roots::of(&filter).everything);
    }
}
