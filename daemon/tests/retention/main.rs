//! A year of snapshots and retention, for the ways in which zrepl is put to use: the quick-start configurations, with the clock
//! changes of a year, restarts, sleep and absent disks. After each round what the pruner does is held against a slow model, and
//! each month what is left against what the configuration promises.

mod naive;
mod random;
mod world;

use std::path::Path;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use zrepl_daemon::config::job::JobConfig;
use zrepl_daemon::config::snapshotting::Snapshotting;
use zrepl_daemon::config::{self, Config};
use zrepl_daemon::prune::Rule;

use world::{Event, Random, Side, World, limit};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

fn quickstart(file: &str) -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/quickstart");
    let loaded = config::load(Some(&path.join(file)));
    loaded
        .unwrap_or_else(|error| panic!("{file}:\n{error}"))
        .config
}

fn job<'a>(config: &'a Config, name: &str) -> &'a JobConfig {
    let found = config.jobs.iter().find(|job| job.name().as_str() == name);
    found.expect(name)
}

/// The rules of a job that replicates, for its two sides.
fn both_sides(config: &Config, name: &str) -> (Vec<Rule>, Vec<Rule>) {
    let pruning = match job(config, name) {
        JobConfig::Push(job) => &job.pruning,
        JobConfig::Pull(job) => &job.pruning,
        _ => panic!("{name} does not replicate"),
    };
    (pruning.keep_sender.rules(), pruning.keep_receiver.rules())
}

/// The schedule and the rules of a snap job.
fn snap_job(config: &Config, name: &str) -> (Snapshotting, Vec<Rule>) {
    match job(config, name) {
        JobConfig::Snap(job) => (job.snapshotting.clone(), job.pruning.keep.rules()),
        _ => panic!("{name} is no snap job"),
    }
}

fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

fn date(text: &str) -> Timestamp {
    format!("{text}T00:00:00Z").parse().expect(text)
}

/// The first days of the months of 2026, and that of the next year.
fn months() -> Vec<Timestamp> {
    let mut months: Vec<_> = (1..=12)
        .map(|month| date(&format!("2026-{month:02}-01")))
        .collect();
    months.push(date("2027-01-01"));
    months
}

/// A server: restarts now and then, two days without electricity in June, an NTP daemon that corrects the clock a little.
fn life_of_a_server(seed: u64) -> Vec<(Timestamp, Event)> {
    let mut random = Random(seed);
    let mut now = date("2026-01-01");
    let mut events = vec![(
        date("2026-06-10"),
        Event::Restart {
            down: seconds(2 * DAY),
        },
    )];
    while now < date("2027-01-01") {
        now += seconds(random.below(10 * DAY) + 60);
        events.push((
            now,
            match random.below(3) {
                0 => Event::Step {
                    by: seconds(random.below(7) - 3),
                },
                _ => Event::Restart {
                    down: seconds(random.below(900)),
                },
            },
        ));
    }
    events.sort_by_key(|(time, _)| *time);
    events
}

/// A desk: sleeps at night and at noon, by the clock of Berlin; the disk is there on some evenings; a restart each week or so.
fn life_of_a_desk(seed: u64) -> Vec<(Timestamp, Event)> {
    let mut random = Random(seed);
    let berlin = TimeZone::get("Europe/Berlin").expect("a zone");
    let mut events = vec![(date("2026-01-01"), Event::Reachable(false))];
    let mut day = jiff::civil::date(2026, 1, 1);
    while day.year() == 2026 {
        let at = |hour: i8, more: i64| {
            let clock = day.at(hour, 0, 0, 0);
            berlin.to_timestamp(clock).expect("in range") + seconds(more)
        };
        events.push((
            at(12, random.below(HOUR)),
            Event::Sleep {
                length: seconds(random.below(2 * HOUR)),
            },
        ));
        if random.below(9) == 0 {
            let evening = at(19, random.below(HOUR));
            events.push((evening, Event::Reachable(true)));
            events.push((
                evening + seconds(random.below(HOUR) + 1200),
                Event::Reachable(false),
            ));
        }
        if random.below(7) == 0 {
            events.push((
                at(16, random.below(HOUR)),
                Event::Restart {
                    down: seconds(random.below(120)),
                },
            ));
        }
        // Once a fortnight it sleeps for days.
        let nights = if random.below(14) == 0 { 4 } else { 0 };
        let length = seconds(7 * HOUR + random.below(4 * HOUR) + nights * DAY);
        events.push((at(22, random.below(HOUR)), Event::Sleep { length }));
        day = day.tomorrow().expect("in range");
    }
    events.sort_by_key(|(time, _)| *time);
    events
}

