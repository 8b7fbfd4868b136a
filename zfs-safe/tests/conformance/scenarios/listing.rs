//! Pools, existence, datasets, versions, holds, properties.

use zfs_safe::ZfsError;
use zfs_safe::name::DatasetPath;
use zfs_safe::native::Native;
use zfs_safe::property::{self, PropertyName};
use zfs_safe::version::{FilesystemVersion, Txg};
use zfs_safe::zfs::{Backend, DatasetQuery, PoolHealth, VersionQuery};

use super::{Scenario, Verdict};
use crate::bed::{Bed, POOL, dataset, entity, make_pool, property, sh, snap};

pub(super) const LIST: &[Scenario] = &[
    Scenario::new("pools", pools),
    Scenario::new("existence", existence),
    Scenario::new("datasets_with_properties", datasets_with_properties),
    Scenario::new("datasets_under_several_roots", datasets_under_several_roots),
    Scenario::new("versions", versions),
    Scenario::new("holds_of_a_snapshot", holds_of_a_snapshot),
    Scenario::new("properties_and_sources", properties_and_sources),
    Scenario::native(
        "every_property_as_zfs_get_prints_it",
        every_property_as_zfs_get_prints_it,
    ),
    Scenario::native("listing_costs", listing_costs),
    Scenario::native("newer_functions_are_optional", newer_functions_are_optional),
];

fn pools(bed: &mut Bed) -> Verdict {
    make_pool("conf2", "/tmp/conf2.img", "128M", &[]);
    let pools = bed.zfs.pools().expect("lists");
    assert_eq!(pools.len(), 2);
    for pool in &pools {
        bed.saw("pool", (pool.name.as_str(), pool.health));
        let guid = sh(&format!("zpool get -Hp -o value guid {}", pool.name));
        assert_eq!(pool.guid.to_string(), guid);
        assert_eq!(pool.health, PoolHealth::Online);
    }
    sh("zpool export conf2");
    bed.saw("after export", bed.zfs.pools().expect("lists").len());
    // A mirror that has lost a side.
    sh("truncate -s 128M /tmp/conf2a.img /tmp/conf2b.img; \
        zpool create -f conf2 mirror /tmp/conf2a.img /tmp/conf2b.img; zpool offline conf2 /tmp/conf2b.img");
    let pools = bed.zfs.pools().expect("lists");
    bed.saw(
        "degraded",
        pools
            .iter()
            .map(|pool| (pool.name.to_string(), pool.health))
            .collect::<Vec<_>>(),
    );
    assert_eq!(pools[1].health, PoolHealth::Degraded);
    Ok(())
}

fn existence(bed: &mut Bed) -> Verdict {
    sh(
        "zfs create conf/a; zfs snapshot conf/a@s; zfs bookmark conf/a@s conf/a#b; zfs create -V 1M conf/v",
    );
    let cases = [
        ("conf", true),
        ("conf/a", true),
        ("conf/v", true),
        ("conf/a@s", true),
        ("conf/a#b", true),
        ("conf/b", false),
        ("conf/a@t", false),
        ("conf/a#c", false),
        ("conf/b@s", false),
        ("conf/b#b", false),
        ("nopool", false),
        ("nopool/a@s", false),
        ("nopool/a#b", false),
    ];
    for (name, there) in cases {
        let answer = bed.zfs.exists(&entity(name));
        assert_eq!(answer.as_ref().ok(), Some(&there), "{name}: {answer:?}");
        bed.saw(name, there);
    }
    Ok(())
}

const PROPERTIES: &[&str] = &[
    "type",
    "compression",
    "readonly",
    "mountpoint",
    "canmount",
    "quota",
    "volsize",
    "used",
    "zrepl:placeholder",
    "a:b",
];

fn wanted() -> Vec<PropertyName> {
    PROPERTIES.iter().map(|name| property(name)).collect()
}

