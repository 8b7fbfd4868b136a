//! One QEMU: an image and what to add to it in, a guest that serves commands out. Dropping the machine kills it; so does the
//! death of the harness (see [`crate::leash`]).

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::json;

use crate::accel::Acceleration;
use crate::agent;
use crate::console::Console;
use crate::cpio::Archive;
use crate::guest::Guest;
use crate::image::Image;
use crate::qmp;
use crate::shipping::{self, Loader};

/// A quiet host needs 15 s under emulation; one that compiles at the same time needed 60.
const BOOT_LIMIT: Duration = Duration::from_secs(240);

/// PID 1. Not part of the image, so that a change to it rebuilds nothing.
const INIT_SCRIPT: &str = include_str!("../guest/init.sh");

/// What one boot adds to its image.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) memory_mib: u32,
    /// Programs and files for `/put`.
    pub(crate) files: Vec<(String, Vec<u8>)>,
    /// Raw disk images: `/dev/vda`, `/dev/vdb`, …
    pub(crate) disks: Vec<PathBuf>,
    /// A network card, `eth0`.
    pub(crate) plug: Option<Plug>,
    /// A network card in place of a plug, with which the guest reaches the loopback interface of this host under
    /// [`crate::databases::HOST`].
    pub(crate) reaches_host: bool,
}

/// One end of a cable between two guests.
#[derive(Clone, Debug)]
pub(crate) struct Plug {
    /// Where the QEMU of this end lives: its socket for frames is in there.
    pub(crate) own: PathBuf,
    /// Where the QEMU of the other end lives.
    pub(crate) other: PathBuf,
    /// The last byte of the card's address.
    pub(crate) number: u8,
}

/// The socket through which a QEMU receives frames.
const FRAMES: &str = "frames.socket";

/// Where QEMU takes commands.
const MONITOR: &str = "monitor.socket";

/// What QEMU calls the card's side of the cable.
const CABLE: &str = "cable";

impl Default for Options {
    fn default() -> Self {
        Self {
            memory_mib: 2048,
            files: Vec::new(),
            disks: Vec::new(),
            plug: None,
            reaches_host: false,
        }
    }
}

impl Options {
    /// Adds a file of the host under its own name.
    pub(crate) fn put(&mut self, path: &Path) -> Result<()> {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .with_context(|| format!("{} has no usable name", path.display()))?;
        let content = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        self.files.push((name.to_owned(), content));
        Ok(())
    }
}

/// A running guest with its QEMU. Dropping it is a power failure: QEMU gets SIGKILL, nothing in the guest is told.
#[derive(Debug)]
pub(crate) struct Machine {
    // Dropped first: a guest that sees its port close shuts down, and a power failure must not let it.
    qemu: Qemu,
    guest: Guest,
    console: Console,
    boot_time: Duration,
    loader: Loader,
}

impl Machine {
    /// Boots and waits until the guest serves commands. Emulation crashes now and then, so a QEMU that ends before that
    /// gets a second chance.
    pub(crate) fn boot(
        image: &Image,
        acceleration: Acceleration,
        options: &Options,
    ) -> Result<Self> {
        let first = match Self::try_boot(image, acceleration, options)? {
            Ok(machine) => return Ok(machine),
            Err(failure) => failure,
        };
        if !first.qemu_ended {
            return Err(first.error);
        }
        println!("{:#}\nbooting once more", first.error);
        Self::try_boot(image, acceleration, options)?.map_err(|failure| failure.error)
    }

    fn try_boot(
        image: &Image,
        acceleration: Acceleration,
        options: &Options,
    ) -> Result<Result<Self, BootFailure>> {
        let started = Instant::now();
        let mut qemu = Qemu::start(image, acceleration, options, "")?;
        let console = Console::new(qemu.directory.join("console.log"));
        let deadline = started + BOOT_LIMIT;
        let ready = qemu
            .connect("agent.socket", deadline)
            .and_then(|port| Guest::connect(port, console.clone(), deadline));
        let error = match ready {
            Ok(guest) => {
                return Ok(Ok(Self {
                    qemu,
                    guest,
                    console,
                    boot_time: started.elapsed(),
                    loader: Loader::for_image(image),
                }));
            }
            Err(error) => error,
        };
        let log = console.keep(&format!("boot-{}", image.version));
        let took = started.elapsed();
        // The socket closes a moment before the process is gone.
        thread::sleep(Duration::from_millis(200));
        let qemu_ended = !qemu.runs()?;
        let what = if qemu_ended {
            format!("QEMU ended after {} s", took.as_secs())
        } else {
            format!("not within the limit of {} s", BOOT_LIMIT.as_secs())
        };
        Ok(Err(BootFailure {
            error: anyhow!(
                "the guest with OpenZFS {} did not start: {what} ({error:#}); QEMU said: {}\n{}console log: {}",
                image.version,
                qemu.messages().trim(),
                console.tail(100),
                log.display(),
            ),
            qemu_ended,
        }))
    }

