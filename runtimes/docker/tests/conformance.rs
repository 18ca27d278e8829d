//! The conformance suite on Docker Engine, with runc and with gVisor. SANDBOXD_TEST_OCI_RUNTIMES names others.

use std::{process::ExitCode, sync::Arc};

use sandboxd_container::testing::{self, Candidate};
use sandboxd_docker::{DockerBackend, DockerConfig};

fn main() -> ExitCode {
    let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
    let candidate = |name, oci_runtime: &str| Candidate {
        name,
        backend: Arc::new(DockerBackend::new(DockerConfig {
            host: host.clone(),
            oci_runtime: oci_runtime.to_owned(),
        })),
    };
    let all = [("docker with runc", "runc"), ("docker with runsc", "runsc")];
    let wanted = std::env::var("SANDBOXD_TEST_OCI_RUNTIMES").unwrap_or_else(|_| "runc,runsc".to_owned());
    let wanted = all.into_iter().filter(|(_, oci)| wanted.split(',').any(|wanted| wanted == *oci));
    testing::run(wanted.map(|(name, oci)| candidate(name, oci)).collect())
}
