//! Containers of containerd, for sandboxes.
