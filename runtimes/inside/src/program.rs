//! Becoming the program: what a parked process does last, when it has been told what to become.

use std::{ffi::CString, os::fd::AsFd};

use nix::{
    errno::Errno,
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::{dup2_stderr, dup2_stdin, dup2_stdout, execve},
};

/// Makes these the first three descriptors.
///
/// # Errors
/// One sentence.
pub fn move_streams(stdin: impl AsFd, stdout: impl AsFd, stderr: impl AsFd) -> Result<(), String> {
    let moved = dup2_stdin(stdin).and_then(|()| dup2_stdout(stdout)).and_then(|()| dup2_stderr(stderr));
    moved.map_err(|errno| format!("pass the streams on: {errno}"))
}

/// Soft and hard alike: what the program may use is what it may ever have.
///
/// # Errors
/// One sentence.
pub fn set_limits(limits: &[(Resource, u64)]) -> Result<(), String> {
    for (resource, value) in limits {
        setrlimit(*resource, *value, *value).map_err(|errno| match (errno, getrlimit(*resource)) {
            (Errno::EPERM, Ok((_, most))) if *value > most => {
                format!("{resource:?} can't be {value}: the sandbox was made with at most {most}")
            }
            _ => format!("{resource:?} of {value}: {errno}"),
        })?;
    }
    Ok(())
}

/// Execs; returns only with the reason why it could not. A program's name without a slash is looked up in the PATH of
/// `env`, whose entries are `NAME=value`. What shall not stay open is closed, or will be by exec.
pub fn execute(argv: &[impl AsRef<[u8]>], env: &[impl AsRef<[u8]>]) -> String {
    let (Ok(arguments), Ok(environment)) = (strings(argv), strings(env)) else {
        return "an argument holds a NUL".to_owned();
    };
    let Some(program) = arguments.first() else { return "no program is named".to_owned() };
    let mut failure = Errno::ENOENT;
    for candidate in candidates(program, env) {
        let Err(errno) = execve(&candidate, &arguments, &environment);
        match errno {
            // As a shell looks a name up: on with the next folder, but a file that may not be executed is remembered.
            Errno::ENOENT | Errno::ENOTDIR => {}
            Errno::EACCES => failure = errno,
            other => return other.desc().to_owned(),
        }
    }
    failure.desc().to_owned()
}

fn strings(list: &[impl AsRef<[u8]>]) -> Result<Vec<CString>, std::ffi::NulError> {
    list.iter().map(|text| CString::new(text.as_ref())).collect()
}

/// Where a program may be: itself when its name has a slash, else in each folder of PATH.
fn candidates(program: &CString, env: &[impl AsRef<[u8]>]) -> Vec<CString> {
    if program.as_bytes().contains(&b'/') {
        return vec![program.clone()];
    }
    let path = env.iter().find_map(|entry| entry.as_ref().strip_prefix(b"PATH=")).unwrap_or(b"/usr/bin:/bin");
    let join = |folder: &[u8]| CString::new([folder, b"/", program.as_bytes()].concat()).ok();
    path.split(|byte| *byte == b':').filter(|folder| !folder.is_empty()).filter_map(join).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_up_in_path_and_a_path_is_not() {
        let found = |program: &str, env: &[&str]| -> Vec<String> {
            let program = CString::new(program).unwrap();
            candidates(&program, env).into_iter().map(|path| path.into_string().unwrap()).collect()
        };
        assert_eq!(found("sh", &["A=1", "PATH=/a::/b"]), ["/a/sh", "/b/sh"]);
        assert_eq!(found("sh", &[]), ["/usr/bin/sh", "/bin/sh"]);
        assert_eq!(found("./sh", &["PATH=/a"]), ["./sh"]);
    }
}
