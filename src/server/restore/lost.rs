use super::record::JournalEntry;
use crate::clock::Timestamp;

/// A change that the restored database lacks.
#[derive(Debug, Clone)]
pub(crate) struct LostChange {
    pub(crate) number: i64,
    pub(crate) at: Timestamp,
    pub(crate) action: String,
    pub(crate) target: String,
}

impl From<&JournalEntry> for LostChange {
    fn from(entry: &JournalEntry) -> Self {
        let JournalEntry { number, at, action, target } = entry;
        Self { number: *number, at: Timestamp::from_seconds(*at), action: action.clone(), target: target.clone() }
    }
}

impl LostChange {
    /// What the loss means and what to do about it.
    pub(crate) fn advice(&self) -> &'static str {
        match self.action.as_str() {
            "client.create" => "the client is gone: create it again, and give its app the new secret, or add its key again",
            "client.update" => "the client has its earlier permissions: check `client show`, and update it again",
            "client.disable" => "the client is enabled: disable it again",
            "client.enable" => "the client is disabled: enable it again",
            "client.delete" => "the client with its secrets and keys is valid again: delete it again",
            "client.add_secret" => "the secret is gone: add another, and give it to the app",
            "client.drop_secret" => "the secret is valid again: drop it again",
            "client.add_key" => "the key is gone: add it again",
            "client.drop_key" => "the key is valid again: drop it again",
            "user.create" => "the user is gone: create them again",
            "user.update" => "the user has their earlier permissions: check `user show`, and update them again",
            "user.disable" => "the user is enabled: disable them again",
            "user.enable" => "the user is disabled: enable them again",
            "user.delete" => "the user exists again: delete them again",
            "user.set_password" => "the earlier password is valid again: set a new one",
            "resource.create" => "the resource is gone: create it again",
            "resource.update" => "the resource is as it was before: check `resource show`, and update it again",
            "resource.delete" => "the resource exists again: delete it again",
            "client.revoke_tokens" | "token.revoke" => "nothing: all access tokens that name a status list are refused now",
            "user.revoke_tokens" | "login.end" => "nothing: all logins have been ended now",
            "key.create" => "nothing: the key is gone, and apps replace the tokens that it signed",
            "key.import" => "the key is gone, and apps replace the tokens that it signed: import it again",
            "key.revoke" | "key.withdraw" => "nothing: the key has been withdrawn again",
            "key.reseal" => "the database is under its earlier sealing key: run `key reseal` again, with --compromised if it was given",
            "database.restored" => "nothing: it has been done again now",
            _ => "check whether the change has to be made again",
        }
    }
}
