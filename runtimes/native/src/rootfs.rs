//! The root filesystem that every sandbox sees: built once by the spawner, read-only, and pivoted into.
//!
//! ```text
//! /            tmpfs, read-only                    /usr  /bin -> usr/bin ...   the host's (or the operator's rootfs)
//! /etc         a handful of made and copied files  /dev  null zero full random urandom, links
//! /proc        the spawner's; each slot mounts its own over it
//! /box         where each slot mounts its disk: work, tmp, shm     /tmp -> box/tmp   /dev/shm -> /box/shm
//! /opt/toolchains   prepared build caches
//! ```
//! Deliberately absent: anything of a single sandbox (see `init`). Runs in the spawner, in a mount namespace of its
//! own, so whatever happens here is gone with it.

use std::{
    ffi::CString,
    fs,
    io::{self, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{OpenOptionsExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{OFlag, open},
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::stat::Mode,
    unistd::{chdir, pivot_root},
};
use sandboxd_contract::TOOLCHAIN_DIR;

use crate::sys;

/// Where the tree grows before it becomes the root: a folder that every system has. What lies below it on the host
/// is opened before it is covered.
const STAGE: &str = "/tmp";

/// The folder that each slot mounts its disk on.
pub(crate) const BOX: &str = "/box";

/// A step that failed, on what.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {path}: {source}")]
pub(crate) struct BuildError {
    operation: &'static str,
    path: String,
    source: io::Error,
}

type Result<T> = std::result::Result<T, BuildError>;

/// Gives every failed step its name and path.
trait Step<T> {
    fn step(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T, E: Into<io::Error>> Step<T> for std::result::Result<T, E> {
    fn step(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|error| BuildError {
            operation,
            path: path.as_ref().display().to_string(),
            source: error.into(),
        })
    }
}

pub(crate) struct Recipe<'a> {
    /// An operator's own root filesystem, instead of the host's /usr and a made /etc.
    pub rootfs: Option<&'a Path>,
    pub toolchains: Option<&'a Path>,
    /// User ids (and equal group ids) that programs run as, for /etc/passwd.
    pub users: &'a [u32],
}

/// Builds the tree in a new mount namespace and makes it this process's root.
pub(crate) fn enter(recipe: &Recipe) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).step("make a mount namespace for", "the root filesystem")?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .step("make private", "/")?;
    let toolchains = recipe.toolchains.map(open_folder).transpose()?;
    let rootfs = recipe.rootfs.map(open_folder).transpose()?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), STAGE, Some("tmpfs"), flags, Some("mode=0755,size=32m,nr_inodes=16k"))
        .step("mount a tmpfs on", STAGE)?;
    match &rootfs {
        Some(folder) => borrow_rootfs(&through(folder))?,
        None => {
            borrow_host()?;
            make_etc(recipe.users)?;
        }
    }
    make_dev()?;
    make_folders()?;
    if let Some(folder) = &toolchains {
        bind(&through(folder), &staged(TOOLCHAIN_DIR))?;
    }
    let proc = staged("/proc");
    make_folder(&proc)?;
    bind(Path::new("/proc"), &proc)?;
    seal()?;
    chdir(STAGE).step("enter", STAGE)?;
    pivot_root(".", ".").step("pivot into", STAGE)?;
    umount2(".", MntFlags::MNT_DETACH).step("detach", "the old root")?;
    chdir("/").step("enter", "/")
}

fn staged(path: &str) -> PathBuf {
    Path::new(STAGE).join(path.trim_start_matches('/'))
}

fn open_folder(path: &Path) -> Result<OwnedFd> {
    open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).step("open", path)
}

/// A path to an open folder that stays right when its own path is covered by a mount.
fn through(folder: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()))
}

fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).step("make the folder", path)
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>).step("bind", from)
}

/// Takes one entry of a root folder over: a link as it is, a folder as a bind mount.
fn borrow(from: &Path, name: &std::ffi::OsStr) -> Result<()> {
    let to = Path::new(STAGE).join(name);
    let kind = fs::symlink_metadata(from).step("look at", from)?.file_type();
    if kind.is_symlink() {
        let target = fs::read_link(from).step("read the link", from)?;
        return symlink(target, &to).step("make the link", &to);
    }
    if kind.is_dir() {
        make_folder(&to)?;
        bind(from, &to)?;
    }
    Ok(())
}

/// The host's /usr, and the names in / that Debian links to it (or keeps as folders of their own, where it is older).
fn borrow_host() -> Result<()> {
    for name in ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
        let from = Path::new("/").join(name);
        if fs::symlink_metadata(&from).is_ok() {
            borrow(&from, name.as_ref())?;
        }
    }
    Ok(())
}

