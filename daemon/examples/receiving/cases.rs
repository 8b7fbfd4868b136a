//! The cases.

use std::time::Duration;

use zrepl_daemon::endpoint::Endpoint as _;
use zrepl_proto::pdu::GuaranteeKind;

use crate::bed::{
    Ask, Bed, OFF, cut, destroy, full, get, holds, package, sh, standing, step, whole,
};

type Future = std::pin::Pin<Box<dyn std::future::Future<Output = ()> + Send>>;
type Case = fn(Bed) -> Future;

macro_rules! cases {
    ($($name:ident,)*) => {
        pub(crate) const ALL: &[(&str, Case)] = &[$((stringify!($name), |bed| Box::pin($name(bed)))),*];
    };
}

cases! {
    parents_are_placeholders,
    unspecified_encryption_is_an_error_before_anything_is_made,
    listing_says_what_is_there,
    a_placeholder_gives_way_and_its_children_stay,
    a_failed_receive_brings_the_placeholder_back,
    an_interrupted_receive_into_a_placeholder_resumes,
    an_interrupted_receive_into_a_placeholder_can_be_discarded,
    an_encrypted_stream_replaces_a_placeholder_without_children,
    a_replacement_that_was_killed_before_it_began,
    a_package_destroys_nothing_below_a_placeholder,
    what_was_received_is_never_destroyed,
    the_same_step_twice_is_a_success,
    the_announced_guid_is_the_one_of_the_stream,
    the_mark_moves_and_stale_ones_go,
    nobody_waits_any_more,
    properties_of_the_configuration,
    a_step_costs_what_it_must,
}

async fn parents_are_placeholders(bed: Bed) {
    let root = bed.root("parents");
    let receiver = bed.receiver(&root, OFF);
    let ask = Ask(&receiver);
    // Left by somebody who was killed while making it.
    sh(&format!("zfs create -o mountpoint=none {root}/c.zrepl.new"));
    let bytes = bed.bytes(full("src/fs@1"));
    let received = ask.receive("a/b/fs", full("src/fs@1"), whole(bytes)).await;
    received.expect("received");
    for placeholder in ["c", "c/a", "c/a/b"] {
        let found = sh(&format!(
            "zfs get -Hp -o value,source zrepl:placeholder,mountpoint {root}/{placeholder}"
        ));
        assert_eq!(found, "on\tlocal\nnone\tlocal", "{placeholder}");
    }
    assert_eq!(get("mounted", &format!("{root}/c/a/b/fs")), "no");
    let all = sh(&format!("zfs list -H -o name -r {root}"));
    assert!(!all.contains("zrepl.new"), "{all}");
}

async fn unspecified_encryption_is_an_error_before_anything_is_made(bed: Bed) {
    let root = bed.root("unspecified");
    let receiver = bed.receiver(&root, "{}");
    let bytes = bed.bytes(full("src/fs@1"));
    let error = Ask(&receiver)
        .refused("a/fs", full("src/fs@1"), whole(bytes.clone()))
        .await;
    assert_eq!(
        error,
        format!(
            "cannot create placeholder filesystem {root}/c/a: placeholder filesystem encryption handling is unspecified in \
             receiver config"
        )
    );
    assert_eq!(sh(&format!("zfs list -H -o name -r {root}")), root);
    // The client's own root is made all the same.
    let received = Ask(&receiver)
        .receive("fs", full("src/fs@1"), whole(bytes))
        .await;
    received.expect("received");
}

async fn listing_says_what_is_there(bed: Bed) {
    let root = bed.root("listing");
    let receiver = bed.receiver(&root, OFF);
    let ask = Ask(&receiver);
    assert!(ask.list().await.expect("lists").is_empty());
    let bytes = bed.bytes(full("src/fs@1"));
    let received = ask.receive("p/whole", full("src/fs@1"), whole(bytes.clone()));
    received.await.expect("received");
    let half = bytes.len() / 2;
    ask.refused("p/half", full("src/fs@1"), cut(bytes, half))
        .await;
    let listed = ask.list().await.expect("lists");
    assert_eq!(listed, ["p placeholder", "p/half interrupted", "p/whole"]);
    assert_eq!(ask.versions("p/whole").await, ["1"]);
    destroy(&root);
    let error = ask.list().await.expect_err("no root").to_string();
    assert!(
        error.contains(&format!("root_fs \"{root}\" does not exist")),
        "{error}"
    );
}

