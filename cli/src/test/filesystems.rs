//! `zrepl test filesystems`: what the filter of a job makes of dataset names. The filter and the list of datasets come in
//! as functions; rows come out, and whether a row is an error.

use std::io::Write;

use anyhow::bail;
use zfs_safe::name::DatasetPath;

use crate::args::Filesystems;
use crate::configuration::Configuration;

/// Tries the filter. `configuration` is called only if the options make sense.
pub(crate) fn run(
    options: &Filesystems,
    configuration: impl FnOnce() -> anyhow::Result<Configuration>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let question = Question::of(options)?;
    let configuration = configuration()?;
    let filter = configuration.filesystem_filter(question.job)?;
    let names = match question.input {
        Input::One(name) => vec![name.to_owned()],
        Input::All => {
            let zfs = super::open()?;
            let datasets = super::all_datasets(&*zfs, &[])?;
            datasets.into_iter().map(|(name, _)| name).collect()
        }
    };
    report(&names, |name| filter.accepts(name), out)
}

/// Options that make sense.
#[derive(Debug, Eq, PartialEq)]
struct Question<'a> {
    job: &'a str,
    input: Input<'a>,
}

#[derive(Debug, Eq, PartialEq)]
enum Input<'a> {
    All,
    One(&'a str),
}

impl<'a> Question<'a> {
    fn of(options: &'a Filesystems) -> anyhow::Result<Self> {
        let given = |option: &'a Option<String>| option.as_deref().filter(|text| !text.is_empty());
        let Some(job) = given(&options.job) else {
            bail!("must specify --job flag");
        };
        let input = match (options.all, given(&options.input)) {
            (true, None) => Input::All,
            (false, Some(name)) => Input::One(name),
            _ => bail!("must set one: --all or --input"),
        };
        Ok(Self { job, input })
    }
}

/// Prints a row per name.
fn report(
    names: &[String],
    accepts: impl Fn(&str) -> bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut errors = false;
    for name in names {
        // A filter decides on dataset names only.
        let (verdict, problem) = match DatasetPath::new(name.as_str()) {
            Ok(_) if accepts(name) => ("ACCEPT", String::new()),
            Ok(_) => ("REJECT", String::new()),
            Err(error) => ("ERROR", error.to_string()),
        };
        errors |= verdict == "ERROR";
        writeln!(out, "{verdict}\t{name}\t{problem}")?;
    }
    if errors {
        bail!("filter errors occurred");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(job: Option<&str>, all: bool, input: Option<&str>) -> Filesystems {
        Filesystems {
            job: job.map(str::to_owned),
            all,
            input: input.map(str::to_owned),
        }
    }

    #[test]
    fn options_that_make_no_sense_are_refused_before_the_configuration_is_read() {
        const JOB: &str = "must specify --job flag";
        const ONE: &str = "must set one: --all or --input";
        let cases = [
            (options(None, true, None), JOB),
            (options(Some(""), true, None), JOB),
            (options(Some("j"), false, None), ONE),
            (options(Some("j"), false, Some("")), ONE),
            (options(Some("j"), true, Some("tank")), ONE),
        ];
        for (options, message) in cases {
            let refused = run(&options, || panic!("read"), &mut Vec::new());
            assert_eq!(refused.expect_err("senseless").to_string(), message);
        }
    }

    #[test]
    fn understands_one_name_or_all() {
        let one = options(Some("j"), false, Some("tank"));
        let question = Question::of(&one).expect("sensible");
        assert_eq!(question.input, Input::One("tank"));
        let all = options(Some("j"), true, Some(""));
        assert_eq!(Question::of(&all).expect("sensible").input, Input::All);
    }

    fn reported(names: &[&str]) -> (String, anyhow::Result<()>) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut out = Vec::new();
        let result = report(&names, |name| name.starts_with("tank/"), &mut out);
        (String::from_utf8(out).expect("text"), result)
    }

    #[test]
    fn rows_are_in_the_order_of_the_names() {
        let (text, result) = reported(&["tank/b", "tank", "tank/a b"]);
        result.expect("no errors");
        assert_eq!(
            text,
            "ACCEPT\ttank/b\t\nREJECT\ttank\t\nACCEPT\ttank/a b\t\n"
        );
    }

    #[test]
    fn a_name_that_no_dataset_can_have_is_an_error_among_the_rows() {
        let (text, result) = reported(&["tank/a@s", "tank/", "tank/a"]);
        assert_eq!(
            text,
            "ERROR\ttank/a@s\tdataset name \"tank/a@s\" is not valid: '@' is not allowed here\n\
             ERROR\ttank/\tdataset name \"tank/\" is not valid: a component is empty\n\
             ACCEPT\ttank/a\t\n"
        );
        assert_eq!(
            result.expect_err("errors").to_string(),
            "filter errors occurred"
        );
    }
}
