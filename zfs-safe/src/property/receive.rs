//! `zfs receive -o` and `-x`: which overrides reach the kernel.
//!
//! The rules are those of libzfs for a stream of one dataset. zrepl applies one list to
//! filesystems and zvols alike, so unlike zfs(8) we leave out what does not apply to the type
//! and report it, where zfs(8) fails with `-o` and warns with `-x`.

use super::dialect::Dialect;
use super::native::DatasetType;
use super::write::{KernelValue, Purpose, comes_with_stream, to_kernel};
use super::{PropertyError, PropertyName};

/// What is received where.
#[derive(Clone, Copy, Debug)]
pub struct ReceiveTarget<'a> {
    /// Filesystem or volume, as the stream says.
    pub dataset_type: DatasetType,
    /// Whether the stream is raw (still encrypted).
    pub raw: bool,
    /// Whether the stream creates the dataset: full or a clone, and not resumed.
    pub creates: bool,
    /// Names of the properties that are set locally on the existing target; empty if there is
    /// none.
    pub local: &'a [&'a str],
    /// Names of the properties the stream brings along (`zfs send -p`), if it brings any list.
    pub received: Option<&'a [&'a str]>,
    /// The ZFS at hand.
    pub dialect: Dialect,
}

/// The property part of a receive.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ReceiveProperties {
    /// To set locally: uint64 or string entries of `localprops`.
    pub set: Vec<(String, KernelValue)>,
    /// To inherit instead of taking the stream's value: boolean entries of `localprops`.
    pub inherit: Vec<String>,
    /// To take out of the received properties, because nobody can inherit them.
    pub drop_received: Vec<String>,
    /// The snapshot to receive a clone of, from `-o origin=…`.
    pub origin: Option<String>,
    /// Whether a new encryption root is asked for. The kernel then wants the wrapping key as a
    /// hidden argument, which has to be loaded from `keylocation`.
    pub needs_key: bool,
    /// What was left out.
    pub skipped: Vec<Skipped>,
}

/// An override that has no effect on this receive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Skipped {
    /// The property.
    pub name: PropertyName,
    /// Why.
    pub reason: SkipReason,
}

/// Why an override has no effect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SkipReason {
    /// The property means nothing for a dataset of this type.
    NotApplicable,
    /// It is already set locally, which takes precedence over the stream's value anyway.
    LocallySet,
}

/// Sorts the overrides (`-o`) and the properties to inherit (`-x`) of a receive.
///
/// Fails where zfs(8) fails for other reasons than the dataset type.
pub fn receive_properties(
    overrides: &[(PropertyName, String)],
    inherit: &[PropertyName],
    target: &ReceiveTarget<'_>,
) -> Result<ReceiveProperties, PropertyError> {
    let mut plan = ReceiveProperties::default();
    let mut seen: Vec<&PropertyName> = Vec::new();
    let all = overrides
        .iter()
        .map(|(name, text)| (name, Some(text)))
        .chain(inherit.iter().map(|name| (name, None)));
    for (name, text) in all {
        if seen.contains(&name) {
            return Err(PropertyError::Repeated { name: name.clone() });
        }
        seen.push(name);
        if name.as_str() == "origin" {
            plan.origin = text.cloned().or(plan.origin);
            continue;
        }
        check_allowed(name, text.is_some(), target)?;
        if !name.applies_to(target.dataset_type, target.dialect) {
            plan.skipped.push(Skipped {
                name: name.clone(),
                reason: SkipReason::NotApplicable,
            });
            continue;
        }
        match text {
            Some(text) => plan.add_override(name, text, target)?,
            None => plan.add_inherit(name, target),
        }
    }
    plan.keep_unencrypted(&seen, target);
    Ok(plan)
}

fn check_allowed(
    name: &PropertyName,
    sets: bool,
    target: &ReceiveTarget<'_>,
) -> Result<(), PropertyError> {
    let Some(property) = name.native() else {
        return Ok(());
    };
    let name = name.clone();
    if !property.exists_in(target.dialect) {
        let dialect = target.dialect;
        return Err(PropertyError::Unsupported { name, dialect });
    }
    if property.is_encryption_parameter() {
        if target.raw {
            return Err(PropertyError::EncryptionOfRawStream { name });
        }
        if sets && !target.creates {
            return Err(PropertyError::EncryptionOfIncremental { name });
        }
    } else if comes_with_stream(property) {
        return Err(PropertyError::NotAtReceive { name });
    }
    Ok(())
}

