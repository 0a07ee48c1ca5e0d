//! Encodes status lists, for their publishers: draft-ietf-oauth-status-list section 4.

use std::io::{self, Write};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use flate2::{Compression, write::ZlibEncoder};

use super::{Statuses, status_list::EncodedStatuses};

impl Statuses {
    /// A list of one bit per status, with these bytes.
    pub(crate) fn of_bits(bytes: impl Into<Box<[u8]>>) -> Self {
        Self { bits: 1, bytes: bytes.into() }
    }

    pub(crate) fn encode(&self) -> io::Result<EncodedStatuses> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&self.bytes)?;
        Ok(EncodedStatuses { bits: self.bits, lst: BASE64_URL_SAFE_NO_PAD.encode(encoder.finish()?) })
    }
}
