//! The argument block, what the old listings fill in, and who may open the device.

use std::os::unix::fs::PermissionsExt;

use zfs_sys::ioctl::{DATASET_LIST_NEXT, OBJSET_STATS, SNAPSHOT_LIST_NEXT};
use zfs_sys::zfs_cmd::{BUFFER_SIZE, Layout, zfs_cmd_t};

use super::Verdict;
use super::kernel::{Block, Kernel, REPLY};
use crate::bed::{self, Bed, Which, sh};

fn layout(bed: &Bed) -> Layout {
    let version = bed.zfs.module_version().expect("answers");
    Layout::of_release(
        version.major.into(),
        version.minor.into(),
        version.patch.into(),
    )
}

pub(super) fn size_of_the_block(bed: &mut Bed) -> Verdict {
    const CANARY: u8 = 0xa5;
    let size = size_of::<zfs_cmd_t>();
    let kernel = Kernel::open();
    // Success, and failure: the block is copied back both times.
    for (name, expected) in [("conf", 0), ("conf/none", libc::ENOENT)] {
        let mut block = Block::new(name, REPLY, CANARY);
        let errno = kernel.run(OBJSET_STATS, &mut block);
        assert_eq!(errno, expected);
        let touched: Vec<usize> = block
            .tail(size)
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte != CANARY)
            .map(|(at, _)| size + at)
            .collect();
        bed.fact("j", format!(
            "block of {size} bytes in a buffer of {BUFFER_SIZE}, {name}: errno {errno}, bytes changed behind the block: {}",
            touched.len()
        ));
        if layout(bed) == Layout::Usual {
            assert!(
                touched.is_empty(),
                "the kernel wrote behind its block: {touched:?}"
            );
        }
    }
    bed.fact(
        "j",
        format!(
            "layout of the loaded module: {:?}; 2.3.1 itself: not asked",
            layout(bed)
        ),
    );
    Ok(())
}

pub(super) fn simple_listings(bed: &mut Bed) -> Verdict {
    sh("zfs create conf/a; zfs snapshot conf/a@1");
    let kernel = Kernel::open();
    let simple = layout(bed).simple();
    let calls = [
        ("snapshots", SNAPSHOT_LIST_NEXT, "conf/a"),
        ("children", DATASET_LIST_NEXT, "conf"),
        ("stats of a dataset", OBJSET_STATS, "conf/a"),
        ("stats of a snapshot", OBJSET_STATS, "conf/a@1"),
    ];
    for (what, number, name) in calls {
        for (form, wanted, reply) in [
            ("simple, no reply buffer", 1, 0),
            ("simple", 1, REPLY),
            ("full", 0, REPLY),
        ] {
            let mut block = Block::new(name, reply, 0);
            block.set_byte(simple, wanted);
            let errno = kernel.run(number, &mut block);
            let (stats, filled) = (
                block.parts().zc_objset_stats,
                block.parts().zc_nvlist_dst_filled != 0,
            );
            let properties = if filled { block.reply().len() } else { 0 };
            bed.fact("m", format!(
                "{what}, {form}: errno {errno}, {}, guid {}, createtxg {}, type {}, is_snapshot {}, {properties} properties",
                block.name(), stats.dds_guid != 0, stats.dds_creation_txg != 0, stats.dds_type, stats.dds_is_snapshot
            ));
            assert_eq!(errno, 0, "{what}, {form}");
            if form == "full" || number != SNAPSHOT_LIST_NEXT {
                assert!(
                    stats.dds_guid != 0 && stats.dds_creation_txg != 0,
                    "{what}, {form}"
                );
            }
        }
    }
    Ok(())
}

pub(super) fn device_mode(bed: &mut Bed) -> Verdict {
    let mode = std::fs::metadata("/dev/zfs")
        .expect("is there")
        .permissions()
        .mode()
        & 0o777;
    let as_user = |bed: &Bed, mode: u32| {
        let answer = bed::child(Which::Native, "fact-open-device", Some(65534));
        bed.fact(
            "device",
            format!("mode {mode:o}, opened by a user: {answer:?}"),
        );
        answer
    };
    let refused = as_user(bed, mode);
    sh("chmod 666 /dev/zfs");
    let allowed = as_user(bed, 0o666);
    sh(&format!("chmod {mode:o} /dev/zfs"));
    if mode & 0o006 == 0 {
        assert!(refused.is_err());
    }
    assert!(allowed.is_ok_and(|text| text.contains("errno 0")));
    Ok(())
}

/// In a child without privilege.
pub(super) fn open_device() {
    let kernel = Kernel::try_open().unwrap_or_else(|error| panic!("{error}"));
    let errno = kernel.run(OBJSET_STATS, &mut Block::new("conf", REPLY, 0));
    let (reader, writer) = rustix::pipe::pipe().expect("pipe");
    let sizes: Vec<_> = [1 << 20, 256 << 10, 64 << 10]
        .map(|size| {
            rustix::pipe::fcntl_setpipe_size(&writer, size)
                .map_or_else(|error| error.to_string(), |size| size.to_string())
        })
        .into();
    drop(reader);
    println!("stats errno {errno}; pipe sizes {sizes:?}");
}
