//! The fuzzer: one target of [`sandboxd_fuzz::TARGETS`], which FUZZ_TARGET names, under libFuzzer. Without libFuzzer it runs
//! the target once for each file that it is given, which is how a finding is looked at.

#![cfg_attr(feature = "libfuzzer", no_main)]

use sandboxd_fuzz::{TARGETS, Target};

fn target() -> Target {
    let asked = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|(name, _)| *name == asked);
    let names = || TARGETS.map(|(name, _)| name).join(", ");
    found.map_or_else(|| panic!("FUZZ_TARGET: {asked:?} is none of {}", names()), |(_, target)| *target)
}

#[cfg(feature = "libfuzzer")]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    static TARGET: std::sync::OnceLock<Target> = std::sync::OnceLock::new();
    TARGET.get_or_init(target)(bytes);
});

#[cfg(not(feature = "libfuzzer"))]
fn main() -> std::io::Result<()> {
    let target = target();
    for file in std::env::args_os().skip(1) {
        target(&std::fs::read(file)?);
    }
    Ok(())
}
