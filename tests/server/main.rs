//! The server and its command line as their users meet them: real HTTP, real databases, the real binary.
//!
//! A test that covers a row of the requirements begins with the row's id.

mod access_token;
mod change_command;
mod check_and_inspect;
mod client;
mod client_authentication;
mod client_command;
mod client_credentials;
mod clocks;
mod configuration;
mod connections;
mod custody;
mod database;
mod demo;
mod description;
mod discovery;
mod edge;
mod faults;
mod foreign_tokens;
mod form;
mod guessing;
mod health_command;
mod help;
mod logins;
mod logs;
mod misplaced_secrets;
mod noise;
mod orders_api;
mod password_grant;
mod propagation;
mod refresh;
mod resource_command;
mod restore;
mod revocation;
mod secrecy;
mod start;
mod stop;
mod support;
mod tls;
mod token_endpoint;
mod traps;
mod two_nodes;
mod user_command;
mod verifier;
