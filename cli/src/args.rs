//! The command line: words in, [`Arguments`] out. Completions and man pages come from the same description, so its texts
//! are written for all three.
//!
//! zrepl 0.7.0 used another parser, and scripts rely on what that one lets pass; [`parse`] keeps it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::choice::Choice;

/// One-stop ZFS replication solution
#[derive(Debug, Parser)]
#[command(
    name = "zrepl",
    args_override_self = true,
    after_long_help = "Exit status: 0 if all went well, 1 if anything failed; the reason is on standard error.\n\n\
        Environment: ZREPL_ZFS_BACKEND=native or =cli forces how ZFS is reached, natively or through zfs(8). Without it, \
        zfs(8) is used where the native way does not work."
)]
pub(crate) struct Arguments {
    /// Configuration file to use
    ///
    /// Without it, /etc/zrepl/zrepl.yml is read, or /usr/local/etc/zrepl/zrepl.yml if that does not exist.
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        value_hint = clap::ValueHint::FilePath,
        help_heading = "Global options"
    )]
    config: Option<OsString>,
    /// None means: show what there is.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

impl Arguments {
    /// The configuration file that the user named.
    pub(crate) fn config(&self) -> Option<&Path> {
        let named = self.config.as_deref().filter(|path| !path.is_empty());
        named.map(Path::new)
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check whether the configuration is valid
    ///
    /// Reads the configuration and prepares all that it describes, without starting any of it. Prints nothing if it is
    /// valid, unless asked to.
    Configcheck(Configcheck),
    /// Run the daemon in the foreground
    ///
    /// It runs until SIGINT, SIGTERM or SIGHUP: then running replications are cut so that they can be resumed, which takes at
    /// most a few seconds. A second signal ends it at once. There is no reload: to change the configuration, restart it. The
    /// exit status is 0 if everything ended in order.
    Daemon,
    /// Show what the running daemon does
    Status(Status),
    /// Show what a job would do now, without doing it
    ///
    /// Which snapshots would be taken, what would be sent and how many bytes, and which snapshots would be destroyed or kept by
    /// which rule. It needs no running daemon, and what a daemon needs: root, or the permissions that `zfs allow` gives. The other
    /// side is asked over the network.
    Plan(Plan),
    /// Tell a job of the running daemon to do something now
    ///
    /// `wakeup` makes a push or pull job replicate and prune, and a snap job prune; if it is waiting for the other side to come
    /// back, it tries at once. `reset` ends what is running; a replication can be resumed by the next one. `snapshot` takes
    /// snapshots, after which the job goes on as after any other. `prune` only destroys the snapshots that no rule keeps. A job
    /// that does not wait for the signal answers "already woken up" or "already reset", and the exit status is 1.
    Signal {
        /// `wakeup`, `reset`, `snapshot` or `prune`, and the job's name
        #[arg(value_names = ["wakeup|reset|snapshot|prune", "JOB"], num_args = 0..)]
        words: Vec<String>,
    },
    /// Print the version of this program and of the running daemon
    ///
    /// The daemon is asked over its control socket, whose path is read from the configuration. A warning is printed on
    /// standard error if the two are not of the same version.
    Version {
        /// Print only one of the two lines
        #[arg(long, default_value = "", hide_default_value = true, value_parser = SHOW)]
        show: Show,
    },
    /// Connect a client to the daemon; sshd runs this
    ///
    /// For the transport ssh+stdinserver: to be the command of the client's key in authorized_keys, as in
    /// command="zrepl stdinserver CLIENT_IDENTITY",restrict. Hands standard input and output over to the daemon, through a
    /// socket in the directory global.serve.stdinserver.sockdir, and waits until the daemon ends the connection.
    Stdinserver {
        /// Name of the client, which a job of the daemon must list in `client_identities`
        #[arg(value_name = "CLIENT_IDENTITY")]
        identity: OsString,
    },
    /// Try parts of zrepl on this host by hand
    Test {
        /// None means: show what there is.
        #[command(subcommand)]
        command: Option<Test>,
    },
    /// Print a completion script for a shell on standard output
    Completion {
        /// The shell to print it for
        #[arg(value_enum)]
        shell: Option<clap_complete::Shell>,
    },
    /// Write a completion script for a shell to a file
    ///
    /// For packagers; `zrepl completion` prints the same script on standard output.
    Gencompletion {
        /// None means: show what there is.
        #[command(subcommand)]
        shell: Option<Gencompletion>,
    },
    /// Write one man page per command into a directory
    #[command(hide = true)]
    Genman {
        /// The directory, which must exist
        #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
        directory: PathBuf,
    },
}

/// What `configcheck` is to do.
#[derive(Args, Debug)]
pub(crate) struct Configcheck {
    /// Print what was understood in this format; print nothing if empty
    #[arg(long, default_value = "", hide_default_value = true, value_parser = FORMAT)]
    pub(crate) format: Format,
    /// The part of the configuration to print; all of it is checked
    #[arg(long, default_value = "all", value_parser = WHAT)]
    pub(crate) what: What,
    /// Do not read the files of TLS certificates and keys
    ///
    /// For checking the configuration of another host.
    #[arg(long)]
    pub(crate) skip_cert_check: bool,
    /// Say in words what this job will do
    ///
    /// Which filesystems it takes now, when it takes snapshots, where it replicates, and what its rules keep, with a sample of
    /// what would be left of a long series of snapshots. Nothing is changed.
    #[arg(long, value_name = "JOB")]
    pub(crate) explain: Option<String>,
    /// Print the JSON Schema of the configuration file, for editors; reads no configuration
    #[arg(long)]
    pub(crate) schema: bool,
}

/// How `configcheck` prints what it understood.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Format {
    Nothing,
    Pretty,
    Yaml,
    Json,
}

