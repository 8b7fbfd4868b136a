//! What the tools print with `-H` and `-p`: rows of columns between tabs.
//!
//! Names never hold tabs or line ends, but values of user properties and hold tags may hold both. What such a row holds is
//! found from its edges, and where it ends from what must come next.

use std::collections::BTreeMap;

use super::command::process_error;
use crate::error::{Operation, Result, ZfsError};
use crate::guid::Guid;
use crate::name::{HoldTag, PoolName, VersionName};
use crate::property::{Source, ZfsVersion};
use crate::version::{FilesystemVersion, Txg};
use crate::zfs::{Hold, Pool, PoolHealth};

/// Longest source that `zfs get` prints: it builds the column in 128 bytes.
const SOURCE_BYTES: usize = 127;

/// Releases of the tools and of the module, from `zfs version`.
pub(super) fn versions_of_zfs(output: &str) -> Result<(ZfsVersion, ZfsVersion)> {
    let malformed = || malformed(Operation::Open, "zfs version", output);
    let (mut tools, mut module) = (None, None);
    for line in output.lines().map(str::trim) {
        let version = line.parse().ok();
        if line.starts_with("zfs-kmod-") {
            module = version;
        } else if line.starts_with("zfs-") {
            tools = version;
        }
    }
    tools.zip(module).ok_or_else(malformed)
}

/// `zpool list -Hp -o name,guid,health`
pub(super) fn pools(output: &str) -> Result<Vec<Pool>> {
    output
        .lines()
        .map(|line| {
            let malformed = || malformed(Operation::ListPools, "zpool list", line);
            let [name, guid, health] = columns(line).ok_or_else(malformed)?;
            Ok(Pool {
                name: PoolName::new(name).map_err(|_| malformed())?,
                guid: Guid::new(guid.parse().map_err(|_| malformed())?),
                health: match health {
                    "ONLINE" => PoolHealth::Online,
                    "DEGRADED" => PoolHealth::Degraded,
                    "SUSPENDED" => PoolHealth::Suspended,
                    "FAULTED" | "OFFLINE" | "REMOVED" | "UNAVAIL" => PoolHealth::Faulted,
                    _ => return Err(malformed()),
                },
            })
        })
        .collect()
}

/// `zfs list -Hp -o name,guid,createtxg,creation[,userrefs]`
pub(super) fn versions(output: &str, userrefs: bool) -> Result<Vec<FilesystemVersion>> {
    output
        .lines()
        .map(|line| {
            let malformed = || malformed(Operation::ListVersions, "zfs list", line);
            let number = |text: &str| text.parse::<u64>().map_err(|_| malformed());
            let (fixed, holds) = if userrefs {
                let (fixed, holds) = line.rsplit_once('\t').ok_or_else(malformed)?;
                // A bookmark has none.
                (fixed, (holds != "-").then_some(holds))
            } else {
                (line, None)
            };
            let [name, guid, createtxg, creation] = columns(fixed).ok_or_else(malformed)?;
            Ok(FilesystemVersion {
                name: VersionName::new(name).map_err(|_| malformed())?,
                guid: Guid::new(number(guid)?),
                createtxg: Txg::new(number(createtxg)?),
                creation: number(creation)?,
                userrefs: holds.map(number).transpose()?,
            })
        })
        .collect()
}

/// `zfs holds -H [-p] SNAPSHOT`. Without `-p` the time is a text in local time without seconds: left out.
pub(super) fn holds(output: &str, snapshot: &str) -> Result<Vec<Hold>> {
    let start = format!("{snapshot}\t");
    let rows = logical_rows(output, |_, line| line.starts_with(&start));
    rows.iter()
        .map(|row| {
            let malformed = || malformed(Operation::ListHolds, "zfs holds", row);
            let rest = row.strip_prefix(&start).ok_or_else(malformed)?;
            let (tag, created) = rest.rsplit_once('\t').ok_or_else(malformed)?;
            Ok(Hold {
                tag: HoldTag::from_kernel(tag),
                created: created.parse().unwrap_or(0),
            })
        })
        .collect()
}

/// One value that `zfs get` has printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) value: String,
    pub(super) source: Source,
}

/// The properties of one object, by name; those that it does not have are left out.
pub(super) type Values = BTreeMap<String, Value>;

