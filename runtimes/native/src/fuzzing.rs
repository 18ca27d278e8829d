//! For the fuzzer: what is read of bytes that another process, a program perhaps, has sent.

use crate::{
    cpu_clock::Times,
    protocol::{Built, FileHeader, FromInit, FromLane, Launch, NewLane, Setup, ToLane},
};

/// Any message, as any of its readers. What was understood is the same when it is written and read again.
pub fn messages(bytes: &[u8]) {
    if let Ok(message) = Setup::decode(bytes) {
        assert_eq!(Setup::decode(&message.encode()).as_ref(), Ok(&message));
    }
    if let Ok(message) = ToLane::decode(bytes) {
        assert_eq!(ToLane::decode(&message.encode()), Ok(message));
    }
    if let Ok(message) = FromLane::decode(bytes) {
        assert_eq!(FromLane::decode(&message.encode()).as_ref(), Ok(&message));
    }
    if let Ok(message) = FromInit::decode(bytes) {
        assert_eq!(FromInit::decode(&message.encode()).as_ref(), Ok(&message));
    }
    let _any = NewLane::decode(bytes);
    let _any = Built::decode(bytes);
    let _any = FileHeader::decode(bytes);
    let _any = Launch::decode(bytes);
}

/// /proc/PID/stat, of which the program's name is the program's choice.
pub fn proc_stat(text: &str) {
    let _any = Times::parse(text);
}
