//! What a job keeps: its rules in words, and a sample of what they come to.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use zfs_safe::guid::Guid;
use zfs_safe::version::Txg;

use super::Surroundings;
use super::page::Page;
use super::transfer::{others_destroy, replicates};
use super::words::{counted, every, roughly, span};
use crate::config::Config;
use crate::config::job::JobConfig;
use crate::config::snapshotting::Snapshotting;
use crate::filter::overlaps;
use crate::prune::grid::{Keep, RetentionGrid};
use crate::prune::{Rule, Snapshot, evaluate};
use crate::snapshot::cron_spec::CronSpec;
use crate::snapshot::naming::SnapshotNaming;

/// Most snapshots in a sample.
const SAMPLED: usize = 200_000;

/// Most opinions in a sample: of each rule about each snapshot.
const OPINIONS: usize = 1_000_000;

const HOUR: Duration = Duration::from_secs(3600);

/// In seconds.
const DAY: u64 = 24 * 3600;

/// Says what a job keeps, if that is its business.
pub(super) fn explain(
    page: &mut Page,
    config: &Config,
    job: &JobConfig,
    surroundings: &Surroundings,
) {
    let (here, there);
    let sides: Vec<(&str, Vec<Rule>)> = match job {
        JobConfig::Push(push) => {
            (here, there) = (&push.pruning.keep_sender, &push.pruning.keep_receiver);
            vec![
                ("What it keeps here, on the sending side", here.rules()),
                ("What it keeps on the receiving side", there.rules()),
            ]
        }
        JobConfig::Pull(pull) => {
            (here, there) = (&pull.pruning.keep_receiver, &pull.pruning.keep_sender);
            vec![
                ("What it keeps here, on the receiving side", here.rules()),
                ("What it keeps on the sending side", there.rules()),
            ]
        }
        JobConfig::Snap(snap) => vec![("What it keeps", snap.pruning.keep.rules())],
        JobConfig::Sink(_) | JobConfig::Source(_) => return,
    };
    let series = Series::of(config, job, surroundings);
    for (heading, rules) in sides {
        page.heading(heading);
        page.text(&format!(
            "After each {}, a snapshot stays if one of these rules keeps it. All others are destroyed.",
            if replicates(job) {
                "replication"
            } else {
                "round of snapshots"
            }
        ));
        for rule in &rules {
            words(page, rule);
        }
        sample(page, &rules, &series);
        if heading.contains("here")
            && let Some(filter) = job.filesystems()
        {
            others_destroy(page, config, job.name(), filter);
        }
    }
}

fn words(page: &mut Page, rule: &Rule) {
    let text = match rule {
        Rule::NotReplicated {
            keep_snapshot_at_cursor: true,
        } => {
            "Keeps what the receiver does not have yet, and the newest one that it has.".to_owned()
        }
        Rule::NotReplicated {
            keep_snapshot_at_cursor: false,
        } => "Keeps what the receiver does not have yet.".to_owned(),
        Rule::LastN { count, regex } => {
            let whose = regex.as_ref().map_or(String::new(), |regex| {
                format!(" of those whose names match {}", regex.as_str())
            });
            match count.get() {
                1 => format!("Keeps the newest one{whose}."),
                count => format!("Keeps the newest {count}{whose}."),
            }
        }
        Rule::Regex { .. } if rule.keeps_everything() => "Keeps all snapshots.".to_owned(),
        Rule::Regex {
            regex,
            negate: true,
        } => format!(
            "Keeps all whose names do not match {}: for example, those that you took by hand.",
            regex.as_str()
        ),
        Rule::Regex {
            regex,
            negate: false,
        } => format!("Keeps all whose names match {}.", regex.as_str()),
        Rule::Grid { regex, .. } => format!(
            "Of those whose names match {}, keeps fewer the older they are. Counted back from the newest one:",
            regex.as_str()
        ),
    };
    page.item("*", &text);
    if let Rule::Grid { grid, .. } = rule {
        buckets(page, grid);
    }
}

