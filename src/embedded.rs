//! Folders of the repository that are in the program: what `build.rs` writes lists of. What is in them is known to who
//! includes such a list.

pub(crate) struct EmbeddedFolder {
    pub(crate) id: &'static str,
    pub(crate) files: &'static [(&'static str, &'static [u8])],
}
