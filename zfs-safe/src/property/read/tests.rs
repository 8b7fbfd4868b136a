use super::super::{Platform, all_native};
use super::*;

fn dialect(major: u16, minor: u16, patch: u16) -> Dialect {
    Dialect {
        version: ZfsVersion::new(major, minor, patch),
        platform: Platform::Linux,
    }
}

const KINDS: [DatasetType; 4] = [
    DatasetType::Filesystem,
    DatasetType::Volume,
    DatasetType::Snapshot,
    DatasetType::Bookmark,
];

fn subject(name: &str, dataset_type: DatasetType) -> Subject<'_> {
    Subject {
        name,
        dataset_type,
        head_type: DatasetType::Filesystem,
        altroot: None,
        dialect: dialect(2, 3, 2),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "spares the cases below a `Some`")]
fn number(number: u64, source: Option<&str>) -> Option<RawProperty<'_>> {
    Some(RawProperty {
        value: RawValue::Number(number),
        source,
    })
}

#[expect(clippy::unnecessary_wraps, reason = "spares the cases below a `Some`")]
fn text<'a>(text: &'a str, source: Option<&'a str>) -> Option<RawProperty<'a>> {
    Some(RawProperty {
        value: RawValue::Text(text),
        source,
    })
}

/// `value source`, or `- -`.
fn row(subject: &Subject<'_>, name: &str, raw: Option<RawProperty<'_>>) -> String {
    let name: PropertyName = name.parse().unwrap();
    let row = derive(subject, &name, raw).unwrap_or(Property::absent(name));
    format!("{} {}", row.value, row.source)
}

#[test]
fn prints_numbers_as_zfs_get_p_does() {
    let d = dialect(2, 3, 2);
    let print = |name, value| from_kernel(name, RawValue::Number(value), d);
    let cases = [
        ("used", 98304, "98304"),
        ("quota", 0, "0"),
        ("recordsize", 131_072, "131072"),
        ("compressratio", 100, "1.00"),
        ("refcompressratio", 1234, "12.34"),
        ("compressratio", 205, "2.05"),
        ("snapshot_limit", u64::MAX, "none"),
        ("snapshot_limit", 5, "5"),
        ("filesystem_count", u64::MAX, "none"),
        ("creation", 1_700_000_000, "1700000000"),
        ("canmount", 2, "noauto"),
        ("mounted", 1, "yes"),
        ("defer_destroy", 0, "off"),
        ("keystatus", 2, "available"),
        ("compression", 15, "lz4"),
        ("compression", 10, "gzip"),
        ("compression", 400, "zstd-3"),
        ("compression", 13_200, "zstd-fast"),
        ("dedup", 264, "sha256,verify"),
        ("acltype", 1, "posix"),
        ("aclinherit", 4, "restricted"),
        ("volmode", 1, "full"),
        ("dnodesize", 1024, "1k"),
        ("version", 5, "5"),
        ("normalization", 0x50, "formC"),
        ("type", 3, "volume"),
        ("from_the_future", 7, "7"),
    ];
    for (name, value, expected) in cases {
        assert_eq!(print(name, value).as_deref(), Some(expected), "{name}");
    }
    assert_eq!(print("canmount", 3), None);
    assert_eq!(print("sharenfs", 0), None, "a number is no string");
    assert_eq!(from_kernel("atime", RawValue::Text("on"), d), None);
}

#[test]
fn follows_the_release() {
    let (old, mid, new) = (dialect(2, 1, 11), dialect(2, 3, 2), dialect(2, 4, 4));
    let print = |name, value, d| from_kernel(name, RawValue::Number(value), d);
    assert_eq!(
        print("snapshot_limit", u64::MAX, old).as_deref(),
        Some("18446744073709551615")
    );
    let xattr = |value, d| print("xattr", value, d).unwrap();
    assert_eq!(
        [xattr(1, old), xattr(1, mid), xattr(1, new)],
        ["on", "dir", "dir"]
    );
    assert_eq!(
        [xattr(2, old), xattr(2, mid), xattr(2, new)],
        ["sa", "on", "sa"]
    );
    assert_eq!(print("checksum", 14, old), None);
    assert_eq!(print("checksum", 14, mid).as_deref(), Some("blake3"));
}

