//! The server and its command line as their users meet them: real HTTP, real databases, the real binary.
//!
//! A test that covers a row of the requirements begins with the row's id.

mod access_token;
mod check_and_inspect;
mod client_authentication;
mod client_command;
mod client_credentials;
mod configuration;
mod demo;
mod discovery;
mod faults;
mod form;
mod logs;
mod propagation;
mod resource_command;
mod start;
mod support;
mod token_endpoint;
