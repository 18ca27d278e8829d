//! For the fuzzer: what is read of files that somebody brought.

use std::path::Path;

use super::{archive as archives, dockerfile as dockerfiles};

/// An archive of images. A layer that lies within it can be read.
pub fn archive(path: &Path) {
    let length = path.metadata().map_or(0, |metadata| metadata.len());
    for layer in archives::read(path).into_iter().flatten().flat_map(|bundle| bundle.layers) {
        let end = layer.blob.offset.checked_add(layer.blob.size);
        if end.is_some_and(|end| end <= length) {
            assert!(layer.blob.digest().is_ok(), "{layer:?}");
        }
    }
}

pub fn dockerfile(text: &str) {
    let _any = dockerfiles::steps(text);
}
