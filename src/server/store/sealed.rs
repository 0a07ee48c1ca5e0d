//! The texts that are sealed under the sealing key, and their rewriting under another one.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;
use sqlx::{AnyConnection, Row};

use super::{
    Error, Store, changes,
    epochs::{self, Kind},
    row::{parsed, text},
    withdrawals,
};
use crate::{
    protocol::Algorithm,
    server::{
        act::Act,
        model::{Detail, Ending, facts},
    },
};

/// The kid of the key under which a JWE is sealed (RFC 7516 section 4.1.6), unverified.
pub(crate) fn sealing_kid(jwe: &str) -> Option<String> {
    let header = BASE64_URL_SAFE_NO_PAD.decode(jwe.split('.').next()?).ok()?;
    let header: Value = serde_json::from_slice(&header).ok()?;
    Some(header.get("kid")?.as_str()?.to_owned())
}

/// A sealed text of the database.
#[derive(Debug, Clone)]
pub(crate) struct SealedText {
    pub(crate) content: Content,
    pub(crate) sealed: String,
}

/// What a sealed text contains.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    SigningKey { kid: String, algorithm: Algorithm, generation: i64, revoked: bool },
    MacKey { name: String },
}

impl Content {
    /// The name of its row, for messages.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::SigningKey { kid, .. } => format!("signing key {kid}"),
            Self::MacKey { name } => format!("MAC key {name}"),
        }
    }
}

/// A row whose sealed text cannot be read.
#[derive(Debug)]
pub(crate) struct UnreadableText {
    /// The name of the row, for messages.
    pub(crate) name: String,
    /// The kid, if it is that of a signing key that is not revoked.
    pub(crate) unrevoked_kid: Option<String>,
}

/// What to rewrite in one transaction.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rewriting {
    /// The kid of the new sealing key.
    pub(crate) kid: String,
    /// The canary before, the canary under the new key, and where that key is.
    pub(crate) canary: Option<(String, String, String)>,
    /// The texts before and after.
    pub(crate) texts: Vec<(SealedText, String)>,
    /// The names of those whose content is new, not only its seal.
    pub(crate) replaced: Vec<String>,
    /// Whether all logins end: the key of refresh tokens is among those that are new.
    pub(crate) ends_logins: bool,
}

impl Store {
    /// All sealed texts but the canary, and the rows that cannot be read.
    pub(crate) async fn list_sealed(&self) -> Result<(Vec<SealedText>, Vec<UnreadableText>), Error> {
        let (mut texts, mut unreadable) = (Vec::new(), Vec::new());
        let rows = sqlx::query(
            "SELECT kid, algorithm, generation, sealed, CAST(CASE WHEN revoked_at IS NULL THEN 0 ELSE 1 END AS BIGINT) AS revoked
             FROM signing_keys ORDER BY algorithm, generation",
        );
        for row in rows.fetch_all(&self.pool).await? {
            let read = || {
                let (kid, algorithm, generation) = (text(&row, "kid")?, parsed(&row, "algorithm")?, row.try_get("generation")?);
                let revoked = row.try_get::<i64, _>("revoked")? != 0;
                let content = Content::SigningKey { kid, algorithm, generation, revoked };
                Ok::<_, Error>(SealedText { content, sealed: text(&row, "sealed")? })
            };
            match read() {
                Ok(sealed) => texts.push(sealed),
                Err(_) => {
                    let (kid, revoked) = (text(&row, "kid").ok(), row.try_get::<i64, _>("revoked").is_ok_and(|revoked| revoked != 0));
                    let name = format!("signing key {}", kid.as_deref().unwrap_or_default());
                    unreadable.push(UnreadableText { name, unrevoked_kid: kid.filter(|_| !revoked) });
                }
            }
        }
        for row in sqlx::query("SELECT name, sealed FROM mac_keys ORDER BY name").fetch_all(&self.pool).await? {
            match (text(&row, "name"), text(&row, "sealed")) {
                (Ok(name), Ok(sealed)) => texts.push(SealedText { content: Content::MacKey { name }, sealed }),
                (name, _) => {
                    let name = format!("MAC key {}", name.unwrap_or_default());
                    unreadable.push(UnreadableText { name, unrevoked_kid: None });
                }
            }
        }
        Ok((texts, unreadable))
    }

