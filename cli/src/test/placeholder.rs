//! `zrepl test placeholder`: which filesystems zrepl takes for placeholders, and by which property value.

use std::io::Write;

use anyhow::bail;
use zfs_safe::name::{DatasetPath, EntityName};
use zfs_safe::property::{Property, PropertyName};
use zrepl_daemon::endpoint::placeholder::{PROPERTY, is_placeholder, local_value};

use crate::args::Placeholder;

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

#[cfg(test)]
mod tests {
    use zfs_safe::property::Source;

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
        for (name, answer) in [("abc", "yes"), ("abd", "no")] {
            let mut out = Vec::new();
            let properties = vec![property(value, Source::Local)];
            report(&[(name.to_owned(), properties)], &mut out).expect("written");
            let text = String::from_utf8(out).expect("text");
            assert!(
                text.ends_with(&format!("\n{answer}\t{name}\t{value}\n")),
                "{text}"
            );
        }
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