/// A placeholder `p` with a child that was received, and a snapshot that somebody took.
async fn placeholder(bed: &Bed, root: &str) -> zrepl_daemon::endpoint::receiver::Receiver {
    let receiver = bed.receiver(root, OFF);
    let bytes = bed.bytes(full("src/fs@1"));
    let received = Ask(&receiver)
        .receive("p/child", full("src/fs@1"), whole(bytes))
        .await;
    received.expect("received");
    sh(&format!("zfs snapshot {root}/c/p@by-somebody"));
    receiver
}

async fn a_placeholder_gives_way_and_its_children_stay(bed: Bed) {
    let root = bed.root("gives-way");
    let receiver = placeholder(&bed, &root).await;
    let ask = Ask(&receiver);
    let error = ask
        .refused(
            "p",
            step("src/fs@1", "src/fs@2"),
            whole(bed.bytes(step("src/fs@1", "src/fs@2"))),
        )
        .await;
    assert!(
        error.contains("is a placeholder, but the stream is incremental"),
        "{error}"
    );
    let received = ask.receive("p", full("src/fs@1"), whole(bed.bytes(full("src/fs@1"))));
    received.await.expect("received");
    let p = format!("{root}/c/p");
    assert_eq!(get("zrepl:placeholder", &p), "off");
    assert_eq!(ask.versions("p").await, ["1"]);
    assert_eq!(get("guid", &format!("{p}@1")), get("guid", "src/fs@1"));
    assert_eq!(ask.versions("p/child").await, ["1"]);
    let of = step("src/fs@1", "src/fs@2");
    let received = ask.receive("p", of, whole(bed.bytes(of)));
    received.await.expect("an incremental step follows");
}

async fn a_failed_receive_brings_the_placeholder_back(bed: Bed) {
    let root = bed.root("back");
    let receiver = placeholder(&bed, &root).await;
    let bytes = bed.bytes(full("src/fs@1"));
    // So little that there is nothing to resume.
    let error = Ask(&receiver)
        .refused("p", full("src/fs@1"), cut(bytes, 320))
        .await;
    assert!(error.contains("sender failed: cut"), "{error}");
    assert_eq!(get("zrepl:placeholder", &format!("{root}/c/p")), "on");
    assert_eq!(Ask(&receiver).versions("p/child").await, ["1"]);
}

async fn an_interrupted_receive_into_a_placeholder_resumes(bed: Bed) {
    let root = bed.root("resumes");
    let receiver = placeholder(&bed, &root).await;
    let ask = Ask(&receiver);
    let bytes = bed.bytes(full("src/fs@1"));
    let half = bytes.len() / 2;
    let error = ask.refused("p", full("src/fs@1"), cut(bytes, half)).await;
    assert!(error.contains("what has arrived is kept"), "{error}");
    let p = format!("{root}/c/p");
    assert_eq!(get("zrepl:placeholder", &p), "replacing");
    assert_eq!(
        ask.list().await.expect("lists"),
        ["p interrupted", "p/child"]
    );
    let rest = bed.rest(full("src/fs@1"), &p);
    assert!(rest.len() < half * 3 / 2, "{} of {half}", rest.len());
    let received = ask.receive("p", full("src/fs@1"), whole(rest)).await;
    received.expect("resumed");
    assert_eq!(get("zrepl:placeholder", &p), "off");
    assert_eq!(ask.versions("p").await, ["1"]);
}

async fn an_interrupted_receive_into_a_placeholder_can_be_discarded(bed: Bed) {
    let root = bed.root("discarded");
    let receiver = placeholder(&bed, &root).await;
    let ask = Ask(&receiver);
    let bytes = bed.bytes(full("src/fs@1"));
    let half = bytes.len() / 2;
    ask.refused("p", full("src/fs@1"), cut(bytes, half)).await;
    // As if the sender had lost the snapshot.
    let of = full("src/fs@2");
    let request = zrepl_proto::pdu::ReceiveReq {
        clear_resume_token: true,
        ..Ask::request("p", of, GuaranteeKind::Resumability)
    };
    let received = receiver.receive(request, whole(bed.bytes(of))).await;
    received.expect("received");
    assert_eq!(ask.versions("p").await, ["2"]);
    assert_eq!(ask.list().await.expect("lists"), ["p", "p/child"]);
}