    /// Rewrites sealed texts, each only if it is still what it was. The canary must be under the new key, or come to be in the same
    /// transaction: servers seal new keys as the canary is sealed. Returns the number of logins that it ended.
    pub(crate) async fn rewrite_sealed(&self, act: &Act, rewriting: Rewriting) -> Result<u64, Error> {
        let (act, sqlite) = (act.clone(), self.is_file());
        self.write(move |connection| {
            Box::pin(async move {
                epochs::raise(connection, Kind::Keys).await?;
                let Rewriting { kid, canary, texts, replaced, ends_logins } = rewriting;
                match canary {
                    Some(canary) => rewrite_canary(connection, &kid, canary).await?,
                    None if canary_kid(connection).await?.as_ref() != Some(&kid) => return Err(Error::Resealed),
                    None => {}
                }
                let count = texts.len();
                for (SealedText { content, sealed }, new) in texts {
                    let (sql, name) = match content {
                        Content::SigningKey { kid, .. } => ("UPDATE signing_keys SET sealed = $3 WHERE kid = $1 AND sealed = $2", kid),
                        Content::MacKey { name } => ("UPDATE mac_keys SET sealed = $3 WHERE name = $1 AND sealed = $2", name),
                    };
                    sqlx::query(sql).bind(name).bind(sealed).bind(new).execute(&mut *connection).await?;
                }
                let ended = if ends_logins { end_all_logins(connection, &act, sqlite).await? } else { 0 };
                let mut facts = facts([("rewritten", count.into())]);
                if !replaced.is_empty() {
                    facts.insert("replaced".to_owned(), replaced.into());
                }
                let detail = Detail::added(facts);
                let detail = if ends_logins { detail.with_logins_ended(ended) } else { detail };
                changes::record(connection, &act, "key.reseal", &kid, detail).await?;
                Ok(ended)
            })
        })
        .await
    }
}

/// Whether a text is sealed under the same key as the canary. A key that a process sealed before the sealing key was replaced would be
/// lost with the old one. The caller has raised the epoch of keys, so that the answer stays true until it commits.
pub(super) async fn is_under_the_sealing_key(connection: &mut AnyConnection, sealed: &str) -> Result<bool, Error> {
    let current = canary_kid(connection).await?;
    Ok(current.is_none() || current == sealing_kid(sealed))
}

async fn canary_kid(connection: &mut AnyConnection) -> Result<Option<String>, Error> {
    let row = sqlx::query("SELECT sealed FROM sealing_canary WHERE id = 1").fetch_optional(connection).await?;
    Ok(row.map(|row| text(&row, "sealed")).transpose()?.and_then(|sealed| sealing_kid(&sealed)))
}

async fn rewrite_canary(connection: &mut AnyConnection, kid: &str, (before, after, origin): (String, String, String)) -> Result<(), Error> {
    let rewritten = sqlx::query(
        "UPDATE sealing_canary SET first_sealed = COALESCE(first_sealed, sealed), sealed = $2, origin = $3
         WHERE id = 1 AND sealed = $1 AND successor_kid = $4",
    );
    let rewritten = rewritten.bind(before).bind(after).bind(origin).bind(kid.to_owned()).execute(connection).await?;
    if rewritten.rows_affected() == 1 { Ok(()) } else { Err(Error::Resealed) }
}

