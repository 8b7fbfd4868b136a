//! Listings of filesystems and versions.

use zfs_safe::property::DatasetType;
use zfs_safe::version::FilesystemVersion;
use zfs_safe::zfs::{DatasetQuery, VersionQuery};

use crate::case::Case;
use crate::set_up::shell;
use crate::{Scenario, Verdict};

pub(crate) const LIST: &[Scenario] = &[
    Scenario::new("ListFilesystemsNoFilter", |case| {
        Box::pin(async move { filesystems_and_volumes(&case) })
    }),
    Scenario::new("ListFilesystemVersionsTypeFilteringAndPrefix", |case| {
        Box::pin(async move { types_of_versions(&case) })
    }),
    Scenario::new("ListFilesystemVersionsZeroExistIsNotAnError", |case| {
        Box::pin(async move { no_versions(&case) })
    }),
    Scenario::new("ListFilesystemVersionsFilesystemNotExist", |case| {
        Box::pin(async move { no_filesystem(&case) })
    }),
    Scenario::new("ListFilesystemVersionsUserrefs", |case| {
        Box::pin(async move { userrefs(&case) })
    }),
];

fn filesystems_and_volumes(case: &Case) -> Verdict {
    case.set_up("+ \"foo bar\"\n+ \"foo bar/baz blup\"\n+ blup")?;
    let root = case.root();
    shell(&format!(
        "zfs create -s -V 10M '{root}/blup/zvol 1'; zfs create -s -V 10M '{root}/foo bar/zvol 2'"
    ))?;
    let listed = case.zfs.datasets(
        &[case.dataset("blup"), case.dataset("foo bar")],
        &DatasetQuery::default(),
    )?;
    let names: Vec<_> = listed
        .iter()
        .map(|it| (it.path.as_str(), it.dataset_type))
        .collect();
    let expected = [
        (case.full("blup"), DatasetType::Filesystem),
        (case.full("blup/zvol 1"), DatasetType::Volume),
        (case.full("foo bar"), DatasetType::Filesystem),
        (case.full("foo bar/baz blup"), DatasetType::Filesystem),
        (case.full("foo bar/zvol 2"), DatasetType::Volume),
    ];
    let expected: Vec<_> = expected
        .iter()
        .map(|(name, kind)| (name.as_str(), *kind))
        .collect();
    assert_eq!(names, expected);
    Ok(())
}

/// Names as `@1` and `#1`, sorted.
fn names(versions: &[FilesystemVersion]) -> Vec<String> {
    let mut names: Vec<_> = versions
        .iter()
        .map(|it| {
            let sign = if it.is_snapshot() { '@' } else { '#' };
            format!("{sign}{}", it.name.name())
        })
        .collect();
    names.sort();
    names
}

/// The prefix is left to callers: zrepl asks zfs(8) for everything, too.
fn types_of_versions(case: &Case) -> Verdict {
    let tree = |fs: &str| {
        format!(
            "+ \"{fs}\"\n+ \"{fs}@foo 1\"\n+ \"{fs}#foo 1\" \"{fs}@foo 1\"\n+ \"{fs}@foo 2\"\n+ \"{fs}#foo 2\" \"{fs}@foo 2\"\n\
             + \"{fs}@blup 1\"\n+ \"{fs}#blup 1\" \"{fs}@blup 1\"\n+ \"{fs}@ foo with leading whitespace\"\n\
             + \"{fs}@blup 2\"\n+ \"{fs}#bookmark 1\" \"{fs}@blup 2\"\n- \"{fs}@blup 2\""
        )
    };
    case.set_up(&tree("foo bar"))?;
    case.set_up("+ \"foo bar/child\"\n+ \"foo bar/child@foo 3\"\n+ \"foo bar/child#foo 3\" \"foo bar/child@foo 3\"")?;
    let list = |query| {
        Ok::<_, zfs_safe::ZfsError>(names(&case.zfs.versions(&case.dataset("foo bar"), query)?))
    };
    let snapshots = [
        "@ foo with leading whitespace",
        "@blup 1",
        "@foo 1",
        "@foo 2",
    ];
    let bookmarks = ["#blup 1", "#bookmark 1", "#foo 1", "#foo 2"];
    assert_eq!(list(&VersionQuery::SNAPSHOTS)?, snapshots);
    assert_eq!(list(&VersionQuery::BOOKMARKS)?, bookmarks);
    assert_eq!(list(&VersionQuery::ALL)?, [bookmarks, snapshots].concat());
    Ok(())
}

fn no_versions(case: &Case) -> Verdict {
    case.set_up(r#"+ "foo bar""#)?;
    let listed = case
        .zfs
        .versions(&case.dataset("foo bar"), &VersionQuery::ALL)?;
    assert_eq!(listed, []);
    Ok(())
}

fn no_filesystem(case: &Case) -> Verdict {
    let missing = case.dataset("not existent");
    let error = case
        .zfs
        .versions(&missing, &VersionQuery::ALL)
        .expect_err("it is missing");
    assert!(
        error.is_not_found() && error.dataset == missing.as_str(),
        "{error:?}"
    );
    assert!(!case.zfs.exists(&case.entity("not existent"))?);
    Ok(())
}

fn userrefs(case: &Case) -> Verdict {
    for fs in ["foo bar", "foo bar/child dataset"] {
        case.set_up(&format!("+ \"{fs}\""))?;
        for number in 1..=4 {
            case.set_up(&format!(
                "+ \"{fs}@snap {number}\"\n+ \"{fs}#snap {number}\" \"{fs}@snap {number}\""
            ))?;
        }
        case.set_up(&format!(
            "H \"{fs}@snap 2\" one\nH \"{fs}@snap 3\" one\nH \"{fs}@snap 3\" two"
        ))?;
    }
    let query = VersionQuery::ALL.with_userrefs();
    let listed = case.zfs.versions(&case.dataset("foo bar"), &query)?;
    let found: Vec<_> = listed
        .iter()
        .map(|it| (it.name.name(), it.is_snapshot(), it.userrefs))
        .collect();
    let expected = [0, 1, 2, 0]
        .into_iter()
        .zip(["snap 1", "snap 2", "snap 3", "snap 4"]);
    let expected: Vec<_> = expected
        .flat_map(|(holds, name)| [(name, true, Some(holds)), (name, false, None)])
        .collect();
    assert_eq!(found, expected);
    Ok(())
}
