//! Programs of the host on their way into a guest: stripped, because a guest under emulation unpacks every byte slowly.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result};

use crate::image::Image;

/// This very binary, which is the agent when the guest starts it.
pub(crate) fn agent() -> Result<&'static [u8]> {
    static AGENT: OnceLock<Vec<u8>> = OnceLock::new();
    if let Some(agent) = AGENT.get() {
        return Ok(agent);
    }
    let agent = stripped(Path::new("/proc/self/exe"))?;
    Ok(AGENT.get_or_init(|| agent))
}

/// The content of a program without symbols and debug data; as it is where there is no `strip`.
pub(crate) fn stripped(program: &Path) -> Result<Vec<u8>> {
    let directory = tempfile::tempdir().context("cannot create a temporary directory")?;
    let copy = directory.path().join("program");
    let program = fs::canonicalize(program).unwrap_or_else(|_| program.to_owned());
    let done = Command::new("strip")
        .arg("-o")
        .arg(&copy)
        .arg(&program)
        .status()
        .is_ok_and(|status| status.success());
    let path = if done { &copy } else { &program };
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// What starts programs that were built on the host. A glibc runs programs built against older ones, not against newer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Loader {
    OfGuest,
    /// The host's own, with its libraries, because the guest's glibc is older.
    OfHost,
}

impl Loader {
    pub(crate) fn for_image(image: &Image) -> Self {
        static HOST: OnceLock<Option<(u32, u32)>> = OnceLock::new();
        if std::env::var_os("ZREPL_VM_HOST_LOADER").is_some_and(|value| value == "1") {
            return Self::OfHost;
        }
        let host = HOST.get_or_init(|| {
            let output = Command::new("ldd").arg("--version").output().ok()?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            glibc_version(text.lines().next()?.split_whitespace().next_back()?)
        });
        match (host, glibc_version(&image.fact("glibc"))) {
            (Some(host), Some(guest)) if *host > guest => Self::OfHost,
            _ => Self::OfGuest,
        }
    }

    pub(crate) fn command(self, name: &str) -> Vec<String> {
        let program = format!("/put/{name}");
        match self {
            Self::OfGuest => vec![program],
            Self::OfHost => ["/put/loader/ld.so", "--library-path", "/put/loader"]
                .map(str::to_owned)
                .into_iter()
                .chain([program])
                .collect(),
        }
    }
}

/// The files of `/put/loader`: the host's glibc as far as Rust programs use it.
pub(crate) fn host_libraries() -> Result<Vec<(&'static str, Vec<u8>)>> {
    const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
    const DIRECTORY: &str = "/lib/x86_64-linux-gnu";
    let mut files = vec![(
        "ld.so",
        fs::read(LOADER).with_context(|| format!("cannot read {LOADER}"))?,
    )];
    for name in ["libc.so.6", "libm.so.6", "libgcc_s.so.1"] {
        let path = Path::new(DIRECTORY).join(name);
        files.push((
            name,
            fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?,
        ));
    }
    Ok(files)
}

/// Major and minor of a version such as `2.36-9+deb12u14`.
fn glibc_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_glibc_versions_as_numbers() {
        assert_eq!(glibc_version("2.36-9+deb12u14"), Some((2, 36)));
        assert_eq!(glibc_version("2.41"), Some((2, 41)));
        assert_eq!(glibc_version(""), None);
        assert!(glibc_version("2.9") < glibc_version("2.36"));
    }

    #[test]
    fn programs_start_through_the_loader_they_need() {
        assert_eq!(Loader::OfGuest.command("demo"), ["/put/demo"]);
        assert_eq!(
            Loader::OfHost.command("demo").last().map(String::as_str),
            Some("/put/demo")
        );
    }
}
