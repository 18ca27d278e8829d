//! What a Dockerfile says, for where there is no Docker: the few instructions that make a root filesystem, as steps.
//! Pure.
//!
//! Deliberately absent: everything that only Docker can do. A file that asks for such is refused, never half obeyed.

/// One thing to be done in the root filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A variable that the commands after it see, unless it is set by whoever builds.
    Argument { name: String, default: String },
    /// Puts the executor's files into this folder.
    Files { folder: String },
    /// Runs a command with /bin/sh, as root.
    Run { command: String },
}

/// The steps in their order. What the file begins with is left to the caller.
///
/// # Errors
/// The instruction that only Docker understands.
pub(super) fn steps(text: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    for line in instructions(text) {
        let (instruction, rest) = line.split_once(char::is_whitespace).unwrap_or((&line, ""));
        let rest = rest.trim();
        match (instruction.to_ascii_uppercase().as_str(), rest) {
            ("FROM", base) if base.split_whitespace().count() == 1 => {}
            ("USER", "0" | "root") => {}
            ("ARG", argument) if !argument.contains(char::is_whitespace) => {
                let (name, default) = argument.split_once('=').unwrap_or((argument, ""));
                steps.push(Step::Argument { name: name.to_owned(), default: default.to_owned() });
            }
            ("COPY", files) if files.starts_with(". /") && files.split_whitespace().count() == 2 => {
                steps.push(Step::Files { folder: files[2..].to_owned() });
            }
            ("RUN", command) if !command.starts_with(['[', '-']) => {
                steps.push(Step::Run { command: command.to_owned() });
            }
            _ => return Err(format!("without Docker this can't be done: {line}")),
        }
    }
    Ok(steps)
}

/// Every instruction on one line, without comments.
fn instructions(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (part, goes_on) = line.strip_suffix('\\').map_or((line, false), |part| (part.trim_end(), true));
        let so_far = match open.take() {
            Some(so_far) => format!("{so_far} {part}"),
            None => part.to_owned(),
        };
        if goes_on {
            open = Some(so_far);
        } else {
            all.push(so_far);
        }
    }
    all.extend(open);
    all
}

#[cfg(test)]
mod tests {
    use sandboxd_container::images::{COMMON_DOCKERFILE, FINISH, PREPARE_DIR, Recipe};

    use super::*;

    #[test]
    fn the_common_one_is_understood_to_its_end() {
        let recipe = Recipe {
            executor: "x".to_owned(),
            base: String::new(),
            packages: Vec::new(),
            files: Vec::new(),
            prepare: None,
            dockerfile: None,
        };
        let steps = steps(&recipe.full_dockerfile()).unwrap();
        let runs = COMMON_DOCKERFILE.lines().filter(|line| line.starts_with("RUN ")).count();
        let is_run = |step: &&Step| matches!(step, Step::Run { .. });
        assert_eq!(steps.iter().filter(is_run).count(), runs + 1);
        assert!(steps.contains(&Step::Files { folder: PREPARE_DIR.to_owned() }), "{steps:?}");
        assert!(steps.contains(&Step::Argument { name: "PREPARE".to_owned(), default: String::new() }));
        let finish = instructions(&format!("RUN {FINISH}")).remove(0);
        assert_eq!(steps.last(), Some(&Step::Run { command: finish["RUN ".len()..].to_owned() }));
    }

    #[test]
    fn lines_are_joined_and_comments_left_out() {
        let text = "# a\nfrom ${BASE}\nRUN a; \\\n  # not this\n  b\n\nARG X=1\n";
        let run = Step::Run { command: "a; b".to_owned() };
        let argument = Step::Argument { name: "X".to_owned(), default: "1".to_owned() };
        assert_eq!(steps(text).unwrap(), [run, argument]);
    }

    #[test]
    fn what_only_docker_can_do_is_named() {
        let others = [
            "FROM a AS b",
            "COPY a /b",
            "COPY --from=x . /y",
            "ADD . /",
            "RUN [\"a\"]",
            "RUN --mount=x a",
            "USER x",
            "WORKDIR /",
            "ENTRYPOINT a",
            "ARG A=1 B=2",
        ];
        for text in others {
            assert!(steps(text).unwrap_err().contains(text), "{text}");
        }
    }
}
