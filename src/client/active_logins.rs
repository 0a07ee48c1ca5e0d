//! The logins that are in use.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};

use super::token_source::TokenSource;
use crate::clock::Timestamp;

/// How long a login stays in memory after its last request.
const IDLE_TIME: Duration = Duration::from_secs(60);

/// The logins that are in use, by the SHA-256 of each of their refresh tokens. The requests of one session share one login, so that no refresh
/// token is used twice at once. A login stays for a while after its last request, so that the next request finds a token that arrived after the
/// previous one had ended, and does not ask an issuer that has just refused.
#[derive(Clone, Default)]
pub(super) struct ActiveLogins(Arc<Mutex<Logins>>);

#[derive(Default)]
struct Logins {
    by_refresh_token: HashMap<[u8; 32], (TokenSource, Timestamp)>,
    /// When idle logins are removed next, and the number of logins that triggers it earlier.
    sweep_at: Option<Timestamp>,
    sweep_from: usize,
}

impl fmt::Debug for ActiveLogins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let logins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        write!(f, "{} logins", logins.by_refresh_token.len())
    }
}

impl ActiveLogins {
    /// The login with this refresh token. If it is not in memory, `begin` makes it.
    pub(super) fn share(&self, refresh: &str, now: Timestamp, begin: impl FnOnce() -> TokenSource) -> TokenSource {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).share(refresh, now, begin)
    }
}

impl Logins {
    fn share(&mut self, refresh: &str, now: Timestamp, begin: impl FnOnce() -> TokenSource) -> TokenSource {
        if self.sweep_at.is_none_or(|at| now >= at) || self.by_refresh_token.len() >= self.sweep_from {
            self.by_refresh_token.retain(|_, (login, used_at)| {
                let stays = now < *used_at + IDLE_TIME || login.is_in_use();
                if !stays {
                    login.unregister();
                }
                stays
            });
            self.sweep_at = Some(now + IDLE_TIME);
            self.sweep_from = (self.by_refresh_token.len() * 2).max(1024);
        }
        let mut key = [0; 32];
        key.copy_from_slice(digest(&SHA256, refresh.as_bytes()).as_ref());
        let (login, used_at) = self.by_refresh_token.entry(key).or_insert_with(|| (begin().registered(), now));
        *used_at = now;
        login.clone()
    }
}
