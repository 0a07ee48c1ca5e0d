//! Token status lists: draft-ietf-oauth-status-list. Its media type, the names of its members and its encoding are only here and in
//! [`Status`](super::Status).

use std::io::Read;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use flate2::read::ZlibDecoder;
use serde::{Deserialize, Serialize};

/// The claims of a status list token (section 5.1). Times in seconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StatusListClaims {
    /// The URI of the list, as tokens name it.
    pub(crate) sub: String,
    pub(crate) iat: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exp: Option<i64>,
    /// How long the list may be cached, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl: Option<u64>,
    pub(crate) status_list: EncodedStatuses,
    /// Sealwright's own: how many changes of revocations the list shows. It orders the lists of nodes whose clocks differ. The
    /// prefix keeps the name apart from claims of other issuers (RFC 7519 section 4.3).
    #[serde(rename = "sealwright_epoch", skip_serializing_if = "Option::is_none")]
    pub(crate) epoch: Option<i64>,
}

impl StatusListClaims {
    /// The `typ` of the header (section 5.1).
    pub(crate) const TYPE: &str = "statuslist+jwt";
    /// The media type of the answer (section 8.1).
    pub(crate) const MEDIA_TYPE: &str = "application/statuslist+jwt";
}

/// The member `status_list` (section 4.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EncodedStatuses {
    /// The bits of one status: 1, 2, 4 or 8.
    pub(crate) bits: u8,
    /// The statuses, compressed with DEFLATE in the zlib format (RFC 1950), in base64url.
    pub(crate) lst: String,
}

/// Why a status list cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadStatusList {
    #[error("its bits are {0}, and not 1, 2, 4 or 8")]
    Bits(u8),
    #[error("it is not base64url")]
    Base64,
    #[error("it is not compressed in the zlib format")]
    Zlib,
    #[error("it has more than {0} bytes when it is decompressed")]
    TooLong(usize),
}

/// The statuses of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statuses {
    pub(super) bits: u8,
    /// The first status is in the lowest bits of the first byte (section 4.1).
    pub(super) bytes: Box<[u8]>,
}

impl Statuses {
    /// The status of a valid token (section 7.1). Every other one is refused.
    pub(crate) const VALID: u8 = 0;

    /// Decompresses a list of at most `max_len` bytes. Reads no further, so that a small answer cannot fill the memory.
    pub(crate) fn decode(encoded: &EncodedStatuses, max_len: usize) -> Result<Self, BadStatusList> {
        let EncodedStatuses { bits, lst } = encoded;
        if ![1, 2, 4, 8].contains(bits) {
            return Err(BadStatusList::Bits(*bits));
        }
        let compressed = BASE64_URL_SAFE_NO_PAD.decode(lst).map_err(|_| BadStatusList::Base64)?;
        let mut bytes = Vec::new();
        let limit = u64::try_from(max_len).unwrap_or(u64::MAX).saturating_add(1);
        ZlibDecoder::new(&compressed[..]).take(limit).read_to_end(&mut bytes).map_err(|_| BadStatusList::Zlib)?;
        if bytes.len() > max_len {
            return Err(BadStatusList::TooLong(max_len));
        }
        Ok(Self { bits: *bits, bytes: bytes.into() })
    }

    /// The status at a position; `None` if the list is shorter.
    pub(crate) fn get(&self, index: u64) -> Option<u8> {
        let per_byte = u64::from(8 / self.bits);
        let byte = *self.bytes.get(usize::try_from(index / per_byte).ok()?)?;
        let shift = u8::try_from(index % per_byte).ok()? * self.bits;
        Some(byte.checked_shr(shift.into())? & u8::MAX.checked_shr((8 - self.bits).into())?)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../../tests/data/status-list.json")).unwrap()
    }

    fn encoded(vector: &Value) -> EncodedStatuses {
        serde_json::from_value(vector.clone()).unwrap()
    }

    #[test]
    fn sl1_the_published_lists_decode_to_the_published_statuses() {
        for vector in vectors()["long"].as_array().unwrap() {
            let statuses = Statuses::decode(&encoded(vector), 1 << 20).unwrap();
            let (entries, set) = (vector["entries"].as_u64().unwrap(), vector["set"].as_object().unwrap());
            assert_eq!(statuses.get(entries), None, "{}", vector["file"]);
            let not_valid: Vec<u64> = (0..entries).filter(|index| statuses.get(*index) != Some(Statuses::VALID)).collect();
            assert_eq!(not_valid.len(), set.len(), "{}", vector["file"]);
            for (index, status) in set {
                assert_eq!(statuses.get(index.parse().unwrap()).map(u64::from), status.as_u64(), "{} at {index}", vector["file"]);
            }
        }
    }

    #[test]
    fn sl1_the_published_bytes_encode_and_decode() {
        for vector in vectors()["small"].as_array().unwrap() {
            let statuses = Statuses::decode(&encoded(vector), 8).unwrap();
            let bytes: Vec<String> = statuses.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(bytes.concat(), vector["bytes_hex"].as_str().unwrap());
        }
        let list = Statuses::of_bits([0xb9, 0xa3]);
        assert_eq!(Statuses::decode(&list.encode().unwrap(), 2), Ok(list));
    }

    #[test]
    fn sl3_a_list_that_inflates_beyond_the_maximum_or_is_damaged_is_refused() {
        let bomb = Statuses::of_bits(vec![0; 1 << 24]).encode().unwrap();
        assert!(bomb.lst.len() < 1 << 16, "{} characters", bomb.lst.len());
        assert_eq!(Statuses::decode(&bomb, 1 << 17), Err(BadStatusList::TooLong(1 << 17)));
        for bits in [0, 3, 16, 255] {
            assert_eq!(Statuses::decode(&EncodedStatuses { bits, ..bomb.clone() }, 8), Err(BadStatusList::Bits(bits)));
        }
        let damaged = |lst: &str| Statuses::decode(&EncodedStatuses { bits: 1, lst: lst.to_owned() }, 8);
        assert_eq!(damaged("eNrbuRgAAhcBX*"), Err(BadStatusList::Base64));
        assert_eq!(damaged("eNrbuRgAAhcBXQ=="), Err(BadStatusList::Base64));
        assert_eq!(damaged("eNrbuRgAAhcBXA"), Err(BadStatusList::Zlib), "a wrong checksum");
        assert_eq!(damaged("eNrbuRg"), Err(BadStatusList::Zlib), "cut off");
        assert_eq!(damaged(""), Err(BadStatusList::Zlib));
    }
}
