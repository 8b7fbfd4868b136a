//! What each guest is made of. A change to anything in here, or to the scripts in `guest/`, changes the cache key and so
//! rebuilds the images.

use std::fmt;

use clap::ValueEnum;
use sha2::{Digest, Sha256};

/// Raised by hand when the code that turns a recipe into an image changes its result.
const REVISION: &str = "1";

const STAGE_SCRIPT: &str = include_str!("../guest/stage.sh");

/// The OpenZFS release families that guests exist for.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, ValueEnum)]
pub(crate) enum ZfsVersion {
    /// Debian 12 as released.
    #[value(name = "2.1")]
    V2_1,
    /// Debian 13 as released.
    #[value(name = "2.3")]
    V2_3,
    /// Debian 13 with OpenZFS from its backports.
    #[value(name = "2.4")]
    V2_4,
}

impl ZfsVersion {
    pub(crate) const ALL: [Self; 3] = [Self::V2_1, Self::V2_3, Self::V2_4];

    pub(crate) fn family(self) -> &'static str {
        match self {
            Self::V2_1 => "2.1",
            Self::V2_3 => "2.3",
            Self::V2_4 => "2.4",
        }
    }

    pub(crate) fn recipe(self) -> Recipe {
        let (suite, zfs_suite) = match self {
            Self::V2_1 => ("bookworm", None),
            Self::V2_3 => ("trixie", None),
            Self::V2_4 => ("trixie", Some("trixie-backports")),
        };
        Recipe {
            family: self.family(),
            suite,
            zfs_suite,
        }
    }
}

impl fmt::Display for ZfsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.family())
    }
}

/// One guest image, as a pure description.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipe {
    pub(crate) family: &'static str,
    /// Debian release of the kernel and of user land.
    pub(crate) suite: &'static str,
    /// Where OpenZFS comes from, if not from `suite`.
    pub(crate) zfs_suite: Option<&'static str>,
}

impl Recipe {
    /// Packages of the chroot in which the module is compiled.
    pub(crate) const BASE_PACKAGES: &'static [&'static str] = &[
        "linux-image-cloud-amd64",
        "linux-headers-cloud-amd64",
        "dkms",
        "gcc",
        "make",
        "libc6-dev",
        "kmod",
        "busybox-static",
        "iproute2",
        "strace",
        "xz-utils",
        "zstd",
    ];

    pub(crate) const ZFS_PACKAGES: &'static [&'static str] = &["zfs-dkms", "zfsutils-linux"];

    const MODULES: &'static [&'static str] = &[
        "zfs",
        "virtio_pci",
        "virtio_blk",
        "virtio_net",
        "virtio_console",
        "virtio_rng",
    ];

    const OPTIONAL_MODULES: &'static [&'static str] =
        &["tls", "veth", "sch_netem", "sch_tbf", "loop", "rtc_cmos"];

    const PROGRAMS: &'static [&'static str] = &[
        "zfs",
        "zpool",
        "zdb",
        "zstream",
        "zinject",
        "mount.zfs",
        "busybox",
        "dash",
        "ip",
        "tc",
        "strace",
    ];

    /// Loaded with `dlopen`, so `ldd` does not show them: `zfs send` aborts in `pthread_cancel` without libgcc_s.
    const LIBRARIES: &'static [&'static str] = &[
        "libgcc_s.so.1",
        "libm.so.6",
        "librt.so.1",
        "libpthread.so.0",
    ];

    /// The variables of `guest/stage.sh`.
    pub(crate) fn stage_environment(&self) -> [(&'static str, String); 5] {
        [
            ("MODULES", Self::MODULES.join(" ")),
            ("OPTIONAL_MODULES", Self::OPTIONAL_MODULES.join(" ")),
            ("PROGRAMS", Self::PROGRAMS.join(" ")),
            ("LIBRARIES", Self::LIBRARIES.join(" ")),
            (
                "EXTRA_PACKAGE",
                format!("zfs-test/{}", self.zfs_suite.unwrap_or(self.suite)),
            ),
        ]
    }

    pub(crate) fn stage_script() -> &'static str {
        STAGE_SCRIPT
    }

    /// Names the image in the cache: the family for people, the hash for the machine.
    pub(crate) fn cache_key(&self) -> String {
        let mut hash = Sha256::new();
        // Every part ends with a NUL, so that no two lists can look alike when joined.
        let mut part = |text: &str| {
            hash.update(text.as_bytes());
            hash.update([0]);
        };
        part(REVISION);
        part(self.suite);
        part(self.zfs_suite.unwrap_or(""));
        for package in Self::BASE_PACKAGES.iter().chain(Self::ZFS_PACKAGES) {
            part(package);
        }
        for (name, value) in self.stage_environment() {
            part(name);
            part(&value);
        }
        part(STAGE_SCRIPT);
        let digest = hash.finalize();
        let short = digest
            .iter()
            .take(8)
            .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        format!("zfs-{}-{short:016x}", self.family)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_names_the_family_and_differs_between_versions() {
        let keys = ZfsVersion::ALL.map(|version| version.recipe().cache_key());
        assert!(keys[0].starts_with("zfs-2.1-"));
        assert_ne!(keys[0], keys[1]);
        assert_ne!(keys[1]["zfs-2.3-".len()..], keys[2]["zfs-2.4-".len()..]);
    }

    #[test]
    fn the_key_is_stable() {
        let recipe = ZfsVersion::V2_3.recipe();
        assert_eq!(recipe.cache_key(), recipe.cache_key());
        assert_eq!(recipe.cache_key().len(), "zfs-2.3-".len() + 16);
    }
}
