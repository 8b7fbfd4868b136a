use zrepl_proto::extension::{Agreement, Extensions, negotiate};
use zrepl_proto::pdu::ListFilesystemReq;

use super::*;
use crate::config::{self, job::JobConfig};
use crate::rpc::server::Settings;

fn source_settings() -> sender::Settings {
    let yaml = "jobs:\n- type: source\n  name: src\n  filesystems: {'tank': true}\n  snapshotting: {type: manual}\n  \
                serve: {type: local, listener_name: l}\n";
    let loaded = config::parse("test.yml", yaml).expect("good");
    let Some(JobConfig::Source(job)) = loaded.config.job("src") else {
        panic!("a source")
    };
    sender::Settings {
        job: JobId::from(&job.name),
        fallback_job: None,
        filesystems: job.filesystems.clone(),
        send: job.send.clone(),
        limit: None,
    }
}

fn client(identity: &str, agreement: Agreement) -> Client {
    Client {
        identity: ClientIdentity::new(identity).expect("valid"),
        peer: "10.0.0.1:1".to_owned(),
        agreement,
    }
}

fn ours() -> Agreement {
    negotiate(&client_cursor::extensions(), &client_cursor::extensions())
}

#[test]
fn a_client_of_ours_has_marks_of_its_own() {
    let plain = source_settings();
    let settings = settings_for(&client("nas1", ours()), &plain, &[]);
    assert_eq!(settings.job.as_str(), "src_C_nas1");
    assert_eq!(settings.fallback_job, Some(plain.job.clone()));
}

#[test]
fn marks_of_other_clients_are_those_of_zrepl() {
    let plain = source_settings();
    let go = negotiate(&client_cursor::extensions(), &Extensions::default());
    let settings = settings_for(&client("nas1", go), &plain, &[]);
    assert_eq!(
        (settings.job, settings.fallback_job),
        (plain.job.clone(), None)
    );
    // No room for both names in that of a bookmark.
    let settings = settings_for(&client(&"x".repeat(200), ours()), &plain, &[]);
    assert_eq!((settings.job, settings.fallback_job), (plain.job, None));
}

#[test]
fn source_and_pull_announce_it_and_nobody_else_does() {
    assert_eq!(
        Settings::new("j").handshake.extensions,
        Extensions::default()
    );
    let lines: Vec<String> = client_cursor::extensions()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(lines, ["zrepl.client-cursor/1"]);
}

#[test]
fn a_client_keeps_its_endpoint_from_one_connection_to_the_next() {
    let kept = Kept::default();
    let first = kept.endpoint("a", || 1);
    drop(kept.endpoint("b", || 2));
    assert!(Arc::ptr_eq(&first, &kept.endpoint("a", || 3)));
    assert_eq!(*kept.endpoint("b", || 4), 2);
    assert_eq!(kept.all().len(), 2);
}

#[test]
fn endpoints_that_nobody_uses_go_when_there_are_too_many() {
    let kept = Kept::default();
    let used: Vec<_> = (0..10).map(|key| kept.endpoint(key, || key)).collect();
    for key in 10..10 * KEPT {
        kept.endpoint(key, || key);
        assert!(kept.all().len() <= KEPT, "{key}");
    }
    for endpoint in used {
        let key = *endpoint;
        assert!(Arc::ptr_eq(&endpoint, &kept.endpoint(key, || 0)));
    }
}

#[tokio::test]
async fn a_client_that_cannot_be_served_learns_why() {
    let side = Side::new(Arc::new(Refusing::new("too long".to_owned())), Span::none());
    let error = side
        .list_filesystems(ListFilesystemReq::default())
        .await
        .expect_err("refused");
    assert_eq!(error.to_string(), "too long");
}
