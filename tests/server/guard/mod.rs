//! `sealwright guard`: in this process with an issuer and an API, over real sockets, and as the real binary.

mod checks;
mod forwarding;
mod hostile;
mod log;
mod operation;
mod party;
mod process;
mod token_headers;
