//! Certificates for daemons that meet over TLS: each signs its own, and the other side trusts that one file.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// `NAME.crt` and `NAME.key` for `/put`. The name is common name and alternative name.
pub(crate) fn of_host(name: &str) -> Result<[(String, Vec<u8>); 2]> {
    let directory = tempfile::tempdir().context("cannot create a temporary directory")?;
    let at = |path: &Path, extension: &str| path.join(format!("{name}.{extension}"));
    let (certificate, key) = (at(directory.path(), "crt"), at(directory.path(), "key"));
    let output = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        // The clock of a guest may be a little behind.
        .args(["-nodes", "-days", "3650", "-subj"])
        .arg(format!("/CN={name}"))
        .arg("-addext")
        .arg(format!("subjectAltName=DNS:{name}"))
        .arg("-out")
        .arg(&certificate)
        .arg("-keyout")
        .arg(&key)
        .stdin(Stdio::null())
        .output()
        .context("cannot start openssl")?;
    if !output.status.success() {
        bail!(
            "openssl made no certificate for {name}:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let read =
        |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    Ok([
        (format!("{name}.crt"), read(&certificate)?),
        (format!("{name}.key"), read(&key)?),
    ])
}
