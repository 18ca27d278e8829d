//! Where the daemon can be reached: TCP addresses and Unix sockets, bound all together or not at all, or taken over from
//! the service manager. What happens on a connection is `serve`.

use std::fmt::Display;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};
use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixSocket, UnixStream};

use crate::config::ListenAddress;
use crate::service::PassedSocket;

/// Connections that may wait to be taken in, as far as the kernel lets them (net.core.somaxconn). The usual 128 are full in
/// a moment, and a client whose first packet is dropped waits a second for the next.
const BACKLOG: u32 = 4096;

/// Bound and listening. Unix sockets that were made here are removed by [`Listeners::close`].
#[derive(Debug)]
pub struct Listeners {
    pub(super) tcp: Vec<TcpListener>,
    pub(super) unix: Vec<NamedSocket>,
    passed: bool,
}

#[derive(Debug)]
pub(super) struct NamedSocket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    /// Device and inode of what was made, so that nobody else's socket is ever removed; `None` for one that was passed,
    /// which is its maker's.
    identity: Option<(u64, u64)>,
}

#[derive(Debug, thiserror::Error)]
#[error("can't listen on {address}: {obstacle}")]
pub struct ListenError {
    pub address: ListenAddress,
    pub obstacle: Obstacle,
}

/// What stands in the way of listening on an address.
#[derive(Debug, thiserror::Error)]
pub enum Obstacle {
    #[error("another program listens there already")]
    InUse,
    #[error("{0}")]
    Other(String),
}

impl Obstacle {
    fn other(reason: impl Display) -> Self {
        Self::Other(reason.to_string())
    }
}

impl Listeners {
    /// Binds every address.
    ///
    /// # Errors
    /// The first that can't be bound; nothing is left of the others.
    pub async fn bind(addresses: &[ListenAddress], socket_mode: u32) -> Result<Self, ListenError> {
        let mut listeners = Self { tcp: Vec::new(), unix: Vec::new(), passed: false };
        for address in addresses {
            let bound = match address {
                ListenAddress::Tcp(socket) => bind_tcp(*socket).map(|tcp| listeners.tcp.push(tcp)),
                ListenAddress::Unix(path) => {
                    bind_unix(path, socket_mode).await.map(|unix| listeners.unix.push(unix))
                }
            };
            if let Err(obstacle) = bound {
                listeners.close();
                return Err(ListenError { address: address.clone(), obstacle });
            }
        }
        Ok(listeners)
    }

    /// Takes over sockets that somebody else made and keeps.
    ///
    /// # Errors
    /// When the asynchronous runtime does not take one.
    pub(crate) fn adopt(passed: Vec<PassedSocket>) -> io::Result<Self> {
        let mut listeners = Self { tcp: Vec::new(), unix: Vec::new(), passed: true };
        for socket in passed {
            match socket {
                PassedSocket::Tcp(tcp) => {
                    tcp.set_nonblocking(true)?;
                    listeners.tcp.push(TcpListener::from_std(tcp)?);
                }
                PassedSocket::Unix(unix) => {
                    unix.set_nonblocking(true)?;
                    let path = unix.local_addr()?.as_pathname().unwrap_or(Path::new("")).to_owned();
                    let listener = UnixListener::from_std(unix)?;
                    listeners.unix.push(NamedSocket { listener, path, identity: None });
                }
            }
        }
        Ok(listeners)
    }

    /// Whether somebody else keeps the sockets, and with them who connects while nobody accepts.
    pub fn outlive_us(&self) -> bool {
        self.passed
    }

    /// The addresses as they came out, where 0 stood for any port.
    pub fn addresses(&self) -> Vec<ListenAddress> {
        let tcp = self.tcp.iter().filter_map(|tcp| tcp.local_addr().ok()).map(ListenAddress::Tcp);
        tcp.chain(self.unix.iter().map(|unix| ListenAddress::Unix(unix.path.clone()))).collect()
    }

    /// Nobody gets in any more, and the sockets are gone from the file system.
    pub fn close(self) {
        self.unix.iter().for_each(NamedSocket::remove);
    }
}

impl NamedSocket {
    pub(super) fn remove(&self) {
        let Some(made) = self.identity else { return };
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|metadata| identity(&metadata) == made);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the socket could not be removed");
        }
    }
}

/// Whether an address could be listened on now. Changes nothing.
///
/// # Errors
/// What stands in the way.
pub async fn examine(address: &ListenAddress) -> Result<(), Obstacle> {
    match address {
        ListenAddress::Tcp(socket) => bind_tcp(*socket).map(drop),
        ListenAddress::Unix(path) => {
            occupant(path).await?;
            let folder = path.ancestors().skip(1).find(|folder| folder.exists()).unwrap_or(Path::new("/"));
            access(folder, AccessFlags::W_OK)
                .map_err(|errno| Obstacle::Other(format!("{}: {}", folder.display(), errno.desc())))
        }
    }
}

