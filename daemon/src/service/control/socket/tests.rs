use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;

use tempfile::TempDir;

use super::*;

fn directory() -> TempDir {
    let directory = tempfile::tempdir().expect("temporary directory");
    set_mode(directory.path(), 0o700);
    directory
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("ours");
}

async fn refused(path: &Path) -> SocketError {
    ControlSocket::bind(path).await.expect_err("not possible")
}

#[tokio::test]
async fn the_socket_vanishes_and_can_be_bound_again() {
    let directory = directory();
    let path = directory.path().join("control");
    for _ in 0..2 {
        let socket = ControlSocket::bind(&path).await.expect("free");
        UnixStream::connect(&path).await.expect("listens");
        drop(socket);
        assert!(!path.exists());
    }
}

#[tokio::test]
async fn a_second_daemon_is_refused_whether_or_not_the_socket_is_still_there() {
    let directory = directory();
    let path = directory.path().join("control");
    let first = ControlSocket::bind(&path).await.expect("free");
    let error = refused(&path).await;
    assert!(error.is_another_daemon());
    let expected = format!(
        "{}.lock is locked by process {}: stop that daemon first, or give each its own global.control.sockpath",
        path.display(),
        std::process::id()
    );
    assert_eq!(error.to_string(), expected);
    fs::remove_file(&path).expect("there");
    assert!(refused(&path).await.is_another_daemon());
    drop(first);
}

#[tokio::test]
async fn a_daemon_without_a_lock_is_left_alone_if_it_answers() {
    let directory = directory();
    let path = directory.path().join("control");
    let other = UnixListener::bind(&path).expect("free");
    let error = refused(&path).await;
    assert!(error.is_another_daemon(), "{error}");
    assert!(path.exists());
    drop(other);
    // Now it is a leftover.
    ControlSocket::bind(&path).await.expect("nobody answers");
}

#[tokio::test]
async fn what_is_no_socket_is_not_removed() {
    let directory = directory();
    let path = directory.path().join("control");
    fs::write(&path, "precious").expect("writable");
    let error = refused(&path).await;
    assert!(!error.is_another_daemon());
    assert!(
        error.to_string().starts_with(&format!(
            "unexpected file type at path '{}'",
            path.display()
        )),
        "{error}"
    );
    assert_eq!(fs::read(&path).expect("still there"), b"precious");
}

#[tokio::test]
async fn a_lock_file_that_is_a_link_is_not_followed() {
    let directory = directory();
    let path = directory.path().join("control");
    let victim = directory.path().join("victim");
    fs::write(&victim, "precious").expect("writable");
    std::os::unix::fs::symlink(&victim, directory.path().join("control.lock")).expect("new");
    let error = refused(&path).await;
    assert!(!error.is_another_daemon());
    assert_eq!(fs::read(&victim).expect("still there"), b"precious");
}

#[tokio::test]
async fn the_directory_is_checked_as_zrepl_does() {
    let directory = directory();
    let path = directory.path().join("control");
    for mode in [0o701, 0o704, 0o777] {
        set_mode(directory.path(), mode);
        let error = refused(&path).await.to_string();
        let expected = format!(
            "socket directory must not be world-accessible: {} (permissions are {mode:04o})",
            directory.path().display()
        );
        assert!(error.starts_with(&expected), "{error}");
    }
    set_mode(directory.path(), 0o770);
    ControlSocket::bind(&path).await.expect("closed to others");
    let error = refused(&directory.path().join("nosuch/control")).await;
    assert!(error.to_string().starts_with("cannot stat(2) '"), "{error}");
    let file = directory.path().join("file");
    fs::write(&file, "").expect("writable");
    let error = refused(&file.join("control")).await;
    assert_eq!(
        error.to_string(),
        format!("not a directory: {}", file.display())
    );
}
