//! Private keys: the pairs by which the server signs tokens and apps sign assertions, and the thumbprints that name them.

#[cfg(feature = "server")]
mod generate;
#[cfg(any(feature = "client", feature = "server"))]
mod key_pair;
mod thumbprint;

#[cfg(feature = "server")]
pub(crate) use generate::generate_pkcs8;
#[cfg(any(feature = "client", feature = "server"))]
pub(crate) use key_pair::KeyPair;
pub(crate) use thumbprint::thumbprint;
