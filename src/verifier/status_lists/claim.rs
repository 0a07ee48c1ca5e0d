//! The claim `status`: draft-ietf-oauth-status-list section 6.2.

use serde::de::MapAccess;

use crate::{
    jwt::{Loose, Members, NoMembers, next},
    protocol::StatusReference,
};

/// The claim as it was read. Its type is checked only when it is used, because a verifier that does not use it accepts any.
#[derive(Debug)]
pub(in crate::verifier) struct StatusClaim(pub(in crate::verifier) Loose<StatusMembers>);

#[derive(Debug, Default)]
pub(in crate::verifier) struct StatusMembers {
    status_list: Option<Loose<ReferenceMembers>>,
}

#[derive(Debug, Default)]
pub(in crate::verifier) struct ReferenceMembers {
    idx: Option<Loose<NoMembers>>,
    uri: Option<Loose<NoMembers>>,
}

impl Members for StatusMembers {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        if name != "status_list" {
            return Ok(false);
        }
        self.status_list = Some(next(map)?);
        Ok(true)
    }
}

impl Members for ReferenceMembers {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        let member = match name {
            "idx" => &mut self.idx,
            "uri" => &mut self.uri,
            _ => return Ok(false),
        };
        *member = Some(next(map)?);
        Ok(true)
    }
}

/// Why a claim names no position in a status list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoReference {
    /// It does not say that it is one of status lists: issuers had claims of this name before there were such lists, and there are other mechanisms.
    Foreign(&'static str),
    Malformed(&'static str),
}

impl StatusClaim {
    /// The position in a status list.
    pub(super) fn reference(self) -> Result<StatusReference, NoReference> {
        use NoReference::{Foreign, Malformed};

        let Loose::Object(status) = self.0 else { return Err(Foreign("its claim status is not an object")) };
        let reference = match status.status_list {
            None => return Err(Foreign("its claim status names no status list")),
            Some(Loose::Object(reference)) => reference,
            Some(_) => return Err(Malformed("its status_list is not an object")),
        };
        let Some(Loose::Number(idx)) = reference.idx else {
            return Err(Malformed("its status_list has no idx, or one that is not a position"));
        };
        let Some(Loose::Text(uri)) = reference.uri else { return Err(Malformed("its status_list has no uri, or one that is not a text")) };
        Ok(StatusReference { idx, uri })
    }
}