const FORMAT: Choice<Format> = Choice {
    words: &[
        ("", Format::Nothing, ""),
        ("pretty", Format::Pretty, "as the program sees it"),
        ("yaml", Format::Yaml, "as YAML"),
        ("json", Format::Json, "as JSON"),
    ],
    refusal: |word| {
        format!("unsupported --format {word:?}: it may be pretty, yaml or json, or left empty")
    },
};

/// What `configcheck` looks at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum What {
    All,
    Config,
    Jobs,
    Logging,
}

const WHAT: Choice<What> = Choice {
    words: &[
        ("all", What::All, "everything"),
        ("config", What::Config, "the file itself"),
        ("jobs", What::Jobs, "the jobs"),
        ("logging", What::Logging, "where logs go"),
    ],
    refusal: |word| format!("unsupported --what {word:?}: it may be all, config, jobs or logging"),
};

/// What `zrepl plan` is to show.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// The job's name
    pub(crate) job: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// How `status` shows it.
#[derive(Args, Debug)]
pub(crate) struct Status {
    /// How to show it; only raw exists so far
    #[arg(long, default_value = "interactive", hide_default_value = true, value_parser = MODE)]
    pub(crate) mode: Mode,
    /// Show only this job; raw always shows all of them, as in zrepl 0.7.0
    #[arg(long, value_name = "NAME")]
    pub(crate) job: Option<String>,
    /// Time from one refresh to the next, for modes that refresh
    #[arg(short, long, value_name = "DURATION")]
    pub(crate) delay: Option<String>,
}

/// How `status` shows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    Interactive,
    Dump,
    Raw,
    Legacy,
}

const MODE: Choice<Mode> = Choice {
    words: &[
        ("raw", Mode::Raw, "the daemon's JSON"),
        // Not yet, so they are not offered.
        ("interactive", Mode::Interactive, ""),
        ("dump", Mode::Dump, ""),
        ("legacy", Mode::Legacy, ""),
    ],
    refusal: |word| {
        format!(
            "invalid value {word:?}: must be one of one of \"interactive\", \"dump\", \"raw\", \"legacy\""
        )
    },
};

/// Which lines `version` prints.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Show {
    Both,
    Client,
    Daemon,
}

const SHOW: Choice<Show> = Choice {
    words: &[
        ("", Show::Both, ""),
        ("client", Show::Client, "this program"),
        ("daemon", Show::Daemon, "the running daemon"),
        // What the refusal of zrepl 0.7.0 calls it, although it did not take it.
        ("server", Show::Daemon, ""),
    ],
    refusal: |_| "show flag must be 'client' or 'server' or be left empty".to_owned(),
};

/// Parts of zrepl to try by hand.
#[derive(Debug, Subcommand)]
pub(crate) enum Test {
    /// Show which filesystems the filter of a job accepts
    ///
    /// Prints a line per filesystem: ACCEPT, REJECT or ERROR, its name and, after an error, what is wrong, separated by
    /// tabs. The exit status is 1 if there was any error.
    Filesystems(Filesystems),
    /// Show which filesystems are placeholders
    ///
    /// A placeholder is a filesystem that zrepl created on the receiving side to have a place for the filesystems below
    /// it. Prints a header and a line per filesystem: yes or no, its name, and the value of the property
    /// zrepl:placeholder if it is set on that very filesystem, separated by tabs.
    Placeholder(Placeholder),
    /// Decode a resume token, without asking ZFS
    Decoderesumetoken {
        /// The token, as `zfs get -H -o value receive_resume_token` prints it
        #[arg(long, value_name = "TOKEN")]
        token: Option<String>,
    },
    /// Show how ZFS is reached on this host, and its pools
    Zfs,
}

