//! Guest images: a kernel and an initramfs per OpenZFS version, built from a [`Recipe`] into a cache outside the checkout.
//! A directory in the cache is complete or not there: it is built under another name, then renamed, under a lock.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};

use crate::cpio::Archive;
use crate::recipe::{Recipe, ZfsVersion};
use crate::sources::Mirrors;

/// One chroot with kernel headers, a compiler and the build of the module.
const BUILD_SPACE_MIB: u64 = 3000;

/// A finished image.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) version: ZfsVersion,
    directory: PathBuf,
}

impl Image {
    pub(crate) fn kernel(&self) -> PathBuf {
        self.directory.join("kernel")
    }

    pub(crate) fn initramfs(&self) -> PathBuf {
        self.directory.join("initramfs")
    }

    /// What the image was built from: `zfs`, `kernel`, `glibc`.
    pub(crate) fn fact(&self, name: &str) -> String {
        let facts = fs::read_to_string(self.directory.join("facts")).unwrap_or_default();
        facts
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .unwrap_or_default()
            .to_owned()
    }

    /// Debian's version without its revision: `2.3.9`.
    pub(crate) fn zfs_version(&self) -> String {
        let version = self.fact("zfs");
        version.split('-').next().unwrap_or_default().to_owned()
    }
}

/// `$ZREPL_VM_CACHE`, or a directory in the user's cache.
pub(crate) fn cache_directory() -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os("ZREPL_VM_CACHE").filter(|value| !value.is_empty()) {
        return Ok(directory.into());
    }
    let base = std::env::var_os("XDG_CACHE_HOME")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
        .context("there is no home directory for the cache of guest images; set ZREPL_VM_CACHE")?;
    Ok(base.join("zrepl-vm"))
}

/// Returns the images of these versions, building what the cache lacks, two at a time.
pub(crate) fn ensure(versions: &[ZfsVersion]) -> Result<Vec<Image>> {
    let mut images = Vec::new();
    for pair in versions.chunks(2) {
        let built: Vec<Result<Image>> = thread::scope(|scope| {
            let builds: Vec<_> = pair
                .iter()
                .map(|version| scope.spawn(|| ensure_one(*version)))
                .collect();
            builds
                .into_iter()
                .map(|build| {
                    build
                        .join()
                        .unwrap_or_else(|_| Err(anyhow!("the build panicked")))
                })
                .collect()
        });
        for image in built {
            images.push(image?);
        }
    }
    Ok(images)
}

fn ensure_one(version: ZfsVersion) -> Result<Image> {
    let recipe = version.recipe();
    let key = recipe.cache_key();
    let cache = cache_directory()?;
    let image = Image {
        version,
        directory: cache.join(&key),
    };
    if image
        .directory
        .try_exists()
        .with_context(|| format!("cannot look into {}", cache.display()))?
    {
        return Ok(image);
    }
    if !rustix::process::geteuid().is_root() {
        bail!(
            "the guest image for OpenZFS {version} is not in the cache; run `cargo vm setup` as root once"
        );
    }
    fs::create_dir_all(cache.join("logs"))
        .with_context(|| format!("cannot create {}; is the disk full?", cache.display()))?;
    let lock_path = cache.join(format!("{key}.lock"));
    let lock = File::create(&lock_path)
        .with_context(|| format!("cannot create {}", lock_path.display()))?;
    lock.lock()
        .with_context(|| format!("cannot lock {}", lock_path.display()))?;
    // Another run may have finished it while this one waited.
    if image.directory.exists() {
        return Ok(image);
    }
    check_space(&cache)?;
    let started = Instant::now();
    println!("building the guest image for OpenZFS {version} (4 to 10 minutes) …");
    let building = cache.join(format!("{key}.building"));
    // Left by a run that was killed; the lock says that nobody uses it.
    remove(&building)?;
    fs::create_dir(&building).with_context(|| format!("cannot create {}", building.display()))?;
    let log = cache.join("logs").join(format!("image-{version}.log"));
    if let Err(error) = build(&recipe, &building, &log) {
        // The log has all there is to know; the space may be what was missing.
        remove(&building).ok();
        return Err(error);
    }
    fs::rename(building.join("image"), &image.directory)
        .with_context(|| format!("cannot move the image to {}", image.directory.display()))?;
    remove(&building)?;
    println!(
        "built the guest image for OpenZFS {version}: zfs {}, kernel {}, in {} s",
        image.fact("zfs"),
        image.fact("kernel"),
        started.elapsed().as_secs()
    );
    if !image.zfs_version().starts_with(version.family()) {
        println!(
            "note: Debian now has {} where {version} was expected",
            image.zfs_version()
        );
    }
    Ok(image)
}

