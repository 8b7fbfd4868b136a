//! The receiver over real ZFS, by both ways to ZFS: what it makes, what it replaces, what it leaves alone, and what is there after
//! anything has failed. It makes and destroys pools, so it runs only where the guest harness puts it;
//! `cargo vm test receiver_on_zfs` runs it.

mod bed;
mod cases;

use std::process::ExitCode;

use bed::{Bed, sh};

fn main() -> ExitCode {
    let in_guest = std::env::current_exe().is_ok_and(|path| path.starts_with("/put"));
    if !in_guest {
        println!("receiving: needs a guest with ZFS (cargo vm test receiver_on_zfs)");
        return ExitCode::SUCCESS;
    }
    let filter = std::env::args().nth(1).unwrap_or_default();
    sh(bed::POOLS);
    let mut failed = 0;
    for backend in ["native", "cli"] {
        for (name, case) in cases::ALL {
            if !name.contains(&filter) {
                continue;
            }
            // A case that fails has said why, by its panic.
            let result = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build()
                    .expect("a runtime");
                runtime.block_on(case(Bed::open(backend)));
            })
            .join();
            let outcome = if result.is_ok() { "ok" } else { "FAILED" };
            println!("{backend} {name} ... {outcome}");
            failed += usize::from(result.is_err());
        }
    }
    sh("zpool destroy src; zpool destroy dst");
    if failed == 0 {
        println!("all ok");
        ExitCode::SUCCESS
    } else {
        println!("{failed} failed");
        ExitCode::FAILURE
    }
}
