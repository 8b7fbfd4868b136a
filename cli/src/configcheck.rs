//! `zrepl configcheck`: whether the configuration is right, what was understood, and what it will do, in words.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use zrepl_daemon::config::{self, Config, Loaded, explain};

use crate::args::{Configcheck, Format, What};
use crate::configuration::checked;
use crate::output::complain;

/// Checks the configuration at `path`, or at one of the usual places.
pub(crate) fn run(
    options: &Configcheck,
    path: Option<&Path>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    if options.schema {
        writeln!(out, "{}", Config::schema())?;
        return Ok(());
    }
    let loaded = config::load(path).and_then(|mut loaded| {
        if !options.skip_cert_check {
            config::check_certificates(&mut loaded, Timestamp::now());
            // Mostly for the files that data source names lead to.
            config::check_hooks(&mut loaded, &|name| std::env::var_os(name));
        }
        loaded.into_result()
    });
    let Loaded {
        config, problems, ..
    } = checked(loaded)?;
    if problems.iter().next().is_some() {
        complain(&problems);
    }
    match &options.explain {
        Some(job) => explain(&config, job, out),
        None => dump(&config, options.format, options.what, out),
    }
}

fn explain(config: &Config, name: &str, out: &mut impl Write) -> anyhow::Result<()> {
    let Some(job) = config.job(name) else {
        let names: Vec<&str> = config.jobs.iter().map(|job| job.name().as_str()).collect();
        bail!(
            "job {name:?} not defined in config; there are: {}",
            names.join(", ")
        );
    };
    // The explanation is worth reading on a machine without ZFS, too.
    let datasets = crate::test::open()
        .and_then(|zfs| crate::test::all_datasets(&*zfs, &[]))
        .map(|datasets| datasets.into_iter().map(|(name, _)| name).collect())
        .map_err(|error| format!("{error:#}"));
    let surroundings = explain::Surroundings {
        datasets,
        now: Timestamp::now(),
        zone: TimeZone::system(),
    };
    write!(out, "{}", explain::explain(config, job, &surroundings))?;
    Ok(())
}

fn dump(config: &Config, format: Format, what: What, out: &mut impl Write) -> anyhow::Result<()> {
    match what {
        What::All | What::Config => dump_part(config, format, out),
        What::Jobs => dump_part(&config.jobs, format, out),
        What::Logging => dump_part(&config.global.logging, format, out),
    }
}

fn dump_part<T: serde::Serialize + std::fmt::Debug>(
    part: &T,
    format: Format,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    match format {
        Format::Nothing => {}
        Format::Pretty => writeln!(out, "{part:#?}")?,
        Format::Yaml => {
            let text = serde_yaml::to_string(part).context("cannot write it as YAML")?;
            out.write_all(text.as_bytes())?;
        }
        Format::Json => {
            let text = serde_json::to_string_pretty(part).context("cannot write it as JSON")?;
            writeln!(out, "{text}")?;
        }
    }
    Ok(())
}
