//! What `zrepl configcheck --explain` says of each job of the quick-start configurations, word for word: texts for people are
//! worth reading when they change. `UPDATE_CASES=1 cargo test -p zrepl-daemon --test explain` writes them anew.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use zrepl_daemon::config::explain::{Surroundings, explain};
use zrepl_daemon::config::load;

fn quickstart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/quickstart")
}

/// The machine on which everything is explained.
fn surroundings() -> Surroundings {
    let datasets = [
        "rpool",
        "rpool/ROOT",
        "rpool/ROOT/debian",
        "rpool/home",
        "rpool/home/ann",
        "rpool/tmp",
        "tank",
        "tank/data",
        "tank/db",
        "tank/home",
        "tank/home/ann",
        "tank/home/bob",
        "tank/scratch",
        "tank/tmp",
        "tank/vm",
        "tank/vm/disk0",
    ];
    Surroundings {
        datasets: Ok(datasets.map(str::to_owned).to_vec()),
        now: "2026-11-21T14:30:00Z".parse().expect("a time"),
        zone: TimeZone::get("Europe/Berlin").expect("the system knows it"),
    }
}

#[test]
fn quick_start_jobs_are_explained_as_written() {
    let update = std::env::var_os("UPDATE_CASES").is_some();
    let surroundings = surroundings();
    let mut files: Vec<PathBuf> = fs::read_dir(quickstart())
        .expect("the directory is there")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yml"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let loaded = load(Some(&file)).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let mut text = String::new();
        for job in &loaded.config.jobs {
            let explained = explain(&loaded.config, job, &surroundings);
            writeln!(text, "{explained}").expect("memory suffices");
        }
        let name = file.file_stem().expect("it has a name").to_string_lossy();
        let expected = quickstart().join(format!("explained/{name}.txt"));
        if update {
            fs::write(&expected, &text).expect("can be written");
        }
        let wanted =
            fs::read_to_string(&expected).unwrap_or_else(|e| panic!("{}: {e}", expected.display()));
        assert!(
            text == wanted,
            "{name} is explained differently:\n{text}\n(UPDATE_CASES=1 writes {})",
            expected.display()
        );
    }
}
