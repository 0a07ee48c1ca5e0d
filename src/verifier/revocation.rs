//! What a verifier does about tokens that were revoked.

use strum::{Display, IntoStaticStr};

/// Whether tokens are looked up in the issuer's status lists (draft-ietf-oauth-status-list). Set by
/// [`Builder::revocation`](super::Builder::revocation).
///
/// A token names its status list and its position in it, in its claim `status`. The verifier fetches the list in the background, so that the check
/// of a token only reads memory. Sealwright publishes a revocation within two seconds, and a verifier learns of it within 12 s of the answer to the
/// revocation, as long as it can fetch the list. A cache on the way that holds a list for longer than its `max-age`, a second, adds that time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
pub enum Revocation {
    /// The claim `status` is ignored: a revoked token is accepted until it expires.
    Off,
    /// The default where keys are fetched. A token that names a status list is looked up in it; one without the claim `status` is accepted. A claim of
    /// another kind refuses the token, unless the mode is only the [default](super::Builder::revocation). While a list cannot be
    /// fetched, the newest one that was seen is used, or none if there is none, for the time set by
    /// [`Builder::revocation_max_stale`](super::Builder::revocation_max_stale); then
    /// [`Error::StatusUnavailable`](super::Error::StatusUnavailable).
    Lenient,
    /// A token that names no status list is refused, and a list that the issuer has not confirmed for three times its `ttl` (30 s with
    /// Sealwright), or that has expired, is not used: [`Error::StatusUnavailable`](super::Error::StatusUnavailable). So an outage of the issuer is
    /// one of the API.
    ///
    /// A confirmation is an answer that is not signed, and requests that ask caches to pass them on (`Cache-Control: no-cache`) are the only way to get
    /// one that is not a cache's. So the 30 s require that each cache between the verifier and the issuer honours that, or states for how long it has held
    /// its answer (`Age`). One that does neither can repeat an old list until its `exp`, an hour after it was signed with Sealwright.
    Strict,
}
