//! The sending of bytes to containerd's store of content, which checks them against their digest.

use std::{
    collections::HashMap,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use containerd_client::{
    services::v1::{WriteAction, WriteContentRequest, WriteContentResponse},
    tonic::{Code, Status},
};
use futures_util::Stream;
use tokio::sync::mpsc;

use super::{archive::Blob, store::LAYER_DEADLINE};
use crate::engine::{Engine, Trouble};

const PIECE_BYTES: usize = 1 << 20;

/// What is written: a layer's range of a file, or a document.
pub(super) enum Bytes {
    Range(Blob),
    Document(Vec<u8>),
}

impl Bytes {
    fn size(&self) -> u64 {
        match self {
            Self::Range(blob) => blob.size,
            Self::Document(bytes) => bytes.len() as u64,
        }
    }

    async fn read(&self, from: u64) -> io::Result<Vec<u8>> {
        match self {
            Self::Range(blob) => {
                let blob = blob.clone();
                let read = tokio::task::spawn_blocking(move || blob.read(from, PIECE_BYTES));
                read.await.map_err(io::Error::other).flatten()
            }
            Self::Document(bytes) => {
                let from = usize::try_from(from).unwrap_or(usize::MAX);
                Ok(bytes.get(from..).unwrap_or_default().iter().take(PIECE_BYTES).copied().collect())
            }
        }
    }
}

/// Piece by piece, each answered before the next: containerd reads no faster than it writes.
///
/// # Errors
/// The outer one is of reading what is to be sent.
pub(super) async fn send(
    engine: Engine,
    digest: String,
    bytes: Bytes,
    labels: HashMap<String, String>,
) -> io::Result<Result<(), Trouble>> {
    let mut content = match engine.content().await {
        Ok(content) => content,
        Err(trouble) => return Ok(Err(trouble)),
    };
    let (pieces, receiver) = mpsc::channel(1);
    let request = engine.request(LAYER_DEADLINE, Pieces(receiver));
    let total = bytes.size();
    let plain = piece(digest, total);
    let mut unreadable = None;
    let work = async {
        pieces.send(plain.clone()).await.map_err(closed)?;
        let mut answers = content.write(request).await?.into_inner();
        // What it has already, from an import that died or in another namespace.
        let mut offset = u64::try_from(answer(answers.message().await?)?.offset).unwrap_or(0);
        while offset < total {
            let data = match bytes.read(offset).await {
                Ok(data) => data,
                Err(error) => {
                    unreadable = Some(error);
                    return Ok(());
                }
            };
            let length = data.len() as u64;
            let next = WriteContentRequest { data, ..at(&plain, WriteAction::Write, offset) };
            pieces.send(next).await.map_err(closed)?;
            answer(answers.message().await?)?;
            offset += length;
        }
        let last = WriteContentRequest { labels, ..at(&plain, WriteAction::Commit, total) };
        pieces.send(last).await.map_err(closed)?;
        answer(answers.message().await?).map(drop)
    };
    let sent = engine.within(LAYER_DEADLINE, "content.Write", Box::pin(work)).await;
    unreadable.map_or(Ok(sent), Err)
}

/// What is sent next, as a stream has it.
struct Pieces(mpsc::Receiver<WriteContentRequest>);

impl Stream for Pieces {
    type Item = WriteContentRequest;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

/// The first message, which asks what is there.
fn piece(digest: String, total: u64) -> WriteContentRequest {
    WriteContentRequest {
        action: WriteAction::Stat.into(),
        r#ref: format!("sandboxd-{digest}"),
        total: i64::try_from(total).unwrap_or(i64::MAX),
        expected: digest,
        ..WriteContentRequest::default()
    }
}

/// One that does something.
fn at(plain: &WriteContentRequest, action: WriteAction, offset: u64) -> WriteContentRequest {
    let offset = i64::try_from(offset).unwrap_or(i64::MAX);
    WriteContentRequest { action: action.into(), offset, ..plain.clone() }
}

fn closed<T>(_piece: T) -> Status {
    Status::new(Code::Aborted, "containerd listens no more")
}

fn answer(message: Option<WriteContentResponse>) -> Result<WriteContentResponse, Status> {
    message.ok_or_else(|| Status::new(Code::Aborted, "the stream ended early"))
}
