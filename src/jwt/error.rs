use crate::protocol::Algorithm;

/// Why a JWT is refused. It never contains the token itself. The caller has the words for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Error {
    /// The token or its header is too long.
    TooLarge,
    /// It is not a signed JWT in compact form with a JSON object in each part, or a member is duplicated or of the wrong type.
    Malformed(&'static str),
    /// Its algorithm is not accepted: `None` for a missing one, or for a name that is not of a supported algorithm.
    AlgorithmNotAllowed(Option<Algorithm>),
    /// Its header requires an extension, and none is supported.
    Critical,
    /// It is of another type.
    WrongType,
    /// It names no known key.
    UnknownKey,
    /// Its signature is invalid.
    BadSignature,
}
