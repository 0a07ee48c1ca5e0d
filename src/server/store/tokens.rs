use super::{
    Error, Store, changes, login_ends,
    revocations::{self, Revoking},
};
use crate::{
    clock::Timestamp,
    server::{
        act::Act,
        model::{Detail, Ending, Facts, LoginId, StatusIndex},
    },
};

/// How the change log names the revocation of one token.
const ACTION: &str = "token.revoke";

impl Store {
    /// Revokes the position of a token of a client and records the change. Returns false, and changes nothing, if it was revoked already. `target` and
    /// `named` say which token it is.
    pub(crate) async fn revoke_client_token(
        &self,
        act: &Act,
        position: StatusIndex,
        expires_at: Timestamp,
        target: String,
        named: Facts,
    ) -> Result<bool, Error> {
        let act = act.clone();
        self.write(move |connection| {
            Box::pin(async move {
                let revoked = revocations::revoke_position(connection, position, expires_at, act.now).await?;
                if revoked {
                    changes::record(connection, &act, ACTION, &target, Detail::added(named)).await?;
                }
                Ok(revoked)
            })
        })
        .await
    }

    /// Ends the login of a token of a user and records the change.
    pub(crate) async fn revoke_user_token(&self, act: &Act, login: LoginId, target: String, named: Facts) -> Result<(), Error> {
        let now = act.now;
        self.change(act, ACTION, target, move |connection| {
            Box::pin(async move {
                let mut revoking = Revoking::at(now);
                let ended = login_ends::end_one(connection, &mut revoking, &login, Ending::Operator).await?;
                revoking.finish(connection).await?;
                Ok(((), Detail::added(named).with_logins_ended(ended.logins)))
            })
        })
        .await
    }
}
