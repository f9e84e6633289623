//! What two edges say to each other, and the descriptors that they pass: a length, that many bytes of JSON. It bounds
//! everything and decides nothing.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{BorrowedFd, OwnedFd},
};

use rustix::{
    io::{FdFlags, fcntl_setfd},
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, Interest},
    net::UnixStream,
};

use super::HandoverError;
use crate::socket::Identity;

/// Some hundreds of addresses.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// The kernel takes up to 253 at once.
const BATCH: usize = 64;
/// Of one address: more than any machine has workers.
pub(super) const SOCKETS_MAX: usize = 4096;

/// Unknown fields are ignored, so that later versions may say more.
#[derive(Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Message {
    Ask { protocol: u32, version: String },
    Offer { listeners: Vec<Offered> },
    Serving { taken: Vec<Identity> },
    Yours {},
    Refusal { why: String },
}

/// An address, and how many sockets follow for it.
#[derive(Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Offered {
    pub(super) identity: Identity,
    pub(super) sockets: usize,
}

pub(super) async fn send(stream: &mut UnixStream, message: &Message) -> Result<(), HandoverError> {
    let json = serde_json::to_vec(message).map_err(io::Error::from)?;
    let length = u32::try_from(json.len()).ok();
    let length = length.filter(|_| json.len() <= MESSAGE_BYTES_MAX);
    let length = length.ok_or_else(|| io::Error::other("too many addresses to be handed over"))?;
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend_from_slice(&json);
    stream.write_all(&bytes).await?;
    Ok(())
}

pub(super) async fn receive(stream: &mut UnixStream) -> Result<Message, HandoverError> {
    let length = stream.read_u32_le().await? as usize;
    if length > MESSAGE_BYTES_MAX {
        return Err(HandoverError::Garbled);
    }
    let mut json = vec![0; length];
    stream.read_exact(&mut json).await?;
    match serde_json::from_slice(&json) {
        Ok(Message::Refusal { why }) => Err(HandoverError::Refused { why }),
        Ok(message) => Ok(message),
        Err(_) => Err(HandoverError::Garbled),
    }
}

/// Each batch travels with one byte, since there are no descriptors without data.
pub(super) async fn send_sockets(
    stream: &UnixStream,
    sockets: &[BorrowedFd<'_>],
) -> Result<(), HandoverError> {
    for batch in sockets.chunks(BATCH) {
        stream
            .async_io(Interest::WRITABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                control.push(SendAncillaryMessage::ScmRights(batch));
                sendmsg(
                    stream,
                    &[IoSlice::new(&[0])],
                    &mut control,
                    SendFlags::empty(),
                )?;
                Ok(())
            })
            .await?;
    }
    Ok(())
}

/// Exactly so many.
pub(super) async fn receive_sockets(
    stream: &UnixStream,
    count: usize,
) -> Result<Vec<OwnedFd>, HandoverError> {
    let mut sockets = Vec::new();
    while sockets.len() < count {
        let batch = stream.async_io(Interest::READABLE, || receive_batch(stream));
        sockets.extend(batch.await?);
    }
    if sockets.len() == count {
        Ok(sockets)
    } else {
        Err(HandoverError::Garbled)
    }
}

fn receive_batch(stream: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received = recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::empty(),
    )?;
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut sockets = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            sockets.extend(passed);
        }
    }
    // Cut off where this process has no descriptors left.
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other("no room for the descriptors: ulimit -n"));
    }
    if sockets.is_empty() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    for socket in &sockets {
        fcntl_setfd(socket, FdFlags::CLOEXEC)?;
    }
    Ok(sockets)
}
