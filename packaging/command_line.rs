//! Writes what a package says about the command line: the manual page, and completions for shells. Run by
//! `packaging/deb.sh`, so that neither is in the daemon.

use std::{fs, io, path::PathBuf};

use clap::CommandFactory;
use clap_complete::Shell;
use sandboxd::cli::Cli;

fn main() -> io::Result<()> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.ok_or_else(|| io::Error::other("usage: command-line FOLDER"))?;
    fs::create_dir_all(&folder)?;
    clap_mangen::generate_to(Cli::command(), &folder)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Cli::command(), "sandboxd", &folder)?;
    }
    Ok(())
}
