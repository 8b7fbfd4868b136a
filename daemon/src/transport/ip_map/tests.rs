use proptest::prelude::*;

use super::*;

fn map(entries: &[(&str, &str)]) -> ClientMap {
    ClientMap::new(entries.iter().copied()).unwrap_or_else(|error| panic!("{error}"))
}

fn ask(map: &ClientMap, peer: &str) -> Option<String> {
    let (ip, zone) = match peer.split_once('%') {
        Some((ip, zone)) => (ip, Some(zone)),
        None => (peer, None),
    };
    let ip = ip.parse().expect(peer);
    map.identity(ip, zone)
        .ok()
        .map(|identity| identity.to_string())
}

#[test]
fn peers_are_found_by_the_longest_prefix_of_their_family_and_zone() {
    let mixed = map(&[
        ("10.0.0.0/8", "net-*"),
        ("10.1.0.0/16", "lab-*"),
        ("10.1.2.3", "one"),
        ("fe80::/10%eth0", "link-*"),
        ("fe80::1%eth1", "router"),
        ("2001:db8::1", "six"),
        ("::ffff:192.0.2.1", "mapped"),
        ("198.51.100.77/24", "host-bits-*"),
    ]);
    let all4 = map(&[("0.0.0.0/0", "four-*")]);
    let all6 = map(&[("0::/0", "six-*")]);
    let wide6 = map(&[("::ffff:0:0/95", "wide-*")]);
    let all_mapped = map(&[("::ffff:0:0/96", "m-*-x")]);
    let cases: &[(&ClientMap, &str, Option<&str>)] = &[
        (&mixed, "10.1.2.3", Some("one")),
        (&mixed, "::ffff:10.1.2.3", Some("one")),
        (&mixed, "10.1.2.4", Some("lab-10.1.2.4")),
        (&mixed, "::ffff:10.1.2.4", Some("lab-10.1.2.4")),
        (&mixed, "10.2.0.1", Some("net-10.2.0.1")),
        (&mixed, "11.0.0.1", None),
        (&mixed, "192.0.2.1", Some("mapped")),
        (&mixed, "198.51.100.1", Some("host-bits-198.51.100.1")),
        (&mixed, "fe80::2%eth0", Some("link-fe80::2-eth0")),
        (&mixed, "fe80::2", None),
        (&mixed, "fe80::2%eth1", None),
        (&mixed, "fe80::1%eth1", Some("router")),
        (&mixed, "fe80::1", None),
        (&mixed, "2001:db8::1", Some("six")),
        (&mixed, "2001:db8::1%eth0", None),
        (&mixed, "2001:db8::2", None),
        (&mixed, "10.1.2.3%eth0", None),
        (&all4, "1.2.3.4", Some("four-1.2.3.4")),
        (&all4, "::1", None),
        (&all4, "::1.2.3.4", None),
        (&all6, "::1", Some("six-::1")),
        (&all6, "2001:DB8:0:0:1::", Some("six-2001:db8:0:0:1::")),
        (&all6, "::1.2.3.4", Some("six-::102:304")),
        (&all6, "1.2.3.4", None),
        (&all6, "::ffff:1.2.3.4", None),
        (&wide6, "1.2.3.4", None),
        (&wide6, "::fffe:1.2.3.4", Some("wide-::fffe:102:304")),
        (&all_mapped, "1.2.3.4", Some("m-1.2.3.4-x")),
        (&all_mapped, "::1", None),
    ];
    for (map, peer, expected) in cases {
        assert_eq!(ask(map, peer).as_deref(), *expected, "{peer} in {map:?}");
    }
}

