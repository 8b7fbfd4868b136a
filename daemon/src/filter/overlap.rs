//! Which filters share datasets, for a warning about jobs that get into each other's way.
//!
//! What a filter says changes only at the paths that its patterns name. So two places speak for all datasets there can be:
//! each path named in any filter, and below each of them some dataset that no filter names. Numbered so that each subtree
//! is an interval, a filter is a few intervals of places, and the filters claim them one after another.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::fmt;

use zfs_safe::name::{DatasetPath, MAX_NAME_LEN};

use super::{FilesystemFilter, Pattern};

/// Two filters that both include some dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap<K> {
    /// One of them.
    pub filter: K,
    /// One that was listed before it.
    pub earlier: K,
    /// A dataset that both include.
    pub witness: Witness,
}

/// A dataset that may or may not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Witness {
    /// This one.
    Dataset(String),
    /// Any directly below this one that no pattern of any filter names; any such pool if the path is empty.
    Below(String),
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dataset(path) => f.write_str(path),
            Self::Below(path) if path.is_empty() => f.write_str("…"),
            Self::Below(path) => write!(f, "{path}/…"),
        }
    }
}

/// For each filter that shares at least one possible dataset with an earlier one: that one and a witness. A filter that
/// overlaps with several is reported once.
pub fn overlaps<K: Clone>(filters: &[(K, &FilesystemFilter)]) -> Vec<Overlap<K>> {
    let map = Map::of(filters.iter().map(|(_, filter)| *filter));
    let mut claims = Claims::new(&map);
    let mut found = Vec::new();
    for (index, (key, filter)) in filters.iter().enumerate() {
        let accepted = map.accepted(filter);
        let conflict = accepted
            .iter()
            .find_map(|&(start, end)| claims.first_in(start, end));
        if let Some((place, owner)) = conflict {
            found.push(Overlap {
                filter: key.clone(),
                earlier: filters[owner].0.clone(),
                witness: map.witness(place),
            });
        }
        for (start, end) in accepted {
            claims.claim(start, end, index);
        }
    }
    found
}

/// Those of the filters that share at least one possible dataset with one of the others.
pub fn sharing<'f, K>(
    filters: impl IntoIterator<Item = (K, &'f FilesystemFilter)>,
    others: impl IntoIterator<Item = &'f FilesystemFilter>,
) -> Vec<K> {
    let filters: Vec<_> = filters.into_iter().collect();
    let others: Vec<_> = others.into_iter().collect();
    let map = Map::of(
        filters
            .iter()
            .map(|(_, filter)| *filter)
            .chain(others.iter().copied()),
    );
    let mut claims = Claims::new(&map);
    for (index, filter) in others.iter().enumerate() {
        for (start, end) in map.accepted(filter) {
            claims.claim(start, end, index);
        }
    }
    let shares = |filter| {
        let mut accepted = map.accepted(filter).into_iter();
        accepted.any(|(start, end)| claims.first_in(start, end).is_some())
    };
    filters
        .into_iter()
        .filter(|(_, filter)| shares(filter))
        .map(|(key, _)| key)
        .collect()
}

/// The paths of all patterns in an order in which each subtree is contiguous. Place `2 * i` is path `i` itself, place
/// `2 * i + 1` a nameless dataset below it.
struct Map<'a> {
    paths: Vec<&'a str>,
    index: HashMap<&'a str, usize>,
    /// Where the subtree of each path ends.
    ends: Vec<usize>,
}

