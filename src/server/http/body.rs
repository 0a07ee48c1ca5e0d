//! Reads the body of a client's request, within a size limit, a time limit and the memory budget.

use std::time::Duration;

use axum::{body::Body, http::Version};
use futures_util::FutureExt;
use http_body_util::BodyExt;

use super::error::Failure;
use crate::server::edge::{Charge, Exhausted};

/// Maximum size of a body in bytes.
const BODY_LIMIT: usize = 64 * 1024;
/// How much of a body that is too large is read and dropped, in bytes.
const DISCARD_LIMIT: usize = 4 * 1024 * 1024;
/// Time limit for the body to arrive.
const BODY_TIME_LIMIT: Duration = Duration::from_secs(10);
/// Size of one block of a body in bytes. All blocks have the same size, so that freed blocks can be reused for the next body: buffers that
/// grow by doubling fragment the heap.
const BLOCK: usize = 4 * 1024;

impl From<Exhausted> for Failure {
    fn from(_: Exhausted) -> Self {
        Self::unavailable("the memory for unauthenticated requests is used up".to_owned())
    }
}

/// Reads a whole body. Memory is allocated and charged as it arrives.
pub(super) async fn read(body: Body, charge: &Charge) -> Result<Vec<u8>, Failure> {
    match tokio::time::timeout(BODY_TIME_LIMIT, collect(body, charge, BODY_LIMIT)).await {
        Ok(body) => body,
        Err(_) => Err(Failure::too_slow("The body took longer than 10 s to arrive.")),
    }
}

/// Reads and drops the body of a refused request. Over HTTP/1, closing a connection while the client still sends would make it lose the
/// answer. Over HTTP/2, only the stream is reset.
pub(super) async fn discard(body: Body, version: Version, charge: &Charge) {
    if version < Version::HTTP_2 {
        // The request is refused in any case.
        let _ = tokio::time::timeout(BODY_TIME_LIMIT, collect(body, charge, 0)).await;
    }
}

/// Collects a body of up to `limit` bytes. The rest of a larger one is read and dropped, up to `DISCARD_LIMIT`: see [`discard`].
async fn collect(mut body: Body, charge: &Charge, limit: usize) -> Result<Vec<u8>, Failure> {
    let mut collected = Blocks::default();
    let mut length = 0;
    let mut wait = None;
    loop {
        let frame = match body.frame().now_or_never() {
            Some(frame) => frame,
            None => {
                let wait = wait.get_or_insert_with(|| charge.wait());
                tokio::select! {
                    frame = body.frame() => frame,
                    () = wait.evicted() => return Err(Exhausted.into()),
                }
            }
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| Failure::invalid_request("The body is incomplete."))?;
        let Some(data) = frame.data_ref() else { continue };
        length += data.len();
        if length <= limit {
            collected.push(data, charge)?;
        } else if length > DISCARD_LIMIT {
            break;
        } else {
            charge.give_back(collected.drain());
        }
    }
    if length <= limit { Ok(collected.into_whole()) } else { Err(Failure::too_large("The body is larger than 64 KiB.")) }
}

/// The part of a body that has arrived.
#[derive(Debug, Default)]
struct Blocks(Vec<Vec<u8>>);

impl Blocks {
    fn push(&mut self, mut data: &[u8], charge: &Charge) -> Result<(), Exhausted> {
        while !data.is_empty() {
            if self.0.last().is_none_or(|block| block.len() == BLOCK) {
                charge.grow(BLOCK, self.0.is_empty())?;
                self.0.push(Vec::with_capacity(BLOCK));
            }
            let Some(block) = self.0.last_mut() else { break };
            let (now, later) = data.split_at(data.len().min(BLOCK - block.len()));
            block.extend_from_slice(now);
            data = later;
        }
        Ok(())
    }

    /// Drops what has arrived and returns the size of the freed memory.
    fn drain(&mut self) -> usize {
        std::mem::take(&mut self.0).len() * BLOCK
    }

    fn into_whole(mut self) -> Vec<u8> {
        if self.0.len() > 1 { self.0.concat() } else { self.0.pop().unwrap_or_default() }
    }
}
