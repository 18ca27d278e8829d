//! For the fuzzer: what is read of files that somebody brought.

use std::path::Path;

use crate::images;

/// An archive of images. What is found in it lies within it.
pub fn archive(path: &Path) {
    let length = path.metadata().map_or(0, |metadata| metadata.len());
    images::examine_archive(path, length);
}

pub fn dockerfile(text: &str) {
    images::examine_dockerfile(text);
}
