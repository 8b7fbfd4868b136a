use super::super::{Platform, RawValue, all_native, from_kernel};
use super::*;

fn dialect(major: u16, minor: u16, patch: u16) -> Dialect {
    Dialect {
        version: ZfsVersion::new(major, minor, patch),
        platform: Platform::Linux,
    }
}

const D23: Dialect = Dialect {
    version: ZfsVersion::new(2, 3, 2),
    platform: Platform::Linux,
};

fn name(name: &str) -> PropertyName {
    name.parse().unwrap()
}

fn on_fs(property: &str, text: &str) -> Result<KernelValue, PropertyError> {
    let fs = DatasetType::Filesystem;
    to_kernel(&name(property), text, fs, Purpose::Create, D23)
}

fn on_volume(property: &str, text: &str) -> Result<KernelValue, PropertyError> {
    let volume = DatasetType::Volume;
    to_kernel(&name(property), text, volume, Purpose::Create, D23)
}

#[test]
fn types_what_users_write() {
    let numbers = [
        ("compression", "zstd-3", 400),
        ("compression", "gzip-6", 10),
        ("quota", "10G", 10 << 30),
        ("quota", "none", 0),
        ("reservation", "0", 0),
        ("refreservation", "none", 0),
        ("canmount", "off", 0),
        ("canmount", "noauto", 2),
        ("filesystem_limit", "none", u64::MAX),
        ("snapshot_limit", "0", 0),
        ("recordsize", "1M", 1 << 20),
        ("recordsize", "128K", 128 << 10),
        ("special_small_blocks", "none", 0),
        ("special_small_blocks", "32k", 32 << 10),
        ("readonly", "on", 1),
        ("xattr", "sa", 2),
        ("acltype", "posixacl", 1),
        ("acltype", "noacl", 0),
        ("dedup", "sha512,verify", 267),
        ("checksum", "noparity", 10),
        ("version", "current", 5),
        ("encryption", "aes-256-gcm", 8),
        ("encryption", "off", 2),
        ("pbkdf2iters", "100000", 100_000),
        ("snapdir", "disabled", 2),
        ("normalization", "formD", 16),
    ];
    for (property, text, number) in numbers {
        let value = on_fs(property, text);
        assert_eq!(value, Ok(KernelValue::Number(number)), "{property}={text}");
    }
    let texts = [
        ("mountpoint", "none"),
        ("mountpoint", "/srv//x"),
        ("sharenfs", "off"),
        ("sharenfs", "rw=@10.0.0.0/8"),
        ("keylocation", "file:///etc/key"),
        ("keylocation", "https://x"),
        ("context", "system_u:object_r:tmp_t:s0"),
        ("zrepl:placeholder", "on"),
        ("a:b", ""),
    ];
    for (property, text) in texts {
        let value = on_fs(property, text);
        assert_eq!(value, Ok(KernelValue::Text(text.to_owned())), "{property}");
    }
    assert_eq!(
        on_volume("volsize", "1.5G"),
        Ok(KernelValue::Number(3 << 29))
    );
    assert_eq!(
        on_volume("volblocksize", "16k"),
        Ok(KernelValue::Number(1 << 14))
    );
}