fn datasets_with_properties(bed: &mut Bed) -> Verdict {
    sh(
        "zfs create -o compression=zstd-7 -o zrepl:placeholder=on conf/a; zfs create -o quota=10M conf/a/b; \
        zfs create -V 1M conf/a/v; zfs create -o canmount=noauto -o a:b='with  blanks' 'conf/a/c d'; zfs create conf/z",
    );
    for depth in [None, Some(0), Some(1)] {
        let query = DatasetQuery {
            properties: wanted(),
            depth,
        };
        let found = bed.zfs.datasets(&[dataset("conf")], &query).expect("lists");
        for dataset in found {
            assert_eq!(
                dataset.guid.to_string(),
                sh(&format!("zfs get -Hp -o value guid '{}'", dataset.path))
            );
            assert_eq!(
                dataset.createtxg.to_string(),
                sh(&format!(
                    "zfs get -Hp -o value createtxg '{}'",
                    dataset.path
                ))
            );
            let stable: Vec<_> = dataset
                .properties
                .iter()
                .filter(|p| p.name.as_str() != "used")
                .collect();
            assert!(stable.len() < dataset.properties.len(), "used is missing");
            let text: Vec<_> = stable
                .iter()
                .map(|p| format!("{}={} ({})", p.name, p.value, p.source))
                .collect();
            bed.saw(
                &format!("{depth:?} {}", dataset.path),
                (dataset.dataset_type, text),
            );
        }
    }
    Ok(())
}

fn datasets_under_several_roots(bed: &mut Bed) -> Verdict {
    sh("zfs create conf/a; zfs create conf/a/b; zfs create conf/c; zfs snapshot conf/a@s");
    let zfs = std::sync::Arc::clone(&bed.zfs);
    let names = |roots: &[&str], depth| {
        let roots: Vec<DatasetPath> = roots.iter().map(|root| dataset(root)).collect();
        zfs.datasets(
            &roots,
            &DatasetQuery {
                properties: Vec::new(),
                depth,
            },
        )
        .map(|found| {
            found
                .into_iter()
                .map(|dataset| dataset.path.to_string())
                .collect::<Vec<_>>()
        })
    };
    assert_eq!(
        names(&["conf/c", "conf/a"], None).expect("lists"),
        ["conf/a", "conf/a/b", "conf/c"]
    );
    assert_eq!(
        names(&["conf/a", "conf/a/b", "conf/a"], None).expect("lists"),
        ["conf/a", "conf/a/b"]
    );
    assert_eq!(
        names(&["conf"], Some(1)).expect("lists"),
        ["conf", "conf/a", "conf/c"]
    );
    assert_eq!(names(&[], None).expect("lists"), Vec::<String>::new());
    for missing in ["conf/none", "nopool", "nopool/x"] {
        let result = names(&["conf/a", missing], None);
        assert!(
            result
                .as_ref()
                .is_err_and(|error| error.is_not_found() && error.dataset == missing),
            "{result:?}"
        );
        bed.saw_result(missing, &result);
    }
    Ok(())
}

fn facts(versions: &[FilesystemVersion]) -> Vec<String> {
    versions
        .iter()
        .map(|version| format!("{} {:?}", version.name, version.userrefs))
        .collect()
}

fn versions(bed: &mut Bed) -> Verdict {
    sh(
        "zfs create conf/a; zfs create conf/a/child; zfs snapshot -r conf/a@one; zfs snapshot conf/a@two; \
        zfs bookmark conf/a@one conf/a#one; zfs bookmark conf/a@two conf/a#mark; zfs snapshot conf/a@three; \
        zfs hold t1 conf/a@two; zfs hold t2 conf/a@two; zfs destroy conf/a@one",
    );
    let path = dataset("conf/a");
    let all = bed.zfs.versions(&path, &VersionQuery::ALL).expect("lists");
    assert_eq!(
        facts(&all),
        [
            "conf/a#one None",
            "conf/a@two None",
            "conf/a#mark None",
            "conf/a@three None"
        ]
    );
    for version in &all {
        let line = sh(&format!(
            "zfs get -Hp -o value guid,createtxg,creation '{}' | tr '\\n' ' '",
            version.name
        ));
        assert_eq!(
            line.trim(),
            format!(
                "{} {} {}",
                version.guid, version.createtxg, version.creation
            )
        );
    }
    let with_holds = bed
        .zfs
        .versions(&path, &VersionQuery::ALL.with_userrefs())
        .expect("lists");
    bed.saw("with holds", facts(&with_holds));
    assert_eq!(with_holds[1].userrefs, Some(2));
    assert_eq!(with_holds[0].userrefs, None);
    bed.saw(
        "snapshots",
        facts(
            &bed.zfs
                .versions(&path, &VersionQuery::SNAPSHOTS)
                .expect("lists"),
        ),
    );
    bed.saw(
        "bookmarks",
        facts(
            &bed.zfs
                .versions(&path, &VersionQuery::BOOKMARKS)
                .expect("lists"),
        ),
    );
    let three = all[3].createtxg;
    let newest = bed
        .zfs
        .versions(&path, &VersionQuery::ALL.from(three))
        .expect("lists");
    assert_eq!(facts(&newest), ["conf/a@three None"]);
    let later = bed
        .zfs
        .versions(&path, &VersionQuery::ALL.from(Txg::new(three.get() + 1)))
        .expect("lists");
    assert!(later.is_empty());
    for missing in ["conf/none", "nopool/a"] {
        for query in [
            VersionQuery::ALL,
            VersionQuery::SNAPSHOTS,
            VersionQuery::BOOKMARKS,
        ] {
            let result = bed.zfs.versions(&dataset(missing), &query);
            assert!(
                result.as_ref().is_err_and(ZfsError::is_not_found),
                "{missing} {query:?}: {result:?}"
            );
            bed.saw_result(missing, &result);
        }
    }
    sh("zfs create -V 1M conf/v; zfs snapshot conf/v@s");
    bed.saw(
        "volume",
        facts(
            &bed.zfs
                .versions(&dataset("conf/v"), &VersionQuery::ALL)
                .expect("lists"),
        ),
    );
    Ok(())
}

