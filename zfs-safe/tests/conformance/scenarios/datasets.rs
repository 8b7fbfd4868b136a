//! Creating, changing and destroying single datasets.

use zfs_safe::error::{Reason, ZfsError};
use zfs_safe::property::Source;

use super::{Scenario, Verdict};
use crate::bed::{Bed, dataset, entity, property, settings, sh, snap, try_sh};

pub(super) const LIST: &[Scenario] = &[
    Scenario::new(
        "create_filesystem_with_properties",
        create_filesystem_with_properties,
    ),
    Scenario::new("create_failures", create_failures),
    Scenario::new("set_and_inherit_properties", set_and_inherit_properties),
    Scenario::new("set_failures", set_failures),
    Scenario::new("rename_dataset", rename_dataset),
    Scenario::new("rollback_to_newest", rollback_to_newest),
    Scenario::new("destroy_dataset", destroy_dataset),
];

fn create_filesystem_with_properties(bed: &mut Bed) -> Verdict {
    let settings = settings(&[
        ("zrepl:placeholder", "on"),
        ("mountpoint", "none"),
        ("compression", "lz4"),
        ("quota", "20M"),
        ("readonly", "on"),
        ("u:text", "any text: with = and , and \u{fc}"),
    ]);
    let result = bed.zfs.create_filesystem(&dataset("conf/a"), &settings);
    bed.saw_result("create", &result);
    result.expect("creates");
    for (name, _) in &settings {
        let found = bed
            .zfs
            .properties(&entity("conf/a"), std::slice::from_ref(name))
            .expect("reads");
        bed.saw(name.as_str(), (&found[0].value, &found[0].source));
        assert_eq!(found[0].source, Source::Local);
    }
    assert_eq!(sh("zfs get -Hp -o value quota conf/a"), "20971520");
    assert_eq!(
        sh("zfs get -H -o value u:text conf/a"),
        "any text: with = and , and \u{fc}"
    );
    // A child that would be mounted by zfs(8) is not.
    bed.zfs
        .create_filesystem(
            &dataset("conf/m"),
            &self::settings(&[("mountpoint", "/tmp/conf-m")]),
        )
        .expect("creates");
    assert_eq!(sh("zfs get -H -o value mounted conf/m"), "no");
    let ((), cost) = bed.cost(|| {
        bed.zfs
            .create_filesystem(&dataset("conf/b"), &[])
            .expect("creates");
    });
    if bed.is_native() {
        assert_eq!((cost.ioctls, cost.txg_waits), (1, 1));
    }
    Ok(())
}

fn create_failures(bed: &mut Bed) -> Verdict {
    sh("zfs create conf/a; zfs create -V 1M conf/v; \
        head -c 32 /dev/urandom > /tmp/conf-key; zfs create -o encryption=on -o keyformat=raw -o keylocation=file:///tmp/conf-key conf/e; zfs unload-key conf/e");
    let create = |name: &str, pairs: &[(&str, &str)]| {
        bed.zfs.create_filesystem(&dataset(name), &settings(pairs))
    };
    let cases = [
        ("exists", create("conf/a", &[]), "AlreadyExists"),
        ("no parent", create("conf/x/y", &[]), "NotFound"),
        ("no pool", create("nopool/x", &[]), "NotFound"),
        ("below a volume", create("conf/v/x", &[]), "WrongParent"),
        (
            "bad value",
            create("conf/p1", &[("compression", "nonsense")]),
            "InvalidProperty",
        ),
        (
            "read-only property",
            create("conf/p2", &[("used", "1")]),
            "InvalidProperty",
        ),
        (
            "of volumes",
            create("conf/p3", &[("volsize", "1M")]),
            "InvalidProperty",
        ),
        (
            "long value",
            create("conf/p4", &[("a:b", &"x".repeat(9000))]),
            "InvalidProperty",
        ),
        ("key not loaded", create("conf/e/x", &[]), "KeyNotLoaded"),
    ];
    for (what, result, label) in cases {
        bed.saw_failure(what, &result, label);
    }
    assert_eq!(
        sh("zfs list -H -o name -r conf | tr '\\n' ' '"),
        "conf conf/a conf/e conf/v"
    );
    Ok(())
}

