//! Containers of Docker Engine, for sandboxes.