#[test]
fn refuses_bad_values_and_says_what_is_allowed() {
    let cases = [
        ("canmount", "maybe", "off, on, noauto"),
        ("canmount", "ON", "off, on, noauto"),
        ("canmount", "1", "off, on, noauto"),
        ("quota", "0", "a size above zero, or none"),
        ("quota", "-1", "a size above zero, or none (not a number)"),
        ("reservation", "16E", "a size, or none (too large)"),
        ("refreservation", "auto", "a size, or none (not a number)"),
        ("recordsize", "none", "a power of two from 512 to 16M"),
        ("recordsize", "100K", "a power of two from 512 to 16M"),
        ("recordsize", "32M", "a power of two from 512 to 16M"),
        ("pbkdf2iters", "99999", "at least 100000"),
        ("volsize", "0", "a size above zero"),
        ("mlslabel", "none", "nothing, labels are not supported"),
        (
            "keylocation",
            "file:///",
            "none, prompt, file:///path, https://address, http://address",
        ),
        (
            "mountpoint",
            "srv",
            "none, legacy, or an absolute path with components of up to 255 bytes",
        ),
    ];
    for (property, text, expected) in cases {
        let outcome = match property {
            "volsize" => on_volume(property, text),
            _ => on_fs(property, text),
        };
        match outcome {
            Err(PropertyError::InvalidValue { allowed, .. }) => {
                assert_eq!(allowed, expected, "{property}={text}");
            }
            other => panic!("{property}={text}: {other:?}"),
        }
    }
    let long = "x".repeat(8192);
    for (property, text) in [("a:b", long.as_str()), ("a:b", "x\0"), ("sharenfs", &long)] {
        assert!(on_fs(property, text).is_err(), "{property}");
    }
    assert!(on_fs("mountpoint", &format!("/{}", "x".repeat(256))).is_err());
    assert!(on_fs("mountpoint", &format!("/{}/y", "x".repeat(255))).is_ok());
}

#[test]
fn respects_type_purpose_and_release() {
    use DatasetType::{Bookmark, Filesystem, Snapshot, Volume};
    use Purpose::{Create, Receive, Set};
    let fails = |property: &str, text, kind, purpose, d| {
        to_kernel(&name(property), text, kind, purpose, d).unwrap_err()
    };
    let not_applicable = |property: &str, dataset_type| PropertyError::NotApplicable {
        name: name(property),
        dataset_type,
    };
    for (property, kind) in [
        ("mountpoint", Volume),
        ("canmount", Volume),
        ("volsize", Filesystem),
        ("readonly", Snapshot),
        ("x:y", Bookmark),
    ] {
        assert_eq!(
            fails(property, "none", kind, Set, D23),
            not_applicable(property, kind)
        );
    }
    assert!(to_kernel(&name("x:y"), "", Snapshot, Set, D23).is_ok());
    assert_eq!(
        fails("used", "1", Filesystem, Set, D23),
        PropertyError::ReadOnly { name: name("used") }
    );
    assert_eq!(
        fails("utf8only", "on", Filesystem, Set, D23),
        PropertyError::SetOnce {
            name: name("utf8only")
        }
    );
    for property in ["utf8only", "version"] {
        assert_eq!(
            fails(property, "on", Filesystem, Receive, D23),
            PropertyError::NotAtReceive {
                name: name(property)
            }
        );
    }
    assert!(to_kernel(&name("encryption"), "off", Volume, Receive, D23).is_ok());
    assert_eq!(
        fails("direct", "always", Filesystem, Set, dialect(2, 2, 9)),
        PropertyError::Unsupported {
            name: name("direct"),
            dialect: dialect(2, 2, 9)
        }
    );
    assert!(matches!(
        fails("snapdir", "disabled", Filesystem, Set, dialect(2, 2, 9)),
        PropertyError::InvalidValue { .. }
    ));
    assert!(matches!(
        fails(
            "redundant_metadata",
            "some",
            Filesystem,
            Set,
            dialect(2, 1, 6)
        ),
        PropertyError::InvalidValue { .. }
    ));
    let ssb = name("special_small_blocks");
    assert!(to_kernel(&ssb, "100K", Volume, Create, dialect(2, 4, 0)).is_ok());
    assert!(to_kernel(&ssb, "100K", Filesystem, Create, dialect(2, 3, 9)).is_err());
    let on = |d| to_kernel(&name("xattr"), "on", Filesystem, Set, d);
    assert_eq!(on(dialect(2, 2, 9)), Ok(KernelValue::Number(1)));
    assert_eq!(on(D23), Ok(KernelValue::Number(2)));
}

