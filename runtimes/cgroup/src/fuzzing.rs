//! For the fuzzer: what is read of the kernel's texts.

use crate::{
    files::{keyed, pids},
    layout::Layout,
};

/// Any text, as any of its readers.
pub fn texts(text: &str) {
    let _any = keyed(text, "oom_kill");
    assert!(pids(text).iter().all(|pid| *pid > 0));
    let (mounts, own) = text.split_once("\n\n").unwrap_or((text, "0::/\n"));
    for root in [false, true] {
        let layout = Layout::from_parts(mounts, own, root, root);
        assert!(!layout.describe().is_empty());
    }
}