/// A year, month by month.
fn year(world: &mut World, events: Vec<(Timestamp, Event)>, mut each_month: impl FnMut(&World)) {
    let mut events = events.into_iter().peekable();
    for month in &months()[1..] {
        world.run(*month, &mut events);
        each_month(world);
    }
}

/// In each part of the grid that time has reached, there is a snapshot at least every two buckets, give or take `absence`; and the
/// oldest is as old as the grid, or the first there was.
fn assert_covered(side: &Side, rules: &[Rule], elapsed: i64, absence: i64) {
    let Some(Rule::Grid { grid, .. }) = rules.iter().find(|rule| matches!(rule, Rule::Grid { .. }))
    else {
        panic!("no grid");
    };
    let ages = side.ages();
    let mut ends = Vec::new();
    let mut end = 0;
    for interval in grid.intervals() {
        let length = i64::try_from(interval.length().duration().as_secs()).expect("short");
        end += i64::from(interval.repeat()) * length;
        ends.push((end, length));
    }
    let allowed = |age: i64| {
        let at = ends.iter().find(|(end, _)| age < *end).or(ends.last());
        at.map_or(0, |(_, length)| 2 * length) + absence
    };
    for pair in ages.windows(2) {
        assert!(pair[1] - pair[0] <= allowed(pair[1]), "{pair:?} {rules:?}");
    }
    let reach = end.min(elapsed) - allowed(end);
    assert!(
        ages.last().is_some_and(|oldest| *oldest >= reach),
        "{ages:?}"
    );
}

#[test]
fn continuous_backup_of_a_server() {
    let config = quickstart("push-tls.yml");
    let push = job(&config, "web_to_backups");
    let (keep_sender, keep_receiver) = both_sides(&config, "web_to_backups");
    let start = date("2026-01-01");
    let schedule = push.snapshotting().expect("takes snapshots");
    let mut world = World::new(
        start,
        schedule,
        None,
        vec![(keep_sender.clone(), keep_receiver.clone())],
    );
    world.busy = 4;
    // Rounds may be an instant closer where the clock was corrected.
    let apart = 5 * 60 - 10;
    let mut events = life_of_a_server(1);
    // The backup server is away for three days in August.
    events.push((date("2026-08-10"), Event::Reachable(false)));
    events.push((date("2026-08-13"), Event::Reachable(true)));
    events.sort_by_key(|(time, _)| *time);
    year(&mut world, events, |world| {
        let receiver = &world.receivers[0].side;
        let elapsed = world.now.duration_since(start).as_secs();
        assert_covered(receiver, &keep_receiver, elapsed, 2 * DAY + HOUR);
        assert!(
            receiver.snapshots.len() as u64 <= limit(&keep_receiver, apart, 0).expect("bounded")
        );
        let sender = world.sender.snapshots.len() as u64;
        assert!(sender <= limit(&keep_sender, apart, 1 + world.busy).expect("bounded"));
    });
    assert!(world.names_are_unique());
    // As many as five minutes have room for, but for two days and some restarts.
    assert!(
        (104_000..105_121).contains(&world.rounds),
        "{}",
        world.rounds
    );
    // Nothing was destroyed before the server had it.
    let three_days = 3 * 24 * 12;
    let most = world.sender.most;
    assert!((three_days..three_days + 40).contains(&most), "{most}");
    // On the receiver, three days arrive at once, and go.
    assert!(world.receivers[0].side.snapshots.len() < 90);
}

