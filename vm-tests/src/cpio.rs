//! Writes initramfs archives (cpio "newc"): from a directory tree for the image, from memory for what one boot adds. The
//! kernel unpacks several archives that follow each other in one file, so a boot appends to the image and copies nothing.

use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// An archive under construction. Without [`Archive::finish`] the kernel would not find its end.
pub(crate) struct Archive<W> {
    out: W,
    entries: u32,
}

impl<W: Write> Archive<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, entries: 0 }
    }

    /// Adds everything below `root`, owned by root, in an order that does not depend on the file system.
    pub(crate) fn add_tree(&mut self, root: &Path) -> Result<()> {
        self.add_below(root, Path::new(""))
    }

    fn add_below(&mut self, root: &Path, relative: &Path) -> Result<()> {
        let directory = root.join(relative);
        let mut names = fs::read_dir(&directory)
            .and_then(|entries| {
                entries
                    .map(|entry| Ok(entry?.file_name()))
                    .collect::<io::Result<Vec<_>>>()
            })
            .with_context(|| format!("cannot read {}", directory.display()))?;
        names.sort();
        for name in names {
            let relative = relative.join(name);
            let path = root.join(&relative);
            let name = relative.as_os_str().as_bytes();
            let metadata = path
                .symlink_metadata()
                .with_context(|| format!("cannot read {}", path.display()))?;
            let permissions = metadata.permissions().mode() & 0o7777;
            if metadata.is_dir() {
                self.entry(name, DIRECTORY | permissions, &[])?;
                self.add_below(root, &relative)?;
            } else if metadata.is_symlink() {
                let target = fs::read_link(&path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                self.entry(name, SYMLINK | 0o777, target.as_os_str().as_bytes())?;
            } else if metadata.is_file() {
                let content =
                    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
                self.entry(name, REGULAR | permissions, &content)?;
            }
        }
        Ok(())
    }

    pub(crate) fn add_directory(&mut self, name: &str) -> io::Result<()> {
        self.entry(name.as_bytes(), DIRECTORY | 0o755, &[])
    }

    pub(crate) fn add_program(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.entry(name.as_bytes(), REGULAR | 0o755, content)
    }

    fn entry(&mut self, name: &[u8], mode: u32, content: &[u8]) -> io::Result<()> {
        self.entries += 1;
        let size = u32::try_from(content.len())
            .map_err(|_| io::Error::other("a file of an initramfs must be below 4 GiB"))?;
        let name_size = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
        // The fields of "newc": ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor,
        // namesize, check.
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            0,
            0,
            name_size,
            0,
        ];
        self.out.write_all(b"070701")?;
        for field in fields {
            write!(self.out, "{field:08x}")?;
        }
        self.out.write_all(name)?;
        self.out.write_all(&[0])?;
        self.pad(6 + 8 * fields.len() + name.len() + 1)?;
        self.out.write_all(content)?;
        self.pad(content.len())
    }

    /// Headers and contents both start at multiples of four.
    fn pad(&mut self, written: usize) -> io::Result<()> {
        self.out.write_all(&[0; 3][..written.wrapping_neg() % 4])
    }

    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.entry(b"TRAILER!!!", 0, &[])?;
        self.out.flush()?;
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_aligned_entries_and_a_trailer() {
        let mut archive = Archive::new(Vec::new());
        archive.add_directory("put").unwrap();
        archive.add_program("put/a", b"hello").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(&bytes[14..22], b"000041ed");
        // 110 bytes of header and "put\0" make 114, padded to 116.
        assert_eq!(&bytes[116..122], b"070701");
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("hello\0\0\x00070701"));
        assert!(text.contains("TRAILER!!!"));
    }
}
