//! The command line: a contract (see `--help`), and as little else as possible.

mod act;
mod amend;
mod args;
mod backup;
mod feed;
mod found;
mod live;
mod look;
mod output;
mod recover;
mod renew;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::backup::BackupError;
use crate::config::{Config, ConfigError, Overrides};
use crate::control::{BindError, ClientError, RefusalKind};
use crate::founding::FoundingError;
use crate::home::{Home, HomeError};
use crate::keys::KeyError;
use crate::log::BadFilter;
use crate::net::NetError;
use crate::runtime::RunError;
use crate::store::StoreError;
use args::{Command, FoundCommand, Frith};
use output::Out;
pub(crate) use output::to_stdout;

/// How a command ended, as its exit code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// What was asked for holds.
    Holds = 0,
    /// What was expected failed, or was refused.
    Failed = 1,
    /// Bad usage or input: nothing was done.
    Usage = 2,
    /// Something did not come to be in time.
    Liveness = 4,
    /// It was told to stop before it had done what it was to do.
    CutOff = 5,
}

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub struct CommandError {
    exit: Exit,
    why: String,
}

impl CommandError {
    /// The input was wrong.
    pub(crate) fn usage(why: impl ToString) -> CommandError {
        CommandError { exit: Exit::Usage, why: why.to_string() }
    }

    /// It was tried, and failed.
    pub(crate) fn failed(why: impl ToString) -> CommandError {
        CommandError { exit: Exit::Failed, why: why.to_string() }
    }

    /// It was told to stop before it was done.
    pub(crate) fn cut_off(why: impl ToString) -> CommandError {
        CommandError { exit: Exit::CutOff, why: why.to_string() }
    }
}

/// Everything that is wrong before anything was done.
macro_rules! usage_errors {
    ($($error:ty),*) => {
        $(impl From<$error> for CommandError {
            fn from(error: $error) -> CommandError {
                CommandError::usage(error)
            }
        })*
    };
}
usage_errors!(BackupError, FoundingError, HomeError, KeyError, ConfigError, BadFilter, BindError, NetError);

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> CommandError {
        CommandError::usage(error)
    }
}

impl From<RunError> for CommandError {
    fn from(error: RunError) -> CommandError {
        match error {
            RunError::NotStored(_) | RunError::NetGone => CommandError::failed(error),
            RunError::Net(NetError::Listen { .. }) => CommandError::usage(format!(
                "{error}; to listen elsewhere: `listen` in frith.toml in the node's directory, or --listen"
            )),
            RunError::Keys(_)
            | RunError::Home(_)
            | RunError::Store(_)
            | RunError::Open { .. }
            | RunError::Net(_)
            | RunError::Control(_) => CommandError::usage(error),
        }
    }
}

impl From<ClientError> for CommandError {
    fn from(error: ClientError) -> CommandError {
        let exit = match &error {
            ClientError::NotRunning { .. } | ClientError::Io { .. } | ClientError::NotAReply { .. } => {
                Exit::Usage
            }
            ClientError::Refused(refusal) => match refusal.kind {
                RefusalKind::Bad => Exit::Usage,
                RefusalKind::Refused | RefusalKind::Stopping => Exit::Failed,
                RefusalKind::TimedOut => Exit::Liveness,
            },
        };
        CommandError { exit, why: error.to_string() }
    }
}

/// What a command returns.
type Done = Result<Exit, CommandError>;

/// Runs the command that this process was started with.
pub fn main() -> ExitCode {
    let frith = match Frith::try_parse() {
        Ok(frith) => frith,
        Err(said) => return not_understood(&said),
    };
    let out = Out { json: frith.json };
    let exit = match dispatch(frith, out) {
        Ok(exit) => exit,
        Err(CommandError { exit, why }) => {
            out.error(&why);
            exit
        }
    };
    ExitCode::from(exit as u8)
}

/// Help that was asked for, or what is wrong with the arguments.
fn not_understood(said: &clap::Error) -> ExitCode {
    // Nobody may be reading.
    drop(said.print());
    if !said.use_stderr() {
        return ExitCode::from(Exit::Holds as u8);
    }
    if let Some(variable) = said_by(said) {
        output::tell(&format!("(That was said by {variable} in the environment.)"));
    }
    if std::env::args_os().any(|word| word == "--json") {
        let why = said.render().to_string();
        let why = why.trim_start_matches("error: ").lines().next().unwrap_or_default();
        output::tell_json(why);
    }
    ExitCode::from(Exit::Usage as u8)
}

