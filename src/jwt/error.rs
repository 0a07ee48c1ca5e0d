/// Why a JWT is refused. It never contains the token itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("the token or its header is too long")]
    TooLarge,
    /// It is not a signed JWT in compact form with a JSON object in each part, or a member is duplicated or of the wrong type.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    #[error("the token's algorithm is not accepted")]
    AlgorithmNotAllowed,
    #[error("the token's header requires an extension that is not supported")]
    Critical,
    #[error("the token is of another type")]
    WrongType,
    #[error("the token was signed by an unknown key")]
    UnknownKey,
    #[error("the token's signature is invalid")]
    BadSignature,
}
