//! What an operator can do with signing keys.

mod list;
mod reseal;

pub(crate) use reseal::NewSealing;