#[test]
fn knows_the_defaults_of_each_release() {
    let (old, mid, new) = (dialect(2, 1, 11), dialect(2, 2, 0), dialect(2, 4, 4));
    let default = |name: &str, kind, d| default_of(&name.parse().unwrap(), kind, d);
    let fs = |name, d| default(name, DatasetType::Filesystem, d).unwrap_or("-".to_owned());
    let vol = |name, d| default(name, DatasetType::Volume, d).unwrap_or("-".to_owned());
    assert_eq!(
        [fs("compression", old), fs("compression", mid)],
        ["off", "on"]
    );
    assert_eq!([fs("relatime", old), fs("relatime", mid)], ["off", "on"]);
    assert_eq!(
        [fs("xattr", old), fs("xattr", mid), fs("xattr", new)],
        ["on", "on", "sa"]
    );
    assert_eq!(
        [vol("volblocksize", old), vol("volblocksize", mid)],
        ["8192", "16384"]
    );
    assert_eq!([fs("prefetch", mid), fs("prefetch", new)], ["-", "all"]);
    assert_eq!(
        [
            vol("special_small_blocks", mid),
            vol("special_small_blocks", new)
        ],
        ["-", "0"]
    );
    assert_eq!(
        [fs("snapshot_limit", old), fs("snapshot_limit", new)],
        ["18446744073709551615", "none"]
    );
    let freebsd = Dialect {
        platform: Platform::FreeBsd,
        ..new
    };
    assert_eq!(
        [fs("acltype", new), fs("acltype", freebsd)],
        ["off", "nfsv4"]
    );
    assert_eq!([fs("jailed", new), fs("jailed", freebsd)], ["-", "off"]);
    assert_eq!([fs("zoned", new), fs("zoned", freebsd)], ["off", "-"]);
    for never in ["used", "utf8only", "mounted", "encryptionroot", "origin"] {
        assert_eq!(fs(never, new), "-", "{never}");
    }
    assert_eq!(fs("zrepl:placeholder", new), "-");
}

#[test]
fn every_default_has_a_text() {
    for d in [dialect(2, 1, 0), dialect(2, 3, 9), dialect(2, 4, 4)] {
        for property in all_native() {
            let settable = !property.is_read_only()
                && !property.is_hidden()
                && property.provenance() == Provenance::Stats;
            for kind in KINDS {
                if settable && property.applies_to(kind, d) {
                    assert!(
                        default_of(&property.into(), kind, d).is_some(),
                        "{}",
                        property.name()
                    );
                }
            }
        }
    }
}

#[test]
fn derives_the_source() {
    let fs = subject("tank/a", DatasetType::Filesystem);
    let cases = [
        ("atime", number(0, Some("tank/a")), "off local"),
        ("atime", number(0, Some("tank")), "off inherited from tank"),
        ("atime", number(0, Some("$recvd")), "off received"),
        ("atime", None, "on default"),
        ("quota", number(0, Some("")), "0 default"),
        ("quota", number(1024, None), "1024 local"),
        ("quota", number(1024, Some("$recvd")), "1024 received"),
        ("filesystem_count", None, "none default"),
        ("filesystem_count", number(3, None), "3 local"),
        ("used", number(1024, None), "1024 -"),
        ("used", None, "- -"),
        ("encryption", None, "off default"),
        ("encryption", number(8, None), "aes-256-gcm -"),
        ("keyformat", None, "none default"),
        ("keystatus", None, "- -"),
        ("pbkdf2iters", None, "0 default"),
        ("origin", None, "- -"),
        ("origin", text("tank/b@1", None), "tank/b@1 -"),
        ("utf8only", number(1, None), "on -"),
        ("utf8only", None, "- -"),
        ("mounted", number(0, None), "no -"),
        ("snapshots_changed", number(0, None), "- -"),
        ("snapshots_changed", number(9, None), "9 -"),
        ("type", number(2, None), "filesystem -"),
        ("name", None, "tank/a -"),
        ("volsize", number(1024, None), "- -"),
        ("userrefs", number(0, None), "- -"),
        ("context", None, "none default"),
        (
            "sharenfs",
            text("rw=@10/8", Some("tank/a")),
            "rw=@10/8 local",
        ),
        ("x:y", text("z", Some("tank/a")), "z local"),
        ("x:y", text("z", Some("tank")), "z inherited from tank"),
        ("x:y", text("z", Some("$recvd")), "z received"),
        ("x:y", None, "- -"),
    ];
    for (name, raw, expected) in cases {
        assert_eq!(row(&fs, name, raw), expected, "{name} {raw:?}");
    }
}

