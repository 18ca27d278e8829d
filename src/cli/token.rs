//! `sandboxd token`: a new bearer token, and the lines that make the daemon know it. Nothing is written: where the tokens
//! are kept, and who may read them, is the operator's.

use crate::{
    access::{hex, sha256_of},
    cli::{Exit, Failure},
};

#[derive(Debug, clap::Args)]
pub(super) struct TokenArgs {
    /// Who it is for: letters, digits, - and _
    name: String,
}

/// As many as a SHA-256 digest has: nobody guesses one.
const SECRET_BYTES: usize = 32;
const MAX_NAME_BYTES: usize = 64;

/// # Errors
/// For a name that no table can have.
pub(super) fn run(args: &TokenArgs) -> Result<std::process::ExitCode, Failure> {
    let name = &args.name;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.chars().all(allowed) {
        let message =
            format!("{name:?} is no name of a token: 1 to {MAX_NAME_BYTES} letters, digits, - and _");
        return Err(Failure::new(Exit::Usage, message));
    }
    let mut secret = [0; SECRET_BYTES];
    getrandom::fill(&mut secret)
        .map_err(|error| Failure::new(Exit::System, format!("the system has no random bytes: {error}")))?;
    let token = format!("sbx_{}", hex(&secret));
    // The secret alone on stdout, for whoever takes it from there; it can't be had again.
    println!("{token}");
    eprintln!("# For the file that auth.tokens names; then reload the daemon.");
    eprintln!("[{name}]\nsha256 = \"{}\"", sha256_of(&token));
    Ok(std::process::ExitCode::SUCCESS)
}