fn bind_tcp(address: SocketAddr) -> Result<TcpListener, Obstacle> {
    let bound = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // So that a restart need not wait for the last connections of the daemon before to be forgotten.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bound().map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => Obstacle::InUse,
        io::ErrorKind::AddrNotAvailable => Obstacle::other("this host has no such address"),
        _ => Obstacle::other(error),
    })
}

async fn bind_unix(path: &Path, mode: u32) -> Result<NamedSocket, Obstacle> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .map_err(|error| Obstacle::Other(format!("make {}: {error}", folder.display())))?;
    }
    if occupant(path).await? == Occupant::LeftOver {
        tracing::info!(path = %path.display(), "removing a socket that a dead daemon left");
        fs::remove_file(path)
            .map_err(|error| Obstacle::Other(format!("remove what a dead daemon left: {error}")))?;
    }
    // With any sane umask nobody else may write to it, which is to connect, before its mode says so.
    let bound = || {
        let socket = UnixSocket::new_stream()?;
        socket.bind(path)?;
        socket.listen(BACKLOG)
    };
    let listener = bound().map_err(Obstacle::other)?;
    let prepare = || {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        fs::symlink_metadata(path)
    };
    let metadata = prepare().map_err(Obstacle::other)?;
    Ok(NamedSocket { listener, path: path.to_owned(), identity: Some(identity(&metadata)) })
}

/// What is at the path of a socket and may be replaced.
#[derive(Debug, PartialEq, Eq)]
enum Occupant {
    Nobody,
    /// A socket that nobody answers on is what a daemon left that was killed.
    LeftOver,
}

async fn occupant(path: &Path) -> Result<Occupant, Obstacle> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Occupant::Nobody),
        Err(error) => return Err(Obstacle::other(error)),
        Ok(metadata) => metadata,
    };
    if !metadata.file_type().is_socket() {
        return Err(Obstacle::other("a file that is no socket is there"));
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(Obstacle::InUse),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(Occupant::LeftOver),
        Err(error) => {
            Err(Obstacle::Other(format!("something is there, and to connect to it fails: {error}")))
        }
    }
}

fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn any_port() -> ListenAddress {
        ListenAddress::Tcp("127.0.0.1:0".parse().unwrap())
    }

    async fn reason(address: ListenAddress) -> String {
        Listeners::bind(&[any_port(), address], 0o600).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn a_unix_socket_from_beginning_to_end() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("not/yet/there/s.sock");
        let listeners =
            Listeners::bind(&[any_port(), ListenAddress::Unix(path.clone())], 0o640).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(listeners.addresses().len(), 2);
        assert_ne!(listeners.addresses()[0], any_port());
        UnixStream::connect(&path).await.unwrap();
        assert_eq!(
            reason(ListenAddress::Unix(path.clone())).await,
            format!("can't listen on unix:{}: another program listens there already", path.display())
        );
        listeners.close();
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn looking_changes_nothing() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("not/there/s.sock");
        let unix = ListenAddress::Unix(path.clone());
        examine(&unix).await.unwrap();
        examine(&any_port()).await.unwrap();
        assert!(!folder.path().join("not").exists());
        let listeners = Listeners::bind(&[any_port(), unix.clone()], 0o600).await.unwrap();
        for address in listeners.addresses() {
            assert!(matches!(examine(&address).await, Err(Obstacle::InUse)), "{address}");
        }
        // As if it had been killed: the socket stays.
        drop(listeners);
        examine(&unix).await.unwrap();
        assert!(path.exists());
    }

    #[tokio::test]
    async fn what_a_dead_daemon_left_is_reused() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("s.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let listeners = Listeners::bind(&[ListenAddress::Unix(path.clone())], 0o600).await.unwrap();
        // Somebody else's socket stays.
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        listeners.close();
        assert!(path.exists());
    }

    #[tokio::test]
    async fn what_was_passed_stays() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("s.sock");
        let passed = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let listeners = Listeners::adopt(vec![PassedSocket::Unix(passed)]).unwrap();
        assert_eq!(listeners.addresses(), [ListenAddress::Unix(path.clone())]);
        UnixStream::connect(&path).await.unwrap();
        listeners.close();
        assert!(path.exists());
    }

    #[tokio::test]
    async fn what_is_in_the_way_stays() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "precious").unwrap();
        assert!(
            reason(ListenAddress::Unix(path.clone())).await.ends_with("a file that is no socket is there")
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        assert!(reason(ListenAddress::Unix(path.join("s.sock"))).await.contains("make "));
    }

    #[tokio::test]
    async fn a_port_that_is_taken() {
        let taken = Listeners::bind(&[any_port()], 0o600).await.unwrap();
        let address = taken.addresses()[0].clone();
        let expected = format!("can't listen on {address}: another program listens there already");
        assert_eq!(reason(address).await, expected);
        let elsewhere = ListenAddress::Tcp("192.0.2.1:0".parse().unwrap());
        assert!(reason(elsewhere).await.ends_with("this host has no such address"));
    }
}