async fn an_encrypted_stream_replaces_a_placeholder_without_children(bed: Bed) {
    let root = bed.root("encrypted");
    let receiver = placeholder(&bed, &root).await;
    let ask = Ask(&receiver);
    let of = full("src/secret@1");
    let bytes = bed.bytes(of);
    let error = ask.refused("p", of, whole(bytes.clone())).await;
    assert!(error.contains("zfs rename"), "{error}");
    let p = format!("{root}/c/p");
    assert_eq!(get("zrepl:placeholder", &p), "on");
    assert_eq!(ask.versions("p/child").await, ["1"]);
    // Without children it is replaced, and comes back if that fails.
    destroy(&format!("{p}/child"));
    ask.refused("p", of, cut(bytes.clone(), 320)).await;
    assert_eq!(get("zrepl:placeholder", &p), "on");
    ask.receive("p", of, whole(bytes)).await.expect("received");
    assert_eq!(get("encryptionroot", &p), p);
    assert_eq!(get("guid", &format!("{p}@1")), get("guid", "src/secret@1"));
    let of = step("src/secret@1", "src/secret@2");
    let received = ask.receive("p", of, whole(bed.bytes(of)));
    received.await.expect("an incremental step follows");
}

async fn a_replacement_that_was_killed_before_it_began(bed: Bed) {
    let root = bed.root("killed");
    let receiver = placeholder(&bed, &root).await;
    let ask = Ask(&receiver);
    let p = format!("{root}/c/p");
    sh(&format!(
        "zfs destroy {p}@by-somebody; zfs set zrepl:placeholder=replacing {p}"
    ));
    let received = ask.receive("p", full("src/fs@1"), whole(bed.bytes(full("src/fs@1"))));
    received.await.expect("received");
    assert_eq!(get("zrepl:placeholder", &p), "off");
    assert_eq!(ask.versions("p/child").await, ["1"]);
    // Killed after it had arrived: it is no placeholder, whatever its property says.
    sh(&format!("zfs set zrepl:placeholder=replacing {p}"));
    let error = ask
        .refused("p", full("src/fs@2"), whole(bed.bytes(full("src/fs@2"))))
        .await;
    assert!(error.contains("neither a placeholder nor"), "{error}");
    assert_eq!(ask.versions("p").await, ["1"]);
}

async fn a_package_destroys_nothing_below_a_placeholder(bed: Bed) {
    let root = bed.root("package");
    let receiver = placeholder(&bed, &root).await;
    let ask = Ask(&receiver);
    // Of a tree without children: a forced receive of it, were it taken, would find that those of the target are to go.
    let of = full("src/fs@1");
    ask.refused("p", of, whole(package("-R", "src/fs@1"))).await;
    assert_eq!(ask.versions("p/child").await, ["1"]);
    assert_eq!(get("zrepl:placeholder", &format!("{root}/c/p")), "on");
    // What a sender with send_properties makes replaces the placeholder and nothing else.
    let received = ask.receive("p", of, whole(package("-p", "src/fs@1")));
    received.await.expect("received");
    assert_eq!(ask.versions("p").await, ["1"]);
    assert_eq!(ask.versions("p/child").await, ["1"]);
}

