//! `zrepl`, the command. So far: `version`, and `test decoderesumetoken`, which needs neither configuration nor daemon.

mod args;
mod resume_token;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Arguments, Command, Test};

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Version => {
            println!("client: {}", zrepl_daemon::version::line());
            Ok(())
        }
        Command::Test(Test::Decoderesumetoken { token }) => resume_token::print(&token),
        Command::Test(Test::Zfs) => show_zfs(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Says how ZFS is reached here and which pools there are: the first thing to try on a new host.
fn show_zfs() -> anyhow::Result<()> {
    use zrepl_daemon::zfs_backend::{self, Choice};
    // What is not text is shown as it is and refused below, not taken for unset.
    let wanted = std::env::var_os(zfs_backend::VARIABLE);
    let wanted = wanted.as_deref().map(std::ffi::OsStr::to_string_lossy);
    let zfs = zfs_backend::open(Choice::parse(wanted.as_deref())?)?;
    println!("backend: {:?}", zfs.backend());
    println!("kernel module: OpenZFS {}", zfs.module_version()?);
    for pool in zfs.pools()? {
        println!(
            "pool: {} ({:?}, guid {})",
            pool.name, pool.health, pool.guid
        );
    }
    Ok(())
}
