//! `cargo vm shell`: a guest for people, on its serial console, or for one script.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::accel::Acceleration;
use crate::guest;
use crate::image;
use crate::machine::{Machine, Options};
use crate::packages::{self, Purpose};
use crate::recipe::ZfsVersion;

/// For scripts; a person has no limit.
const SCRIPT_LIMIT: Duration = Duration::from_secs(3600);

pub(crate) fn run(version: ZfsVersion, script: Option<&str>, put: &[PathBuf], memory_mib: u32) -> Result<ExitCode> {
    packages::ensure(Purpose::Guests)?;
    let images = image::ensure(&[version])?;
    let image = images.first().context("no image")?;
    let mut options = Options {
        memory_mib,
        ..Options::default()
    };
    for path in put {
        options.put(path)?;
    }
    let acceleration = Acceleration::of_host(image)?;
    let machine = Machine::boot(image, acceleration, &options)?;
    let Some(script) = script else {
        eprintln!(
            "guest with OpenZFS {} after {:.1} s",
            machine.guest().fact("zfs"),
            machine.boot_time().as_secs_f64()
        );
        return interactive(machine);
    };
    let output = machine
        .guest()
        .command(["sh", "-c", script])
        .limit(SCRIPT_LIMIT)
        .run_with(guest::print_through)?;
    if output.status() != 0 {
        let log = machine.console().keep(&format!("shell-{version}"));
        eprintln!("status {}; console log: {}", output.status(), log.display());
    }
    Ok(ExitCode::from(output.status()))
}

fn interactive(_machine: Machine) -> Result<ExitCode> {
    anyhow::bail!("not yet")
}
