//! tls_files
