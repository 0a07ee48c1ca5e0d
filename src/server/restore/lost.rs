use super::record::Noted;
use crate::clock::Timestamp;

/// A change that the restored database does not have.
#[derive(Debug, Clone)]
pub(crate) struct Lost {
    pub(crate) number: i64,
    pub(crate) at: Timestamp,
    pub(crate) action: String,
    pub(crate) target: String,
}

impl From<&Noted> for Lost {
    fn from(noted: &Noted) -> Self {
        let Noted { number, at, action, target } = noted;
        Self { number: *number, at: Timestamp::from_seconds(*at), action: action.clone(), target: target.clone() }
    }
}

impl Lost {
    /// What is in force again, or no longer, and what to do.
    pub(crate) fn advice(&self) -> &'static str {
        match self.action.as_str() {
            "client.create" => "the client is gone: create it again, and give its app the new secret",
            "client.update" => "the client may have what it had before: look at `client show`, and update it again",
            "client.disable" => "the client is enabled again: disable it again",
            "client.enable" => "the client is disabled again: enable it again",
            "client.delete" => "the client and its secrets are valid again: delete it again",
            "client.add_secret" => "the secret is gone: add another, and give it to the app",
            "client.drop_secret" => "the secret is valid again: drop it again",
            "user.create" => "the user is gone: create them again",
            "user.update" => "the user may have what they had before: look at `user show`, and update them again",
            "user.disable" => "the user is enabled again: disable them again",
            "user.enable" => "the user is disabled again: enable them again",
            "user.delete" => "the user is there again: delete them again",
            "user.set_password" => "the former password is valid again: set a new one",
            "resource.create" => "the resource is gone: create it again",
            "resource.update" => "the resource is as it was before: look at `resource show`, and update it again",
            "resource.delete" => "the resource is there again: delete it again",
            "login.end" => "nothing: every login has been ended now",
            "key.create" => "nothing: the key is gone, and apps replace the tokens that it signed",
            "key.revoke" | "key.withdraw" => "nothing: the key has been withdrawn again",
            "database.restored" => "nothing: it has been done again now",
            _ => "look whether it has to be made again",
        }
    }
}