fn holds_of_a_snapshot(bed: &mut Bed) -> Verdict {
    sh(
        "zfs create conf/a; zfs snapshot conf/a@s; zfs hold 'b tag' conf/a@s; zfs hold a conf/a@s; zfs snapshot conf/a@free",
    );
    let holds = bed.zfs.holds(&snap("conf/a@s")).expect("lists");
    bed.saw(
        "tags",
        holds
            .iter()
            .map(|hold| hold.tag.to_string())
            .collect::<Vec<_>>(),
    );
    assert_eq!(holds.len(), 2);
    bed.saw(
        "none",
        bed.zfs.holds(&snap("conf/a@free")).expect("lists").len(),
    );
    for missing in ["conf/a@none", "conf/none@s", "nopool/a@s"] {
        let result = bed.zfs.holds(&snap(missing));
        assert!(
            result.as_ref().is_err_and(ZfsError::is_not_found),
            "{missing}: {result:?}"
        );
        bed.saw_result(missing, &result);
    }
    Ok(())
}

fn properties_and_sources(bed: &mut Bed) -> Verdict {
    sh(
        "zfs create -o compression=gzip-9 -o u:local=1 conf/a; zfs create -o readonly=on conf/a/b; \
        zfs snapshot -o u:snap=x conf/a/b@s; zfs bookmark conf/a/b@s conf/a/b#m; zfs create -V 1M conf/a/v",
    );
    let wanted: Vec<_> = [
        "compression",
        "readonly",
        "u:local",
        "u:snap",
        "u:none",
        "guid",
        "quota",
        "volsize",
        "recordsize",
        "origin",
    ]
    .iter()
    .map(|name| property(name))
    .collect();
    for name in [
        "conf",
        "conf/a",
        "conf/a/b",
        "conf/a/b@s",
        "conf/a/b#m",
        "conf/a/v",
    ] {
        let found = bed.zfs.properties(&entity(name), &wanted).expect("reads");
        let text: Vec<_> = found
            .iter()
            .filter(|p| p.name.as_str() != "guid")
            .map(|p| format!("{}={} ({})", p.name, p.value, p.source))
            .collect();
        bed.saw(name, text);
        let guid = found
            .iter()
            .find(|p| p.name.as_str() == "guid")
            .expect("guid");
        assert_eq!(
            guid.value,
            sh(&format!("zfs get -Hp -o value guid '{name}'"))
        );
    }
    for missing in ["conf/none", "conf/a@none", "conf/a#none", "nopool"] {
        let result = bed.zfs.properties(&entity(missing), &wanted);
        assert!(
            result.as_ref().is_err_and(ZfsError::is_not_found),
            "{missing}: {result:?}"
        );
        bed.saw_result(missing, &result);
    }
    Ok(())
}