async fn what_was_received_is_never_destroyed(bed: Bed) {
    let root = bed.root("never");
    let receiver = bed.receiver(&root, OFF);
    let ask = Ask(&receiver);
    let bytes = bed.bytes(full("src/fs@1"));
    ask.receive("fs", full("src/fs@1"), whole(bytes))
        .await
        .expect("received");
    let fs = format!("{root}/c/fs");
    let error = ask
        .refused("fs", full("src/fs@2"), whole(bed.bytes(full("src/fs@2"))))
        .await;
    assert!(
        error.contains("neither a placeholder nor") && error.contains(&fs),
        "{error}"
    );
    // Diverged: somebody has written there, and then taken a snapshot.
    sh(&format!(
        "zfs set mountpoint=/tmp/receiving/modified {fs}; zfs mount {fs} 2>/dev/null || true; \
         echo x > /tmp/receiving/modified/x; zfs snapshot {fs}@own"
    ));
    let of = step("src/fs@1", "src/fs@2");
    let error = ask.refused("fs", of, whole(bed.bytes(of))).await;
    assert!(error.contains(&format!("cannot receive {fs}@2")), "{error}");
    assert_eq!(ask.versions("fs").await, ["1", "own"]);
    // Modified.
    sh(&format!("zfs destroy {fs}@own"));
    let error = ask.refused("fs", of, whole(bed.bytes(of))).await;
    assert!(error.contains("modified"), "{error}");
    assert_eq!(sh("cat /tmp/receiving/modified/x"), "x");
    sh(&format!(
        "zfs unmount {fs}; zfs rollback {fs}@1; zfs inherit mountpoint {fs}"
    ));
    ask.receive("fs", of, whole(bed.bytes(of)))
        .await
        .expect("converges");
    // Not a placeholder, and without snapshots.
    sh(&format!("zfs create {root}/c/mine"));
    let error = ask
        .refused("mine", full("src/fs@1"), whole(bed.bytes(full("src/fs@1"))))
        .await;
    assert!(error.contains("zfs set zrepl:placeholder=on"), "{error}");
}

async fn the_same_step_twice_is_a_success(bed: Bed) {
    let root = bed.root("twice");
    let receiver = bed.receiver(&root, OFF);
    let ask = Ask(&receiver);
    let of = step("src/fs@1", "src/fs@2");
    ask.receive("fs", full("src/fs@1"), whole(bed.bytes(full("src/fs@1"))))
        .await
        .expect("received");
    for _ in 0..2 {
        ask.receive("fs", of, whole(bed.bytes(of)))
            .await
            .expect("received");
    }
    assert_eq!(
        holds(&format!("{root}/c/fs@2")),
        "zrepl_last_received_J_sink"
    );
}

async fn the_announced_guid_is_the_one_of_the_stream(bed: Bed) {
    let root = bed.root("guid");
    let receiver = bed.receiver(&root, OFF);
    let bytes = bed.bytes(full("src/fs@2"));
    let error = Ask(&receiver)
        .refused("fs", full("src/fs@1"), whole(bytes))
        .await;
    assert!(error.contains("does not match what we received"), "{error}");
    assert_eq!(
        sh(&format!("zfs list -H -o name -r {root}")),
        root,
        "nothing was made"
    );
}

async fn the_mark_moves_and_stale_ones_go(bed: Bed) {
    let root = bed.root("marks");
    let receiver = bed.receiver(&root, OFF);
    let ask = Ask(&receiver);
    ask.receive("fs", full("src/fs@1"), whole(bed.bytes(full("src/fs@1"))))
        .await
        .expect("received");
    let fs = format!("{root}/c/fs");
    assert_eq!(holds(&format!("{fs}@1")), "zrepl_last_received_J_sink");
    let of = step("src/fs@1", "src/fs@2");
    ask.receive("fs", of, whole(bed.bytes(of)))
        .await
        .expect("received");
    // The old one has time.
    assert_eq!(holds(&format!("{fs}@2")), "zrepl_last_received_J_sink");
    receiver.settle().await;
    assert_eq!(holds(&format!("{fs}@1")), "");
    // What a zrepl left that was killed, and what is somebody else's; a daemon that starts finds them.
    sh(&format!(
        "zfs hold zrepl_last_received_J_sink {fs}@1; zfs hold zrepl_last_received_J_other {fs}@1; zfs hold mine {fs}@1"
    ));
    let receiver = bed.receiver(&root, OFF);
    assert_eq!(Ask(&receiver).versions("fs").await, ["1", "2"]);
    assert_eq!(
        holds(&format!("{fs}@1")),
        "mine\nzrepl_last_received_J_other"
    );
    assert_eq!(holds(&format!("{fs}@2")), "zrepl_last_received_J_sink");
    // Killed after the snapshot was there and before it was marked: it is told again by a driver that finds the sender without cursor.
    sh(&format!("zfs release zrepl_last_received_J_sink {fs}@2"));
    let receiver = bed.receiver(&root, OFF);
    for name in ["src/fs@2", "src/fs@1"] {
        let told = Ask::completed("fs", full(name));
        receiver.send_completed(told).await.expect("confirmed");
        let marked = holds(&format!("{fs}@2"));
        assert_eq!(marked, "zrepl_last_received_J_sink", "after {name}");
    }
    // Nothing promised, nothing marked.
    let of = step("src/fs@2", "src/fs@3");
    let request = Ask::request("fs", of, GuaranteeKind::Nothing);
    receiver
        .receive(request, whole(bed.bytes(of)))
        .await
        .expect("received");
    receiver.settle().await;
    assert_eq!(holds(&format!("{fs}@2")), "");
    assert_eq!(holds(&format!("{fs}@3")), "");
}

