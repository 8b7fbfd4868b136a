//! `zrepl`, the command: the command line in, one of the modules called, an exit status out. 0 is success, 1 is any failure,
//! whose reason is on standard error.

mod args;
mod choice;
mod configcheck;
mod configuration;
mod daemon;
mod documents;
mod output;
mod plan;
mod signal;
mod socket;
mod status;
mod stdinserver;
mod test;
mod version;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;

use crate::args::{Arguments, Command, Parsed, Test};
use crate::output::{Output, complain};
use crate::socket::ControlSocket;

fn main() -> ExitCode {
    let Parsed { arguments, ignored } = match args::parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help is an "error" too. There is nobody to tell if it cannot be printed.
            error.print().ok();
            return if error.use_stderr() {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    if !ignored.is_empty() {
        let words: Vec<_> = ignored.iter().map(|word| word.to_string_lossy()).collect();
        complain(format_args!("ignored: {}", words.join(" ")));
    }
    let mut out = Output::new(io::stdout().lock());
    let result = run(&arguments, &mut out).and_then(|()| Ok(out.flush()?));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough.
        Err(_) if out.is_closed() => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let configuration = || configuration::load(arguments.config());
    let needed = || configuration().context("could not parse config");
    let Some(command) = &arguments.command else {
        return help(&[], out);
    };
    let socket = || needed().map(|it| ControlSocket::new(it.sockpath()));
    match command {
        Command::Daemon => daemon::run(arguments.config()),
        Command::Status(options) => status::run(options, socket, out),
        Command::Plan(options) => plan::run(options, arguments.config(), out),
        Command::Signal { words } => signal::run(words, socket),
        Command::Configcheck(options) => configcheck::run(options, arguments.config(), out),
        Command::Version { show } => {
            let socket = || configuration().map(|it| ControlSocket::new(it.sockpath()));
            version::run(*show, socket, out)
        }
        Command::Stdinserver { identity } => stdinserver::run(identity, needed, out),
        Command::Test { command: None } => help(&["test"], out),
        Command::Test {
            command: Some(command),
        } => match command {
            Test::Filesystems(options) => test::filesystems::run(options, needed, out),
            Test::Placeholder(options) => test::placeholder::run(options, out),
            Test::Decoderesumetoken { token } => {
                test::decoderesumetoken::run(token.as_deref(), out)
            }
            Test::Zfs => test::zfs::run(out),
        },
        Command::Completion { shell: None } => help(&["completion"], out),
        Command::Completion { shell: Some(shell) } => documents::print_completion(*shell, out),
        Command::Gencompletion { shell: None } => help(&["gencompletion"], out),
        Command::Gencompletion {
            shell: Some(wanted),
        } => documents::write_completion(wanted),
        Command::Genman { directory } => documents::write_man_pages(directory),
    }
}

fn help(command: &[&str], out: &mut impl Write) -> anyhow::Result<()> {
    out.write_all(args::help(command).as_bytes())?;
    Ok(())
}