#[test]
fn index_values_round_trip() {
    let platforms = [Platform::Linux, Platform::FreeBsd];
    let versions = [(2, 1, 0), (2, 1, 11), (2, 2, 9), (2, 3, 9), (2, 4, 4)];
    let mut checked = 0;
    for (platform, (major, minor, patch)) in platforms
        .into_iter()
        .flat_map(|platform| versions.map(|version| (platform, version)))
    {
        let d = Dialect {
            version: ZfsVersion::new(major, minor, patch),
            platform,
        };
        for property in all_native().filter(|p| !p.is_read_only() && p.exists_in(d)) {
            let Some(values) = property.values(d) else {
                continue;
            };
            let kind = if property.applies_to(DatasetType::Filesystem, d) {
                DatasetType::Filesystem
            } else {
                DatasetType::Volume
            };
            let set = |text: &str| to_kernel(&property.into(), text, kind, Purpose::Create, d);
            for value in values {
                let typed = set(value.name);
                assert_eq!(typed, Ok(KernelValue::Number(value.number)));
                // An alias prints as the main name, which means the same.
                let printed =
                    from_kernel(property.name(), RawValue::Number(value.number), d).unwrap();
                assert_eq!(set(&printed), typed, "{} {}", property.name(), value.name);
                checked += 1;
            }
        }
    }
    assert!(checked > 1500, "{checked}");
}

#[test]
fn normalization_and_utf8only_go_together() {
    let create = |properties: &[(&str, &str)], d| {
        let properties: Vec<_> = properties
            .iter()
            .map(|(property, text)| (name(property), (*text).to_owned()))
            .collect();
        create_properties(&properties, DatasetType::Filesystem, d)
    };
    let number = |name: &str, number| (name.to_owned(), KernelValue::Number(number));
    assert_eq!(
        create(&[("normalization", "formC")], D23),
        Ok(vec![number("normalization", 0x50), number("utf8only", 1)])
    );
    assert_eq!(
        create(&[("utf8only", "off")], D23),
        Ok(vec![number("utf8only", 0), number("normalization", 0)])
    );
    assert_eq!(
        create(&[("utf8only", "off")], dialect(2, 1, 11)),
        Ok(vec![number("utf8only", 0)])
    );
    assert!(create(&[("utf8only", "off"), ("normalization", "formC")], D23).is_err());
    assert_eq!(
        create(&[("utf8only", "off"), ("normalization", "none")], D23),
        Ok(vec![number("utf8only", 0), number("normalization", 0)])
    );
    assert_eq!(
        create(&[("atime", "off"), ("atime", "on")], D23),
        Err(PropertyError::Repeated {
            name: name("atime")
        })
    );
}

#[test]
fn inherits_what_zfs_inherit_does() {
    use DatasetType::{Filesystem, Snapshot, Volume};
    let check =
        |property: &str, kind, to_received| check_inherit(&name(property), kind, to_received, D23);
    for (property, kind) in [
        ("compression", Filesystem),
        ("readonly", Volume),
        ("x:y", Filesystem),
        ("x:y", Snapshot),
    ] {
        assert_eq!(check(property, kind, false), Ok(()), "{property}");
        assert_eq!(check(property, kind, true), Ok(()), "{property}");
    }
    let not_inheritable = |property| {
        Err(PropertyError::NotInheritable {
            name: name(property),
        })
    };
    for property in ["quota", "canmount", "snapshot_limit"] {
        let refused = not_inheritable(property);
        assert_eq!(check(property, Filesystem, false), refused);
        assert_eq!(check(property, Filesystem, true), Ok(()), "{property}");
    }
    assert_eq!(check("volsize", Volume, true), not_inheritable("volsize"));
    let once = PropertyError::SetOnce {
        name: name("encryption"),
    };
    assert_eq!(check("encryption", Filesystem, false), Err(once));
    let read_only = PropertyError::ReadOnly { name: name("used") };
    assert_eq!(check("used", Filesystem, false), Err(read_only));
    let elsewhere = PropertyError::NotApplicable {
        name: name("mountpoint"),
        dataset_type: Volume,
    };
    assert_eq!(check("mountpoint", Volume, false), Err(elsewhere));
}