    pub(crate) fn guest(&self) -> &Guest {
        &self.guest
    }

    pub(crate) fn console(&self) -> &Console {
        &self.console
    }

    pub(crate) fn boot_time(&self) -> Duration {
        self.boot_time
    }

    /// The command line of a program of the host that was put into the guest under this name.
    pub(crate) fn host_program(&self, name: &str) -> Vec<String> {
        self.loader.command(name)
    }

    /// The serial line, for a person's shell.
    pub(crate) fn serial(&mut self) -> Result<UnixStream> {
        self.qemu
            .connect("console.socket", Instant::now() + Duration::from_secs(5))
    }

    /// Pulls the plug of the guest's network card, or puts it back. Frames are lost in both directions meanwhile.
    pub(crate) fn plug_in(&self, plugged: bool) -> Result<()> {
        let path = self.qemu.directory.join(MONITOR);
        let port = UnixStream::connect(&path)
            .with_context(|| format!("cannot connect to QEMU at {}", path.display()))?;
        qmp::execute(port, "set_link", &json!({ "name": CABLE, "up": plugged }))
    }
}

struct BootFailure {
    error: anyhow::Error,
    qemu_ended: bool,
}

/// The process, its directory and the pipe that keeps it alive.
#[derive(Debug)]
pub(crate) struct Qemu {
    leash: Child,
    pub(crate) directory: PathBuf,
}

impl Qemu {
    pub(crate) fn start(
        image: &Image,
        acceleration: Acceleration,
        options: &Options,
        kernel_arguments: &str,
    ) -> Result<Self> {
        let directory = match &options.plug {
            Some(plug) => {
                // A first attempt to boot may have removed it.
                fs::create_dir_all(&plug.own)
                    .with_context(|| format!("cannot create {}", plug.own.display()))?;
                plug.own.clone()
            }
            None => temporary_directory()?,
        };
        let leash = Self::spawn(image, acceleration, options, kernel_arguments, &directory);
        match leash {
            Ok(leash) => Ok(Self { leash, directory }),
            Err(error) => {
                fs::remove_dir_all(&directory).ok();
                Err(error)
            }
        }
    }

