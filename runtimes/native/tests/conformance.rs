//! The conformance suite on the native runtime. A test program without the usual harness, since the spawner is this
//! very executable, started again.

fn main() {
    sandboxd_native::become_spawner_if_asked();
}
