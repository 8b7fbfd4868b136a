//! Which ZFS is spoken to: release and platform.
//!
//! Property tables are not constant over releases: properties appear, defaults move, and `xattr=on`
//! even changes its number. Whatever depends on that takes a [`Dialect`].

use std::fmt;
use std::str::FromStr;

/// The release of the ZFS kernel module and the platform it runs on.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Dialect {
    /// Release of the kernel module.
    pub version: ZfsVersion,
    /// Platform of the kernel module.
    pub platform: Platform,
}

impl Dialect {
    /// The given release on the platform of this build.
    pub const fn local(version: ZfsVersion) -> Self {
        Self {
            version,
            platform: Platform::LOCAL,
        }
    }

    pub(super) const fn has(self, since: Since) -> bool {
        let first = match self.platform {
            Platform::Linux => since.linux,
            Platform::FreeBsd => since.freebsd,
        };
        match first {
            Some(first) => self.version.at_least(first),
            None => false,
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenZFS {} on {}", self.version, self.platform)
    }
}

/// Platforms whose property tables differ.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Platform {
    /// Linux: the zone property is `zoned`, `acltype` defaults to `off`.
    Linux,
    /// FreeBSD: the zone property is `jailed`, `acltype` defaults to `nfsv4`.
    FreeBsd,
}

impl Platform {
    /// The platform this crate is built for.
    pub const LOCAL: Self = if cfg!(target_os = "freebsd") {
        Self::FreeBsd
    } else {
        Self::Linux
    };
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Linux => "Linux",
            Self::FreeBsd => "FreeBSD",
        })
    }
}

/// An OpenZFS release such as 2.3.2. Ordered by age.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ZfsVersion {
    /// First number.
    pub major: u16,
    /// Second number: the release line.
    pub minor: u16,
    /// Third number; 99 is a development build.
    pub patch: u16,
}

impl ZfsVersion {
    /// Builds a version from its three numbers.
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }

    /// Whether this release is `other` or newer.
    ///
    /// Compares numbers only: a fix that a newer line got earlier (2.2.4 before 2.3.0) is not
    /// known to it.
    pub const fn at_least(self, other: Self) -> bool {
        self.packed() >= other.packed()
    }

    const fn packed(self) -> u64 {
        ((self.major as u64) << 32) | ((self.minor as u64) << 16) | self.patch as u64
    }
}

impl fmt::Display for ZfsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for ZfsVersion {
    type Err = ParseVersionError;

    /// Reads what `/sys/module/zfs/version`, the FreeBSD sysctl and `zfs version` print, such as
    /// `2.3.2-1~bpo12+2` and `zfs-kmod-2.2.4-FreeBSD_g256659204`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || ParseVersionError(text.to_owned());
        let trimmed = text.trim();
        let bare = ["zfs-kmod-", "zfs-", "v"]
            .iter()
            .find_map(|prefix| trimmed.strip_prefix(prefix))
            .unwrap_or(trimmed);
        let end = bare
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(bare.len());
        let mut numbers = bare[..end].split('.').map(str::parse::<u16>);
        let mut next = || numbers.next().transpose().map_err(|_| fail());
        let major = next()?.ok_or_else(fail)?;
        let minor = next()?.ok_or_else(fail)?;
        let patch = next()?.unwrap_or(0);
        Ok(Self::new(major, minor, patch))
    }
}

/// The text is not a ZFS release number.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is not a ZFS version")]
pub struct ParseVersionError(String);

/// First release that has a thing, by platform; `None` is never.
#[derive(Clone, Copy, Debug)]
pub(super) struct Since {
    linux: Option<ZfsVersion>,
    freebsd: Option<ZfsVersion>,
}

impl Since {
    /// In every release we support.
    pub(super) const ALWAYS: Self = Self::release(0, 0, 0);
    pub(super) const LINUX_ONLY: Self = Self {
        freebsd: None,
        ..Self::ALWAYS
    };
    pub(super) const FREEBSD_ONLY: Self = Self {
        linux: None,
        ..Self::ALWAYS
    };

    pub(super) const fn release(major: u16, minor: u16, patch: u16) -> Self {
        let version = Some(ZfsVersion::new(major, minor, patch));
        Self {
            linux: version,
            freebsd: version,
        }
    }

    /// Always on Linux, from the given release on FreeBSD.
    pub(super) const fn freebsd(major: u16, minor: u16, patch: u16) -> Self {
        Self {
            freebsd: Some(ZfsVersion::new(major, minor, patch)),
            ..Self::ALWAYS
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_version_strings_of_distributions() {
        let cases = [
            ("2.1.11-1+deb12u1\n", (2, 1, 11)),
            ("2.3.2-1~bpo12+2", (2, 3, 2)),
            ("zfs-kmod-2.4.0-1", (2, 4, 0)),
            ("zfs-2.2.9", (2, 2, 9)),
            ("v2.3", (2, 3, 0)),
            ("2.4.99-123_gdeadbeef", (2, 4, 99)),
        ];
        for (text, (major, minor, patch)) in cases {
            assert_eq!(
                text.parse(),
                Ok(ZfsVersion::new(major, minor, patch)),
                "{text}"
            );
        }
        for bad in ["", "zfs", "2", "2.", "2.x.1", "70000.1.1"] {
            assert!(bad.parse::<ZfsVersion>().is_err(), "{bad}");
        }
    }

    #[test]
    fn orders_releases() {
        let v = ZfsVersion::new;
        assert!(v(2, 2, 11).at_least(v(2, 2, 4)));
        assert!(!v(2, 2, 3).at_least(v(2, 2, 4)));
        assert!(v(2, 3, 0).at_least(v(2, 2, 4)));
        assert!(v(2, 2, 11) > v(2, 2, 9));
    }

    #[test]
    fn knows_platform_only_things() {
        let linux = Dialect {
            version: ZfsVersion::new(2, 1, 11),
            platform: Platform::Linux,
        };
        let freebsd = Dialect {
            platform: Platform::FreeBsd,
            ..linux
        };
        assert!(linux.has(Since::LINUX_ONLY) && !freebsd.has(Since::LINUX_ONLY));
        assert!(!linux.has(Since::FREEBSD_ONLY) && freebsd.has(Since::FREEBSD_ONLY));
        assert!(linux.has(Since::freebsd(2, 2, 0)) && !freebsd.has(Since::freebsd(2, 2, 0)));
    }
}
