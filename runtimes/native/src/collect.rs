//! Reads files out of a dead sandbox's working directory, trusting nothing that it finds there.
//!
//! Every step goes from a descriptor to a name in it (openat2 beneath, no links of any kind), only regular files with
//! a single name are read, and everything is bounded: entries looked at, depth, files, bytes. Blocking; called on a
//! thread for that.

use std::{
    collections::VecDeque,
    io::Read,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::{
    dir::{Dir, Type},
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, openat2},
    sys::stat::{Mode, SFlag, fstat},
};
use sandboxd_contract::{CollectRequest, Collected, CollectedFile, Omitted};

/// Folders below folders; deeper ones are left out.
const MAX_DEPTH: usize = 32;

pub(crate) fn collect(work: BorrowedFd, request: &CollectRequest) -> Result<Collected, Errno> {
    let mut walk = Walk { request, entries: 0, bytes: 0, collected: Collected::default() };
    let root = open_beneath(work, c".", OFlag::O_DIRECTORY)?;
    let mut folders = VecDeque::from([(root, String::new(), 0)]);
    while let Some((folder, prefix, depth)) = folders.pop_front() {
        walk.folder(folder, &prefix, depth, &mut folders)?;
    }
    let mut collected = walk.collected;
    collected.files.sort_by(|a, b| a.path.cmp(&b.path));
    collected.omitted.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(collected)
}

fn open_beneath(folder: BorrowedFd, name: &std::ffi::CStr, flags: OFlag) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(
            flags
                | OFlag::O_RDONLY
                | OFlag::O_NOFOLLOW
                | OFlag::O_NONBLOCK
                | OFlag::O_CLOEXEC
                | OFlag::O_NOCTTY,
        )
        .mode(Mode::empty())
        .resolve(
            ResolveFlag::RESOLVE_BENEATH
                | ResolveFlag::RESOLVE_NO_SYMLINKS
                | ResolveFlag::RESOLVE_NO_MAGICLINKS
                | ResolveFlag::RESOLVE_NO_XDEV,
        );
    openat2(folder, name, how)
}

struct Walk<'a> {
    request: &'a CollectRequest,
    entries: usize,
    bytes: u64,
    collected: Collected,
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
            } else if self.request.globs.iter().any(|glob| glob.matches(&path)) {
                match self.file(folder.as_fd(), name) {
                    Ok((content, executable)) => {
                        self.collected.files.push(CollectedFile {
                            path,
                            content: content.into(),
                            executable,
                        });
                    }
                    Err(reason) => self.omit(path, reason),
                }
            }
        }
        Ok(())
    }

    fn omit(&mut self, path: String, reason: &'static str) {
        if self.collected.omitted.len() < self.request.max_files {
            self.collected.omitted.push(Omitted { path, reason });
        }
    }

    fn file(&mut self, folder: BorrowedFd, name: &std::ffi::CStr) -> Result<(Vec<u8>, bool), &'static str> {
        if self.collected.files.len() >= self.request.max_files {
            return Err("too many files");
        }
        let opened = open_beneath(folder, name, OFlag::empty()).map_err(|errno| match errno {
            Errno::ELOOP | Errno::EXDEV => "a link",
            Errno::ENXIO => "not a regular file",
            Errno::EACCES => "not readable",
            _ => "can't be opened",
        })?;
        let stat = fstat(&opened).map_err(|_| "can't be looked at")?;
        if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            return Err("not a regular file");
        }
        if stat.st_nlink != 1 {
            return Err("has several names");
        }
        let room = self.request.max_bytes.saturating_sub(self.bytes);
        if u64::try_from(stat.st_size).map_or(true, |size| size > room) {
            return Err("too large");
        }
        let mut content = Vec::new();
        // The size was true when asked, and everybody who could change it is dead; the bound does not rest on that.
        std::fs::File::from(opened).take(room).read_to_end(&mut content).map_err(|_| "can't be read")?;
        self.bytes += content.len() as u64;
        Ok((content, stat.st_mode & 0o111 != 0))
    }
}

/// Folders that wait for their turn with a descriptor open.
const MAX_OPEN_FOLDERS: usize = 256;
