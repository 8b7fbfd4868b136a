//! Arguments as written; completions and man pages will come from here.

use clap::{Parser, Subcommand};

/// One-stop ZFS replication solution
#[derive(Debug, Parser)]
#[command(name = "zrepl", disable_version_flag = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print version information
    Version,
    /// Test parts of zrepl by hand
    #[command(subcommand)]
    Test(Test),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Test {
    /// Decode a resume token without asking ZFS
    Decoderesumetoken {
        /// The token, as `zfs get receive_resume_token` prints it
        #[arg(long)]
        token: String,
    },
    /// Show how ZFS is reached on this host, and its pools
    Zfs,
}
