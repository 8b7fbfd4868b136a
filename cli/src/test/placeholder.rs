//! `zrepl test placeholder`: which filesystems zrepl takes for placeholders, and by which property value.

use std::io::Write;

use anyhow::bail;
use sha2::{Digest, Sha512_256};
use zfs_safe::name::{DatasetPath, EntityName};
use zfs_safe::property::{Property, PropertyName, Source};

use crate::args::Placeholder;

/// The property by which placeholders are known.
const PROPERTY: &str = "zrepl:placeholder";

/// Prints a row per dataset. `--all` beats `--dataset`, as in zrepl 0.7.0.
pub(crate) fn run(options: &Placeholder, out: &mut impl Write) -> anyhow::Result<()> {
    let property: PropertyName = PROPERTY.parse()?;
    let named = options.dataset.as_deref().filter(|name| !name.is_empty());
    let rows = match named {
        _ if options.all => super::all_datasets(&*super::open()?, &[property])?,
        None => bail!("must specify --dataset DATASET or --all"),
        Some(name) => {
            let path = DatasetPath::new(name)?;
            let found = super::open()?.properties(&EntityName::Dataset(path), &[property]);
            match found {
                Ok(properties) => vec![(name.to_owned(), properties)],
                Err(error) if error.is_not_found() => {
                    // zrepl 0.7.0 prints the header even then.
                    report(&[], out)?;
                    bail!("filesystem {name:?} does not exist");
                }
                Err(error) => return Err(error.into()),
            }
        }
    };
    report(&rows, out)
}

fn report(rows: &[(String, Vec<Property>)], out: &mut impl Write) -> anyhow::Result<()> {
    writeln!(out, "IS_PLACEHOLDER\tDATASET\t{PROPERTY}")?;
    for (name, properties) in rows {
        let value = local_value(properties);
        let answer = if is_placeholder(name, value) {
            "yes"
        } else {
            "no"
        };
        writeln!(out, "{answer}\t{name}\t{value}")?;
    }
    Ok(())
}

/// The property's value if it was set on the dataset itself: neither inherited nor received ones count.
fn local_value(properties: &[Property]) -> &str {
    properties
        .iter()
        .find(|property| property.name.as_str() == PROPERTY && property.source == Source::Local)
        .map_or("", |property| &property.value)
}

/// `on`, or what zrepl wrote before 0.1: the dataset's hashed name.
fn is_placeholder(name: &str, local_value: &str) -> bool {
    local_value == "on" || local_value == legacy_value(name)
}

fn legacy_value(name: &str) -> String {
    use std::fmt::Write;
    let mut hexadecimal = String::new();
    for byte in Sha512_256::digest(name) {
        // Writing to a string does not fail.
        write!(hexadecimal, "{byte:02x}").ok();
    }
    hexadecimal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn property(value: &str, source: Source) -> Property {
        Property {
            name: PROPERTY.parse().expect("valid"),
            value: value.to_owned(),
            source,
        }
    }

    #[test]
    fn only_a_local_on_makes_a_placeholder() {
        let cases = [
            (Some(("on", Source::Local)), "yes", "on"),
            (Some(("off", Source::Local)), "no", "off"),
            (Some(("ON", Source::Local)), "no", "ON"),
            (Some(("on", Source::Inherited("tank".to_owned()))), "no", ""),
            (Some(("on", Source::Received)), "no", ""),
            (None, "no", ""),
        ];
        for (set, answer, value) in cases {
            let properties = set.clone().map(|(value, source)| property(value, source));
            let mut out = Vec::new();
            report(
                &[("tank/a b".to_owned(), properties.into_iter().collect())],
                &mut out,
            )
            .expect("written");
            assert_eq!(
                String::from_utf8(out).expect("text"),
                format!(
                    "IS_PLACEHOLDER\tDATASET\tzrepl:placeholder\n{answer}\ttank/a b\t{value}\n"
                ),
                "{set:?}"
            );
        }
    }

    #[test]
    fn the_hashed_name_of_the_dataset_makes_a_placeholder_and_that_of_another_does_not() {
        // The example of FIPS 180-4 for SHA-512/256.
        let value = "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23";
        assert!(is_placeholder("abc", value));
        assert!(!is_placeholder("abd", value));
    }

    #[test]
    fn nothing_asked_for_is_an_error_in_the_words_of_zrepl() {
        for dataset in [None, Some(String::new())] {
            let options = Placeholder {
                all: false,
                dataset,
            };
            assert_eq!(
                run(&options, &mut Vec::new())
                    .expect_err("nothing asked for")
                    .to_string(),
                "must specify --dataset DATASET or --all"
            );
        }
    }
}