impl ReceiveProperties {
    fn add_override(
        &mut self,
        name: &PropertyName,
        text: &str,
        target: &ReceiveTarget<'_>,
    ) -> Result<(), PropertyError> {
        let value = to_kernel(
            name,
            text,
            target.dataset_type,
            Purpose::Receive,
            target.dialect,
        )?;
        self.needs_key |= name.as_str() == "keyformat" && value != KernelValue::Number(0);
        self.set.push((name.to_string(), value));
        Ok(())
    }

    fn add_inherit(&mut self, name: &PropertyName, target: &ReceiveTarget<'_>) {
        // Before 2.3.9 and 2.4.4 libzfs also skipped values inherited from a parent, so that the
        // stream's value won although `-x` was given. That was a bug; we do as the fixed ones.
        if target.local.contains(&name.as_str()) {
            self.skipped.push(Skipped {
                name: name.clone(),
                reason: SkipReason::LocallySet,
            });
        } else if !name.is_inheritable() && target.brings(name.as_str()) {
            self.drop_received.push(name.to_string());
        } else {
            // The kernel ignores those that nobody can inherit.
            self.inherit.push(name.to_string());
        }
    }

    /// A stream with properties that is not raw comes from an unencrypted dataset (ZFS refuses to
    /// send others so), and `zfs receive` keeps the new dataset unencrypted, below an encrypted
    /// parent too, unless told otherwise.
    fn keep_unencrypted(&mut self, seen: &[&PropertyName], target: &ReceiveTarget<'_>) {
        let told = seen.iter().any(|name| name.as_str() == "encryption");
        if target.creates && !target.raw && target.received.is_some() && !told {
            const OFF: u64 = 2;
            self.set
                .push(("encryption".to_owned(), KernelValue::Number(OFF)));
        }
    }
}

