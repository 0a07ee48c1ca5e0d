//! Stories of users, each in a real browser against the real programs.

mod algorithms;
mod docs;
mod page;
mod protect;
mod web_login;
mod world;