#[test]
fn bad_entries_say_what_is_wrong() {
    let long = format!("{}*", "x".repeat(200));
    let cases: &[(&str, &str, &str)] = &[
        (
            "10.0.0.1",
            "a-*",
            "non-CIDR matches must not contain '*' placeholder",
        ),
        (
            "10.0.0.1",
            "a/b",
            "invalid client identity \"a/b\": client identity must be usable",
        ),
        (
            "10.0.0.1",
            "",
            "invalid client identity \"\": client identity must be usable",
        ),
        (
            "10.0.0.0/8",
            "a",
            "CIDRs require 1 IP placeholder: the identity must contain '*' exactly once, but contains it 0 times",
        ),
        ("10.0.0.0/8", "*-*", "CIDRs require 1 IP placeholder"),
        ("10.0.0.0/8", "a/*", "invalid client identity \"a/*\": "),
        (
            "10.0.0.0/8",
            &long,
            "must not be longer than 255 chars, but it has 256",
        ),
        ("10.0.0.0/33", "*", "invalid network \"10.0.0.0/33\""),
        ("::/129", "*", "invalid network"),
        ("10.0.0.0/", "*", "invalid network"),
        ("10.0.0.0/+8", "*", "invalid network"),
        ("10.0.0.0/255.0.0.0", "*", "invalid network"),
        ("10.0.0/8", "*", "invalid network"),
        ("10.0.0.01", "a", "invalid client address \"10.0.0.01\""),
        ("010.0.0.0/8", "*", "invalid network"),
        ("10.0.0", "a", "invalid client address"),
        ("example.org", "a", "invalid client address"),
        ("[::1]", "a", "invalid client address"),
        (" ::1", "a", "invalid client address"),
        ("1:2:3:4:5:6:7:8::", "a", "invalid client address"),
        ("1::2:3:4:5:6:7:8", "a", "invalid client address"),
        ("", "a", "invalid client address \"\""),
        ("fe80::%eth0/10", "*", "invalid zone \"eth0/10\""),
    ];
    for (key, identity, expected) in cases {
        let error = ClientMap::new([("::1", "fine"), (*key, *identity)])
            .expect_err(key)
            .to_string();
        let start = format!("cannot parse client IP map: cannot parse {key:?}:{identity:?}: ");
        assert!(error.starts_with(&start), "{error}");
        assert!(error.contains(expected), "{error}");
    }
    // Room for 39 characters of address, a dash and 16 of zone.
    assert!(ClientMap::new([("10.0.0.0/8", &long[1..])]).is_ok());
}

#[test]
fn two_answers_for_one_peer_are_refused() {
    let pairs = [
        ("10.0.0.1", "::ffff:10.0.0.1"),
        ("::1", "0:0:0:0:0:0:0:1"),
        ("::1%", "::1"),
    ];
    for (first, second) in pairs {
        let error = ClientMap::new([(first, "a"), (second, "b")]).expect_err(first);
        assert_eq!(
            error.problem.to_string(),
            format!("the entry {first:?} is about the same addresses, but says \"a\"")
        );
        assert!(ClientMap::new([(first, "a"), (second, "a")]).is_ok());
    }
    assert!(ClientMap::new([("10.1.2.3/8", "a*"), ("10.0.0.0/8", "b*")]).is_err());
    assert!(ClientMap::new([("10.0.0.0/8", "a*"), ("10.0.0.0/9", "b*")]).is_ok());
    assert!(ClientMap::new([("::1%a", "a"), ("::1%b", "b")]).is_ok());
}

#[test]
fn peers_that_nobody_knows_are_named() {
    let map = map(&[("fe80::/10%eth0", "x-*")]);
    let ip: IpAddr = "fe80::1".parse().expect("address");
    assert_eq!(
        map.identity(ip, Some("eth1"))
            .expect_err("other zone")
            .to_string(),
        "no identity mapping for client IP: fe80::1%eth1"
    );
    let odd = ClientMap::new([("fe80::/10%a@b", "x-*")]).expect("zones are not checked");
    assert_eq!(
        odd.identity(ip, Some("a@b"))
            .expect_err("not a component")
            .to_string(),
        "client IP fe80::1 would be called \"x-fe80::1-a@b\": client identity must be usable as a single dataset path \
         component: must only contain alphanumeric chars and any in \"-_.: \", but it contains '@'"
    );
}

#[test]
fn entries_come_back_as_written() {
    let written = [("::/0", "six-*"), ("10.1.2.3/8", "*"), ("::1", "me")];
    let map = map(&written);
    let back: Vec<_> = map
        .entries()
        .iter()
        .map(|e| (e.key(), e.identity()))
        .collect();
    assert_eq!(back, written);
    assert_eq!(map.entries()[1].to_string(), "\"10.1.2.3/8\": \"*\"");
}

proptest! {
    /// Against comparing bit by bit.
    #[test]
    fn networks_contain_what_shares_their_bits(network: u32, bits in 0_u32..=32, peer: u32, near: bool) {
        let peer = if near { network ^ (peer & (u32::MAX.checked_shr(bits.saturating_sub(1)).unwrap_or(0))) } else { peer };
        let key = format!("{}/{bits}", Ipv4Addr::from_bits(network));
        let map = map(&[(&key, "*")]);
        let same = (0..bits).all(|bit| (network ^ peer) >> (31 - bit) & 1 == 0);
        prop_assert_eq!(map.identity(Ipv4Addr::from_bits(peer).into(), None).is_ok(), same);
    }
}
