//! Mounts of filesystems: where one is mounted, and unmounting it. The kernel's ZFS calls know nothing of either.

use std::io;
use std::path::PathBuf;

/// Where the dataset is mounted in this process' namespace, if it is.
pub(super) fn mount_point_of(dataset: &str) -> io::Result<Option<PathBuf>> {
    Ok(imp::zfs_mounts()?
        .into_iter()
        .rev()
        .find(|(source, _)| source == dataset)
        .map(|(_, point)| point))
}

/// Unmounts the dataset wherever it is mounted in this process' namespace. `EBUSY` if it is in use.
pub(super) fn unmount(dataset: &str) -> io::Result<()> {
    while let Some(point) = mount_point_of(dataset)? {
        imp::unmount(&point)?;
    }
    Ok(())
}

#[cfg(target_os = "linux")]
mod imp {
    use std::ffi::OsString;
    use std::io;
    use std::os::unix::ffi::OsStringExt;
    use std::path::{Path, PathBuf};

    use rustix::mount::UnmountFlags;

    const TABLE: &str = "/proc/self/mountinfo";

    pub(super) fn zfs_mounts() -> io::Result<Vec<(String, PathBuf)>> {
        Ok(parse(&std::fs::read(TABLE)?))
    }

    pub(super) fn unmount(point: &Path) -> io::Result<()> {
        Ok(rustix::mount::unmount(point, UnmountFlags::empty())?)
    }

    /// (dataset, mount point) of each ZFS mount, in mount order. Fields: see proc(5); the source follows the type, which
    /// follows a lone `-`.
    fn parse(table: &[u8]) -> Vec<(String, PathBuf)> {
        table
            .split(|&byte| byte == b'\n')
            .filter_map(parse_line)
            .collect()
    }

    fn parse_line(line: &[u8]) -> Option<(String, PathBuf)> {
        let mut fields = line.split(|&byte| byte == b' ');
        let point = fields.by_ref().nth(4)?;
        let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
        if fields.next()? != b"zfs" {
            return None;
        }
        let source = String::from_utf8(unescape(fields.next()?)).ok()?;
        Some((source, PathBuf::from(OsString::from_vec(unescape(point)))))
    }

    /// Blanks and backslashes are written as three octal digits.
    fn unescape(field: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(field.len());
        let mut rest = field;
        while let Some((&byte, tail)) = rest.split_first() {
            let digits = tail
                .get(..3)
                .filter(|d| byte == b'\\' && d.iter().all(|c| (b'0'..b'8').contains(c)));
            if let Some(digits) = digits {
                out.push(digits.iter().fold(0_u8, |sum, digit| {
                    sum.wrapping_mul(8).wrapping_add(digit - b'0')
                }));
                rest = &tail[3..];
            } else {
                out.push(byte);
                rest = tail;
            }
        }
        out
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn finds_zfs_mounts_with_blanks_and_optional_fields() {
            let table = b"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
                40 22 0:33 / /tank rw shared:9 master:1 - zfs tank rw,xattr\n\
                41 40 0:34 / /tank/a\\040b rw - zfs tank/a\\040b rw\n\
                garbage\n";
            assert_eq!(
                parse(table),
                [
                    ("tank".to_owned(), PathBuf::from("/tank")),
                    ("tank/a b".to_owned(), PathBuf::from("/tank/a b"))
                ]
            );
        }
    }
}

#[cfg(target_os = "freebsd")]
mod imp {
    #![expect(unsafe_code, reason = "calls getfsstat(2) and unmount(2)")]

    use std::ffi::{CStr, CString};
    use std::io;
    use std::os::unix::ffi::OsStrExt;
    use std::path::{Path, PathBuf};
    use std::ptr;

    pub(super) fn zfs_mounts() -> io::Result<Vec<(String, PathBuf)>> {
        // SAFETY: a null buffer asks for the number of mounts only.
        let count = unsafe { libc::getfsstat(ptr::null_mut(), 0, libc::MNT_NOWAIT) };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        // Room for mounts that appear in between.
        let room = count + 16;
        let mut table: Vec<libc::statfs> = Vec::with_capacity(room);
        let bytes = (room * size_of::<libc::statfs>()) as libc::c_long;
        // SAFETY: the buffer has room for `bytes`; the call fills whole entries and returns their number.
        let filled = unsafe { libc::getfsstat(table.as_mut_ptr(), bytes, libc::MNT_NOWAIT) };
        let filled = usize::try_from(filled).map_err(|_| io::Error::last_os_error())?;
        // SAFETY: that many entries have been filled in, and no more than there is room for.
        unsafe { table.set_len(filled.min(room)) };
        Ok(table.iter().filter_map(entry).collect())
    }

    fn entry(mount: &libc::statfs) -> Option<(String, PathBuf)> {
        // SAFETY: the kernel ends these arrays with a NUL.
        let (kind, source, point) = unsafe {
            (
                CStr::from_ptr(mount.f_fstypename.as_ptr()),
                CStr::from_ptr(mount.f_mntfromname.as_ptr()),
                CStr::from_ptr(mount.f_mntonname.as_ptr()),
            )
        };
        if kind != c"zfs" {
            return None;
        }
        let point = std::ffi::OsStr::from_bytes(point.to_bytes());
        Some((source.to_str().ok()?.to_owned(), PathBuf::from(point)))
    }

    pub(super) fn unmount(point: &Path) -> io::Result<()> {
        let point = CString::new(point.as_os_str().as_bytes())?;
        // SAFETY: a C string.
        if unsafe { libc::unmount(point.as_ptr(), 0) } == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}
