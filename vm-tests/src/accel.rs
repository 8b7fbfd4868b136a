//! How QEMU executes guests. A `/dev/kvm` that opens is no proof: on some hosts it creates machines that then fail to run a
//! kernel. So one guest is booted with it, once per boot of the host, and emulation is used unless that guest reached its
//! user land.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::console::Console;
use crate::image::{self, Image};
use crate::machine::{Options, Qemu};

/// A guest that has KVM for real takes 1 to 3 s.
const PROBE_LIMIT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Acceleration {
    Kvm,
    Emulation,
}

impl Acceleration {
    /// Answers from the cache, or probes with this image.
    pub(crate) fn of_host(image: &Image) -> Result<Self> {
        match std::env::var("ZREPL_VM_ACCEL").as_deref() {
            Ok("kvm") => return Ok(Self::Kvm),
            Ok("tcg") => return Ok(Self::Emulation),
            _ => {}
        }
        if fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_err()
        {
            return Ok(Self::Emulation);
        }
        let boot = boot_id();
        let path = image::cache_directory()?.join("acceleration");
        if let Some(known) = fs::read_to_string(&path)
            .ok()
            .and_then(|text| Self::recall(&text, &boot))
        {
            return Ok(known);
        }
        let found = probe(image)?;
        println!("probed the host's KVM: {}", found.describe());
        // Without the file the next run probes again.
        fs::write(&path, found.remember(&boot)).ok();
        Ok(found)
    }

    pub(crate) fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Emulation => ["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max"],
        }
    }

    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Kvm => "guests run on KVM",
            Self::Emulation => "guests do not boot with it, so they are emulated (slow)",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Emulation => "tcg",
        }
    }

    fn remember(self, boot: &str) -> String {
        format!("{boot} {}\n", self.name())
    }

    /// An answer holds for one boot of the host.
    fn recall(text: &str, boot: &str) -> Option<Self> {
        let (of, name) = text.trim().split_once(' ')?;
        if of != boot || boot.is_empty() {
            return None;
        }
        [Self::Kvm, Self::Emulation]
            .into_iter()
            .find(|known| known.name() == name)
    }
}

fn probe(image: &Image) -> Result<Acceleration> {
    let started = Instant::now();
    let mut qemu = Qemu::start(image, Acceleration::Kvm, &Options::default(), "zrepl.probe")?;
    let console = Console::new(qemu.directory.join("console.log"));
    while started.elapsed() < PROBE_LIMIT {
        if console.text().contains("zrepl probe: userland runs") {
            return Ok(Acceleration::Kvm);
        }
        if !qemu.runs()? || qemu.messages().contains("KVM internal error") {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(Acceleration::Emulation)
}

fn boot_id() -> String {
    fs::read_to_string(Path::new("/proc/sys/kernel/random/boot_id"))
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_for_one_boot_only() {
        let text = Acceleration::Kvm.remember("boot-1");
        assert_eq!(
            Acceleration::recall(&text, "boot-1"),
            Some(Acceleration::Kvm)
        );
        assert_eq!(Acceleration::recall(&text, "boot-2"), None);
        assert_eq!(Acceleration::recall("garbage", "garbage"), None);
        assert_eq!(Acceleration::recall(" tcg", ""), None);
    }
}
