//! What a scenario is: a named function that uses guests and says how it went. docs/testing.md shows how to write one.

mod boots;
mod cable;
mod conformance;
mod example;
mod power_failure;
mod replication;
mod zrepl_commands;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Result, anyhow};

use crate::guest::Guest;
use crate::host::Host;
use crate::machine::{Machine, Options};
use crate::recipe::ZfsVersion;
use crate::summary::Totals;

/// One thing to prove in a guest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Runs on every OpenZFS version unless the user names one; others run on the default version only.
    pub(crate) everywhere: bool,
    pub(crate) run: Run,
}

impl Scenario {
    pub(crate) fn is_suite(&self) -> bool {
        matches!(self.run, Run::Suite(_))
    }
}

/// What a scenario is given.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Run {
    /// A guest that others use too: it must leave no pool, no process and no module setting behind.
    Shared(fn(&Guest) -> Result<()>),
    /// The same guest, for programs that count tests of their own.
    Suite(fn(&Bench<'_>, &Machine) -> Result<SuiteOutcome>),
    /// No guest yet: it boots, breaks and reboots its own.
    Alone(fn(&Bench<'_>) -> Result<()>),
}

/// What a program with tests of its own reports.
#[derive(Debug)]
pub(crate) struct SuiteOutcome {
    pub(crate) totals: Totals,
    /// Names of tests, for the end of the run.
    pub(crate) failed: Vec<String>,
}

/// All scenarios, in the order in which they run: those that take long come first, so that nobody waits for one at the end.
pub(crate) const ALL: &[Scenario] = &[
    Scenario {
        name: "boots_and_loads_zfs",
        everywhere: true,
        run: Run::Shared(boots::boots_and_loads_zfs),
    },
    Scenario {
        name: "agent_carries_streams_and_statuses",
        everywhere: false,
        run: Run::Shared(boots::agent_carries_streams_and_statuses),
    },
    Scenario {
        name: conformance::NAME,
        everywhere: true,
        run: Run::Suite(conformance::conformance),
    },
    Scenario {
        name: "replication_survives_kills",
        everywhere: false,
        run: Run::Alone(replication::replication_survives_kills),
    },
    Scenario {
        name: "platform_tests",
        everywhere: false,
        run: Run::Alone(example::platform_tests),
    },
    Scenario {
        name: "bad_input",
        everywhere: false,
        run: Run::Alone(replication::bad_input),
    },
    Scenario {
        name: "replication_table",
        everywhere: false,
        run: Run::Alone(replication::replication_table),
    },
    Scenario {
        name: "snapshots_cost",
        everywhere: false,
        run: Run::Alone(example::snapshots_cost),
    },
    Scenario {
        name: "hooks_for_databases",
        everywhere: false,
        run: Run::Alone(replication::hooks_for_databases),
    },
    Scenario {
        name: "snapshots_and_pruning",
        everywhere: false,
        run: Run::Alone(replication::snapshots_and_pruning),
    },
    Scenario {
        name: "plan_is_what_happens",
        everywhere: false,
        run: Run::Alone(replication::plan_is_what_happens),
    },
    Scenario {
        name: "power_failure",
        everywhere: false,
        run: Run::Alone(power_failure::power_failure),
    },
    Scenario {
        name: "guests_reach_each_other",
        everywhere: false,
        run: Run::Alone(cable::guests_reach_each_other),
    },
    Scenario {
        name: "zrepl_test_commands",
        everywhere: false,
        run: Run::Alone(zrepl_commands::zrepl_test_commands),
    },
    Scenario {
        name: "zrepl_configuration_commands",
        everywhere: false,
        run: Run::Alone(zrepl_commands::zrepl_configuration_commands),
    },
    Scenario {
        name: "receiver_on_zfs",
        everywhere: false,
        run: Run::Alone(example::receiver_on_zfs),
    },
    Scenario {
        name: "sender_on_zfs",
        everywhere: false,
        run: Run::Alone(example::sender_on_zfs),
    },
    Scenario {
        name: "streams_over_the_wire",
        everywhere: false,
        run: Run::Alone(example::streams_over_the_wire),
    },
    Scenario {
        name: "sigkill_leaves_nothing",
        everywhere: true,
        run: Run::Alone(example::sigkill_leaves_nothing),
    },
    Scenario {
        name: "zfs_safe_demo",
        everywhere: false,
        run: Run::Alone(example::zfs_safe_demo),
    },
    Scenario {
        name: "replication_between_releases",
        everywhere: false,
        run: Run::Alone(replication::replication_between_releases),
    },
    Scenario {
        name: "takes_over_from_zrepl_0_7_0",
        everywhere: false,
        run: Run::Alone(replication::takes_over_from_zrepl_0_7_0),
    },
];

/// What scenarios of one version work with.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    pub(crate) host: &'a Host,
    pub(crate) version: ZfsVersion,
    /// The conformance suite's program on the host, if it was built.
    pub(crate) suite: Option<&'a Path>,
    /// What to pass to the suite.
    pub(crate) suite_arguments: Vec<String>,
    pub(crate) printer: &'a Printer,
}

impl Bench<'_> {
    /// Boots a guest, runs `steps` in it and then cuts its power, whatever it is doing.
    pub(crate) fn in_guest<T>(
        &self,
        options: &Options,
        steps: impl FnOnce(&Guest) -> Result<T>,
    ) -> Result<T> {
        let machine = self.host.boot(self.version, options)?;
        steps(machine.guest()).map_err(|error| {
            let log = machine.console().keep(&format!("failed-{}", self.version));
            anyhow!(
                "{error:#}\n{}console log: {}",
                machine.console().tail(100),
                log.display()
            )
        })
    }

    /// Prints a line that says which guest it is from.
    pub(crate) fn say(&self, line: &str) {
        self.printer.say(self.version, line);
    }
}

/// Keeps the lines of guests that run at the same time apart.
#[derive(Debug, Default)]
pub(crate) struct Printer {
    turn: Mutex<()>,
}

impl Printer {
    pub(crate) fn say(&self, version: ZfsVersion, text: &str) {
        let mut marked = String::new();
        for line in text.lines() {
            // Writing to a string does not fail.
            writeln!(marked, "[{version}] {line}").ok();
        }
        let _turn = self
            .turn
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        print!("{marked}");
    }
}

/// Whether the user's filter means this scenario. A filter for tests inside the suite means the suite.
pub(crate) fn selected(scenario: &Scenario, filter: Option<&str>) -> bool {
    let Some(filter) = filter else {
        return true;
    };
    if scenario.name.contains(filter) {
        return true;
    }
    let others_match = ALL.iter().any(|other| other.name.contains(filter));
    scenario.name == conformance::NAME && !others_match
}

/// What of the user's filter the suite applies to its own tests.
pub(crate) fn suite_filter(filter: &str) -> Option<&str> {
    let inner = filter.strip_prefix("conformance::").unwrap_or(filter);
    (!conformance::NAME.contains(inner)).then_some(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(filter: Option<&str>) -> Vec<&'static str> {
        ALL.iter()
            .filter(|scenario| selected(scenario, filter))
            .map(|scenario| scenario.name)
            .collect()
    }

    #[test]
    fn a_filter_means_scenarios_first_and_the_suite_otherwise() {
        assert_eq!(names(None).len(), ALL.len());
        assert_eq!(names(Some("power")), ["power_failure"]);
        assert_eq!(names(Some("hold")), ["conformance"]);
        assert_eq!(names(Some("conformance::power")), ["conformance"]);
        assert_eq!(suite_filter("hold"), Some("hold"));
        assert_eq!(suite_filter("conformance::hold"), Some("hold"));
        assert_eq!(suite_filter("conformance"), None);
        assert_eq!(suite_filter("conf"), None);
    }

    #[test]
    fn names_are_unique() {
        for (index, scenario) in ALL.iter().enumerate() {
            assert!(
                ALL[..index]
                    .iter()
                    .all(|earlier| earlier.name != scenario.name)
            );
        }
    }
}