/// Everything of an operator's root filesystem but what each sandbox has of its own.
fn borrow_rootfs(rootfs: &Path) -> Result<()> {
    const OWN: [&str; 8] = ["box", "dev", "opt", "proc", "run", "sys", "tmp", "var"];
    for entry in fs::read_dir(rootfs).step("list", rootfs)? {
        let entry = entry.step("list", rootfs)?;
        if !OWN.iter().any(|own| entry.file_name() == *own) {
            borrow(&entry.path(), &entry.file_name())?;
        }
    }
    Ok(())
}

/// What programs look for in /etc, made or copied: nothing that tells about the host or its users.
fn make_etc(users: &[u32]) -> Result<()> {
    const COPIED: [&str; 14] = [
        "alternatives",
        "debian_version",
        "gai.conf",
        "ld.so.cache",
        "ld.so.conf",
        "ld.so.conf.d",
        "magic",
        "mime.types",
        "os-release",
        "protocols",
        "rpc",
        "services",
        "ssl/certs",
        "ssl/openssl.cnf",
    ];
    let etc = staged("/etc");
    make_folder(&etc)?;
    let mut passwd = "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n".to_owned();
    let mut group = "root:x:0:\n".to_owned();
    for user in users {
        passwd.push_str(&format!("sandbox:x:{user}:{user}:sandbox:/box/work:/bin/sh\n"));
        group.push_str(&format!("sandbox:x:{user}:\n"));
    }
    passwd.push_str("nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n");
    group.push_str("nogroup:x:65534:\n");
    write(&etc.join("passwd"), passwd.as_bytes())?;
    write(&etc.join("group"), group.as_bytes())?;
    write(&etc.join("hostname"), b"sandbox\n")?;
    write(&etc.join("hosts"), b"127.0.0.1 localhost sandbox\n::1 localhost\n")?;
    write(&etc.join("nsswitch.conf"), b"passwd: files\ngroup: files\nhosts: files\n")?;
    for name in COPIED {
        copy(&Path::new("/etc").join(name), &etc.join(name))?;
    }
    for entry in fs::read_dir("/etc").step("list", "/etc")? {
        let name = entry.step("list", "/etc")?.file_name();
        let wanted =
            name.to_str().is_some_and(|name| name.starts_with("java") || name.starts_with("python3"));
        if wanted {
            copy(&Path::new("/etc").join(&name), &etc.join(&name))?;
        }
    }
    Ok(())
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)
        .step("make the file", path)?;
    file.write_all(content).step("write", path)
}

/// Copies a file, a link or a whole folder. What is missing, unreadable or no such thing is left out: none of it is
/// something that a program may not do without.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let Ok(metadata) = fs::symlink_metadata(from) else { return Ok(()) };
    if let Some(parent) = to.parent() {
        make_folder(parent)?;
    }
    if metadata.is_symlink() {
        let target = fs::read_link(from).step("read the link", from)?;
        return symlink(target, to).step("make the link", to);
    }
    if metadata.is_dir() {
        make_folder(to)?;
        let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
        for entry in entries {
            let name = entry.step("list", from)?.file_name();
            copy(&from.join(&name), &to.join(&name))?;
        }
        return Ok(());
    }
    let world_readable = metadata.permissions().mode() & 0o004 != 0;
    if metadata.is_file() && world_readable {
        write(to, &fs::read(from).step("read", from)?)?;
    }
    Ok(())
}

/// The harmless devices. Binds, since a user namespace may not make device nodes.
fn make_dev() -> Result<()> {
    let dev = staged("/dev");
    make_folder(&dev)?;
    for name in ["null", "zero", "full", "random", "urandom"] {
        let to = dev.join(name);
        write(&to, b"")?;
        bind(&Path::new("/dev").join(name), &to)?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("shm", "/box/shm"),
    ] {
        symlink(target, dev.join(name)).step("make the link", dev.join(name))?;
    }
    Ok(())
}

fn make_folders() -> Result<()> {
    for folder in [BOX, "/run", "/var", TOOLCHAIN_DIR] {
        make_folder(&staged(folder))?;
    }
    for (link, target) in [("/tmp", "box/tmp"), ("/var/tmp", "../box/tmp")] {
        symlink(target, staged(link)).step("make the link", link)?;
    }
    Ok(())
}

/// Makes everything read-only and without set-user-ids, and all but the devices deviceless.
fn seal() -> Result<()> {
    for entry in fs::read_dir(STAGE).step("list", STAGE)? {
        let path = entry.step("list", STAGE)?.path();
        let mounted = fs::symlink_metadata(&path).step("look at", &path)?.is_dir();
        let devices = path.ends_with("dev");
        if mounted && !devices && is_mount(&path)? {
            make_read_only(&path, false)?;
        }
    }
    make_read_only(Path::new(STAGE), true)
}

fn is_mount(path: &Path) -> Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).step("look at", path);
    Ok(device(path)? != device(Path::new(STAGE))?)
}

fn make_read_only(path: &Path, devices: bool) -> Result<()> {
    let name = CString::new(path.to_string_lossy().as_bytes())
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
        .step("name", path)?;
    sys::make_read_only(&name, devices).step("make read-only", path)
}
