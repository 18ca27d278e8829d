//! What people use today in the place of a container runtime of ours: the engine's own command, a new container each
//! time, from the same image.

use std::path::Path;

use super::works::Work;
use crate::config::{self, Config, RuntimeKind, Surroundings};

/// `None` where there is nothing to compare with: another kind of runtime, a program that is no one-liner, or a daemon
/// whose configuration is not at hand.
pub(super) fn command(runtime: &str, work: &Work, file: Option<&Path>) -> Option<Vec<String>> {
    let program = work.one_liner.as_ref()?;
    let config: Config = config::load(file, &Surroundings::of_process()).ok()?;
    let settings = config.runtimes.into_iter().find(|known| known.name == runtime)?.kind;
    let mut command: Vec<String> = match settings {
        RuntimeKind::Native(_) => return None,
        RuntimeKind::Docker(docker) => [
            "docker",
            "--host",
            &docker.host,
            "run",
            "--rm",
            "--network=none",
            "--runtime",
            &docker.oci_runtime,
            &format!("sandboxd/{}:latest", work.language),
        ]
        .map(str::to_owned)
        .to_vec(),
        RuntimeKind::Containerd(containerd) => {
            let address = containerd.address.display().to_string();
            let mut words =
                ["ctr", "--address", &address, "--namespace", &containerd.namespace, "run", "--rm"]
                    .map(str::to_owned)
                    .to_vec();
            // A name with dots is a shim, else it is a binary that runc's shim starts.
            let option = if containerd.oci_runtime.contains('.') { "--runtime" } else { "--runc-binary" };
            words.extend([option.to_owned(), containerd.oci_runtime]);
            words.push(format!("docker.io/sandboxd/{}:latest", work.language));
            words.push(CONTAINER_ID.to_owned());
            words
        }
    };
    command.extend_from_slice(program);
    Some(command)
}

/// One at a time is measured, so one name does.
const CONTAINER_ID: &str = "sandboxd-bench";