/// A grid, one line for each of its intervals.
fn buckets(page: &mut Page, grid: &RetentionGrid) {
    for (index, interval) in grid.intervals().iter().enumerate() {
        let whole = span(
            interval
                .length()
                .duration()
                .saturating_mul(interval.repeat()),
        );
        let during = if index == 0 {
            format!("in the last {whole}")
        } else {
            format!("in the {whole} before that")
        };
        let kept = match (interval.keep(), interval.repeat()) {
            (Keep::All, _) => "all".to_owned(),
            (Keep::Oldest(1), 1) => "one".to_owned(),
            (Keep::Oldest(count), 1) => count.to_string(),
            (Keep::Oldest(1), _) => format!("one {}", every(interval.length().duration())),
            (Keep::Oldest(count), _) => format!("{count} {}", every(interval.length().duration())),
        };
        page.line(&format!("    {during}: {kept}"));
    }
    page.line("    older than that: none");
}

/// Snapshots as they would be if the job had run for long.
struct Series<'a> {
    times: Times<'a>,
    naming: Option<&'a SnapshotNaming>,
    now: Timestamp,
    zone: &'a TimeZone,
}

/// When snapshots are taken.
#[derive(Clone, Copy)]
enum Times<'a> {
    /// At this interval.
    Every(Duration),
    /// At the times of a specification, which are this far apart on the whole.
    Cron(&'a CronSpec, Duration),
    /// Nobody knows; every hour is as good as anything.
    Supposed,
}

impl<'a> Series<'a> {
    /// Times and names of the job's own snapshots; without those, of another job that takes snapshots of the same
    /// filesystems; without any, hourly ones.
    fn of(config: &'a Config, job: &'a JobConfig, surroundings: &'a Surroundings) -> Self {
        let overlap = |other: &JobConfig| match (other.filesystems(), job.filesystems()) {
            (Some(a), Some(b)) => !overlaps(&[(0, a), (1, b)]).is_empty(),
            _ => false,
        };
        let jobs = std::iter::once(job).chain(config.jobs.iter().filter(|other| overlap(other)));
        let known = jobs
            .filter_map(JobConfig::snapshotting)
            .find_map(|snapshotting| times(snapshotting, surroundings));
        Self {
            times: known.map_or(Times::Supposed, |(times, _)| times),
            naming: known.map(|(_, naming)| naming),
            now: surroundings.now,
            zone: &surroundings.zone,
        }
    }

    /// Time from one snapshot to the next, on the whole.
    fn step(&self) -> Duration {
        match self.times {
            Times::Every(step) | Times::Cron(_, step) => step,
            Times::Supposed => HOUR,
        }
    }

    /// When snapshots were taken during the time before now, the newest first, and that time. It is shortened if there
    /// would be more than so many.
    fn before_now(&self, horizon: Duration, most: usize) -> (Duration, Vec<Timestamp>) {
        if let Times::Cron(cron, _) = self.times {
            return self.matches_before_now(cron, horizon, most);
        }
        let longest = u32::try_from(most).unwrap_or(u32::MAX);
        let horizon = horizon.min(self.step().saturating_mul(longest));
        let times = (0..longest).map_while(|number| {
            let age = self.step().saturating_mul(number);
            (age < horizon).then(|| self.now.checked_sub(age).ok())?
        });
        (horizon, times.collect())
    }

    /// A specification can only be searched forwards, and may match once a second for a month and then not for a year. So the
    /// search starts where there cannot be too many matches, and then from twice as far back.
    fn matches_before_now(
        &self,
        cron: &CronSpec,
        horizon: Duration,
        most: usize,
    ) -> (Duration, Vec<Timestamp>) {
        let mut back = Duration::from_secs(most as u64).min(horizon);
        let (mut reached, mut times) = (Duration::ZERO, Vec::new());
        loop {
            let Ok(first) = self.now.checked_sub(back) else {
                return (reached, times);
            };
            let matches = std::iter::successors(Some(first), |last| cron.next(*last, self.zone));
            let mut found: Vec<Timestamp> = matches
                .skip(1)
                .take_while(|next| *next <= self.now)
                .take(most + 1)
                .collect();
            if found.len() > most {
                return (reached, times);
            }
            found.reverse();
            (reached, times) = (back, found);
            if back >= horizon {
                return (reached, times);
            }
            back = back.saturating_mul(2).min(horizon);
        }
    }

    /// Says when snapshots are supposed to have been taken.
    fn words(&self) -> String {
        match self.times {
            Times::Every(step) => format!("with a snapshot {}", every(step)),
            Times::Cron(..) => "with snapshots at the times above".to_owned(),
            Times::Supposed => "with a snapshot every hour".to_owned(),
        }
    }