/// What `test filesystems` is to do.
#[derive(Args, Debug)]
pub(crate) struct Filesystems {
    /// Name of the job whose filter to try: a push, source or snap job
    #[arg(long, value_name = "JOB")]
    pub(crate) job: Option<String>,
    /// Try all filesystems and volumes of this host
    #[arg(long)]
    pub(crate) all: bool,
    /// Try this name, whether it exists or not
    #[arg(long, value_name = "FS")]
    pub(crate) input: Option<String>,
}

/// What `test placeholder` is to do.
#[derive(Args, Debug)]
pub(crate) struct Placeholder {
    /// Show all filesystems and volumes of this host
    #[arg(long)]
    pub(crate) all: bool,
    /// Show this one
    #[arg(long, value_name = "DATASET")]
    pub(crate) dataset: Option<String>,
}

/// Where `gencompletion` writes to.
#[derive(Clone, Debug, Eq, PartialEq, Subcommand)]
pub(crate) enum Gencompletion {
    /// Write a completion script for bash
    Bash {
        /// The file to write; one that exists is replaced
        #[arg(value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
        path: PathBuf,
    },
    /// Write a completion script for zsh
    Zsh {
        /// The file to write; one that exists is replaced
        #[arg(value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
        path: PathBuf,
    },
    /// Write a completion script for fish
    Fish {
        /// The file to write; one that exists is replaced
        #[arg(value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
        path: PathBuf,
    },
}

/// A command line that was understood.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) arguments: Arguments,
    /// Words that mean nothing and that zrepl 0.7.0 took without complaint.
    pub(crate) ignored: Vec<OsString>,
}

/// Understands a command line, its first word being the program. As in zrepl 0.7.0, positional arguments of commands that
/// have none are ignored, as is an unknown word after a group of commands.
pub(crate) fn parse(
    words: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<Parsed, clap::Error> {
    let mut command = lenient(Arguments::command());
    let matches = command.try_get_matches_from_mut(words)?;
    Ok(Parsed {
        arguments: Arguments::from_arg_matches(&matches)
            .map_err(|error| error.format(&mut command))?,
        ignored: ignored(&command, &matches),
    })
}

/// The help of the command with this path: `[]` is zrepl itself.
pub(crate) fn help(path: &[&str]) -> String {
    let mut root = documented();
    root.build();
    let mut command = &mut root;
    for name in path {
        command = command
            .find_subcommand_mut(name)
            .expect("callers name commands of this file");
    }
    command.render_help().to_string()
}

/// The description that help, completions and man pages are made from: without hidden commands, which completions would
/// offer.
pub(crate) fn documented() -> clap::Command {
    let all = Arguments::command();
    let shown = all.get_subcommands().filter(|below| !below.is_hide_set());
    clap::Command::new("zrepl")
        .about(all.get_about().cloned().unwrap_or_default())
        .after_long_help(all.get_after_long_help().cloned().unwrap_or_default())
        .args(all.get_arguments().cloned())
        .subcommands(shown.cloned())
}

/// The id of the argument that takes surplus words; no field has it.
const SURPLUS: &str = "surplus words";

/// The same commands, taking what zrepl 0.7.0 took. A command with a positional argument of its own that it cannot do
/// without, or which takes any number, is strict there too.
fn lenient(command: clap::Command) -> clap::Command {
    if command.has_subcommands() {
        return command.mut_subcommands(|below| {
            let below = lenient(below);
            let is_group = below.has_subcommands();
            below.allow_external_subcommands(is_group)
        });
    }
    let takes_many = |argument: &clap::Arg| {
        let count = argument.get_num_args();
        count.is_some_and(|count| count.max_values() > 1)
    };
    if command
        .get_positionals()
        .any(|argument| argument.is_required_set() || takes_many(argument))
    {
        return command;
    }
    command.arg(
        clap::Arg::new(SURPLUS)
            .hide(true)
            .num_args(0..)
            .value_parser(clap::value_parser!(OsString)),
    )
}

fn ignored(command: &clap::Command, matches: &clap::ArgMatches) -> Vec<OsString> {
    let Some((name, below)) = matches.subcommand() else {
        return words(matches, SURPLUS).collect();
    };
    match command.find_subcommand(name) {
        Some(command) => ignored(command, below),
        // What clap calls an external subcommand has its arguments under an empty id.
        None => std::iter::once(name.into())
            .chain(words(below, ""))
            .collect(),
    }
}

fn words<'a>(matches: &'a clap::ArgMatches, id: &str) -> impl Iterator<Item = OsString> + 'a {
    let values = matches.try_get_many::<OsString>(id).ok().flatten();
    values.into_iter().flatten().cloned()
}
