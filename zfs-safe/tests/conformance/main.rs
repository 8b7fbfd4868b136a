//! The conformance suite: every operation of [`zfs_safe::Zfs`], its errors included, on real pools, for each
//! implementation, with equal results demanded of them.
//!
//! It creates and destroys pools and changes module parameters, so it runs only where the guest harness puts it
//! (`/put/conformance`); started elsewhere it says so and succeeds. `cargo vm test conformance` runs it.

#![expect(
    clippy::unnecessary_wraps,
    reason = "a scenario may find that it does not apply here; most never do"
)]

mod bed;
mod report;
mod scenarios;

use std::process::ExitCode;

use bed::Which;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(code) = bed::run_as_child(&arguments) {
        return code;
    }
    let in_guest = std::env::current_exe().is_ok_and(|path| path.starts_with("/put"));
    if !in_guest {
        println!("conformance: needs a guest with ZFS (cargo vm test conformance)");
        println!("0 passed, 0 failed, 1 skipped");
        return ExitCode::SUCCESS;
    }
    let mut filter = None;
    let mut backends = vec![Which::Native, Which::Cli];
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--backend" => match rest.next().map(String::as_str) {
                Some("native") => backends = vec![Which::Native],
                Some("cli") => backends = vec![Which::Cli],
                other => {
                    eprintln!("conformance: --backend takes native or cli, not {other:?}");
                    return ExitCode::from(2);
                }
            },
            text => filter = Some(text.to_owned()),
        }
    }
    report::run(&backends, filter.as_deref())
}
