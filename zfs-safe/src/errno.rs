//! Error numbers of the kernel, named the same on Linux and FreeBSD.
//!
//! libzfs_core returns plain `errno` numbers, which differ between the systems, and ZFS' own numbers from 1024 on, which
//! do not. [`Errno`] keeps the number; [`Symbol`] is what it means. The numbers are those of each system's `errno.h` and
//! of `include/os/*/spl`, where ZFS maps names that a system lacks; ZFS' own are in `include/sys/fs/zfs.h`.

use std::fmt;

/// An error number as the kernel returned it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Errno(i32);

/// The system whose numbers an [`Errno`] is read with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// Linux, all architectures that OpenZFS builds for.
    Linux,
    /// FreeBSD.
    FreeBsd,
}

impl Platform {
    /// The system this program runs on.
    pub const HERE: Self = if cfg!(target_os = "freebsd") {
        Self::FreeBsd
    } else {
        Self::Linux
    };
}

impl Errno {
    /// Wraps a number returned by libzfs_core or taken from `errno`.
    pub const fn new(number: i32) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> i32 {
        self.0
    }

    /// What it means on this system.
    pub fn symbol(self) -> Symbol {
        Symbol::of(self.0, Platform::HERE)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.symbol() {
            Symbol::Other(number) => write!(f, "errno {number}"),
            symbol => write!(f, "{symbol:?}, errno {}", self.0),
        }
    }
}

