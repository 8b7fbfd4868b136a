use std::fs;

use tempfile::TempDir;

use super::*;

fn material(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/tls")
        .join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(material(name)).unwrap()
}

/// A file with these contents, in a directory that lives as long as the result.
fn file(contents: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("file.pem");
    fs::write(&path, contents).unwrap();
    (dir, path)
}

fn identity(cert: &str, key: &str) -> Result<Identity, TlsFileError> {
    load_identity(&material(cert), &material(key))
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn keys_of_all_kinds_fit_their_certificates() {
    for (cert, key) in [
        ("cn_only.crt", "cn_only.key"),
        ("cn_only.crt", "cn_only.sec1.key"),
        ("san.crt", "san.key"),
        ("v1.crt", "v1.key"),
        ("v1.crt", "v1.pkcs1.key"),
        ("ed25519.crt", "ed25519.key"),
        ("expired.crt", "expired.key"),
    ] {
        let identity = identity(cert, key).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(identity.chain.len(), 1, "{cert}");
    }
}

#[test]
fn facts_are_those_of_the_first_certificate() {
    for (name, common_name, has_san) in [
        ("cn_only", Some("cn-only.example.com"), false),
        ("san", Some("san.example.com"), true),
        ("v1", Some("v1.example.com"), false),
        ("ed25519", None, false),
        ("expired", Some("expired.example.com"), false),
    ] {
        let identity = identity(&format!("{name}.crt"), &format!("{name}.key")).unwrap();
        let Facts {
            not_before,
            not_after,
            ..
        } = identity.facts;
        assert_eq!(identity.facts.common_name.as_deref(), common_name, "{name}");
        assert_eq!(identity.facts.has_san, has_san, "{name}");
        if name == "expired" {
            assert_eq!(not_before, at("2020-01-01T00:00:00Z"));
            assert_eq!(not_after, at("2020-01-31T23:59:59Z"));
        } else {
            assert!(not_after > at("2120-01-01T00:00:00Z"), "{name}");
        }
    }
}

#[test]
fn the_chain_keeps_the_order_of_the_file() {
    let (_dir, cert) = file(text("v1.crt") + &text("cn_only.crt"));
    let identity = load_identity(&cert, &material("v1.key")).unwrap();
    assert_eq!(identity.chain.len(), 2);
    assert_eq!(
        identity.facts.common_name.as_deref(),
        Some("v1.example.com")
    );
    // The key must be that of the first.
    assert!(load_identity(&cert, &material("cn_only.key")).is_err());
}

#[test]
fn blocks_that_are_no_certificate_are_passed_over() {
    let garbage = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
    let not_der = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    let all = [
        "Certificate:\n    Data: as EasyRSA writes it\n".to_owned(),
        garbage.to_owned(),
        text("cn_only.crt"),
        text("san.key"),
        not_der.to_owned(),
        text("san.crt").replace('\n', "\r\n"),
        "-----BEGIN CERTIFICATE-----\ntruncated".to_owned(),
    ];
    let (_dir, path) = file(all.concat());
    let names: Vec<_> = load_authorities(&path)
        .unwrap()
        .iter()
        .map(|certificate| Facts::of(certificate).unwrap().common_name.unwrap())
        .collect();
    assert_eq!(names, ["cn-only.example.com", "san.example.com"]);
    for nothing in [
        String::new(),
        garbage.to_owned(),
        not_der.to_owned(),
        text("san.key"),
    ] {
        let (_dir, path) = file(nothing);
        let error = load_authorities(&path).unwrap_err().to_string();
        let expected = format!(
            "cannot parse ca file: {}: PEM parsing error: there is no",
            path.display()
        );
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn a_key_in_the_file_of_the_certificate_is_found() {
    let (_dir, both) = file(text("san.crt") + &text("san.key"));
    load_identity(&both, &both).unwrap();
    let (_dir, both) = file(text("san.key") + &text("san.crt"));
    load_identity(&both, &both).unwrap();
}

#[test]
fn keys_of_others_are_refused() {
    for (cert, key) in [
        ("cn_only.crt", "san.key"),
        ("v1.crt", "cn_only.key"),
        ("ed25519.crt", "v1.key"),
        ("san.crt", "ed25519.key"),
    ] {
        let error = identity(cert, key).unwrap_err();
        assert_eq!(error.path(), material(key));
        assert!(matches!(error.problem(), FileProblem::Mismatch { .. }));
        let expected = format!(
            "cannot parse cert/key pair: {}: private key does not match public key of {}",
            material(key).display(),
            material(cert).display(),
        );
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn files_that_cannot_be_used_say_why() {
    let dir = TempDir::new().unwrap();
    let missing = dir.path().join("missing");
    let (_huge_dir, huge) = file(vec![b'x'; (1 << 20) + 1]);
    let (_pem_dir, not_pem) = file("hello");
    let (_der_dir, not_der) =
        file("-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n");
    let (_key_dir, bad_key) =
        file("-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n");
    for (path, message) in [
        (&missing, "cannot read the file: No such file or directory"),
        (&dir.path().to_owned(), "it is not a regular file"),
        (&PathBuf::from("/dev/zero"), "it is not a regular file"),
        (&huge, "the file is larger than 1048576 bytes"),
    ] {
        let good_cert = material("san.crt");
        for (result, start) in [
            (load_authorities(path).map(drop), "cannot parse ca file: "),
            (
                load_identity(path, &material("san.key")).map(drop),
                "cannot parse cert/key pair: ",
            ),
            (
                load_identity(&good_cert, path).map(drop),
                "cannot parse cert/key pair: ",
            ),
        ] {
            let error = result.unwrap_err();
            assert_eq!(error.path(), path);
            let expected = format!("{start}{}: {message}", path.display());
            assert!(error.to_string().starts_with(&expected), "{error}");
        }
    }
    for (cert, key, message) in [
        (
            &not_pem,
            &material("san.key"),
            "PEM parsing error: there is no certificate in the file",
        ),
        (
            &not_der,
            &material("san.key"),
            "the certificate is malformed: ",
        ),
        (
            &material("san.crt"),
            &not_pem,
            "PEM parsing error: there is no private key in the file",
        ),
        (
            &material("san.crt"),
            &material("san.crt"),
            "there is no private key in the file",
        ),
        (
            &material("san.crt"),
            &bad_key,
            "the private key cannot be used: ",
        ),
        (
            &material("cn_only.crt"),
            &material("encrypted.key"),
            "the private key is encrypted",
        ),
    ] {
        let error = load_identity(cert, key).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn certificates_for_ever_end_with_the_calendar() {
    // 9999-12-31T23:59:59Z, as RFC 5280 has it.
    assert_eq!(saturated(253_402_300_799), Timestamp::MAX);
    assert_eq!(saturated(0), Timestamp::UNIX_EPOCH);
}

#[test]
fn a_key_that_others_may_read_is_reported_with_its_mode() {
    let (_dir, path) = file("");
    for (mode, reported) in [
        (0o600, None),
        (0o400, None),
        (0o611, None),
        (0o640, Some(0o640)),
        (0o604, Some(0o604)),
        (0o4644, Some(0o4644)),
    ] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(key_readable_by_others(&path).unwrap(), reported, "{mode:o}");
    }
    fs::remove_file(&path).unwrap();
    assert!(key_readable_by_others(&path).is_err());
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let shown = format!("{:?}", identity("san.crt", "san.key").unwrap());
    assert!(!shown.contains("PRIVATE"), "{shown}");
}
