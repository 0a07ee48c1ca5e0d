//! `sealwright client drop-secret`, `drop-key` and `revoke-tokens`.

use clap::Args;

use super::view;
use crate::{
    cli::{
        Operator,
        confirmation::Confirmation,
        error::Error,
        output::{Output, logins, refused_soon, revoked_none, warn},
    },
    protocol::{ClientId, KeyId},
    server::{
        commands::{
            CredentialDrop, CredentialId,
            view::{EntityView, RevokedTokensView, RevokedView},
        },
        secret::SecretId,
    },
};

#[derive(Debug, Args)]
pub(in crate::cli) struct DropSecret {
    id: ClientId,
    /// The secret's id, as `client show` prints it
    #[arg(value_name = "SECRET_ID")]
    secret: SecretId,
    #[command(flatten)]
    how: Dropping,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct DropKey {
    id: ClientId,
    /// The key's id, as `client show` prints it
    #[arg(value_name = "KID", allow_hyphen_values = true)]
    key: KeyId,
    #[command(flatten)]
    how: Dropping,
}

/// How a secret or a key is dropped.
#[derive(Debug, Args)]
struct Dropping {
    /// Drop it even if the client cannot authenticate without it
    #[arg(long)]
    last: bool,
    /// Others may know the secret or the private key: also revoke all tokens that the client got for itself; it goes on with its other secrets and keys
    #[arg(long)]
    compromised: bool,
    #[command(flatten)]
    confirmation: Confirmation,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RevokeTokens {
    id: ClientId,
    #[command(flatten)]
    confirmation: Confirmation,
    #[command(flatten)]
    output: Output,
}

/// What happens to tokens when the secret or key by which they were obtained is dropped.
fn live_on(credential: &CredentialId) -> String {
    let stolen = match credential {
        CredentialId::Secret(_) => "know the secret",
        CredentialId::Key(_) => "have the private key",
    };
    format!(
        "Tokens that were obtained with it are valid until they expire, in 10 minutes unless another lifetime is set. If others may {stolen}, \
         revoke them"
    )
}

impl DropSecret {
    pub(super) async fn run(self, operator: &Operator) -> Result<(), Error> {
        self.how.run(operator, self.id, CredentialId::Secret(self.secret)).await
    }
}

impl DropKey {
    pub(super) async fn run(self, operator: &Operator) -> Result<(), Error> {
        self.how.run(operator, self.id, CredentialId::Key(self.key)).await
    }
}

impl Dropping {
    async fn run(self, operator: &Operator, id: ClientId, credential: CredentialId) -> Result<(), Error> {
        let Self { last, compromised, confirmation, output } = self;
        let (clients, live_on) = (operator.commands.clients(), live_on(&credential));
        let dropped = CredentialDrop { credential, allow_last: last, compromised };
        let question = async {
            clients.require_credential(&id, &dropped.credential).await?;
            let tokens = if compromised { revocation(&id) } else { format!("{live_on} with --compromised.") };
            let (noun, name) = (dropped.credential.noun(), dropped.credential.as_str());
            Ok(format!("{tokens}\nDrop {noun} \"{name}\" of client \"{id}\"? An app that still uses it gets no more tokens."))
        };
        confirmation.require(question).await?;
        let act = operator.act_now();
        let (changed, revoked) = clients.drop_credential(&act, id.clone(), dropped).await.map_err(Error::of_drop)?;
        output.print_changed(&EntityView::of(id.as_str(), &changed, act.now), view::client_with_credentials)?;
        if compromised {
            return output.print_ended(&match revoked {
                true => format!("revoked all tokens that {id} got for itself; {}", refused_soon("them")),
                false => revoked_none(&format!("that {id} got for itself")),
            });
        }
        // The question says so too.
        if !confirmation.asks() {
            warn(&format!("{live_on}: `sealwright client revoke-tokens {id}`, or --compromised when it is dropped"));
        }
        Ok(())
    }
}

impl RevokeTokens {
    pub(super) async fn run(self, operator: &Operator) -> Result<(), Error> {
        let Self { id, confirmation, output } = self;
        let clients = operator.commands.clients();
        let question = async {
            let go_on = logins(clients.count_logins(&id, operator.act.now).await?);
            Ok(format!("{} It has {go_on} of users, which go on.\nRevoke the tokens of client \"{id}\"?", revocation(&id)))
        };
        confirmation.require(question).await?;
        let act = operator.act_now();
        let tokens_revoked = clients.revoke_tokens(&act, id.clone()).await?;
        let count = clients.count_logins(&id, act.now).await?;
        let view = RevokedTokensView {
            client_id: Some(id.to_string()),
            username: None,
            tokens_revoked,
            logins_ended: None,
            logins_continued: Some(count),
            revoked: RevokedView::at(act.now),
        };
        output.print(&view, |view| {
            let revoked = match view.tokens_revoked {
                true => format!("revoked all tokens that {id} got for itself; {}, and its app gets new ones", refused_soon("them")),
                false => revoked_none(&format!("that {id} got for itself")),
            };
            format!("{revoked}\n{} of users by it go on; `sealwright login end --client {id}` ends them", logins(count))
        })
    }
}

/// What revoking a client's tokens does.
fn revocation(id: &ClientId) -> String {
    format!("All tokens that {id} got for itself are revoked, and its app gets new ones; {}.", refused_soon("the earlier ones"))
}