#[test]
fn local_snapshots_and_an_offline_backup() {
    let config = quickstart("external-disk.yml");
    let (schedule, keep) = snap_job(&config, "snapshots");
    let (keep_sender, keep_receiver) = both_sides(&config, "to_disk");
    let start = date("2026-01-01");
    let mut world = World::new(
        start,
        &schedule,
        Some(keep.clone()),
        vec![(keep_sender, keep_receiver.clone())],
    );
    let apart = 590;
    year(&mut world, life_of_a_desk(2), |world| {
        let sender = &world.sender;
        assert!(sender.most as u64 <= limit(&keep, apart, 0).expect("bounded") + 1);
        let elapsed = world.now.duration_since(start).as_secs();
        // It sleeps for five nights at most.
        assert_covered(sender, &keep, elapsed, 6 * DAY);
        let disk = &world.receivers[0].side;
        let most = limit(&keep_receiver, apart, 0).expect("bounded");
        assert!(disk.snapshots.len() as u64 <= most);
        // What the disk has was taken by the desk, and each once.
        let mut names: Vec<_> = disk.snapshots.iter().map(|it| &it.name).collect();
        names.dedup();
        assert_eq!(names.len(), disk.snapshots.len());
    });
    assert!(world.names_are_unique());
    // One round for each night, not one for each ten minutes of it.
    let waking = 365 * 15 * 6;
    assert!(world.rounds < waking, "{}", world.rounds);
    assert!(world.receivers[0].side.snapshots.len() > 20);
}

#[test]
fn fan_out_to_two_servers() {
    let config = quickstart("fan-out-source.yml");
    let (schedule, keep) = snap_job(&config, "snapshots");
    let targets = ["target-a", "target-b"].map(|target| {
        let config = quickstart(&format!("fan-out-{target}.yml"));
        both_sides(&config, &target.replace('-', "_"))
    });
    let start = date("2026-01-01");
    let mut world = World::new(start, &schedule, Some(keep.clone()), targets.to_vec());
    world.busy = 3;
    year(&mut world, life_of_a_server(3), |world| {
        let elapsed = world.now.duration_since(start).as_secs();
        assert_covered(&world.sender, &keep, elapsed, 2 * DAY + HOUR);
        let most = limit(&keep, 3590, 0).expect("bounded") + world.busy;
        assert!(world.sender.most as u64 <= most);
        for (receiver, (keep_sender, keep_receiver)) in world.receivers.iter().zip(&targets) {
            assert_eq!(limit(keep_sender, 3590, 0), None, "the snap job prunes");
            assert_covered(&receiver.side, keep_receiver, elapsed, 2 * DAY + HOUR);
        }
    });
    assert!(world.names_are_unique());
    assert!((8600..8761).contains(&world.rounds), "{}", world.rounds);
}

#[test]
fn a_second_pool_in_the_same_machine() {
    let config = quickstart("local.yml");
    let (keep_sender, keep_receiver) = both_sides(&config, "system_to_backup");
    let schedule = job(&config, "system_to_backup")
        .snapshotting()
        .expect("takes snapshots");
    let start = date("2026-01-01");
    let sides = vec![(keep_sender.clone(), keep_receiver.clone())];
    let mut world = World::new(start, schedule, None, sides);
    world.busy = 3;
    year(&mut world, life_of_a_server(4), |world| {
        let elapsed = world.now.duration_since(start).as_secs();
        assert_covered(&world.sender, &keep_sender, elapsed, 2 * DAY + HOUR);
        assert_covered(
            &world.receivers[0].side,
            &keep_receiver,
            elapsed,
            2 * DAY + HOUR,
        );
        assert!(
            world.sender.most as u64 <= limit(&keep_sender, 590, 1 + world.busy).expect("bounded")
        );
    });
    assert!(world.names_are_unique());
}

#[test]
fn office_hours_by_the_clock_of_the_place() {
    let config = quickstart("cron.yml");
    let (schedule, keep) = snap_job(&config, "office_hours");
    let mut world = World::new(date("2026-01-01"), &schedule, Some(keep.clone()), vec![]);
    year(&mut world, vec![], |world| {
        assert!(world.sender.most as u64 <= limit(&keep, 900, 0).expect("bounded") + 1);
    });
    assert!(world.names_are_unique());
    // 261 working days with eleven hours of four quarters each, summer time or not.
    assert_eq!(world.rounds, 261 * 11 * 4);
    let winter = world
        .sender
        .snapshots
        .iter()
        .rev()
        .find(|it| it.name.contains("-12-"));
    assert!(winter.expect("in December").name.contains("_0100"));

    // A desk that sleeps misses some, and repeats none.
    let mut world = World::new(date("2026-01-01"), &schedule, Some(keep), vec![]);
    year(&mut world, life_of_a_desk(5), |_| {});
    assert!(world.names_are_unique());
    assert!(
        (5_000..261 * 11 * 4).contains(&world.rounds),
        "{}",
        world.rounds
    );
}