#[test]
fn snapshots_show_what_their_dataset_has() {
    let of_fs = subject("tank/a@1", DatasetType::Snapshot);
    let of_vol = Subject {
        name: "tank/v@1",
        head_type: DatasetType::Volume,
        ..of_fs
    };
    assert_eq!(row(&of_fs, "devices", None), "on default");
    assert_eq!(row(&of_vol, "devices", None), "- -");
    assert_eq!(row(&of_fs, "volsize", None), "- -");
    assert_eq!(row(&of_vol, "volsize", number(8, None)), "8 local");
    assert_eq!(row(&of_vol, "userrefs", number(1, None)), "1 -");
    assert_eq!(row(&of_vol, "mlslabel", None), "none default");
    assert_eq!(row(&of_vol, "type", number(3, None)), "snapshot -");
    assert_eq!(row(&of_fs, "quota", number(0, Some(""))), "- -");
    assert_eq!(
        row(&of_fs, "primarycache", number(1, Some("tank/a"))),
        "metadata inherited from tank/a"
    );
}

#[test]
fn lists_print_with_commas() {
    let snapshot = subject("tank/a@1", DatasetType::Snapshot);
    let list = |value| {
        Some(RawProperty {
            value,
            source: None,
        })
    };
    let names = RawValue::Names(&["tank/c", "tank/d"]);
    assert_eq!(row(&snapshot, "clones", list(names)), "tank/c,tank/d -");
    assert_eq!(row(&snapshot, "clones", list(RawValue::Names(&[]))), "- -");
    let numbers = RawValue::Numbers(&[1, 22]);
    assert_eq!(row(&snapshot, "redact_snaps", list(numbers)), "1,22 -");
    let none = RawValue::Numbers(&[]);
    assert_eq!(row(&snapshot, "redact_snaps", list(none)), "none -");
    assert_eq!(row(&snapshot, "redact_snaps", None), "- -");
}

#[test]
fn bookmarks_have_few_properties() {
    let bookmark = subject("tank/a#1", DatasetType::Bookmark);
    assert_eq!(row(&bookmark, "guid", number(7, None)), "7 -");
    assert_eq!(row(&bookmark, "type", None), "bookmark -");
    assert_eq!(row(&bookmark, "used", number(7, None)), "- -");
    assert_eq!(row(&bookmark, "compression", None), "- -");
    let shown: Vec<_> = all_native()
        .filter(|p| p.applies_to(DatasetType::Bookmark, bookmark.dialect) && !p.is_hidden())
        .map(NativeProperty::name)
        .collect();
    assert_eq!(
        shown,
        [
            "compressratio",
            "createtxg",
            "creation",
            "guid",
            "logicalreferenced",
            "redact_snaps",
            "referenced",
            "type"
        ]
    );
}

#[test]
fn derives_mountpoints() {
    let cases = [
        // (stored, source, dataset, altroot, printed)
        ("/", Some(""), "tank", None, "/tank"),
        ("/", Some(""), "tank/a/b", None, "/tank/a/b"),
        ("/", Some(""), "tank/a", Some("/mnt"), "/mnt/tank/a"),
        ("/srv", Some("tank"), "tank/a/b", None, "/srv/a/b"),
        ("/srv", Some("tank/a"), "tank/a", None, "/srv"),
        ("/srv", Some("tank"), "tank/a", Some("/"), "/srv/a"),
        ("/srv", Some("tank/a"), "tank/a", Some("/mnt"), "/mnt/srv"),
        ("/srv", Some("$recvd"), "tank/a", None, "/srv"),
        ("/", Some("tank/a"), "tank/a", None, "/"),
        ("/", Some("tank/a"), "tank/a", Some("/"), "/"),
        ("/", Some("tank/a"), "tank/a", Some("/mnt"), "/mnt"),
        ("/", Some("tank/a"), "tank/a/b", None, "/b"),
        ("/", Some("tank/a"), "tank/a/b", Some("-"), "/b"),
        ("none", Some("tank"), "tank/a", Some("/mnt"), "none"),
        ("legacy", Some("tank"), "tank/a", None, "legacy"),
    ];
    for (value, source, dataset, altroot, printed) in cases {
        assert_eq!(
            mountpoint(value, source, dataset, altroot),
            printed,
            "{value} {source:?} {dataset} {altroot:?}"
        );
    }
    let child = subject("tank/a", DatasetType::Filesystem);
    assert_eq!(row(&child, "mountpoint", None), "/tank/a default");
    assert_eq!(
        row(&child, "mountpoint", text("/srv", Some("tank"))),
        "/srv/a inherited from tank"
    );
    let volume = subject("tank/v", DatasetType::Volume);
    assert_eq!(row(&volume, "mountpoint", None), "- -");
}