impl<'a> Map<'a> {
    fn of(filters: impl Iterator<Item = &'a FilesystemFilter>) -> Self {
        let mut paths: Vec<&str> = filters
            .flat_map(|filter| filter.by_path.keys())
            .map(|path| &**path)
            .collect();
        // Equal texts first, because comparing components is slower and most jobs resemble each other.
        paths.sort_unstable();
        paths.dedup();
        paths.sort_unstable_by(|a, b| components(a).cmp(components(b)));
        let mut ends = vec![paths.len(); paths.len()];
        let mut open: Vec<usize> = Vec::new();
        for (index, path) in paths.iter().enumerate() {
            while let Some(&top) = open.last()
                && !is_within(path, paths[top])
            {
                ends[top] = index;
                open.pop();
            }
            open.push(index);
        }
        let index = paths
            .iter()
            .enumerate()
            .map(|(i, path)| (*path, i))
            .collect();
        Self { paths, index, ends }
    }

    /// Disjoint intervals of places that the filter accepts.
    fn accepted(&self, filter: &FilesystemFilter) -> Vec<(usize, usize)> {
        let mut spans: Vec<(usize, usize, bool)> = filter
            .entries()
            .map(|(pattern, accept)| {
                let (start, end) = self.span(pattern);
                (start, end, accept)
            })
            .collect();
        // Outer before inner: they nest.
        spans.sort_unstable_by_key(|&(start, end, _)| (start, Reverse(end)));
        let mut accepted = Vec::new();
        let mut open: Vec<(usize, bool)> = Vec::new();
        let mut position = 0;
        let mut emit = |from: &mut usize, to: usize, accept: bool| {
            if accept && *from < to {
                accepted.push((*from, to));
            }
            *from = to;
        };
        for (start, end, accept) in spans {
            while let Some(&(outer_end, outer)) = open.last()
                && outer_end <= start
            {
                emit(&mut position, outer_end, outer);
                open.pop();
            }
            let outer = open.last().is_some_and(|&(_, outer)| outer);
            emit(&mut position, start, outer);
            open.push((end, accept));
        }
        while let Some((end, accept)) = open.pop() {
            emit(&mut position, end, accept);
        }
        accepted
    }

    fn span(&self, pattern: &Pattern) -> (usize, usize) {
        let index = self.index[pattern.path()];
        if pattern.is_subtree() {
            (2 * index, 2 * self.ends[index])
        } else {
            (2 * index, 2 * index + 1)
        }
    }

    /// Can there be such a dataset? Patterns may name paths that ZFS would not accept.
    fn is_possible(&self, place: usize) -> bool {
        let path = self.paths[place / 2];
        let below = place % 2 == 1;
        if path.is_empty() {
            return below;
        }
        DatasetPath::new(path).is_ok() && !(below && path.len() + "/x".len() > MAX_NAME_LEN)
    }

    fn witness(&self, place: usize) -> Witness {
        let path = self.paths[place / 2].to_owned();
        if place.is_multiple_of(2) {
            Witness::Dataset(path)
        } else {
            Witness::Below(path)
        }
    }
}

fn components(path: &str) -> impl Iterator<Item = &str> {
    // The empty path has no component, so that it precedes and contains all others.
    path.split('/').filter(move |_| !path.is_empty())
}

fn is_within(path: &str, root: &str) -> bool {
    root.is_empty()
        || path
            .strip_prefix(root)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Which filter was the first to accept a place.
struct Claims {
    owners: Vec<usize>,
    claimed: BTreeSet<usize>,
    unclaimed: BTreeSet<usize>,
}

impl Claims {
    fn new(map: &Map<'_>) -> Self {
        let places = 2 * map.paths.len();
        Self {
            owners: vec![usize::MAX; places],
            claimed: BTreeSet::new(),
            unclaimed: (0..places)
                .filter(|&place| map.is_possible(place))
                .collect(),
        }
    }

    fn first_in(&self, start: usize, end: usize) -> Option<(usize, usize)> {
        let place = *self.claimed.range(start..end).next()?;
        Some((place, self.owners[place]))
    }

    fn claim(&mut self, start: usize, end: usize, owner: usize) {
        // Each place moves once, whatever the number of filters.
        while let Some(&place) = self.unclaimed.range(start..end).next() {
            self.unclaimed.remove(&place);
            self.claimed.insert(place);
            self.owners[place] = owner;
        }
    }
}