macro_rules! symbols {
    ($($(#[$doc:meta])* $name:ident = $linux:literal / $freebsd:literal,)*) => {
        /// What an error number means, whatever its value on this system.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Symbol {
            $($(#[$doc])* $name,)*
            /// A number that is none of the above.
            Other(i32),
        }

        const TABLE: &[(Symbol, i32, i32)] = &[$((Symbol::$name, $linux, $freebsd),)*];
    };
}

// Where two names share a FreeBSD number, the first in this list is the one it is read as.
symbols! {
    /// Operation not permitted.
    EPERM = 1 / 1,
    /// No such dataset, snapshot, pool or device.
    ENOENT = 2 / 2,
    /// End of a listing; a bookmark or rollback target that does not exist.
    ESRCH = 3 / 3,
    /// A signal, or a send whose output could not be written.
    EINTR = 4 / 4,
    /// Input or output failed.
    EIO = 5 / 5,
    /// A runtime error in a channel program. FreeBSD has no such number and uses that of `ENXIO`.
    ECHRNG = 44 / 6,
    /// A list or name is too big.
    E2BIG = 7 / 7,
    /// Bad file descriptor.
    EBADF = 9 / 9,
    /// Out of memory, or a reply buffer that is too small.
    ENOMEM = 12 / 12,
    /// No privilege, or a key that is not loaded.
    EACCES = 13 / 13,
    /// Bad address.
    EFAULT = 14 / 14,
    /// Held, mounted, being received, or in use by a send.
    EBUSY = 16 / 16,
    /// The name is taken, the tag is set, or clones exist.
    EEXIST = 17 / 17,
    /// Names of different pools or lineages.
    EXDEV = 18 / 18,
    /// No matching base of an incremental stream.
    ENODEV = 19 / 19,
    /// Not acceptable as it is.
    EINVAL = 22 / 22,
    /// The target was modified since the base.
    ETXTBSY = 26 / 26,
    /// No space.
    ENOSPC = 28 / 28,
    /// The pool is imported read-only.
    EROFS = 30 / 30,
    /// The reader is gone.
    EPIPE = 32 / 32,
    /// A record is out of range.
    ERANGE = 34 / 34,
    /// The pool is suspended, or a descriptor is not blocking.
    EAGAIN = 11 / 35,
    /// A name is too long.
    ENAMETOOLONG = 36 / 63,
    /// A feature is not enabled.
    ENOTSUP = 95 / 45,
    /// A quota or limit is reached.
    EDQUOT = 122 / 69,
    /// Delegation is off.
    ECANCELED = 125 / 85,
    /// The peer reset the connection.
    ECONNRESET = 104 / 54,
    /// A channel program ran over its instruction limit.
    ETIME = 62 / 60,
    /// A checksum does not match. `EBADE` on Linux, `EINTEGRITY` on FreeBSD.
    ECKSUM = 52 / 97,
    /// Linux' kernel-internal "restart the call".
    ERESTARTSYS = 512 / 512,
    /// The module does not know the call.
    IocCmdUnavail = 1029 / 1029,
    /// The module does not know an argument of the call.
    IocArgUnavail = 1030 / 1030,
    /// An argument of the call is missing.
    IocArgRequired = 1031 / 1031,
    /// An argument of the call has the wrong type.
    IocArgBadType = 1032 / 1032,
    /// The parent is a volume.
    WrongParent = 1033 / 1033,
    /// Raw incremental without the base's IV set guid.
    FromIvsetGuidMissing = 1034 / 1034,
    /// Raw incremental onto a base with another IV set guid.
    FromIvsetGuidMismatch = 1035 / 1035,
    /// Raw stream of an old sender that lacks a spill flag.
    SpillBlockFlagMissing = 1036 / 1036,
    /// The stream needs a feature that the module lacks.
    UnknownSendStreamFeature = 1037 / 1037,
    /// The pool is being exported.
    ExportInProgress = 1038 / 1038,
    /// The bookmark's source is not an ancestor.
    BookmarkSourceNotAncestor = 1039 / 1039,
    /// The stream ended early.
    StreamTruncated = 1040 / 1040,
    /// An incremental stream without large blocks onto a dataset that was received with them.
    StreamLargeBlockMismatch = 1041 / 1041,
    /// A property value that the kernel does not know.
    BadProp = 1044 / 1044,
    /// A full stream that resumes onto an existing filesystem.
    ResumeExists = 1047 / 1047,
    /// Encryption parameters that the kernel lacks.
    CryptoNotSup = 1048 / 1048,
    /// A large microzap sent without large blocks.
    StreamLargeMicrozap = 1051 / 1051,
}

impl Symbol {
    /// Reads a number by the table of `platform`.
    pub fn of(number: i32, platform: Platform) -> Self {
        TABLE
            .iter()
            .find(|(_, linux, freebsd)| match platform {
                Platform::Linux => *linux == number,
                Platform::FreeBsd => *freebsd == number,
            })
            .map_or(Self::Other(number), |(symbol, _, _)| *symbol)
    }

    /// The number on this system.
    pub fn errno(self) -> Errno {
        if let Self::Other(number) = self {
            return Errno(number);
        }
        let row = TABLE.iter().find(|(symbol, _, _)| *symbol == self);
        Errno(row.map_or(0, |(_, linux, freebsd)| match Platform::HERE {
            Platform::Linux => *linux,
            Platform::FreeBsd => *freebsd,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_this_system_agree_with_libc() {
        let libc_numbers = [
            (Symbol::EPERM, libc::EPERM),
            (Symbol::EAGAIN, libc::EAGAIN),
            (Symbol::ENAMETOOLONG, libc::ENAMETOOLONG),
            (Symbol::ENOTSUP, libc::ENOTSUP),
            (Symbol::EDQUOT, libc::EDQUOT),
            (Symbol::ECANCELED, libc::ECANCELED),
            (Symbol::ECONNRESET, libc::ECONNRESET),
            (Symbol::ETXTBSY, libc::ETXTBSY),
            (Symbol::ENODEV, libc::ENODEV),
            (Symbol::EPIPE, libc::EPIPE),
        ];
        for (symbol, number) in libc_numbers {
            assert_eq!(Errno::new(number).symbol(), symbol);
            assert_eq!(symbol.errno().get(), number);
        }
    }

    #[test]
    fn every_number_reads_back_on_both_systems() {
        for &(symbol, linux, freebsd) in TABLE {
            assert_eq!(Symbol::of(linux, Platform::Linux), symbol);
            assert_eq!(Symbol::of(freebsd, Platform::FreeBsd), symbol);
        }
    }

    #[test]
    fn freebsd_differs_where_it_must() {
        assert_eq!(Symbol::of(97, Platform::FreeBsd), Symbol::ECKSUM);
        assert_eq!(Symbol::of(52, Platform::Linux), Symbol::ECKSUM);
        assert_eq!(Symbol::of(35, Platform::FreeBsd), Symbol::EAGAIN);
        assert_eq!(Symbol::of(11, Platform::Linux), Symbol::EAGAIN);
        assert_eq!(Symbol::of(6, Platform::FreeBsd), Symbol::ECHRNG);
        assert_eq!(Symbol::of(6, Platform::Linux), Symbol::Other(6));
    }
}
