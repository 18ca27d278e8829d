//! Reads files out of a dead program's working directory, trusting nothing that it finds there.
//!
//! Every step goes from a descriptor to a name in it (openat2 beneath, no links of any kind), only regular files with
//! a single name are read, and everything is bounded: entries looked at, depth, files, bytes. Blocking.

use std::{
    collections::VecDeque,
    fs,
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::{
    dir::{Dir, Type},
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2},
    sys::stat::{Mode, SFlag, fstat},
};

use crate::{CollectRequest, Collected, CollectedFile, Omitted};

/// Folders below folders; deeper ones are left out.
const MAX_DEPTH: usize = 32;
/// Folders that wait for their turn with a descriptor open.
const MAX_OPEN_FOLDERS: usize = 256;

const TOO_MANY: &str = "too many files";
const A_LINK: &str = "a link";
const NOT_REGULAR: &str = "not a regular file";
const NOT_READABLE: &str = "not readable";
const NOT_OPENED: &str = "can't be opened";
const NOT_SEEN: &str = "can't be looked at";
const SEVERAL_NAMES: &str = "has several names";
const TOO_LARGE: &str = "too large";
const NOT_READ: &str = "can't be read";

/// Every reason for which a file that matched is left out.
pub const OMIT_REASONS: &[&str] =
    &[TOO_MANY, A_LINK, NOT_REGULAR, NOT_READABLE, NOT_OPENED, NOT_SEEN, SEVERAL_NAMES, TOO_LARGE, NOT_READ];

/// Where what is found goes, as it is found.
pub trait Sink {
    /// A file that matched, `content_bytes` long when it was looked at; `content` ends there at the latest.
    ///
    /// # Errors
    /// When `content` can't be read: the file is left out.
    fn file(
        &mut self,
        path: &str,
        executable: bool,
        content_bytes: u64,
        content: &mut dyn Read,
    ) -> io::Result<()>;

    fn omitted(&mut self, path: &str, reason: &'static str);
}

/// Walks the folder `work` and keeps what it finds, sorted by path.
///
/// # Errors
/// When a folder can't be listed.
pub fn collect(work: BorrowedFd, request: &CollectRequest) -> Result<Collected, Errno> {
    let mut collected = Collected::default();
    walk(work, request, &mut collected)?;
    collected.files.sort_by(|a, b| a.path.cmp(&b.path));
    collected.omitted.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(collected)
}

/// Walks the folder `work`, in no particular order, and holds no more of a file in memory than `sink` does.
///
/// # Errors
/// When a folder can't be listed.
pub fn walk(work: BorrowedFd, request: &CollectRequest, sink: &mut dyn Sink) -> Result<(), Errno> {
    let mut walk = Walk { request, sink, entries: 0, files: 0, omitted: 0, bytes: 0 };
    let root = open_beneath(work, c".", OFlag::O_DIRECTORY)?;
    let mut folders = VecDeque::from([(root, String::new(), 0)]);
    while let Some((folder, prefix, depth)) = folders.pop_front() {
        walk.folder(folder, &prefix, depth, &mut folders)?;
    }
    Ok(())
}

impl Sink for Collected {
    fn file(
        &mut self,
        path: &str,
        executable: bool,
        _content_bytes: u64,
        content: &mut dyn Read,
    ) -> io::Result<()> {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        self.files.push(CollectedFile { path: path.to_owned(), content: bytes.into(), executable });
        Ok(())
    }

    fn omitted(&mut self, path: &str, reason: &'static str) {
        self.omitted.push(Omitted { path: path.to_owned(), reason });
    }
}

/// `name` is one component.
fn open_beneath(folder: BorrowedFd, name: &std::ffi::CStr, flags: OFlag) -> Result<OwnedFd, Errno> {
    let flags =
        flags | OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    let how = OpenHow::new().flags(flags).mode(Mode::empty()).resolve(
        ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_NO_MAGICLINKS
            | ResolveFlag::RESOLVE_NO_XDEV,
    );
    match openat2(folder, name, how) {
        // A kernel without it (gVisor's): a single component that is no link can't lead elsewhere but into a mount.
        Err(Errno::ENOSYS) => openat(folder, name, flags, Mode::empty()),
        opened => opened,
    }
}

struct Walk<'a> {
    request: &'a CollectRequest,
    sink: &'a mut dyn Sink,
    entries: usize,
    files: usize,
    omitted: usize,
    bytes: u64,
}

impl Walk<'_> {
    fn folder(
        &mut self,
        folder: OwnedFd,
        prefix: &str,
        depth: usize,
        folders: &mut VecDeque<(OwnedFd, String, usize)>,
    ) -> Result<(), Errno> {
        let mut listing = Dir::from_fd(folder.try_clone().map_err(|_| Errno::EMFILE)?)?;
        for entry in listing.iter() {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            self.entries += 1;
            if self.entries > self.request.max_entries {
                return Ok(());
            }
            let path = format!("{prefix}{}", name.to_string_lossy());
            if entry.file_type() == Some(Type::Directory) {
                // The queue holds one descriptor a folder, so its length is bounded as well.
                let room = depth < MAX_DEPTH && folders.len() < MAX_OPEN_FOLDERS;
                if room && let Ok(child) = open_beneath(folder.as_fd(), name, OFlag::O_DIRECTORY) {
                    folders.push_back((child, format!("{path}/"), depth + 1));
                }
            } else if self.request.globs.iter().any(|glob| glob.matches(&path))
                && let Err(reason) = self.file(folder.as_fd(), name, &path)
            {
                self.omit(&path, reason);
            }
        }
        Ok(())
    }

    fn omit(&mut self, path: &str, reason: &'static str) {
        if self.omitted < self.request.max_files {
            self.omitted += 1;
            self.sink.omitted(path, reason);
        }
    }

    fn file(&mut self, folder: BorrowedFd, name: &std::ffi::CStr, path: &str) -> Result<(), &'static str> {
        if self.files >= self.request.max_files {
            return Err(TOO_MANY);
        }
        let opened = open_beneath(folder, name, OFlag::empty()).map_err(|errno| match errno {
            Errno::ELOOP | Errno::EXDEV => A_LINK,
            Errno::ENXIO => NOT_REGULAR,
            Errno::EACCES => NOT_READABLE,
            _ => NOT_OPENED,
        })?;
        let stat = fstat(&opened).map_err(|_| NOT_SEEN)?;
        if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            return Err(NOT_REGULAR);
        }
        if stat.st_nlink != 1 {
            return Err(SEVERAL_NAMES);
        }
        let room = self.request.max_bytes.saturating_sub(self.bytes);
        let size = u64::try_from(stat.st_size).ok().filter(|size| *size <= room).ok_or(TOO_LARGE)?;
        // The size was true when asked, and everybody who could change it is dead; the bound does not rest on that.
        let mut content = fs::File::from(opened).take(size);
        self.sink.file(path, stat.st_mode & 0o111 != 0, size, &mut content).map_err(|_| NOT_READ)?;
        self.files += 1;
        self.bytes += size;
        Ok(())
    }
}