/// `zfs get -Hp -o name,property,value,source WANTED …`: objects in the order printed. `wanted` are the properties asked
/// for, each once; the first must be one whose value holds no line ends.
pub(super) fn values(
    operation: Operation,
    output: &str,
    wanted: &[&str],
) -> Result<Vec<(String, Values)>> {
    let rows = logical_rows(output, |index, line| {
        let property = line.split('\t').nth(1);
        property == wanted.get(index % wanted.len()).copied()
    });
    let mut objects: Vec<(String, Values)> = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let malformed = || malformed(operation, "zfs get", row);
        let mut front = row.splitn(3, '\t');
        let (Some(name), Some(property), Some(rest)) = (front.next(), front.next(), front.next())
        else {
            return Err(malformed());
        };
        let (value, source) = rest.rsplit_once('\t').ok_or_else(malformed)?;
        if index % wanted.len() == 0 {
            objects.push((name.to_owned(), Values::new()));
        }
        let Some((current, values)) = objects.last_mut() else {
            return Err(malformed());
        };
        if current != name {
            return Err(malformed());
        }
        let source = full_source(name, source).ok_or_else(malformed)?;
        if value != "-" || source != Source::None {
            values.insert(
                property.to_owned(),
                Value {
                    value: value.to_owned(),
                    source,
                },
            );
        }
    }
    if rows.len() % wanted.len() != 0 {
        return Err(malformed(operation, "zfs get", "the output ends early"));
    }
    Ok(objects)
}

/// Reads a source. The name of a far ancestor may have been cut off; only one ancestor at most has a name of such length
/// that starts like this, unless that one has children with very short names: then the nearest of them.
fn full_source(object: &str, text: &str) -> Option<Source> {
    let source: Source = text.parse().ok()?;
    let Source::Inherited(start) = &source else {
        return Some(source);
    };
    if text.len() < SOURCE_BYTES {
        return Some(source);
    }
    let dataset = object.split('@').next().unwrap_or(object);
    let mut ancestors = dataset.rmatch_indices('/').map(|(end, _)| &dataset[..end]);
    let nearest = if dataset != object && dataset.starts_with(start.as_str()) {
        Some(dataset)
    } else {
        ancestors.find(|name| name.starts_with(start.as_str()))
    };
    Some(nearest.map_or(source.clone(), |name| Source::Inherited(name.to_owned())))
}

/// Joins lines to rows: `starts` tells whether a line can be the start of row number `index`.
fn logical_rows(output: &str, starts: impl Fn(usize, &str) -> bool) -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    let body = output.strip_suffix('\n').unwrap_or(output);
    if body.is_empty() {
        return rows;
    }
    for line in body.split('\n') {
        let index = rows.len();
        match rows.last_mut() {
            Some(row) if !starts(index, line) => {
                row.push('\n');
                row.push_str(line);
            }
            _ => rows.push(line.to_owned()),
        }
    }
    rows
}

fn columns<const N: usize>(line: &str) -> Option<[&str; N]> {
    line.split('\t').collect::<Vec<_>>().try_into().ok()
}