impl ReceiveTarget<'_> {
    fn brings(&self, name: &str) -> bool {
        self.received.is_some_and(|names| names.contains(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Platform, ZfsVersion};
    use super::*;

    const FULL: ReceiveTarget<'_> = ReceiveTarget {
        dataset_type: DatasetType::Filesystem,
        raw: false,
        creates: true,
        local: &[],
        received: None,
        dialect: Dialect {
            version: ZfsVersion::new(2, 3, 2),
            platform: Platform::Linux,
        },
    };

    fn plan(
        overrides: &[(&str, &str)],
        inherit: &[&str],
        target: &ReceiveTarget<'_>,
    ) -> Result<ReceiveProperties, PropertyError> {
        let overrides: Vec<_> = overrides
            .iter()
            .map(|(name, text)| (name.parse().unwrap(), (*text).to_owned()))
            .collect();
        let inherit: Vec<_> = inherit.iter().map(|name| name.parse().unwrap()).collect();
        receive_properties(&overrides, &inherit, target)
    }

    fn skipped(name: &str, reason: SkipReason) -> Skipped {
        Skipped {
            name: name.parse().unwrap(),
            reason,
        }
    }

    #[test]
    fn types_overrides_and_lists_the_inherited() {
        let plan = plan(
            &[("canmount", "off"), ("mountpoint", "none"), ("x:y", "z")],
            &["quota", "compression", "a:b"],
            &FULL,
        )
        .unwrap();
        assert_eq!(
            plan.set,
            [
                ("canmount".to_owned(), KernelValue::Number(0)),
                ("mountpoint".to_owned(), KernelValue::Text("none".into())),
                ("x:y".to_owned(), KernelValue::Text("z".into())),
            ]
        );
        assert_eq!(plan.inherit, ["quota", "compression", "a:b"]);
        assert!(plan.skipped.is_empty() && !plan.needs_key);
    }

    #[test]
    fn leaves_out_what_does_not_apply_to_a_zvol() {
        let volume = ReceiveTarget {
            dataset_type: DatasetType::Volume,
            ..FULL
        };
        let plan = plan(
            &[("canmount", "off"), ("readonly", "on")],
            &["mountpoint", "snapdev"],
            &volume,
        )
        .unwrap();
        assert_eq!(plan.set, [("readonly".to_owned(), KernelValue::Number(1))]);
        assert_eq!(plan.inherit, ["snapdev"]);
        assert_eq!(
            plan.skipped,
            [
                skipped("canmount", SkipReason::NotApplicable),
                skipped("mountpoint", SkipReason::NotApplicable),
            ]
        );
    }

    #[test]
    fn drops_received_values_nobody_can_inherit() {
        let target = ReceiveTarget {
            received: Some(&["quota", "atime"]),
            local: &["devices"],
            creates: false,
            ..FULL
        };
        let plan = plan(&[], &["quota", "refquota", "atime", "devices"], &target).unwrap();
        assert_eq!(plan.drop_received, ["quota"]);
        assert_eq!(plan.inherit, ["refquota", "atime"]);
        assert_eq!(plan.skipped, [skipped("devices", SkipReason::LocallySet)]);
        assert!(plan.set.is_empty());
    }

    #[test]
    fn refuses_what_comes_with_the_stream() {
        for name in ["used", "volblocksize", "volsize", "version", "utf8only"] {
            let refused = Err(PropertyError::NotAtReceive {
                name: name.parse().unwrap(),
            });
            assert_eq!(plan(&[(name, "1")], &[], &FULL), refused);
            assert_eq!(plan(&[], &[name], &FULL), refused);
        }
    }

    #[test]
    fn guards_encryption() {
        let raw = ReceiveTarget { raw: true, ..FULL };
        let incremental = ReceiveTarget {
            creates: false,
            ..FULL
        };
        for name in ["encryption", "keyformat", "pbkdf2iters"] {
            let parsed: PropertyName = name.parse().unwrap();
            let of_raw = Err(PropertyError::EncryptionOfRawStream {
                name: parsed.clone(),
            });
            assert_eq!(plan(&[(name, "on")], &[], &raw), of_raw);
            assert_eq!(plan(&[], &[name], &raw), of_raw);
            assert_eq!(
                plan(&[(name, "on")], &[], &incremental),
                Err(PropertyError::EncryptionOfIncremental { name: parsed })
            );
        }
        assert_eq!(
            plan(&[], &["encryption"], &incremental).unwrap().inherit,
            ["encryption"]
        );
        let root = [
            ("encryption", "on"),
            ("keyformat", "raw"),
            ("keylocation", "file:///key"),
        ];
        assert!(plan(&root, &[], &FULL).unwrap().needs_key);
        assert!(
            plan(&[("keylocation", "prompt")], &[], &raw)
                .unwrap()
                .set
                .len()
                == 1
        );
    }

    #[test]
    fn a_stream_with_properties_stays_unencrypted() {
        let with_properties = ReceiveTarget {
            received: Some(&[]),
            ..FULL
        };
        let off = [("encryption".to_owned(), KernelValue::Number(2))];
        assert_eq!(plan(&[], &[], &with_properties).unwrap().set, off);
        let inheriting = plan(&[], &["encryption"], &with_properties).unwrap();
        assert!(inheriting.set.is_empty());
        assert_eq!(inheriting.inherit, ["encryption"]);
        for target in [
            ReceiveTarget {
                raw: true,
                ..with_properties
            },
            ReceiveTarget {
                creates: false,
                ..with_properties
            },
            FULL,
        ] {
            assert!(plan(&[], &[], &target).unwrap().set.is_empty());
        }
    }

    #[test]
    fn origin_is_a_wish_of_its_own() {
        let plan = plan(&[("origin", "tank/a@1")], &[], &FULL).unwrap();
        assert_eq!(plan.origin.as_deref(), Some("tank/a@1"));
        assert!(plan.set.is_empty());
    }

    #[test]
    fn refuses_repetition() {
        let repeated = Err(PropertyError::Repeated {
            name: "atime".parse().unwrap(),
        });
        assert_eq!(plan(&[("atime", "on")], &["atime"], &FULL), repeated);
        assert_eq!(plan(&[], &["atime", "atime"], &FULL), repeated);
    }
}
