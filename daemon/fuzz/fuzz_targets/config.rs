//! The input is a configuration. What is accepted can be written out, is then the same configuration, and can be explained.
#![no_main]

use jiff::Timestamp;
use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;
use zrepl_daemon::config::explain::{Surroundings, explain};
use zrepl_daemon::config::snapshotting::{Hook, Snapshotting};
use zrepl_daemon::config::{self, Config};

fuzz_target!(|input: &[u8]| {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    let loaded = match config::parse("f", text) {
        Ok(loaded) => loaded,
        Err(error) => {
            assert!(error.problems.has_errors());
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let _ = loaded.problems.to_string();
    let config = loaded.config;
    let written = dump(&config);
    let again = match config::parse("f", &written) {
        Ok(again) => again.config,
        Err(error) => {
            panic!("{error}\nin what was written for an accepted configuration:\n{written}")
        }
    };
    assert_eq!(dump(&again), written);
    // Data source names are written without passwords and with everything that is implied.
    if !config
        .jobs
        .iter()
        .filter_map(|job| job.snapshotting())
        .any(has_data_source)
    {
        assert_eq!(again, config);
    }
    let surroundings = Surroundings {
        datasets: Ok(["tank", "tank/a", "tank/a/b", "zroot/var"]
            .map(str::to_owned)
            .to_vec()),
        now: Timestamp::constant(1_795_262_400, 0), // 2026-11-21T12:00:00Z
        zone: TimeZone::UTC,
    };
    for job in &config.jobs {
        assert!(!explain(&config, job, &surroundings).is_empty());
    }
});

fn dump(config: &Config) -> String {
    serde_yaml::to_string(config).expect("a configuration can be written")
}

fn has_data_source(snapshotting: &Snapshotting) -> bool {
    let hooks = match snapshotting {
        Snapshotting::Manual(_) => return false,
        Snapshotting::Periodic(periodic) => &periodic.hooks,
        Snapshotting::Cron(cron) => &cron.hooks,
    };
    hooks.iter().any(|hook| !matches!(hook, Hook::Command(_)))
}