fn malformed(operation: Operation, command: &str, line: &str) -> ZfsError {
    let shown: String = line.chars().take(200).collect();
    process_error(
        operation,
        "",
        format!("{command} printed something unknown: {shown:?}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_versions() {
        let v = ZfsVersion::new;
        let read = |text| versions_of_zfs(text).ok();
        assert_eq!(
            read("zfs-2.1.11-1+deb12u1\nzfs-kmod-2.1.11-1+deb12u1\n"),
            Some((v(2, 1, 11), v(2, 1, 11)))
        );
        assert_eq!(
            read("zfs-2.4.4-1~bpo13+1\nzfs-kmod-2.3.9-0+deb13u1\n"),
            Some((v(2, 4, 4), v(2, 3, 9)))
        );
        assert_eq!(read("zfs-2.3.9-1\n"), None);
        assert_eq!(read(""), None);
    }

    #[test]
    fn reads_pools() {
        let output = "a b\t14872427867699228828\tONLINE\nq\t1\tSUSPENDED\nr\t2\tUNAVAIL\n";
        let pools = pools(output).expect("valid");
        let read: Vec<_> = pools
            .iter()
            .map(|pool| (pool.name.as_str(), pool.guid.get(), pool.health))
            .collect();
        assert_eq!(
            read,
            [
                ("a b", 14_872_427_867_699_228_828, PoolHealth::Online),
                ("q", 1, PoolHealth::Suspended),
                ("r", 2, PoolHealth::Faulted),
            ]
        );
        assert!(super::pools("").expect("valid").is_empty());
        for bad in ["a\t1", "a\tx\tONLINE", "a\t1\tHAPPY", "no pools available"] {
            assert!(super::pools(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn reads_versions_with_and_without_holds() {
        let output = "p/a@1 x\t7406148142200933995\t16\t1795259736\t2\np/a#b1\t7406148142200933995\t16\t1795259736\t-\n";
        let versions = super::versions(output, true).expect("valid");
        assert_eq!(versions[0].name.as_str(), "p/a@1 x");
        assert_eq!(
            (versions[0].userrefs, versions[1].userrefs),
            (Some(2), None)
        );
        assert!(!versions[1].is_snapshot());
        assert!(super::versions(output, false).is_err());
        let output = "p/a@1\t7\t16\t17\n";
        assert_eq!(
            super::versions(output, false).expect("valid")[0].creation,
            17
        );
    }

    #[test]
    fn tags_may_hold_anything() {
        let output = "p/a@1\t-dash\t1795259745\np/a@1\ttab\tand\nnl\t1795259746\np/a@1\tüml\t1\n";
        let holds = super::holds(output, "p/a@1").expect("valid");
        let read: Vec<_> = holds
            .iter()
            .map(|hold| (hold.tag.as_str(), hold.created))
            .collect();
        assert_eq!(
            read,
            [
                ("-dash", 1_795_259_745),
                ("tab\tand\nnl", 1_795_259_746),
                ("üml", 1)
            ]
        );
        // 2.1 has no numbers.
        let holds = super::holds("p/a@1\tt\tSat Nov 21 11:15 2026\n", "p/a@1").expect("valid");
        assert_eq!(holds[0].created, 0);
        assert!(super::holds("", "p/a@1").expect("valid").is_empty());
    }

    #[test]
    fn values_may_hold_tabs_and_line_ends() {
        let output = "p/a\tguid\t5\t-\np/a\tx:y\ttab\tin\nnewline\n\tlocal\tlocal\np/a\tx:z\t-\t-\n\
                      p/a/c\tguid\t6\t-\np/a/c\tx:y\t\n\n\tinherited from p/a\np/a/c\tx:z\t-\tlocal\n";
        let objects =
            values(Operation::ListDatasets, output, &["guid", "x:y", "x:z"]).expect("valid");
        let get = |index: usize, name: &str| {
            objects[index]
                .1
                .get(name)
                .map(|value| (value.value.as_str(), value.source.to_string()))
        };
        assert_eq!(objects[0].0, "p/a");
        assert_eq!(
            get(0, "x:y"),
            Some(("tab\tin\nnewline\n\tlocal", "local".to_owned()))
        );
        assert_eq!(get(0, "x:z"), None);
        assert_eq!(objects[1].0, "p/a/c");
        assert_eq!(
            get(1, "x:y"),
            Some(("\n\n", "inherited from p/a".to_owned()))
        );
        assert_eq!(get(1, "x:z"), Some(("-", "local".to_owned())));
    }

    #[test]
    fn output_that_ends_early_is_an_error() {
        let whole = "p/a\tguid\t5\t-\np/a\tx:y\t1\tlocal\n";
        for length in 1..whole.len() - 1 {
            assert!(
                values(Operation::ListDatasets, &whole[..length], &["guid", "x:y"]).is_err(),
                "{length}"
            );
        }
        assert!(
            values(Operation::ListDatasets, "", &["guid"])
                .expect("valid")
                .is_empty()
        );
    }

    #[test]
    fn a_source_that_was_cut_off_is_completed_from_the_name() {
        let far = format!("p/{}", "x".repeat(150));
        let object = format!("{far}/below/this");
        let printed: String = format!("inherited from {far}")
            .chars()
            .take(SOURCE_BYTES)
            .collect();
        assert_eq!(
            full_source(&format!("{far}/below"), &printed),
            Some(Source::Inherited(far.clone()))
        );
        assert_eq!(
            full_source(&format!("{far}@s"), &printed),
            Some(Source::Inherited(far.clone()))
        );
        // Two ancestors start like this; the nearer one is a guess.
        assert_eq!(
            full_source(&object, &printed),
            Some(Source::Inherited(format!("{far}/below")))
        );
        assert_eq!(
            full_source("p/a/b", "inherited from p"),
            Some(Source::Inherited("p".to_owned()))
        );
    }
}