/// Holds our table of properties against the tools of the same release, value and source of each.
fn every_property_as_zfs_get_prints_it(bed: &mut Bed) -> Verdict {
    sh(
        "zfs create -o compression=zstd-fast-3 -o checksum=sha512 -o dedup=sha256,verify -o xattr=sa -o acltype=posix \
          -o mountpoint=/tmp/mnt -o sync=always -o canmount=off -o dnodesize=auto -o logbias=throughput \
          -o primarycache=metadata -o snapdir=visible -o recordsize=16K -o quota=100M -o refreservation=1M \
          -o snapshot_limit=10 -o u:x=y conf/a; \
        zfs create conf/a/b; zfs create -V 2M -b 16K -o volmode=none conf/a/v; zfs create -s -V 2M conf/a/sparse; \
        head -c 32 /dev/urandom > /tmp/conf-key; zfs create -o encryption=on -o keyformat=raw -o keylocation=file:///tmp/conf-key conf/e; zfs create conf/e/child; \
        zfs snapshot -r conf/a@s; zfs snapshot conf/e@s; zfs hold t conf/a@s; zfs clone conf/a/b@s conf/clone; \
        zfs bookmark conf/a@s conf/a#m; zfs set u:received=1 conf/clone",
    );
    let names: Vec<PropertyName> = property::all_native()
        .map(|native| property(native.name()))
        .collect();
    let mut compared = 0;
    let mut differences = Vec::new();
    for name in [
        "conf",
        "conf/a",
        "conf/a/b",
        "conf/a/v",
        "conf/a/sparse",
        "conf/e",
        "conf/e/child",
        "conf/a@s",
        "conf/a/v@s",
        "conf/e@s",
        "conf/a/b@s",
        "conf/clone",
        "conf/a#m",
    ] {
        let ours = bed.zfs.properties(&entity(name), &names).expect("reads");
        let printed = sh(&format!(
            "zfs get -Hp -o property,value,source all '{name}'"
        ));
        for line in printed.lines() {
            let fields: Vec<_> = line.split('\t').collect();
            let [property, value, source] = fields[..] else {
                panic!("{line}")
            };
            // A mount's own options are no properties of the dataset, and user properties are not in the table.
            if property.contains(':') || source == "temporary" {
                continue;
            }
            let volatile = [
                "available",
                "used",
                "usedbydataset",
                "written",
                "referenced",
                "logicalused",
                "usedbychildren",
            ];
            let found = ours.iter().find(|p| p.name.as_str() == property);
            let same = found.is_some_and(|p| {
                (p.value == value || volatile.contains(&property)) && p.source.to_string() == source
            });
            compared += 1;
            if !same {
                let ours = found.map(|p| format!("{} ({})", p.value, p.source));
                differences.push(format!(
                    "{name} {property}: zfs get prints {value} ({source}), we say {ours:?}"
                ));
            }
        }
    }
    assert!(
        differences.is_empty(),
        "{compared} compared, {} differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
    assert!(compared > 300, "only {compared} values compared");
    Ok(())
}

/// Listing starts no process and costs the ioctls that it must.
fn listing_costs(bed: &mut Bed) -> Verdict {
    sh(
        "for i in 1 2 3 4; do zfs create conf/f$i; zfs snapshot conf/f$i@a; zfs snapshot conf/f$i@b; done",
    );
    assert_eq!(bed.zfs.backend(), Backend::Native);
    let query = DatasetQuery {
        properties: vec![property("readonly")],
        depth: None,
    };
    let (found, cost) = bed.cost(|| bed.zfs.datasets(&[dataset(POOL)], &query).expect("lists"));
    assert_eq!(found.len(), 5);
    // The root, each child, and one end of a list for each of the five.
    assert_eq!(
        (cost.ioctls, cost.processes, cost.txg_waits),
        (1 + 4 + 5, 0, 0)
    );
    let (versions, cost) = bed.cost(|| {
        bed.zfs
            .versions(&dataset("conf/f1"), &VersionQuery::ALL)
            .expect("lists")
    });
    assert_eq!(versions.len(), 2);
    // Two snapshots and the end of their list, before and after, and the bookmarks.
    assert_eq!(
        (cost.ioctls, cost.processes, cost.txg_waits),
        (3 + 2 + 1, 0, 0)
    );
    let from = versions[1].createtxg;
    let (newer, cost) = bed.cost(|| {
        bed.zfs
            .versions(&dataset("conf/f1"), &VersionQuery::SNAPSHOTS.from(from))
            .expect("lists")
    });
    assert_eq!((newer.len(), cost.ioctls), (1, 2 + 2));
    Ok(())
}

/// One program runs with every release's library, whatever it was built against.
fn newer_functions_are_optional(bed: &mut Bed) -> Verdict {
    let native = Native::open().expect("opens");
    assert_eq!(native.can_heal(), bed.at_least(2, 2));
    Ok(())
}