    /// How the names of snapshots begin, as far as these rules tell: the job's own way, or one that they look for.
    fn naming(&self, rules: &[Rule]) -> Option<Naming<'_>> {
        if let Some(naming) = self.naming {
            return Some(Naming::Known(naming));
        }
        let expressions = rules.iter().filter_map(|rule| match rule {
            Rule::Grid { regex, .. }
            | Rule::LastN {
                regex: Some(regex), ..
            }
            | Rule::Regex { regex, .. } => Some(regex.as_str()),
            Rule::LastN { regex: None, .. } | Rule::NotReplicated { .. } => None,
        });
        let mut prefixes: Vec<String> = expressions.flat_map(prefixes).collect();
        prefixes.push(ANY.to_owned());
        // The most telling names are those that many rules count, and none keeps for the name alone.
        let telling = |prefix: &String| {
            let name = format!("{prefix}0");
            let wanted = |by_name: bool| {
                let asked = |rule: &&Rule| by_name == matches!(rule, Rule::Regex { .. });
                rules
                    .iter()
                    .filter(asked)
                    .filter(|r| r.wants_name(&name))
                    .count()
            };
            (wanted(true) == 0, wanted(false))
        };
        // Of equals, the first.
        prefixes.reverse();
        let prefix = prefixes.into_iter().max_by_key(telling)?;
        let mut grids = rules
            .iter()
            .filter(|rule| matches!(rule, Rule::Grid { .. }))
            .peekable();
        let shows =
            grids.peek().is_none() || grids.any(|rule| rule.wants_name(&format!("{prefix}0")));
        shows.then_some(Naming::Guessed(prefix))
    }
}

/// How snapshots begin that no rule asks for by name.
const ANY: &str = "snapshot_";

/// How snapshots are called.
enum Naming<'a> {
    Known(&'a SnapshotNaming),
    /// A prefix, and a number after it.
    Guessed(String),
}

impl Naming<'_> {
    fn name(&self, at: Timestamp) -> String {
        match self {
            Self::Known(naming) => naming.name_at(at),
            Self::Guessed(prefix) => format!("{prefix}{}", at.as_second()),
        }
    }
}

/// The beginnings of names that an expression looks for, where they are plain: `^(a|b)_` has `a_` and `b_`.
fn prefixes(expression: &str) -> Vec<String> {
    let plain = |text: &str| -> String {
        text.chars()
            .take_while(|c| c.is_ascii_alphanumeric() || "_-:".contains(*c))
            .collect()
    };
    let expression = expression.trim_start_matches('^');
    let mut prefixes = match expression
        .strip_prefix('(')
        .and_then(|rest| rest.split_once(')'))
    {
        Some((alternatives, rest)) => alternatives
            .trim_start_matches("?:")
            .split('|')
            .map(|alternative| {
                format!(
                    "{}{}",
                    plain(alternative.trim_start_matches('^')),
                    plain(rest)
                )
            })
            .collect(),
        None => vec![plain(expression)],
    };
    prefixes.retain(|prefix| !prefix.is_empty());
    prefixes
}

fn times<'a>(
    snapshotting: &'a Snapshotting,
    surroundings: &Surroundings,
) -> Option<(Times<'a>, &'a SnapshotNaming)> {
    match snapshotting {
        Snapshotting::Manual(_) => None,
        Snapshotting::Periodic(periodic) => {
            Some((Times::Every(periodic.interval.duration()), &periodic.naming))
        }
        Snapshotting::Cron(cron) => {
            // The mean over some matches: 09:00 to 17:00 is not every hour.
            const MATCHES: u32 = 50;
            let mut last = surroundings.now;
            let mut found = 0;
            while found < MATCHES
                && let Some(next) = cron.cron.next(last, &surroundings.zone)
            {
                last = next;
                found += 1;
            }
            let passed = last.duration_since(surroundings.now).unsigned_abs();
            let step = passed.checked_div(found)?.max(Duration::from_secs(1));
            Some((Times::Cron(&cron.cron, step), &cron.naming))
        }
    }
}

/// How far back a sample has to go to show all that the rules do.
fn horizon(rules: &[Rule], step: Duration) -> Duration {
    let reach = rules.iter().map(|rule| match rule {
        Rule::Grid { grid, .. } => grid
            .intervals()
            .iter()
            .map(|interval| {
                interval
                    .length()
                    .duration()
                    .saturating_mul(interval.repeat())
            })
            .fold(Duration::ZERO, Duration::saturating_add),
        Rule::LastN { count, .. } => {
            step.saturating_mul(u32::try_from(count.get()).unwrap_or(u32::MAX))
        }
        Rule::NotReplicated { .. } => step,
        Rule::Regex { .. } => Duration::ZERO,
    });
    let reach = reach.max().unwrap_or_default();
    // Some more, to show that it ends.
    reach.saturating_add(reach / 4).max(step.saturating_mul(48))
}

