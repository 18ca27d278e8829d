//! Packets with descriptors over Unix sockets, blocking: the spawner's and the lanes' side, and the daemon's first
//! words with the spawner. The daemon's asynchronous side calls the same functions from its readiness loops.

use std::{
    io::{IoSlice, IoSliceMut},
    os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
};

use nix::{
    cmsg_space,
    errno::Errno,
    sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg},
};

use crate::sys;

/// The most descriptors in one packet.
pub(crate) const MAX_DESCRIPTORS: usize = 16;

/// Sends bytes, and descriptors with their first byte; returns how many bytes went.
pub(crate) fn send(socket: BorrowedFd, bytes: &[u8], descriptors: &[RawFd]) -> nix::Result<usize> {
    let rights = [ControlMessage::ScmRights(descriptors)];
    let control: &[ControlMessage] = if descriptors.is_empty() { &[] } else { &rights };
    loop {
        let sent =
            sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, MsgFlags::MSG_NOSIGNAL, None);
        if sent != Err(Errno::EINTR) {
            return sent;
        }
    }
}

/// Receives into `buffer`; 0 bytes is the end. Descriptors arrive close-on-exec.
pub(crate) fn receive(socket: BorrowedFd, buffer: &mut [u8]) -> nix::Result<(usize, Vec<OwnedFd>)> {
    let mut control = cmsg_space!([RawFd; MAX_DESCRIPTORS]);
    loop {
        let mut parts = [IoSliceMut::new(buffer)];
        let received =
            recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC);
        let message = match received {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        let mut descriptors = Vec::new();
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(numbers) = part {
                descriptors.extend(numbers.into_iter().map(sys::own));
            }
        }
        return Ok((message.bytes, descriptors));
    }
}
