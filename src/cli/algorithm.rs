use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::protocol::Algorithm;

/// Parses an algorithm that the server signs with.
pub(super) fn algorithm() -> impl TypedValueParser<Value = Algorithm> {
    let names = ["RS256", "PS256", "ES256", "Ed25519"].map(PossibleValue::new).into_iter();
    // The name before RFC 9864.
    PossibleValuesParser::new(names.chain([PossibleValue::new("EdDSA").hide(true)])).try_map(|name| name.parse())
}
