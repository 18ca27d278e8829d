//! What goes straight to the parked program: what it shall become, and the files that it writes before.

use sandboxd_contract::{Command, File, FilePath, KernelLimits};

use sandboxd_inside::codec::{Malformed, Reader, Writer};

/// The launch frame's fixed part: its length, then rlimits, command, FIFO and the number of files. File headers and
/// contents follow, so that the program side can write them as they come.
pub(crate) fn encode_launch(
    command: &Command,
    limits: &KernelLimits,
    fifo: Option<&FilePath>,
    files: &[File],
) -> Vec<u8> {
    let mut out = Writer::new();
    out.number(limits.open_files).number(limits.file_size_bytes).number(limits.stack_bytes);
    out.number(command.argv.len() as u64);
    for argument in &command.argv {
        out.bytes(argument.as_bytes());
    }
    out.number(command.env.len() as u64);
    for (name, value) in &command.env {
        out.bytes(format!("{name}={value}").as_bytes());
    }
    out.bytes(fifo.map(FilePath::as_str).unwrap_or_default().as_bytes());
    out.number(files.len() as u64);
    let body = out.finish();
    let mut framed = Vec::with_capacity(body.len() + 8);
    framed.extend_from_slice(&(body.len() as u64).to_le_bytes());
    framed.extend_from_slice(&body);
    framed
}

/// A file's header; its content follows.
pub(crate) fn encode_file_header(file: &File) -> Vec<u8> {
    let mut body = Writer::new();
    body.byte(u8::from(file.executable))
        .number(file.content.len() as u64)
        .bytes(file.path.as_str().as_bytes());
    let body = body.finish();
    let mut framed = Vec::with_capacity(body.len() + 8);
    framed.extend_from_slice(&(body.len() as u64).to_le_bytes());
    framed.extend_from_slice(&body);
    framed
}

/// What the launch frame's fixed part says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Launch {
    pub open_files: u64,
    pub file_size_bytes: u64,
    pub stack_bytes: u64,
    pub argv: Vec<Vec<u8>>,
    /// `NAME=value`.
    pub env: Vec<Vec<u8>>,
    /// To be made in the working directory, for a program that waits there.
    pub fifo: Option<String>,
    pub files: u64,
}

impl Launch {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut input = Reader::new(bytes);
        let strings = |input: &mut Reader| -> Result<Vec<Vec<u8>>, Malformed> {
            let count = input.number()?;
            (0..count).map(|_| Ok(input.bytes()?.to_vec())).collect()
        };
        Ok(Self {
            open_files: input.number()?,
            file_size_bytes: input.number()?,
            stack_bytes: input.number()?,
            argv: strings(&mut input)?,
            env: strings(&mut input)?,
            fifo: Some(input.string()?).filter(|name| !name.is_empty()),
            files: input.number()?,
        })
    }
}

/// What a file's header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub executable: bool,
    pub content_bytes: u64,
    pub path: String,
}

impl FileHeader {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut input = Reader::new(bytes);
        Ok(Self { executable: input.byte()? != 0, content_bytes: input.number()?, path: input.string()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_comes_back_as_it_went() {
        let command = Command {
            argv: vec!["a".to_owned(), "b c".to_owned()],
            env: vec![("A".to_owned(), "1=2".to_owned())],
        };
        let limits = KernelLimits {
            memory_bytes: 1,
            tasks: 1,
            cpu_millis: None,
            open_files: 5,
            file_size_bytes: 6,
            disk_bytes: 1,
            stack_bytes: 7,
        };
        let file =
            File { path: FilePath::parse("a/b").unwrap(), content: b"xyz"[..].into(), executable: true };
        let frame = encode_launch(&command, &limits, None, std::slice::from_ref(&file));
        let launch = Launch::decode(&frame[8..]).unwrap();
        assert_eq!(launch.argv, [b"a".to_vec(), b"b c".to_vec()]);
        assert_eq!(launch.env, [b"A=1=2".to_vec()]);
        assert_eq!((launch.open_files, launch.file_size_bytes, launch.stack_bytes), (5, 6, 7));
        assert_eq!((launch.fifo, launch.files), (None, 1));
        let frame = encode_launch(&command, &limits, Some(&file.path), &[]);
        assert_eq!(Launch::decode(&frame[8..]).unwrap().fifo.as_deref(), Some("a/b"));
        let header = FileHeader::decode(&encode_file_header(&file)[8..]).unwrap();
        assert_eq!(header, FileHeader { executable: true, content_bytes: 3, path: "a/b".to_owned() });
    }
}