fn set_and_inherit_properties(bed: &mut Bed) -> Verdict {
    sh(
        "zfs create -o compression=lz4 -o u:x=parent conf/a; zfs create conf/a/b; zfs snapshot conf/a/b@s; \
        zfs create -V 1M conf/a/v",
    );
    let pairs = settings(&[
        ("u:x", "own"),
        ("compression", "off"),
        ("quota", "30M"),
        ("canmount", "noauto"),
    ]);
    let (result, cost) = bed.cost(|| bed.zfs.set_properties(&entity("conf/a/b"), &pairs));
    result.expect("sets");
    if bed.is_native() {
        assert_eq!(cost.processes, 0);
    }
    let read = |bed: &Bed, name: &str, wanted: &str| {
        let found = bed
            .zfs
            .properties(&entity(name), &[property(wanted)])
            .expect("reads");
        found.first().map(|p| format!("{} ({})", p.value, p.source))
    };
    for (name, _) in &pairs {
        let now = read(bed, "conf/a/b", name.as_str());
        bed.saw(name.as_str(), now);
    }
    for (name, to_received) in [
        ("u:x", false),
        ("compression", false),
        ("quota", true),
        ("canmount", true),
    ] {
        let result = bed
            .zfs
            .inherit_property(&entity("conf/a/b"), &property(name), to_received);
        result.unwrap_or_else(|error| panic!("{name}: {error}"));
        let now = read(bed, "conf/a/b", name);
        bed.saw(&format!("{name} inherited"), now);
    }
    assert_eq!(
        read(bed, "conf/a/b", "u:x").as_deref(),
        Some("parent (inherited from conf/a)")
    );
    bed.zfs
        .set_properties(&entity("conf/a/b@s"), &settings(&[("u:on-snapshot", "1")]))
        .expect("sets");
    assert_eq!(
        read(bed, "conf/a/b@s", "u:on-snapshot").as_deref(),
        Some("1 (local)")
    );
    bed.zfs
        .set_properties(
            &entity("conf/a/v"),
            &settings(&[("volsize", "2M"), ("readonly", "on")]),
        )
        .expect("sets");
    assert_eq!(
        read(bed, "conf/a/v", "volsize").as_deref(),
        Some("2097152 (local)")
    );
    Ok(())
}

fn set_failures(bed: &mut Bed) -> Verdict {
    sh("zfs create conf/a; zfs create conf/a/b; zfs snapshot conf/a@s");
    let set = |name: &str, pairs: &[(&str, &str)]| {
        bed.zfs.set_properties(&entity(name), &settings(pairs))
    };
    let inherit = |name: &str, what: &str| {
        bed.zfs
            .inherit_property(&entity(name), &property(what), false)
    };
    let cases = [
        ("missing", set("conf/none", &[("u:x", "1")]), "NotFound"),
        (
            "missing snapshot",
            set("conf/a@none", &[("u:x", "1")]),
            "NotFound",
        ),
        (
            "bad value",
            set("conf/a", &[("readonly", "perhaps")]),
            "InvalidProperty",
        ),
        (
            "read-only",
            set("conf/a", &[("guid", "1")]),
            "InvalidProperty",
        ),
        (
            "set once",
            set("conf/a", &[("casesensitivity", "mixed")]),
            "InvalidProperty",
        ),
        (
            "of volumes",
            set("conf/a", &[("volsize", "1M")]),
            "InvalidProperty",
        ),
        (
            "native on a snapshot",
            set("conf/a@s", &[("readonly", "on")]),
            "InvalidProperty",
        ),
        (
            "quota below what is used",
            set("conf/a", &[("quota", "1K")]),
            "NoSpace",
        ),
        (
            "inherit of missing",
            inherit("conf/none", "u:x"),
            "NotFound",
        ),
        (
            "inherit of quota",
            inherit("conf/a", "quota"),
            "InvalidProperty",
        ),
    ];
    for (what, result, label) in cases {
        bed.saw_failure(what, &result, label);
    }
    assert_eq!(sh("zfs get -H -o value -s local all conf/a"), "");
    Ok(())
}

