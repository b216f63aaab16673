//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use engine_table::Role;

use crate::ctl::View;
use crate::dev::{DevArguments, RunArguments};
use crate::load::LoadArguments;
use crate::token::CreateToken;
use crate::{child, ctl, dev, load, runtime, token};

#[derive(Debug, Parser)]
#[command(name = "millrace", version, about = "LiveKit-compatible SFU", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts a node for development on 127.0.0.1:7880 with the key `devkey` and the secret `secret`.
    Dev(DevArguments),
    /// Starts a node with a configuration file in LiveKit's format.
    Run(RunArguments),
    /// Shows a running node without interrupting it.
    Ctl {
        /// What to show.
        #[arg(value_enum, default_value = "status")]
        view: View,
        /// Runtime directory of the node; by default that of the node on --port.
        #[arg(long)]
        runtime_dir: Option<PathBuf>,
        /// Signaling port of the node.
        #[arg(long, default_value_t = 7880)]
        port: u16,
        /// One JSON document instead of tables.
        #[arg(long)]
        json: bool,
    },
    /// Loads a LiveKit-compatible server with synthetic participants, as `lk load-test` does.
    Load(LoadArguments),
    /// Makes access tokens.
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    #[command(hide = true)]
    Engine,
    #[command(hide = true)]
    Courier,
    #[command(hide = true)]
    Signaling,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Prints a token.
    Create(Box<CreateToken>),
}

pub fn run() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Dev(arguments) => dev::dev(&arguments),
        Command::Run(arguments) => dev::run(&arguments),
        Command::Ctl { view, runtime_dir, port, json } => {
            let path = runtime_dir.unwrap_or_else(|| runtime::default_path(port));
            ctl::run(&path, view, json).map(|()| ExitCode::SUCCESS)
        }
        Command::Load(arguments) => load::run(&arguments),
        Command::Token { command: TokenCommand::Create(arguments) } => {
            println!("{}", token::create(&arguments)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Engine => child(Role::Engine),
        Command::Courier => child(Role::Courier),
        Command::Signaling => child(Role::Signaling),
    }
}

fn child(role: Role) -> Result<ExitCode> {
    child::run(role).with_context(|| role.name())?;
    Ok(ExitCode::SUCCESS)
}
