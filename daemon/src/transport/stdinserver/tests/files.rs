//! The sockets as files.

use super::*;

#[tokio::test]
async fn the_directory_must_be_one_and_closed_to_others() {
    let bind = |path: &Path| {
        let error = StdinserverListener::bind(path, &identities(&["a"])).expect_err("refused");
        chain(&error)
    };
    let directory = directory();
    let path = directory.path();
    let missing = bind(&path.join("missing"));
    assert!(missing.contains("create it with mode 0700"), "{missing}");
    assert!(missing.contains("No such file"), "{missing}");
    File::create(path.join("file")).expect("new");
    assert!(bind(&path.join("file")).contains("is not a directory: it must be one"));
    for mode in [0o701, 0o702, 0o704] {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("ours");
        let shown = path.display();
        assert_eq!(
            bind(path),
            format!(
                "directory {shown} must not be accessible to others, but its mode is {mode:04o}: run chmod o= {shown}"
            )
        );
    }
    fs::set_permissions(path, Permissions::from_mode(0o770)).expect("ours");
    StdinserverListener::bind(path, &identities(&["a", "a"])).expect("a group may be let in");
}

#[tokio::test]
async fn a_path_that_is_too_long_for_a_socket_is_named() {
    let directory = directory();
    let identity = "x".repeat(120);
    let error = StdinserverListener::bind(directory.path(), &identities(&[&identity]));
    let text = error.expect_err("too long").to_string();
    assert!(
        text.starts_with("a socket's path has at most 107 bytes, but /"),
        "{text}"
    );
    assert!(text.contains(&identity), "{text}");
}

#[tokio::test]
async fn leftover_sockets_make_room_and_nothing_else_does() {
    let directory = directory();
    let path = directory.path().join("client1");
    drop(StdUnixListener::bind(&path).expect("new"));
    assert!(path.exists(), "a leftover");
    drop(StdinserverListener::bind(directory.path(), &identities(&["client1"])).expect("bound"));
    assert!(!path.exists(), "unlinked");

    fs::write(&path, "precious").expect("new");
    let error = StdinserverListener::bind(directory.path(), &identities(&["a", "client1"]));
    let text = error.expect_err("in the way").to_string();
    assert!(
        text.contains("client1 is in the way: it is not a socket"),
        "{text}"
    );
    assert_eq!(fs::read(&path).expect("untouched"), b"precious");
    assert!(
        !directory.path().join("a").exists(),
        "nothing is left of a failure"
    );
}

#[tokio::test]
async fn a_socket_that_somebody_else_has_replaced_stays() {
    let directory = directory();
    let first = StdinserverListener::bind(directory.path(), &identities(&["a"])).expect("bound");
    let second = StdinserverListener::bind(directory.path(), &identities(&["a"])).expect("bound");
    drop(first);
    assert!(directory.path().join("a").exists());
    drop(second);
    assert!(!directory.path().join("a").exists());
}
