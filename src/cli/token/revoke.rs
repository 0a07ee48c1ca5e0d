//! `sealwright token revoke`: takes back one access token.

use clap::Args;

use super::{SettingFlags, TokenArgument};
use crate::{
    cli::{
        Operator,
        error::Error,
        output::{Output, refused},
    },
    server::commands::view::RevokedTokenView,
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Revoke {
    #[command(flatten)]
    token: TokenArgument,
    #[command(flatten)]
    output: Output,
}

impl Revoke {
    pub(super) async fn run(self, settings: SettingFlags) -> Result<(), Error> {
        let token = self.token.read()?;
        Operator::with(settings, async |operator| {
            let act = operator.act_now();
            let revoked = operator.commands.tokens().revoke(&act, &token).await?;
            self.output.print(&RevokedTokenView::new(&revoked, act.now), for_people)
        })
        .await
    }
}

fn for_people(view: &RevokedTokenView) -> String {
    let RevokedTokenView { client_id, jti, sub, username, login, expires_at, revoked } = view;
    let done = match login {
        Some(login) => {
            let user = username.as_ref().unwrap_or(sub);
            format!(
                "Revoked a token of the user {user} by the client {client_id} (jti {jti}), which would have expired at {expires_at}, and so ended \
                 the login {login}: its refresh token and its other access tokens are refused too."
            )
        }
        None => format!(
            "Revoked a token of the client {client_id} (jti {jti}), which would have expired at {expires_at}. Other tokens of the client that have \
             the same position in the status list are refused too; its app gets new ones."
        ),
    };
    format!("{done}\nIntrospection reports it as inactive from now on, and {}.", refused(&format!("it by {}", revoked.verifiers_follow_by)))
}
