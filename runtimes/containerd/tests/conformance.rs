//! The conformance suite on containerd, with runc and with gVisor. SANDBOXD_TEST_OCI_RUNTIMES names others; a newer runsc
//! that lies where the tests' services are is tried as well.

use std::{path::Path, process::ExitCode, sync::Arc};

use sandboxd_container::testing::{self, Candidate};
use sandboxd_containerd::{ContainerdBackend, ContainerdConfig};

/// From Debian's backports, unpacked by make/services.sh where the release's own is the old one.
const NEWER_RUNSC: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../.cache/services/runsc-backports/usr/bin/runsc");

fn main() -> ExitCode {
    let state = std::env::temp_dir().join(format!("sandboxd-containerd-{}", std::process::id()));
    let candidate = |name: &'static str, oci_runtime: &str| {
        let state_dir = state.join(name.replace(' ', "-"));
        let config =
            ContainerdConfig { oci_runtime: oci_runtime.to_owned(), ..ContainerdConfig::new(state_dir) };
        Candidate { name, backend: Arc::new(ContainerdBackend::new(config)) }
    };
    let newer = Path::new(NEWER_RUNSC).canonicalize().ok();
    let newer = newer.as_deref().and_then(Path::to_str);
    let mut all = vec![("runc", candidate("containerd with runc", "runc"))];
    all.push(("runsc", candidate("containerd with runsc", "runsc")));
    all.extend(newer.map(|path| ("newer-runsc", candidate("containerd with a newer runsc", path))));
    let wanted = std::env::var("SANDBOXD_TEST_OCI_RUNTIMES");
    let wanted = wanted.unwrap_or_else(|_| "runc,runsc,newer-runsc".to_owned());
    let wanted = all.into_iter().filter(|(oci, _)| wanted.split(',').any(|wanted| wanted == *oci));
    let code = testing::run(wanted.map(|(_, candidate)| candidate).collect());
    // Left are the scripts by which runsc is run.
    let _ = std::fs::remove_dir_all(&state);
    code
}
