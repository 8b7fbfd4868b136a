use proptest::prelude::*;

use super::*;

fn path(name: &str) -> DatasetPath {
    DatasetPath::new(name).expect(name)
}

fn sink() -> ReceiveRoot {
    let client = ClientIdentity::new("client1").expect("valid");
    ReceiveRoot::of_client(path("dst/sink"), &client).expect("fits")
}

#[test]
fn filesystems_of_a_client_are_below_its_root() {
    let root = sink();
    assert_eq!(root.client_root(), &path("dst/sink/client1"));
    for (remote, local) in [
        ("src/p/a", "dst/sink/client1/src/p/a"),
        ("src", "dst/sink/client1/src"),
        ("dst/sink/client2", "dst/sink/client1/dst/sink/client2"),
        ("...", "dst/sink/client1/..."),
        ("a b/c:d", "dst/sink/client1/a b/c:d"),
    ] {
        let local = path(local);
        assert_eq!(root.to_local(remote), Ok(local.clone()));
        assert_eq!(root.to_remote(&local), Some(path(remote)));
    }
    let pull = ReceiveRoot::of_pull(path("dst/pull"));
    assert_eq!(pull.to_local("src/a"), Ok(path("dst/pull/src/a")));
    assert_eq!(pull.root_fs(), pull.client_root());
}

#[test]
fn roots_and_other_clients_have_no_name_for_a_client() {
    for dataset in [
        "dst",
        "dst/sink",
        "dst/sink/client1",
        "dst/sink/client10",
        "dst/sink/client10/src",
        "dst/sink/client2/src",
        "src",
    ] {
        assert_eq!(sink().to_remote(&path(dataset)), None, "{dataset}");
    }
}

#[test]
fn names_are_refused_in_the_words_of_zrepl() {
    // recorded in 06b-crafted
    let forbidden = "contains forbidden characters (any of '@#|\t<>*')";
    let empty = "empty filesystem not allowed";
    let slash = "must not end with a '/'";
    let everything = FilesystemFilter::everything();
    for (name, text) in [
        ("", empty),
        ("src@a", forbidden),
        ("src#a", forbidden),
        ("a|b", forbidden),
        ("a\tb", forbidden),
        ("a<", forbidden),
        ("a>", forbidden),
        ("a*", forbidden),
        ("/*/", forbidden),
        ("src/", slash),
        ("/", slash),
        (
            "a/../b",
            "dataset name \"a/../b\" is not valid: a component is '.' or '..'",
        ),
        (
            "..",
            "dataset name \"..\" is not valid: a component is '.' or '..'",
        ),
        (
            "./a",
            "dataset name \"./a\" is not valid: a component is '.' or '..'",
        ),
        (
            "/src",
            "dataset name \"/src\" is not valid: a component is empty",
        ),
        (
            "a//b",
            "dataset name \"a//b\" is not valid: a component is empty",
        ),
        (
            "a/%recv",
            "dataset name \"a/%recv\" is not valid: the character '%' is not allowed",
        ),
        (
            "a\0",
            "dataset name \"a\\0\" is not valid: the character '\\0' is not allowed",
        ),
        (
            "a\n",
            "dataset name \"a\\n\" is not valid: the character '\\n' is not allowed",
        ),
    ] {
        let error = sink().to_local(name).expect_err(name);
        assert_eq!(error.to_string(), text);
        assert_eq!(on_sender(&everything, name), Err(error));
    }
}

#[test]
fn the_limit_is_that_of_the_whole_local_name() {
    let root = sink();
    let room = 255 - "dst/sink/client1/".len();
    assert!(root.to_local(&"x".repeat(room)).is_ok());
    assert!(matches!(
        root.to_local(&"x".repeat(room + 1)),
        Err(AccessError::Name(_))
    ));
    let client = ClientIdentity::new(&"x".repeat(250)).expect("valid");
    assert!(ReceiveRoot::of_client(path("dst/sink"), &client).is_err());
    let error = root.to_local(&"x".repeat(1 << 20)).expect_err("too long");
    assert!(error.to_string().len() < 500);
}

#[test]
fn a_sender_has_what_passes_its_filter_and_nothing_else() {
    let filter = FilesystemFilter::new([("src<", true), ("src/q/secret<", false)]).expect("valid");
    assert_eq!(on_sender(&filter, "src/q/a"), Ok(path("src/q/a")));
    // recorded in 06b-crafted
    assert_eq!(
        on_sender(&filter, "src/q/secret")
            .expect_err("excluded")
            .to_string(),
        "endpoint does not allow access to filesystem src/q/secret"
    );
    for name in ["dst", "srcx", "src/q/secret/a"] {
        let dataset = path(name);
        assert_eq!(
            on_sender(&filter, name),
            Err(AccessError::NotInFilter { dataset })
        );
    }
}

/// Texts that look like paths, with what could lead out of one.
fn hostile() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[a-c]{1,3}",
        Just("..".to_owned()),
        Just(".".to_owned()),
        Just(String::new()),
        Just("client2".to_owned()),
        Just("dst".to_owned()),
        "\\PC{0,4}",
        any::<String>(),
    ];
    prop::collection::vec(part, 0..6).prop_map(|parts| parts.join("/"))
}

proptest! {
    #[test]
    fn no_text_leads_out_of_the_root_of_a_client(
        filesystem in prop_oneof![hostile(), any::<String>()],
        client in prop_oneof![hostile(), Just("client1".to_owned())],
    ) {
        let root_fs = path("dst/sink");
        let Ok(client) = ClientIdentity::new(&client) else { return Ok(()) };
        let Ok(root) = ReceiveRoot::of_client(root_fs.clone(), &client) else { return Ok(()) };
        prop_assert_eq!(root.client_root().parent(), Some(root_fs.clone()));
        let Ok(local) = root.to_local(&filesystem) else { return Ok(()) };
        prop_assert!(local.is_within(root.client_root()) && &local != root.client_root());
        prop_assert!(local.components().all(|part| !matches!(part, "" | "." | "..")));
        // Nobody else has a name for it.
        prop_assert_eq!(root.to_remote(&local), Some(path(&filesystem)));
        for other in ["client1", "client2", "other"] {
            let other = ClientIdentity::new(other).expect("valid");
            if other != client {
                let other = ReceiveRoot::of_client(root_fs.clone(), &other).expect("fits");
                prop_assert_eq!(other.to_remote(&local), None);
            }
        }
    }

    #[test]
    fn what_a_client_can_name_is_what_it_can_reach(parts in prop::collection::vec("[a-b]|client[12]|dst|sink", 1..7)) {
        let dataset = path(&parts.join("/"));
        let root = sink();
        match root.to_remote(&dataset) {
            Some(remote) => prop_assert_eq!(root.to_local(remote.as_str()), Ok(dataset)),
            None => prop_assert!(
                &dataset == root.client_root() || !dataset.is_within(root.client_root())
            ),
        }
    }

    #[test]
    fn no_text_gets_past_the_filter(filesystem in hostile()) {
        let filter = FilesystemFilter::new([("a<", true), ("a/b<", false)]).expect("valid");
        if let Ok(dataset) = on_sender(&filter, &filesystem) {
            prop_assert!(dataset.is_within(&path("a")) && !dataset.is_within(&path("a/b")));
        }
    }
}