/// The variable of the environment that an error is about, if no flag said the same.
fn said_by(error: &clap::Error) -> Option<String> {
    let Some(clap::error::ContextValue::String(wrong)) = error.get(clap::error::ContextKind::InvalidArg)
    else {
        return None;
    };
    let mut frith = Frith::command();
    // Before that, an argument does not know how it is written.
    frith.build();
    let arg = frith
        .get_subcommands()
        .flat_map(clap::Command::get_arguments)
        .find(|arg| arg.get_env().is_some() && arg.to_string() == *wrong)?;
    let flag = format!("--{}", arg.get_long()?);
    let by_flag = |word: std::ffi::OsString| word.to_string_lossy().starts_with(&flag);
    let variable = arg.get_env()?.to_string_lossy().into_owned();
    (!std::env::args_os().any(by_flag)).then_some(variable)
}

fn dispatch(frith: Frith, out: Out) -> Done {
    let dir = frith.dir;
    let home = || dir.clone().map(Home::at).ok_or_else(no_dir);
    match frith.command {
        Command::Init(args) => found::init(&home()?, args, out),
        Command::Found(FoundCommand::Card(args)) => found::card(&home()?, args, out),
        Command::Found(FoundCommand::Draft(args)) => found::draft(args, out),
        Command::Found(FoundCommand::Sign(args)) => found::sign(&home()?, args, out),
        Command::Found(FoundCommand::Open(args)) => found::open(&home()?, args, out),
        Command::Run(args) => live::run(home()?, args),
        Command::Join(args) => live::join(home()?, args, out),
        Command::Status => look::status(&home()?, out),
        Command::Members => look::members(&home()?, out),
        Command::Pending(args) => look::pending(&home()?, args, out),
        Command::Log(args) => feed::log(&home()?, args, out),
        Command::Watch(args) => feed::watch(&home()?, args, out),
        Command::Why(args) => look::why(&home()?, args, out),
        Command::Anchor => look::anchor(&home()?, out),
        Command::Metrics => look::metrics(&home()?, out),
        Command::Wait(args) => look::wait(&home()?, args, out),
        Command::Invite(args) => act::invite(&home()?, args, out),
        Command::Endorse(args) => act::endorse(&home()?, args, out),
        Command::Deny(args) => act::deny(&home()?, args, out),
        Command::Revoke(args) => act::revoke(&home()?, args, out),
        Command::Hold(args) => act::hold(&home()?, args, out),
        Command::Suspend(args) => act::suspend(&home()?, args, out),
        Command::Release(args) => act::release(&home()?, args, out),
        Command::Renew(args) => renew::renew(&home()?, args, out),
        Command::Readmit(args) => renew::readmit(&home()?, args, out),
        Command::Rotate(args) => act::rotate(&home()?, args, out),
        Command::Amend(args) => amend::amend(&home()?, args, out),
        Command::Backup(args) => backup::backup(&home()?, args, out),
        Command::Restore(args) => backup::restore(&home()?, args, out),
        Command::Recover(command) => recover::recover(dir.map(Home::at), command, out),
        Command::Leave(args) => act::leave(&home()?, args, out),
        Command::Demo => match crate::demo::run(out.json) {
            Ok(()) => Ok(Exit::Holds),
            Err(why) => Err(CommandError::failed(why)),
        },
        Command::Config => {
            // That of the node, if one is named and has any.
            let config = match dir {
                Some(dir) => Config::load(&Home::at(dir).config(), Overrides::default())?,
                None => Config::default(),
            };
            output::print(&config.to_commented_toml())
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Frith::command(), "frith", &mut script);
            output::print(&String::from_utf8_lossy(&script))
        }
    }
}

fn no_dir() -> CommandError {
    CommandError::usage("which node? say --dir D, or set FRITH_DIR")
}

/// Writes a file that others should not find half-written, or to stdout.
fn write_out(path: Option<&PathBuf>, text: &str) -> Done {
    match path {
        None => output::print(text),
        Some(path) => match std::fs::write(path, text) {
            Ok(()) => Ok(Exit::Holds),
            Err(why) => Err(CommandError::usage(format!("{}: cannot write it: {why}", path.display()))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Frith::command().debug_assert();
    }

    #[test]
    fn every_command_that_does_something_teaches_by_example() {
        for command in Frith::command().get_subcommands() {
            let name = command.get_name();
            let about = command.get_about().unwrap_or_else(|| panic!("{name} says nothing of itself"));
            assert!(!about.to_string().is_empty());
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("frith ") || command.has_subcommands(), "{name} shows no example");
        }
    }
}
