//! Completion scripts and man pages, made from the description of the command line.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use clap_complete::Shell;
use zrepl_daemon::version::VERSION;

use crate::args::{Gencompletion, documented};

/// Prints the completion script of a shell.
pub(crate) fn print_completion(shell: Shell, out: &mut impl Write) -> anyhow::Result<()> {
    out.write_all(&completion(shell))?;
    Ok(())
}

/// Writes the completion script of a shell to the file that was named.
pub(crate) fn write_completion(wanted: &Gencompletion) -> anyhow::Result<()> {
    let (shell, path) = match wanted {
        Gencompletion::Bash { path } => (Shell::Bash, path),
        Gencompletion::Zsh { path } => (Shell::Zsh, path),
        Gencompletion::Fish { path } => (Shell::Fish, path),
    };
    write(path, &completion(shell)).with_context(|| format!("cannot write completions for {shell}"))
}

/// Writes a man page per command that users are told of.
pub(crate) fn write_man_pages(directory: &Path) -> anyhow::Result<()> {
    let mut root = documented().disable_help_subcommand(true);
    root.build();
    write_man_page(&root, directory)
}

fn completion(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    // Into memory first: the generator panics if it cannot write.
    clap_complete::generate(shell, &mut documented(), "zrepl", &mut script);
    script
}

fn write_man_page(command: &clap::Command, directory: &Path) -> anyhow::Result<()> {
    let man = clap_mangen::Man::new(command.clone())
        .section("8")
        .source(format!("zrepl {VERSION}"))
        .manual("zrepl");
    let mut page = Vec::new();
    man.render(&mut page)
        .with_context(|| format!("cannot write the man page of {}", command.get_name()))?;
    write(&directory.join(man.get_filename()), &page).context("cannot write a man page")?;
    command
        .get_subcommands()
        .try_for_each(|below| write_man_page(below, directory))
}

fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    fs::write(path, content).with_context(|| path.display().to_string())
}