async fn nobody_waits_any_more(bed: Bed) {
    let root = bed.root("nobody");
    let receiver = bed.receiver(&root, OFF);
    let bytes = bed.bytes(full("src/fs@1"));
    let request = Ask::request("fs", full("src/fs@1"), GuaranteeKind::Resumability);
    let (stream, writer) = standing(&bytes[..60_000]);
    let moved = stream.moved.clone();
    let this = receiver.clone();
    let asking = tokio::spawn(async move { this.receive(request, stream).await });
    while moved.get() < 60_000 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    asking.abort();
    assert!(asking.await.is_err_and(|error| error.is_cancelled()));
    receiver.settle().await;
    drop(writer);
    let fs = format!("{root}/c/fs");
    assert_ne!(get("receive_resume_token", &fs), "-");
    let rest = bed.rest(full("src/fs@1"), &fs);
    let receiver = bed.receiver(&root, OFF);
    let received = Ask(&receiver)
        .receive("fs", full("src/fs@1"), whole(rest))
        .await;
    received.expect("resumed");
}

async fn properties_of_the_configuration(bed: Bed) {
    let root = bed.root("properties");
    let recv = "properties: { inherit: [compression], override: { \"test:mine\": \"1\", atime: \"off\" } }";
    let receiver = bed.receiver(&root, recv);
    let ask = Ask(&receiver);
    ask.receive("fs", full("src/fs@1"), whole(bed.bytes(full("src/fs@1"))))
        .await
        .expect("received");
    let fs = format!("{root}/c/fs");
    let found = sh(&format!("zfs get -H -o value,source test:mine,atime {fs}"));
    assert_eq!(found, "1\tlocal\noff\tlocal");
    let of = step("src/fs@1", "src/fs@2");
    ask.receive("fs", of, whole(bed.bytes(of)))
        .await
        .expect("received");
    let receiver = bed.receiver(&root, "properties: { override: { nosuch: \"1\" } }");
    let of = step("src/fs@2", "src/fs@3");
    let error = Ask(&receiver).refused("fs", of, whole(bed.bytes(of))).await;
    assert!(
        error.contains("property \"nosuch\" of the configuration"),
        "{error}"
    );
}

async fn a_step_costs_what_it_must(bed: Bed) {
    if !bed.is_native() {
        return;
    }
    let root = bed.root("costs");
    let receiver = bed.receiver(&root, OFF);
    let ask = Ask(&receiver);
    ask.receive("fs", full("src/fs@1"), whole(bed.bytes(full("src/fs@1"))))
        .await
        .expect("received");
    let of = step("src/fs@1", "src/fs@2");
    let bytes = bed.bytes(of);
    let request = Ask::request("fs", of, GuaranteeKind::Resumability);
    let before = bed.zfs.counters().now();
    receiver
        .receive(request, whole(bytes))
        .await
        .expect("received");
    let cost = bed.zfs.counters().now() - before;
    println!("  a step costs the receiver {cost:?}");
    // The receive, and the hold on what is new.
    assert_eq!((cost.processes, cost.txg_waits), (0, 2), "{cost:?}");
    // The target, the stream (two), what arrived, hold.
    assert_eq!(cost.ioctls, 5, "{cost:?}");
    let before = bed.zfs.counters().now();
    receiver.settle().await;
    let cost = bed.zfs.counters().now() - before;
    // The release of what is old, for all filesystems together.
    assert_eq!((cost.ioctls, cost.txg_waits), (1, 1), "{cost:?}");
    let before = bed.zfs.counters().now();
    ask.list().await.expect("lists");
    ask.versions("fs").await;
    let cost = bed.zfs.counters().now() - before;
    println!("  listing one filesystem costs {cost:?}");
    assert_eq!((cost.processes, cost.txg_waits), (0, 0));
}