/// Ends all logins, and forgets the sources of sign-ins, whose MACs are under a key that is gone.
async fn end_all_logins(connection: &mut AnyConnection, act: &Act, sqlite: bool) -> Result<u64, Error> {
    if !sqlite {
        // There may be millions of logins, and no request waits for this.
        sqlx::query("SET LOCAL statement_timeout = 0").execute(&mut *connection).await?;
    }
    // No withdrawal comes in between.
    epochs::lock(connection, Kind::Withdrawals).await?;
    let ended = sqlx::query("UPDATE logins SET ended_at = $1, ended_because = $2 WHERE ended_at IS NULL")
        .bind(act.now.seconds())
        .bind(Ending::KeyReplaced.as_str())
        .execute(&mut *connection)
        .await?;
    withdrawals::settle_ended(connection, Ending::KeyReplaced, act.now).await?;
    sqlx::query("DELETE FROM sign_in_sources").execute(connection).await?;
    Ok(ended.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Timestamp,
        server::{
            model::SigningKeyRow,
            store::{Canary, Opening, Policy},
        },
    };

    /// A text whose header names this sealing key.
    fn under(kid: &str, content: &str) -> String {
        format!("{}.{content}", BASE64_URL_SAFE_NO_PAD.encode(format!("{{\"kid\":\"{kid}\"}}")))
    }

    #[test]
    fn the_sealing_key_of_a_text_that_is_not_a_jwe_is_unknown() {
        assert_eq!(sealing_kid(&under("a", "b.c")).as_deref(), Some("a"));
        for text in ["", ".", "a.b", "e30.b", "bnVsbA.b", "eyJraWQiOjF9.b"] {
            assert_eq!(sealing_kid(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn a_key_that_was_sealed_before_the_sealing_key_was_replaced_is_not_stored_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("test.db").display()).parse().unwrap();
        let store = Store::open(&Policy { url, connections: 2 }, Opening::CreateIfMissing).await.unwrap();
        store.insert_canary_unless_there(Canary::first(under("new", "c"), String::new())).await.unwrap();
        let now = Timestamp::from_seconds(1_800_000_000);
        let key = |generation, sealing: &str| SigningKeyRow {
            kid: format!("{sealing} {generation}"),
            algorithm: Algorithm::Rs256,
            generation,
            public_jwk: String::new(),
            sealed: under(sealing, "k"),
            published_at: now,
            activates_at: now,
            retires_at: None,
            expires_at: None,
            revoked_at: None,
        };
        let act = Act::of_server(now);
        for (generation, sealing, stored) in [(1, "old", false), (1, "new", true), (2, "old", false)] {
            assert_eq!(
                store.insert_signing_key(&act, "key.create", key(generation, sealing), now).await.unwrap(),
                stored,
                "{sealing} {generation}"
            );
        }
        let kids: Vec<_> = store.list_signing_keys().await.unwrap().rows.into_iter().map(|row| (row.kid, row.revoked_at)).collect();
        assert_eq!(kids, [("new 1".to_owned(), None)]);
        let refused = store.insert_mac_key_unless_there("mac", under("old", "k")).await;
        assert!(matches!(refused, Err(Error::Resealed)), "{refused:?}");
        assert_eq!(store.find_mac_key("mac").await.unwrap(), None);
        store.insert_mac_key_unless_there("mac", under("new", "k")).await.unwrap();
    }

    #[tokio::test]
    async fn replacing_the_key_of_refresh_tokens_revokes_the_tokens_that_a_withdrawal_had_not_reached() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("test.db").display()).parse().unwrap();
        let store = Store::open(&Policy { url, connections: 2 }, Opening::CreateIfMissing).await.unwrap();
        store.insert_canary_unless_there(Canary::first(under("new", "c"), String::new())).await.unwrap();
        for sql in [
            "INSERT INTO logins (id, sub, client_id, audience, scope, generation, created_at, stepped_at, idle_ends_at, absolute_ends_at,
                                 status_list, status_index)
             VALUES ('a', 's', 'disabled', 'r', 'r', 1, 1, 1, 9000000000, 9000000000, 'list', 1),
                    ('b', 's', 'other', 'r', 'r', 1, 1, 1, 9000000000, 9000000000, 'list', 2)",
            "UPDATE epochs SET n = 1 WHERE kind = 'withdrawals'",
            "INSERT INTO withdrawals (n, client_id, ended_because, decided_at, done_to) VALUES (1, 'disabled', 'client_disabled', 1, '')",
        ] {
            sqlx::query(sql).execute(&store.pool).await.unwrap();
        }
        let act = Act::of_server(Timestamp::from_seconds(1_800_000_000));
        let rewriting = Rewriting { kid: "new".to_owned(), ends_logins: true, ..Rewriting::default() };
        assert_eq!(store.rewrite_sealed(&act, rewriting).await.unwrap(), 2);
        let revoked = sqlx::query("SELECT start FROM revocations").fetch_all(&store.pool).await.unwrap();
        assert_eq!(revoked.iter().map(|row| row.try_get::<i64, _>("start").unwrap()).collect::<Vec<_>>(), [1]);
        assert!(store.list_withdrawals().await.unwrap().is_empty());
    }
}
