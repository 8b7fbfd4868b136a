//! `zrepl daemon` on real pools: what is replicated, what is left behind, and what happens when something dies.

mod bad_input;
mod databases;
mod kills;
mod plan;
mod snapshots;
mod state;
mod table;
mod takeover;

pub(super) use bad_input::bad_input;
pub(super) use databases::hooks_for_databases;
pub(super) use kills::replication_survives_kills;
pub(super) use plan::plan_is_what_happens;
pub(super) use snapshots::snapshots_and_pruning;
pub(super) use table::{replication_between_releases, replication_table};
pub(super) use takeover::takes_over_from_zrepl_0_7_0;

use anyhow::Result;

use super::Bench;
use crate::daemon;
use crate::guest::Guest;
use crate::machine::Options;
use crate::shipping::Loader;

/// A guest with zrepl in it; `steps` gets its command line.
fn in_guest_with_zrepl(
    bench: &Bench<'_>,
    mut options: Options,
    steps: impl FnOnce(&Guest, &str) -> Result<()>,
) -> Result<()> {
    options.files.push(daemon::tested_program()?);
    let loader = Loader::for_image(&bench.host.image(bench.version)?);
    let line = loader.command(daemon::PROGRAM).join(" ");
    bench.in_guest(&options, |guest| steps(guest, &line))
}