fn build(recipe: &Recipe, building: &Path, log: &Path) -> Result<()> {
    let sources = building.join("sources.list");
    fs::write(
        &sources,
        Mirrors::of_host().guest_sources_list(recipe.suite),
    )
    .with_context(|| format!("cannot write {}; is the disk full?", sources.display()))?;
    let root = building.join("root");
    let mut bootstrap = Command::new("mmdebstrap");
    bootstrap
        // Debian's kernel packages take this to mean that nobody needs their own initramfs.
        .env("INITRD", "No")
        .args(["--mode=root", "--variant=minbase", "--format=directory"])
        .args([
            "--aptopt=Acquire::Languages \"none\"",
            "--aptopt=APT::Install-Recommends \"false\"",
        ])
        .arg("--dpkgopt=force-unsafe-io")
        .arg(format!("--include={}", Recipe::BASE_PACKAGES.join(",")))
        .arg(recipe.suite)
        .arg(&root)
        .arg(&sources);
    logged(bootstrap, log, false, "create a Debian root file system")?;

    let target = recipe
        .zfs_suite
        .map_or_else(String::new, |suite| format!("--target-release {suite}"));
    fs::write(root.join("stage.sh"), Recipe::stage_script())?;
    let mut install = in_chroot(
        &root,
        &format!(
            "apt-get update && apt-get install --yes {target} {}",
            Recipe::ZFS_PACKAGES.join(" ")
        ),
    );
    install
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("INITRD", "No");
    logged(install, log, true, "install and compile OpenZFS")?;

    let mut stage = in_chroot(&root, "sh /stage.sh");
    stage.envs(recipe.stage_environment());
    logged(stage, log, true, "collect the guest's files")?;

    let image = building.join("image");
    pack(&root, &image).with_context(|| {
        format!(
            "cannot write the image to {}; is the disk full?",
            image.display()
        )
    })
}

fn pack(root: &Path, image: &Path) -> Result<()> {
    fs::create_dir(image)?;
    fs::copy(root.join("guest-kernel"), image.join("kernel"))?;
    fs::copy(root.join("facts"), image.join("facts"))?;
    let mut archive = Archive::new(BufWriter::new(File::create(image.join("initramfs"))?));
    archive.add_tree(&root.join("stage"))?;
    archive.finish()?;
    Ok(())
}

/// A shell command in the chroot, in a mount name space of its own: nothing is left mounted, however it ends.
fn in_chroot(root: &Path, script: &str) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private", "sh", "-euc"])
        .arg("for name in proc sys dev; do mount --rbind /$name \"$0/$name\"; done; exec chroot \"$0\" sh -euc \"$1\"")
        .arg(root)
        .arg(script)
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C");
    command
}

/// Runs one step of a build with its output in the log; an error shows the log's end.
fn logged(mut command: Command, log: &Path, append: bool, what: &str) -> Result<()> {
    let file = File::options()
        .create(true)
        .write(true)
        .append(append)
        .truncate(!append)
        .open(log)
        .with_context(|| format!("cannot write {}; is the disk full?", log.display()))?;
    let errors = file.try_clone().context("cannot share the build log")?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors)
        .status()
        .with_context(|| {
            format!(
                "cannot {what}: cannot start {}",
                command.get_program().display()
            )
        })?;
    if status.success() {
        return Ok(());
    }
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    bail!(
        "cannot {what} ({status}); if the mirror could not be reached, check the network; if the disk is full, free 3 \
         GB. The end of {}:\n{}",
        log.display(),
        lines[lines.len().saturating_sub(25)..].join("\n")
    )
}

fn check_space(cache: &Path) -> Result<()> {
    let space = rustix::fs::statvfs(cache)
        .with_context(|| format!("cannot inspect {}", cache.display()))?;
    let free_mib = space.f_bavail * space.f_frsize / (1024 * 1024);
    if free_mib < BUILD_SPACE_MIB {
        bail!(
            "{} has {free_mib} MiB free; building a guest image takes {BUILD_SPACE_MIB} MiB for some minutes. Free some \
             or point ZREPL_VM_CACHE elsewhere",
            cache.display()
        );
    }
    Ok(())
}

fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}
