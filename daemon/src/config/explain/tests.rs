use super::*;
use crate::config;

fn explained(yaml: &str, job: &str, datasets: Result<&[&str], &str>) -> String {
    let loaded = config::parse("test.yml", yaml).expect("a good configuration");
    let surroundings = Surroundings {
        datasets: datasets
            .map(|names| names.iter().map(|name| (*name).to_owned()).collect())
            .map_err(str::to_owned),
        now: "2026-11-21T12:00:00Z".parse().expect("a time"),
        zone: TimeZone::UTC,
    };
    let job = loaded.config.job(job).expect("it is there");
    explain(&loaded.config, job, &surroundings)
}

/// All lines as one, for texts that may be broken anywhere.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn snap(snapshotting: &str, keep: &str) -> String {
    let yaml = format!(
        "jobs:\n- type: snap\n  name: s\n  filesystems: {{'tank<': true, tank/tmp: false}}\n  snapshotting: {snapshotting}\n  pruning: {{keep: [{keep}]}}\n"
    );
    flat(&explained(
        &yaml,
        "s",
        Ok(&["tank", "tank/a", "tank/tmp", "other"]),
    ))
}

const HOURLY: &str = "{type: periodic, prefix: z_, interval: 1h}";

#[test]
fn the_filesystems_there_are_now_are_named() {
    let text = snap(HOURLY, "{type: last_n, count: 1}");
    assert!(
        text.contains("+ tank and everything below it - tank/tmp itself"),
        "{text}"
    );
    assert!(
        text.contains("Right now that is 2 of the 4 of this machine: tank tank/a When"),
        "{text}"
    );
}

#[test]
fn without_zfs_the_rest_is_explained_all_the_same() {
    let yaml = "jobs:\n- {type: snap, name: s, filesystems: {a: true}, snapshotting: {type: manual}, pruning: {keep: [{type: last_n, count: 1}]}}\n";
    let text = flat(&explained(yaml, "s", Err("no ZFS here")));
    assert!(text.contains("cannot be said here: no ZFS here."), "{text}");
    assert!(text.contains("Keeps the newest one."), "{text}");
}

#[test]
fn a_sample_counts_what_the_rules_leave() {
    for (rule, expected) in [
        (
            "{type: last_n, count: 10}",
            "Of these, 10 would be there now",
        ),
        // One in the youngest hour, then one in each of the others.
        (
            "{type: grid, grid: 24x1h, regex: ^z_}",
            "Of these, 24 would be there now",
        ),
        (
            "{type: grid, grid: 2x1d, regex: ^z_}",
            "Of these, 2 would be there now",
        ),
        (
            "{type: grid, grid: 2x1d, regex: ^z_}, {type: last_n, count: 5}",
            "Of these, 7 would be there now",
        ),
        (
            "{type: regex, regex: .*}",
            "all would stay; after a year, 8760 snapshots",
        ),
        (
            "{type: grid, grid: 24x1h, regex: ^other}",
            "Of these, 0 would be there now",
        ),
    ] {
        let text = snap(HOURLY, rule);
        assert!(text.contains(expected), "{rule}: {text}");
    }
}

#[test]
fn a_grid_is_told_line_by_line() {
    let text = snap(
        HOURLY,
        "{type: grid, regex: ^z_, grid: '1x1h(keep=all) | 24x1h | 7x1d(keep=2) | 1x30d(keep=3)'}",
    );
    assert!(
        text.contains(
            "in the last hour: all in the day before that: one every hour in the 7 days before that: 2 every day in the 30 days before that: 3 older than that: none"
        ),
        "{text}"
    );
}

#[test]
fn times_of_a_cron_specification_are_shown_and_used() {
    let text = snap(
        "{type: cron, prefix: z_, cron: '0 9-17 * * 1-5'}",
        "{type: last_n, count: 9}",
    );
    // The 21st is a Saturday.
    assert!(
        text.contains("The next ones: Mon 2026-11-23 09:00:00 UTC, Mon 2026-11-23 10:00:00 UTC and Mon 2026-11-23 11:00:00 UTC."),
        "{text}"
    );
    assert!(
        text.contains("an hour to a day old 5 about 60 minutes apart"),
        "{text}"
    );
    assert!(text.contains("Of these, 9 would be there now"), "{text}");
}

#[test]
fn a_sample_is_small_whatever_the_times_and_rules() {
    // A second for each of January, and then no more for eleven months: dense, though not at first sight.
    let text = snap(
        "{type: cron, prefix: z_, cron: '* * * * 1 *'}",
        "{type: grid, grid: 1000x52w, regex: ^z_}",
    );
    assert!(text.contains("older than that: none"), "{text}");
    let rules = vec!["{type: grid, grid: 1000x1d, regex: ^z_}"; 300].join(", ");
    let text = snap("{type: periodic, prefix: z_, interval: 1s}", &rules);
    assert!(
        text.contains("This sample is too short to show the oldest"),
        "{text}"
    );
    // A million opinions, shared by 300 rules.
    assert!(text.contains("have been 3333 snapshots"), "{text}");
}

#[test]
fn a_job_without_snapshots_of_its_own_borrows_those_of_another() {
    let yaml = r"
jobs:
- type: snap
  name: s
  filesystems: {'tank<': true}
  snapshotting: {type: periodic, prefix: z_, interval: 15m}
  pruning: {keep: [{type: last_n, count: 3}]}
- type: push
  name: p
  connect: {type: local, listener_name: l, client_identity: me}
  filesystems: {tank: true}
  snapshotting: {type: manual}
  pruning: {keep_sender: [{type: not_replicated}], keep_receiver: [{type: last_n, count: 4}]}
- {type: sink, name: k, root_fs: pool/k, serve: {type: local, listener_name: l}}
";
    let text = flat(&explained(yaml, "p", Err("not asked")));
    assert!(text.contains("with a snapshot every 15 minutes"), "{text}");
    assert!(
        text.contains("To the sink job \"k\" of this same daemon, which knows us as me."),
        "{text}"
    );
    let text = flat(&explained(yaml, "k", Err("not asked")));
    assert!(
        text.contains("From the push job \"p\" of this same daemon, known as me."),
        "{text}"
    );
    assert!(
        text.contains("arrives here as pool/k/me/tank/data"),
        "{text}"
    );
}

#[test]
fn without_a_prefix_of_its_own_a_sample_has_names_that_the_rules_look_for() {
    for (rules, expected) in [
        (
            "{type: regex, regex: ^manual_}, {type: grid, grid: 2x1d, regex: '^(manual|auto)_'}",
            "if there were a snapshot every hour, called auto_…, there would have been 60 snapshots in 3 days. Of these, 2",
        ),
        (
            "{type: grid, grid: 2x1d, regex: ^a_}, {type: grid, grid: 3x1d, regex: ^b_}",
            "called a_…",
        ),
        (
            "{type: last_n, count: 3}",
            "if there were a snapshot every hour, there would",
        ),
        (
            "{type: grid, grid: 2x1d, regex: '_x$'}",
            "There are no figures",
        ),
    ] {
        let text = snap("{type: manual}", rules);
        assert!(text.contains(expected), "{rules}: {text}");
    }
}
