//! Settings and their sources: flags over environment over a file over defaults. Each room lists its own settings and reads its policy from
//! the [`Values`].

mod error;
mod parsers;
mod program;
mod service_links;
mod setting;
mod sources;
mod tables;
mod values;

pub use error::Error;
pub use setting::Setting;
pub use sources::Sources;

pub(crate) use parsers::{boolean, by_rule, cores, duration, number, parse_duration, path, without_reason};
pub(crate) use program::{CLIENT_SECRET, Program, USER_PASSWORD};
pub(crate) use setting::setting;
pub(crate) use tables::{count, joined};
pub(crate) use values::Values;
