//! Names and what becomes of them; the wrapper, and who may write it.

use std::{os::unix::fs::PermissionsExt, time::Instant};

use super::*;

fn state() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn runc_needs_nothing_in_the_state_folder() {
    let state = state();
    let runtime = OciRuntime::find("runc", false, state.path()).unwrap();
    assert_eq!(runtime.shim, RUNC_SHIM);
    assert!(!runtime.gvisor);
    assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 0);
}

#[test]
fn a_path_that_calls_itself_runsc_is_wrapped() {
    let state = state();
    let runsc = state.path().join("my runsc");
    std::fs::write(&runsc, "#!/bin/sh\necho runsc version 7\necho spec: 1\n").unwrap();
    std::fs::set_permissions(&runsc, PermissionsExt::from_mode(0o755)).unwrap();
    let runtime = OciRuntime::find(runsc.to_str().unwrap(), true, state.path()).unwrap();
    assert!(runtime.gvisor);
    assert_eq!(runtime.details[0], ("oci runtime", "runsc version 7".to_owned()));
    let options = RuncOptions::decode(runtime.options.unwrap().value.as_slice()).unwrap();
    assert!(options.systemd_cgroup);
    let wrapper = std::fs::read_to_string(&options.binary_name).unwrap();
    assert_eq!(wrapper, format!("#!/bin/sh\nexec '{}' --network=none \"$@\"\n", runsc.display()));
    assert_eq!(std::fs::metadata(&options.binary_name).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn a_wrapper_that_was_changed_is_written_anew() {
    let state = state();
    let wrapper = write_wrapper(Path::new("/usr/bin/runsc"), state.path()).unwrap();
    std::fs::write(&wrapper, "#!/bin/sh\nexec evil\n").unwrap();
    write_wrapper(Path::new("/usr/bin/runsc"), state.path()).unwrap();
    assert!(std::fs::read_to_string(&wrapper).unwrap().contains("--network=none"));
    std::fs::set_permissions(&wrapper, PermissionsExt::from_mode(0o777)).unwrap();
    write_wrapper(Path::new("/usr/bin/runsc"), state.path()).unwrap();
    assert_eq!(std::fs::metadata(&wrapper).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn a_folder_that_others_write_holds_no_wrapper() {
    let state = state();
    std::fs::set_permissions(state.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let refused = write_wrapper(Path::new("/usr/bin/runsc"), state.path()).unwrap_err();
    assert!(refused.contains("chmod go-w"), "{refused}");
}

#[test]
fn a_path_that_would_leave_its_quotes_is_refused() {
    assert!(write_wrapper(Path::new("/tmp/x'; evil '"), state().path()).is_err());
}

#[test]
fn shims_by_name() {
    let state = state();
    let other = OciRuntime::find("io.containerd.kata.v2", false, state.path()).unwrap();
    assert_eq!(
        (other.shim.as_str(), other.options.is_none(), other.gvisor),
        ("io.containerd.kata.v2", true, false)
    );
    let runsc = OciRuntime::find(RUNSC_SHIM, false, state.path()).unwrap();
    let options = FileOptions::decode(runsc.options.unwrap().value.as_slice()).unwrap();
    assert_eq!(options.type_url, "io.containerd.runsc.v1.options");
    assert_eq!(std::fs::read_to_string(options.config_path).unwrap(), RUNSC_CONFIG);
    assert!(runsc.gvisor);
}

#[test]
fn other_words_are_told() {
    assert!(OciRuntime::find("crun", false, state().path()).unwrap_err().contains("crun"));
    assert!(
        OciRuntime::find("/nonexistent/runc", false, state().path()).unwrap_err().contains("/nonexistent")
    );
}

#[test]
fn the_default_platform_of_old_and_new_runsc() {
    let old = "\t-platform string\n\t\tspecifies which platform to use: ptrace (default), kvm. (default \"ptrace\")\n";
    assert_eq!(default_platform(old).as_deref(), Some("ptrace"));
    assert_eq!(default_platform("nothing"), None);
    // It is asked as runsc answers: on stderr, and with an error.
    let state = state();
    let runsc = state.path().join("runsc");
    let script = "#!/bin/sh\ncase $1 in\n--version) echo runsc version x ;;\n*) cat >&2 <<'END'\n";
    std::fs::write(&runsc, format!("{script}{old}END\nexit 1 ;;\nesac\n")).unwrap();
    std::fs::set_permissions(&runsc, PermissionsExt::from_mode(0o755)).unwrap();
    let details = runsc_details(&runsc);
    assert!(details.contains(&("platform", "ptrace".to_owned())), "{details:?}");
    assert!(details.contains(&("oci runtime", "runsc version x".to_owned())), "{details:?}");
}

#[test]
fn a_program_that_hangs_is_left() {
    let state = state();
    let slow = state.path().join("slow");
    std::fs::write(&slow, "#!/bin/sh\nexec sleep 60\n").unwrap();
    std::fs::set_permissions(&slow, PermissionsExt::from_mode(0o755)).unwrap();
    let began = Instant::now();
    assert_eq!(version_of(&slow), None);
    assert!(began.elapsed() < VERSION_DEADLINE * 2);
}