    fn spawn(
        image: &Image,
        acceleration: Acceleration,
        options: &Options,
        kernel_arguments: &str,
        directory: &Path,
    ) -> Result<Child> {
        let initrd = directory.join("initrd");
        write_initrd(&initrd, image, &options.files)
            .with_context(|| format!("cannot write {}; is the disk full?", initrd.display()))?;
        let messages =
            File::create(directory.join("qemu.log")).context("cannot create a log for QEMU")?;
        let own = PathBuf::from("/proc/self/exe");
        let mut command = Command::new(own);
        command
            .arg("leash")
            .arg("--remove")
            .arg(directory)
            .args(["--", "qemu-system-x86_64"]);
        command
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
            .args(["-machine", "q35,usb=off,vmport=off", "-smp", "2"])
            .args(["-m", &options.memory_mib.to_string()])
            .args(acceleration.arguments())
            .arg("-kernel")
            .arg(image.kernel())
            .arg("-initrd")
            .arg(&initrd)
            .args([
                "-append",
                &format!(
                    "console=ttyS0 quiet mitigations=off panic=-1 random.trust_cpu=on tsc=reliable {kernel_arguments}"
                ),
            ])
            // vectors=0: no MSI-X, in whose emulation QEMU 10.0.2 once failed an assertion while a guest booted.
            .args(["-device", "virtio-rng-pci,vectors=0"])
            .args(["-device", "virtio-serial-pci,vectors=0"])
            .arg("-chardev")
            .arg(socket_option("agent", directory, None))
            .args(["-device", &format!("virtserialport,chardev=agent,name={}", agent::PORT)])
            .arg("-chardev")
            .arg(socket_option("console", directory, Some("console.log")))
            .args(["-serial", "chardev:console"])
            .arg("-qmp")
            .arg(format!(
                "unix:{},server=on,wait=off",
                directory.join(MONITOR).display()
            ));
        if let Some(plug) = &options.plug {
            command
                .arg("-netdev")
                .arg(format!(
                    "dgram,id={CABLE},local.type=unix,local.path={},remote.type=unix,remote.path={}",
                    plug.own.join(FRAMES).display(),
                    plug.other.join(FRAMES).display()
                ))
                .arg("-device")
                .arg(format!(
                    "virtio-net-pci,netdev={CABLE},mac=52:54:00:00:00:{:02x},vectors=0",
                    plug.number
                ));
        }
        if options.reaches_host {
            command
                .args(["-netdev", "user,id=host,ipv6=off"])
                .args(["-device", "virtio-net-pci,netdev=host,vectors=0"]);
        }
        for (index, disk) in options.disks.iter().enumerate() {
            command
                .arg("-drive")
                .arg(format!(
                    "file={},if=none,id=disk{index},format=raw",
                    disk.display()
                ))
                .args([
                    "-device",
                    &format!("virtio-blk-pci,drive=disk{index},vectors=0"),
                ]);
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::from(
                messages.try_clone().context("cannot share QEMU's log")?,
            ))
            .stderr(Stdio::from(messages))
            // Ctrl-C is for the harness; QEMU follows when the pipe closes.
            .process_group(0)
            .spawn()
            .context("cannot start QEMU")
    }

    /// Connects to one of QEMU's sockets, which appear a moment after it starts.
    fn connect(&mut self, name: &str, deadline: Instant) -> Result<UnixStream> {
        let path = self.directory.join(name);
        loop {
            match UnixStream::connect(&path) {
                Ok(stream) => return Ok(stream),
                Err(error) if Instant::now() > deadline => {
                    return Err(error)
                        .with_context(|| format!("cannot connect to QEMU at {}", path.display()));
                }
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
            if !self.runs()? {
                bail!("QEMU ended at once");
            }
        }
    }

    pub(crate) fn runs(&mut self) -> Result<bool> {
        Ok(self
            .leash
            .try_wait()
            .context("cannot wait for QEMU")?
            .is_none())
    }

    pub(crate) fn messages(&self) -> String {
        fs::read_to_string(self.directory.join("qemu.log")).unwrap_or_default()
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        drop(self.leash.stdin.take());
        self.leash.wait().ok();
        // The leash did it already unless QEMU had ended by itself.
        fs::remove_dir_all(&self.directory).ok();
    }
}

/// A directory for a QEMU, which removes it when it ends.
pub(crate) fn temporary_directory() -> Result<PathBuf> {
    Ok(tempfile::Builder::new()
        .prefix("zrepl-vm-")
        .tempdir()
        .context("cannot create a temporary directory")?
        .keep())
}

fn socket_option(id: &str, directory: &Path, log: Option<&str>) -> String {
    let log = log.map_or_else(String::new, |name| {
        format!(",logfile={}", directory.join(name).display())
    });
    let path = directory.join(format!("{id}.socket"));
    format!(
        "socket,id={id},path={},server=on,wait=off{log}",
        path.display()
    )
}

/// The image followed by an archive with init, the agent and this boot's files; the kernel unpacks both.
fn write_initrd(path: &Path, image: &Image, files: &[(String, Vec<u8>)]) -> Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    io::copy(&mut File::open(image.initramfs())?, &mut out)?;
    let mut archive = Archive::new(out);
    archive.add_program("init", INIT_SCRIPT.as_bytes())?;
    archive.add_program("put/agent", shipping::agent()?)?;
    if let Loader::OfHost = Loader::for_image(image) {
        archive.add_directory("put/loader")?;
        for (name, content) in shipping::host_libraries()? {
            archive.add_program(&format!("put/loader/{name}"), &content)?;
        }
    }
    for (name, content) in files {
        archive.add_program(&format!("put/{name}"), content)?;
    }
    archive.finish()?.flush()?;
    Ok(())
}
