//! The Debian packages that the host needs, installed from private apt settings: the host's own sources may lack `contrib`
//! and backports, and are left as they are. None of them makes the host offer a service that it did not offer before.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::image;
use crate::sources::{self, Mirrors};

/// What a command is about to do, and so what must be there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    /// Build images and run guests.
    Guests,
    /// Compile the workspace and run its unit tests as well.
    GuestsAndBuild,
}

const FOR_GUESTS: &[&str] = &["qemu-system-x86", "mmdebstrap", "binutils"];
const FOR_BUILD: &[&str] = &["libzfslinux-dev", "libclang-dev", "pkg-config"];
/// zrepl's tests start an ssh server of their own on the loopback interface, databases on sockets of their own, and speak TLS with
/// another implementation.
const FOR_UNIT_TESTS: &[&str] = &[
    "openssh-client",
    SSH_SERVER,
    "openssl",
    "postgresql",
    "mariadb-server",
];

/// Databases, and the unit that would serve them at every boot.
const DATABASES: [(&str, &str); 2] = [
    ("postgresql", "postgresql.service"),
    ("mariadb-server", "mariadb.service"),
];
const UNITS: &str = "/etc/systemd/system";
/// Asked by packages before they start a service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

const SSH_SERVER: &str = "openssh-server";
/// While it exists, Debian's units and scripts do not start an ssh server, neither now nor at boot.
const NO_SSH_SERVICE: &str = "/etc/ssh/sshd_not_to_be_run";

/// Installs what is missing; does nothing, and needs no root, when all is there.
pub(crate) fn ensure(purpose: Purpose) -> Result<()> {
    let mut missing: Vec<&str> = FOR_GUESTS.to_vec();
    if purpose == Purpose::GuestsAndBuild {
        missing.extend(FOR_BUILD);
        missing.extend(FOR_UNIT_TESTS);
    }
    missing.retain(|package| !is_installed(package));
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !rustix::process::geteuid().is_root() {
        bail!(
            "these Debian packages are missing: {list}\ninstall them as root (libzfslinux-dev is in the component \
             contrib), or run `cargo vm setup` as root once"
        );
    }
    println!("installing Debian packages: {list}");
    if missing.contains(&SSH_SERVER) {
        keep_ssh_service_off()?;
    }
    for (_, unit) in DATABASES.iter().filter(|(name, _)| missing.contains(name)) {
        mask(unit)?;
    }
    let _nothing_starts = Policy::deny()?;
    let suite = sources::host_suite()?;
    let apt = Apt::prepare(&suite)?;
    // bookworm's own QEMU conflicts with the qemu-utils of its backports, which many hosts have.
    let (qemu, others): (Vec<&str>, Vec<&str>) = missing
        .into_iter()
        .partition(|package| suite == "bookworm" && package.starts_with("qemu"));
    apt.install(None, &others)?;
    apt.install(Some("bookworm-backports"), &qemu)
}

fn is_installed(package: &str) -> bool {
    // Any numbered version serves as well as the metapackage. dpkg-query takes patterns.
    let pattern = if package == "libclang-dev" {
        "libclang-[1-9]*-dev"
    } else {
        package
    };
    Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}\\n", pattern])
        .stderr(Stdio::null())
        .output()
        .is_ok_and(|output| {
            String::from_utf8_lossy(&output.stdout)
                .lines()
                .any(|line| line == "installed")
        })
}

/// For a host that has no ssh server yet: the package must not turn it into one that can be logged in to.
fn keep_ssh_service_off() -> Result<()> {
    let path = Path::new(NO_SSH_SERVICE);
    if path.exists() {
        return Ok(());
    }
    println!("creating {NO_SSH_SERVICE}: remove it if this host shall serve ssh");
    fs::create_dir_all("/etc/ssh")
        .and_then(|()| {
            let reason = "Written by `cargo vm setup`, which needs sshd for tests only. Remove this file to serve ssh.\n";
            fs::write(path, reason)
        })
        .with_context(|| format!("cannot create {NO_SSH_SERVICE}"))
}

/// For a host that has no such service yet: the package must not make one of it. systemd takes the link for "never".
fn mask(unit: &str) -> Result<()> {
    let link = Path::new(UNITS).join(unit);
    if link.symlink_metadata().is_ok() {
        return Ok(());
    }
    println!("masking {unit}: `systemctl unmask {unit}` if this host shall serve it");
    fs::create_dir_all(UNITS)
        .and_then(|()| std::os::unix::fs::symlink("/dev/null", &link))
        .with_context(|| format!("cannot create {}", link.display()))
}

/// While it exists, packages that are installed start nothing.
struct Policy(());

impl Policy {
    /// None if the host has a policy of its own.
    fn deny() -> Result<Option<Self>> {
        let path = Path::new(POLICY);
        if path.exists() {
            return Ok(None);
        }
        let script =
            "#!/bin/sh\n# Written by `cargo vm`, for the time of an installation.\nexit 101\n";
        fs::write(path, script)
            .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("cannot create {POLICY}"))?;
        Ok(Some(Self(())))
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(POLICY) {
            println!("cannot remove {POLICY}, which keeps services from being started: {error}");
        }
    }
}

/// apt with sources and lists of its own.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn prepare(suite: &str) -> Result<Self> {
        let directory = image::cache_directory()?.join("apt");
        let lists = directory.join("lists");
        fs::create_dir_all(lists.join("partial"))
            .with_context(|| format!("cannot create {}; is the disk full?", lists.display()))?;
        let sources = directory.join("sources.list");
        fs::write(&sources, Mirrors::of_host().sources_list(suite))
            .with_context(|| format!("cannot write {}", sources.display()))?;
        let options = [
            format!("Dir::Etc::SourceList={}", sources.display()),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            format!("Dir::State::Lists={}", lists.display()),
            "Acquire::Languages=none".to_owned(),
            "DPkg::Lock::Timeout=300".to_owned(),
        ];
        let apt = Self {
            options: options
                .into_iter()
                .flat_map(|option| ["-o".to_owned(), option])
                .collect(),
        };
        apt.run(&["update"], &directory)?;
        Ok(apt)
    }

    fn install(&self, release: Option<&str>, packages: &[&str]) -> Result<()> {
        if packages.is_empty() {
            return Ok(());
        }
        let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
        if let Some(release) = release {
            arguments.extend(["--target-release", release]);
        }
        arguments.extend(packages);
        self.run(&arguments, Path::new("/"))
    }

    fn run(&self, arguments: &[&str], directory: &Path) -> Result<()> {
        let output = Command::new("apt-get")
            .arg("--quiet")
            .args(&self.options)
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .current_dir(directory)
            .stdin(Stdio::null())
            .output()
            .context("cannot start apt-get; the test machines need a Debian host")?;
        if !output.status.success() {
            bail!(
                "apt-get {} failed ({}); if it could not reach the mirror, check the network and /etc/apt:\n{}{}",
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }
}
