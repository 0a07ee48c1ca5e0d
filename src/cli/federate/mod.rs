//! `sealwright federate`: what makes a cloud, Vault or Kubernetes accept the tokens of one client.

mod document;

use clap::Subcommand;
use url::Url;

use document::Federation;

use super::{
    Operator,
    error::Error,
    output::{say, warn},
    terminal::report,
};
use crate::protocol::{Algorithm, Audience, ClientId, GrantType, is_loopback};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// The trust policy of an IAM role, for AssumeRoleWithWebIdentity
    Aws {
        /// The client whose tokens it accepts
        #[arg(long, value_name = "ID")]
        client: ClientId,
        /// The AWS account: 12 digits
        #[arg(long, value_name = "ACCOUNT", value_parser = account)]
        account: String,
        /// The partition of AWS
        #[arg(long, value_name = "PARTITION", default_value = "aws", value_parser = ["aws", "aws-cn", "aws-us-gov"])]
        partition: String,
        /// The audience of the tokens: a resource of this issuer
        #[arg(long, value_name = "AUDIENCE", default_value = "sts.amazonaws.com")]
        audience: Audience,
    },
    /// Commands that make a provider of a workload identity pool, and let the client act as a service account
    Gcp {
        /// The client whose tokens it accepts
        #[arg(long, value_name = "ID")]
        client: ClientId,
        /// The number of the project
        #[arg(long, value_name = "NUMBER", value_parser = number)]
        project: String,
        /// The workload identity pool
        #[arg(long, value_name = "POOL", default_value = "sealwright", value_parser = name)]
        pool: String,
        /// The provider in the pool
        #[arg(long, value_name = "PROVIDER", default_value = "sealwright", value_parser = name)]
        provider: String,
        /// The service account that the client acts as, by its email address
        #[arg(long, value_name = "EMAIL", value_parser = email)]
        service_account: String,
        /// The audience of the tokens: a resource of this issuer [default: the full name of the provider]
        #[arg(long, value_name = "AUDIENCE")]
        audience: Option<Audience>,
    },
    /// The federated credential of an app registration or a managed identity
    Azure {
        /// The client whose tokens it accepts
        #[arg(long, value_name = "ID")]
        client: ClientId,
        /// The audience of the tokens: a resource of this issuer
        #[arg(long, value_name = "AUDIENCE", default_value = "api://AzureADTokenExchange")]
        audience: Audience,
    },
    /// Commands that set up Vault's JWT auth method and a role
    Vault {
        /// The client whose tokens it accepts
        #[arg(long, value_name = "ID")]
        client: ClientId,
        /// The audience of the tokens: a resource of this issuer
        #[arg(long, value_name = "AUDIENCE", default_value = "vault")]
        audience: Audience,
    },
    /// The authentication configuration of the API server
    Kubernetes {
        /// The client whose tokens it accepts
        #[arg(long, value_name = "ID")]
        client: ClientId,
        /// The audience of the tokens: a resource of this issuer
        #[arg(long, value_name = "AUDIENCE", default_value = "kubernetes")]
        audience: Audience,
    },
}

impl Command {
    /// Prints the document to paste on standard output, and what to do with it on standard error.
    pub(super) async fn run(self, operator: &Operator) -> Result<(), Error> {
        let (text, steps) = match self {
            Self::Aws { client, account, partition, audience } => {
                let federation = open(operator, client, audience).await?;
                // AWS: "The URL should not contain a port number".
                if Url::parse(federation.issuer.as_str()).is_ok_and(|url| url.port().is_some()) {
                    return Err(Error::IssuerWithPort(federation.issuer));
                }
                federation.aws(&partition, &account)
            }
            Self::Gcp { client, project, pool, provider, service_account, audience } => {
                let pool = format!("projects/{project}/locations/global/workloadIdentityPools/{pool}");
                let audience = match audience {
                    Some(audience) => audience,
                    None => format!("//iam.googleapis.com/{pool}/providers/{provider}").parse().map_err(Error::Malformed)?,
                };
                open(operator, client, one_value(audience)?).await?.gcp(&pool, &provider, &service_account)
            }
            Self::Azure { client, audience } => open(operator, client, audience).await?.azure(),
            Self::Vault { client, audience } => open(operator, client, one_value(audience)?).await?.vault(),
            Self::Kubernetes { client, audience } => open(operator, client, audience).await?.kubernetes(),
        };
        say(&text)?;
        report(&steps);
        Ok(())
    }
}

/// Requires an issuer that others can reach, and a client that gets tokens for this audience.
async fn open(operator: &Operator, client: ClientId, audience: Audience) -> Result<Federation, Error> {
    let issuer = operator.commands.issuer().cloned().ok_or(Error::NoIssuerToFederate)?;
    let is_reachable = |url: Url| url.scheme() == "https" && url.host().is_some_and(|host| !is_loopback(&host));
    if !Url::parse(issuer.as_str()).is_ok_and(is_reachable) {
        return Err(Error::IssuerOnThisMachine(issuer));
    }
    let found = operator.commands.clients().find(&client).await?;
    let Some(resource) = operator.commands.resources().find_if_any(&audience).await? else {
        return Err(Error::NotFederated { client, audience, is_resource: false });
    };
    if !found.permissions.contains_key(&audience) {
        return Err(Error::NotFederated { client, audience, is_resource: true });
    }
    // Only of the tokens that it gets for itself is it the subject.
    if !found.grants.contains(&GrantType::ClientCredentials) {
        return Err(Error::NotForItself(client));
    }
    if found.disabled_at.is_some() {
        return Err(Error::ClientDisabled(client));
    }
    if resource.algorithm == Algorithm::EdDsa {
        return Err(Error::NotFederatedBy { audience, algorithm: resource.algorithm });
    }
    if resource.algorithm != Algorithm::Rs256 {
        warn(&format!(
            "the tokens for {audience} are signed with {}: not all clouds accept that; `sealwright resource update --alg RS256` changes it",
            resource.algorithm
        ));
    }
    Ok(Federation { issuer, client, audience })
}

/// The tools of Google and Vault read a comma as the end of a value, and Vault a leading `@` or a lone hyphen as the name of a file.
fn one_value(audience: Audience) -> Result<Audience, Error> {
    let text = audience.as_str();
    if text.contains(',') || text.starts_with('@') || text == "-" { Err(Error::AudienceNotOneValue(audience)) } else { Ok(audience) }
}

fn account(text: &str) -> Result<String, &'static str> {
    let valid = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| text.to_owned()).ok_or("it must be 12 digits")
}

fn number(text: &str) -> Result<String, &'static str> {
    let valid = (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| text.to_owned()).ok_or("it must be the number of the project, and not its id")
}

fn name(text: &str) -> Result<String, &'static str> {
    let valid =
        (4..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    valid.then(|| text.to_owned()).ok_or("it must be 4 to 32 characters of a-z, 0-9 and hyphen")
}

fn email(text: &str) -> Result<String, &'static str> {
    let valid = text.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"@.-_".contains(&byte));
    valid.then(|| text.to_owned()).ok_or("it must be an email address")
}