/// What is left of a long series.
fn sample(page: &mut Page, rules: &[Rule], series: &Series<'_>) {
    let step = series.step();
    let wanted = horizon(rules, step);
    let most = SAMPLED.min(OPINIONS / rules.len().max(1));
    let (reached, times) = series.before_now(wanted, most);
    if times.is_empty() {
        return;
    }
    let Some(naming) = series.naming(rules) else {
        page.text("(There are no figures: how the snapshots are called that these rules look for cannot be guessed.)");
        return;
    };
    let names: Vec<String> = times.iter().map(|at| naming.name(*at)).collect();
    let snapshots: Vec<Snapshot<'_>> = names
        .iter()
        .zip(&times)
        .zip(1..)
        .map(|((name, at), number)| Snapshot {
            name,
            guid: Guid::new(number),
            createtxg: Txg::new(u64::MAX - number),
            creation: at.as_second(),
            // All but the newest have arrived.
            replicated: number > 1,
        })
        .collect();
    let plan = evaluate(rules, &snapshots);
    let ages: Vec<Duration> = plan
        .verdicts()
        .zip(&times)
        .filter(|(verdict, _)| verdict.is_kept())
        .map(|(_, at)| series.now.duration_since(*at).unsigned_abs())
        .collect();
    let supposed = match &naming {
        Naming::Known(_) => series.words(),
        Naming::Guessed(prefix) if prefix == ANY => {
            "if there were a snapshot every hour".to_owned()
        }
        Naming::Guessed(prefix) => {
            format!("if there were a snapshot every hour, called {prefix}…")
        }
    };
    if ages.len() == snapshots.len() {
        let year = Duration::from_secs(365 * DAY);
        let count = year.as_secs() / step.as_secs().max(1);
        page.text(&format!(
            "In figures: {supposed}, all would stay; after a year, {}.",
            counted(count, "snapshot")
        ));
        return;
    }
    page.text(&format!(
        "In figures: {supposed}, there would have been {} in {}. Of these, {} would be there now:",
        counted(snapshots.len() as u64, "snapshot"),
        roughly(reached),
        ages.len()
    ));
    table(page, &ages);
    if wanted > reached {
        page.text("(This sample is too short to show the oldest of them.)");
    }
}

/// How many there are of which age, and how far apart.
fn table(page: &mut Page, ages: &[Duration]) {
    const LIMITS: [(Duration, &str); 7] = [
        (HOUR, "an hour"),
        (Duration::from_secs(DAY), "a day"),
        (Duration::from_secs(7 * DAY), "a week"),
        (Duration::from_secs(30 * DAY), "a month"),
        (Duration::from_secs(90 * DAY), "three months"),
        (Duration::from_secs(365 * DAY), "a year"),
        (Duration::MAX, ""),
    ];
    let mut from = Duration::ZERO;
    let mut from_words = "";
    for (limit, words) in LIMITS {
        let group: Vec<Duration> = ages
            .iter()
            .copied()
            .filter(|age| (from..limit).contains(age))
            .collect();
        if let (Some(first), Some(last)) = (group.first(), group.last()) {
            let range = if from.is_zero() {
                format!("younger than {words}")
            } else if words.is_empty() {
                format!("older than {from_words}")
            } else {
                format!("{from_words} to {words} old")
            };
            let gaps = u32::try_from(group.len()).unwrap_or(u32::MAX) - 1;
            let apart = match last.saturating_sub(*first).checked_div(gaps) {
                Some(apart) => format!("about {} apart", roughly(apart)),
                None if *last < Duration::from_secs(60) => "just taken".to_owned(),
                None => format!("{} old", roughly(*last)),
            };
            page.line(&format!("  {range:<29}{:>5}   {apart}", group.len()));
        }
        from = limit;
        from_words = words;
    }
    if let Some(oldest) = ages.last().filter(|age| **age >= Duration::from_secs(60)) {
        page.line(&format!("  The oldest is {} old.", roughly(*oldest)));
    }
}
