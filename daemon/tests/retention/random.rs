//! Random timelines, rules and clock steps.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use zrepl_daemon::config;
use zrepl_daemon::config::job::JobConfig;

use super::world::{Event, World, limit};

/// Rules as they are written.
fn rules(sender: bool) -> impl Strategy<Value = String> {
    let grid = prop::collection::vec((1..8_u32, 1..7_u32, 0..4_u32), 1..4).prop_map(|intervals| {
        let mut length = 0;
        let intervals = intervals.into_iter().map(|(repeat, more, keep)| {
            length += more * 10;
            let keep = match keep {
                0 => "all".to_owned(),
                keep => keep.to_string(),
            };
            format!("{repeat}x{length}m(keep={keep})")
        });
        let grid = intervals.collect::<Vec<_>>().join(" | ");
        format!("{{type: grid, grid: \"{grid}\", regex: \"^z_\"}}")
    });
    let last_n = (1..20_u32).prop_map(|count| format!("{{type: last_n, count: {count}}}"));
    let not_replicated = any::<bool>().prop_map(move |keep| {
        if sender {
            format!("{{type: not_replicated, keep_snapshot_at_cursor: {keep}}}")
        } else {
            "{type: regex, regex: \"^z_\", negate: true}".to_owned()
        }
    });
    prop::collection::vec(
        prop_oneof![2 => grid, 1 => last_n, 1 => not_replicated],
        1..3,
    )
    .prop_map(|rules| rules.join(", "))
}

fn schedule() -> impl Strategy<Value = String> {
    prop_oneof![
        (1..40_u32).prop_map(|minutes| format!("type: periodic, interval: {minutes}m")),
        (1..30_u32).prop_map(|step| format!("type: cron, cron: \"*/{step} * * * *\"")),
        Just("type: cron, cron: \"TZ=Europe/Berlin 30 2,14 * * *\"".to_owned()),
    ]
}

fn events() -> impl Strategy<Value = Vec<(i64, Event)>> {
    let seconds = |from: i64, to: i64| (from..to).prop_map(SignedDuration::from_secs);
    let event = prop_oneof![
        3 => seconds(0, 7200).prop_map(|down| Event::Restart { down }),
        3 => seconds(0, 200_000).prop_map(|length| Event::Sleep { length }),
        2 => seconds(-20_000, 20_000).prop_map(|by| Event::Step { by }),
        1 => seconds(-3_000_000, 3_000_000).prop_map(|by| Event::Step { by }),
        3 => any::<bool>().prop_map(Event::Reachable),
    ];
    prop::collection::vec((0..8_000_i64, event), 0..16)
}

/// Around the end of summer time in Berlin.
const START: i64 = 1_792_800_000;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The slow model agrees after each round, whatever happens; a receiver has what it was sent and nothing else; and where clocks
    /// were not set back, no name is taken twice and there is no more than the rules have room for.
    #[test]
    fn the_slow_model_agrees(
        schedule in schedule(),
        keep_sender in rules(true),
        keep_receiver in rules(false),
        events in events(),
    ) {
        let text = format!(
            "jobs: [{{name: j, type: push, connect: {{type: local, listener_name: l, client_identity: c}}, \
             filesystems: {{\"p\": true}}, snapshotting: {{{schedule}, prefix: z_}}, \
             pruning: {{keep_sender: [{keep_sender}], keep_receiver: [{keep_receiver}]}}}}]"
        );
        let loaded = config::parse("zrepl.yml", &text).and_then(config::Loaded::into_result);
        let loaded = loaded.unwrap_or_else(|error| panic!("{error}\n{text}"));
        let JobConfig::Push(push) = &loaded.config.jobs[0] else {
            panic!("a push job");
        };
        let (keep_sender, keep_receiver) = (push.pruning.keep_sender.rules(), push.pruning.keep_receiver.rules());
        let time = Timestamp::from_second(START).expect("in range");
        let sides = vec![(keep_sender, keep_receiver.clone())];
        let mut world = World::new(time, &push.snapshotting, None, sides);
        let is_set_back = events.iter().any(|(_, event)| matches!(event, Event::Step { by } if by.is_negative()));
        for (pause, event) in events {
            let end = world.now + SignedDuration::from_secs(pause);
            world.run(end, &mut std::iter::empty().peekable());
            let now = world.now;
            world.run(now + SignedDuration::from_secs(1), &mut std::iter::once((now, event)).peekable());
        }
        let end = world.now + SignedDuration::from_hours(12);
        world.run(end, &mut std::iter::empty().peekable());
        let receiver = &world.receivers[0];
        if !is_set_back {
            prop_assert!(world.names_are_unique());
            let most = limit(&keep_receiver, 55, 0).expect("bounded");
            prop_assert!(!world.reachable || receiver.side.snapshots.len() as u64 <= most);
        }
        for pair in receiver.side.snapshots.windows(2) {
            prop_assert!(pair[0].number < pair[1].number, "{:?}", pair);
        }
        if world.reachable && world.rounds > 0 {
            let newest = world.sender.snapshots.last().map_or(0, |it| it.number);
            prop_assert!(receiver.cursor.unwrap_or(0) >= newest);
        }
    }
}