fn rename_dataset(bed: &mut Bed) -> Verdict {
    sh(
        "zfs create conf/a; zfs create conf/a/b; zfs create conf/c; zfs create -V 1M conf/v; \
        zfs create -o mountpoint=/tmp/conf-mounted conf/m; zfs mount conf/m || true; touch /tmp/conf-mounted/file",
    );
    let rename = |bed: &Bed, from: &str, to: &str| bed.zfs.rename(&dataset(from), &dataset(to));
    rename(bed, "conf/a/b", "conf/a/renamed").expect("renames");
    rename(bed, "conf/a", "conf/c/a").expect("renames with children");
    rename(bed, "conf/v", "conf/c/v").expect("renames a volume");
    rename(bed, "conf/m", "conf/moved").expect("renames what is mounted");
    assert!(
        crate::bed::is_there("/tmp/conf-mounted/file"),
        "it was unmounted"
    );
    bed.saw("tree", sh("zfs list -H -o name -r conf"));
    let cases = [
        ("missing", rename(bed, "conf/none", "conf/x"), "NotFound"),
        (
            "taken",
            rename(bed, "conf/moved", "conf/c"),
            "AlreadyExists",
        ),
        (
            "no parent",
            rename(bed, "conf/moved", "conf/x/y"),
            "NotFound",
        ),
    ];
    for (what, result, label) in cases {
        bed.saw_failure(what, &result, label);
    }
    Ok(())
}

fn rollback_to_newest(bed: &mut Bed) -> Verdict {
    sh(
        "zfs create -o mountpoint=/tmp/conf-r conf/r; zfs mount conf/r || true; echo one > /tmp/conf-r/f; \
        zfs snapshot conf/r@1; echo two > /tmp/conf-r/f; zfs snapshot conf/r@2; echo three > /tmp/conf-r/f; sync",
    );
    bed.zfs.rollback(&snap("conf/r@2")).expect("rolls back");
    assert_eq!(sh("cat /tmp/conf-r/f"), "two");
    let older = bed.zfs.rollback(&snap("conf/r@1"));
    bed.saw_failure("to an older one", &older, "NewerVersionsExist");
    sh("zfs bookmark conf/r@2 conf/r#2");
    bed.saw_result(
        "with a bookmark of it",
        &bed.zfs.rollback(&snap("conf/r@2")),
    );
    let missing = bed.zfs.rollback(&snap("conf/r@none"));
    bed.saw_failure("missing snapshot", &missing, "NotFound");
    let missing = bed.zfs.rollback(&snap("conf/none@s"));
    bed.saw_failure("missing filesystem", &missing, "NotFound");
    assert_eq!(sh("cat /tmp/conf-r/f"), "two");
    Ok(())
}

fn destroy_dataset(bed: &mut Bed) -> Verdict {
    sh(
        "zfs create conf/a; zfs create conf/a/b; zfs create conf/s; zfs snapshot conf/s@1; zfs create conf/plain; \
        zfs create -V 1M conf/v; zfs create -o mountpoint=/tmp/conf-d conf/mounted; zfs mount conf/mounted || true; \
        zfs create -o mountpoint=/tmp/conf-busy conf/busy; zfs mount conf/busy || true",
    );
    let destroy = |bed: &Bed, name: &str| bed.zfs.destroy_dataset(&dataset(name));
    for name in ["conf/plain", "conf/mounted", "conf/v"] {
        let result = retry_busy(|| destroy(bed, name));
        result.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!bed.zfs.exists(&entity(name)).expect("answers"));
    }
    let children = destroy(bed, "conf/a");
    bed.saw_failure("with children", &children, "HasChildren");
    let snapshots = destroy(bed, "conf/s");
    bed.saw_failure("with snapshots", &snapshots, "HasSnapshots");
    let missing = destroy(bed, "conf/none");
    bed.saw_failure("missing", &missing, "NotFound");
    let open = std::fs::File::create("/tmp/conf-busy/open").expect("creates");
    let busy = destroy(bed, "conf/busy");
    bed.saw_failure("in use", &busy, "Busy");
    assert!(
        crate::bed::is_there("/tmp/conf-busy/open"),
        "a busy filesystem was unmounted"
    );
    drop(open);
    destroy(bed, "conf/busy").expect("destroys once it is free");
    assert!(try_sh("zfs list conf/busy").is_err());
    Ok(())
}

/// A new volume is opened by whoever looks for partitions on it.
fn retry_busy<T>(call: impl Fn() -> Result<T, ZfsError>) -> Result<T, ZfsError> {
    for _ in 0..20 {
        match call() {
            Err(error) if error.reason == Reason::Busy => {
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            result => return result,
        }
    }
    call()
}
