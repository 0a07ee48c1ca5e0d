//! The documents, each in the form in which it is pasted, and the steps around it.

use serde_json::json;

use crate::protocol::{Audience, ClientId, Issuer};

/// What an outside party accepts: tokens of this issuer for this audience whose subject is this client.
#[derive(Debug)]
pub(super) struct Federation {
    pub(super) issuer: Issuer,
    pub(super) client: ClientId,
    pub(super) audience: Audience,
}

/// The text to paste, and what to do with it.
type Document = (String, String);

impl Federation {
    /// AWS names a provider by the issuer without its scheme. The conditions compare the whole of both claims.
    pub(super) fn aws(&self, partition: &str, account: &str) -> Document {
        let Self { issuer, client, audience } = self;
        let provider = issuer.as_str().strip_prefix("https://").unwrap_or(issuer.as_str());
        let policy = json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Principal": { "Federated": format!("arn:{partition}:iam::{account}:oidc-provider/{provider}") },
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": {
                    "StringEquals": { format!("{provider}:aud"): audience.as_str(), format!("{provider}:sub"): client.as_str() },
                },
            }],
        });
        let steps = format!(
            "Once per account: aws iam create-open-id-connect-provider --url {} --client-id-list {}\n\
             Then: aws iam create-role --role-name NAME --assume-role-policy-document file://FILE\n{}",
            shell(issuer.as_str()),
            shell(audience.as_str()),
            self.token("AWS_WEB_IDENTITY_TOKEN_FILE")
        );
        (format!("{policy:#}"), steps)
    }

    /// The subject of the pool is the client's id, and no other client of the issuer passes the condition.
    pub(super) fn gcp(&self, pool: &str, provider: &str, service_account: &str) -> Document {
        let Self { issuer, client, audience } = self;
        let (project, pool_id) = pool.split_once("/locations/global/workloadIdentityPools/").unwrap_or_default();
        let project = project.strip_prefix("projects/").unwrap_or(project);
        let commands = [
            format!("gcloud iam workload-identity-pools create {pool_id} --project={project} --location=global"),
            format!(
                "gcloud iam workload-identity-pools providers create-oidc {provider} --project={project} --location=global \\\n    \
                 --workload-identity-pool={pool_id} --issuer-uri={} --allowed-audiences={} \\\n    \
                 --attribute-mapping=google.subject=assertion.sub --attribute-condition={}",
                shell(issuer.as_str()),
                shell(audience.as_str()),
                shell(&format!("assertion.sub == '{client}'")),
            ),
            format!(
                "gcloud iam service-accounts add-iam-policy-binding {service_account} --role=roles/iam.workloadIdentityUser \\\n    \
                 --member={}",
                shell(&format!("principal://iam.googleapis.com/{pool}/subject/{client}")),
            ),
        ];
        let steps =
            format!("Leave out the first command for a pool that exists.\n{}", self.token("the file of a credential configuration"));
        (commands.join("\n"), steps)
    }

    /// The name of a credential has no dots.
    pub(super) fn azure(&self) -> Document {
        let Self { issuer, client, audience } = self;
        let credential = json!({
            "name": format!("sealwright-{}", client.as_str().replace('.', "-")),
            "issuer": issuer.as_str(),
            "subject": client.as_str(),
            "audiences": [audience.as_str()],
        });
        let steps = format!(
            "For an app registration: az ad app federated-credential create --id APPLICATION_ID --parameters FILE\n\
             For a managed identity, give the members of the document as options: az identity federated-credential create\n{}",
            self.token("AZURE_FEDERATED_TOKEN_FILE")
        );
        (format!("{credential:#}"), steps)
    }

    /// The role accepts one subject, and the alias of its tokens is the client's id.
    pub(super) fn vault(&self) -> Document {
        let Self { issuer, client, audience } = self;
        let issuer = shell(issuer.as_str());
        let commands = [
            format!("vault write auth/jwt/config oidc_discovery_url={issuer} bound_issuer={issuer} jwt_supported_algs=RS256,PS256,ES256"),
            format!(
                "vault write auth/jwt/role/{client} role_type=jwt user_claim=sub bound_audiences={} bound_subject={client} \\\n    \
                 token_policies={client}",
                shell(audience.as_str()),
            ),
        ];
        let steps = format!(
            "Once: vault auth enable jwt. The role gives the policy {client}, which you write.\n\
             The client signs in: vault write auth/jwt/login role={client} jwt=TOKEN\n{}",
            self.token("jwt=")
        );
        (commands.join("\n"), steps)
    }

    /// JSON texts are YAML texts too. `requiredValue` is compared with the whole claim.
    pub(super) fn kubernetes(&self) -> Document {
        let Self { issuer, client, audience } = self;
        let text = |text: &str| json!(text).to_string();
        let configuration = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer:\n    url: {}\n    audiences: [{}]\n  \
             claimValidationRules:\n  - claim: sub\n    requiredValue: {}\n  claimMappings:\n    username:\n      claim: sub\n      \
             prefix: \"sealwright:\"",
            text(issuer.as_str()),
            text(audience.as_str()),
            text(client.as_str()),
        );
        let steps = format!(
            "Give the file to the API server: --authentication-config=FILE. For several clients, leave the claimValidationRules out.\n\
             What the client may do: kubectl create rolebinding {client} --clusterrole=view --user={} --namespace=NAMESPACE\n{}",
            shell(&format!("sealwright:{client}")),
            self.token("the credential of a kubeconfig")
        );
        (configuration, steps)
    }

    /// How the client gets the token that is accepted.
    fn token(&self, place: &str) -> String {
        let Self { issuer, client, audience } = self;
        format!(
            "The token, for {place}: sealwright token get --issuer {} --client {client} --resource {}",
            shell(issuer.as_str()),
            shell(audience.as_str())
        )
    }
}

/// A word for a shell. The identifiers are printable ASCII; some of their characters mean something to a shell.
fn shell(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@".contains(&byte);
    if word.bytes().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wi3_a_word_for_a_shell_is_one_word() {
        for (word, quoted) in [
            ("https://auth.example/x", "https://auth.example/x"),
            ("urn:a?b&c;d", "'urn:a?b&c;d'"),
            ("urn:o'brien:$(id)", r"'urn:o'\''brien:$(id)'"),
            ("assertion.sub == 'billing'", r"'assertion.sub == '\''billing'\'''"),
        ] {
            assert_eq!(shell(word), quoted);
        }
    }
}
