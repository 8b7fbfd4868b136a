//! Whole configurations as users have them, one for each way in which zrepl is put to use: each is accepted, nothing that it
//! is about is pointed out as strange, and its dump means the same.

use std::path::{Path, PathBuf};

use zrepl_daemon::config::{self, Config, Loaded};

/// Every file that is no part of another, its jobs, and what is pointed out in it.
const FILES: [(&str, &[&str], &[&str]); 18] = [
    ("bandwidth-limit.yml", &["offsite", "from_friend"], &[]),
    ("cron.yml", &["office_hours", "nights"], &[]),
    ("external-disk.yml", &["snapshots", "to_disk", "disk"], &[]),
    (
        "fan-out-source.yml",
        &["snapshots", "target_a", "target_b"],
        &[],
    ),
    ("fan-out-target-a.yml", &["target_a"], &[]),
    ("fan-out-target-b.yml", &["target_b"], &[]),
    (
        "include-directory.yml",
        &["home", "mirror", "to_mirror"],
        &[],
    ),
    ("include.yml", &["snapjob", "mirror", "to_mirror"], &[]),
    ("local.yml", &["backup_pool", "system_to_backup"], &[]),
    ("pull-ssh.yml", &["rented"], &[]),
    ("pull-tcp.yml", &["from_hypervisor"], &[]),
    ("push-tcp.yml", &["laptop_to_nas"], &[]),
    ("push-tls.yml", &["web_to_backups"], &[]),
    ("sink-tcp.yml", &["nas"], &[]),
    ("sink-tls.yml", &["sink"], &[]),
    ("snap.yml", &["snapjob"], &[]),
    ("source-ssh.yml", &["for_the_cellar"], &[]),
    ("source-tcp.yml", &["vms"], &[]),
];

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/quickstart")
}

fn loaded(file: &str) -> Loaded {
    config::load(Some(&directory().join(file))).unwrap_or_else(|error| panic!("{file}:\n{error}"))
}

fn dump(config: &Config) -> String {
    serde_yaml::to_string(config).expect("a configuration can be written")
}

#[test]
fn each_is_accepted_with_its_jobs_and_these_warnings() {
    for (file, jobs, warnings) in FILES {
        let loaded = loaded(file);
        let found: Vec<&str> = loaded
            .config
            .jobs
            .iter()
            .map(|j| j.name().as_str())
            .collect();
        assert_eq!(found, jobs, "{file}");
        let found: Vec<String> = loaded
            .problems
            .iter()
            .map(|problem| format!("{}: {}", problem.path, problem.message))
            .collect();
        assert_eq!(found, warnings, "{file}");
    }
}

#[test]
fn each_means_the_same_when_dumped_and_its_dump_is_dumped_as_it_is() {
    for (file, ..) in FILES {
        let config = loaded(file).config;
        let first = dump(&config);
        let again = config::parse("dump.yml", &first)
            .unwrap_or_else(|error| panic!("{file}:\n{error}\n{first}"));
        assert_eq!(dump(&again.config), first, "{file}");
        if !first.contains("dsn:") {
            assert_eq!(again.config, config, "{file}");
        }
    }
}

#[test]
fn no_file_is_left_out() {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory())
        .expect("the directory is there")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    assert_eq!(files, FILES.map(|(file, ..)| directory().join(file)));
}
