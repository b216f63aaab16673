//! `millrace`: the command people type, and the four processes of a node in one executable.
#![deny(unsafe_code)]

mod child;
mod cli;
mod ctl;
mod descriptors;
mod dev;
mod handoff;
mod holder;
mod identity;
mod load;
mod node;
mod runtime;
mod supervise;
mod token;

fn main() -> std::process::ExitCode {
    match cli::run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("millrace: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
