use std::{io, path::PathBuf};

use crate::{
    attach, guard, probe,
    protocol::{Algorithm, Audience, ClientId, Issuer, Malformed},
    server::{
        self,
        commands::{self, CredentialId, NotAClientKey},
        config, custody, telemetry,
    },
    verifier,
};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the runtime could not be started: {0}")]
    Runtime(io::Error),
    #[error(transparent)]
    Config(#[from] config::Error),
    #[error(transparent)]
    Server(#[from] server::Error),
    #[error(transparent)]
    Attach(#[from] attach::Error),
    #[error(transparent)]
    Guard(#[from] guard::Error),
    #[error(transparent)]
    Telemetry(#[from] telemetry::Error),
    #[error("the demo needs a folder for throwaway files: {0}")]
    DemoFolder(io::Error),
    #[error("the demo's API cannot listen: {0}")]
    DemoApi(io::Error),
    #[error("signal handlers could not be installed: {0}")]
    Signals(io::Error),
    #[error("standard input cannot be read: {0}")]
    Input(io::Error),
    #[error("{0}")]
    Password(String),
    #[error("standard input is not a terminal, so the password cannot be prompted for: use --password-stdin")]
    NoTerminal,
    #[error(
        "\"{0}\" is not a URI: name the resource by an absolute URI such as https://orders.example. If its tokens must have this audience, because \
         a cloud prescribes it, add --not-a-uri; nothing was changed"
    )]
    NotAUri(Audience),
    #[error("the passphrase {0}; nothing was changed")]
    Passphrase(&'static str),
    #[error(
        "the key in {} is encrypted, and there is no terminal to ask for its passphrase on: use --passphrase-stdin; nothing was changed",
        .0.display()
    )]
    NoPassphrase(PathBuf),
    #[error(
        "without the {credential}, the client {client} could not authenticate: add another {} first (`client add-{} {client}{}`), or drop this one anyway with --last",
        credential.noun(),
        credential.noun(),
        if matches!(credential, CredentialId::Key(_)) { " FILE" } else { "" }
    )]
    LastCredential { client: ClientId, credential: CredentialId },
    #[error("{} cannot be read: {why}", file.display())]
    PublicKeyFile { file: PathBuf, why: String },
    #[error("{} is not the public key of a client: {why}", file.display())]
    NotAClientKey { file: PathBuf, why: NotAClientKey },
    #[error(
        "{source}; the key of {} may have been added all the same, so the file is kept: `sealwright client show` says whether it was",
        file.display()
    )]
    KeyPerhapsAdded { file: PathBuf, source: Box<commands::Error> },
    #[error("the private key was not written to {}: {why}; nothing was changed", file.display())]
    PrivateKeyFile { file: PathBuf, why: String },
    #[error("the issuer is missing: a cloud, Vault and Kubernetes accept tokens of one issuer; give the server's setting with --issuer")]
    NoIssuerToFederate,
    #[error(
        "the issuer {0} is on this machine or without TLS, where no one else can read its keys: set `issuer` to the https URL that others reach"
    )]
    IssuerOnThisMachine(Issuer),
    #[error(
        "the client {client} gets no tokens for {audience}: {}",
        match is_resource {
            true => format!("allow it there with `sealwright client update {client} --allow {audience}=SCOPE`"),
            false => format!(
                "there is no such resource; create it with `sealwright resource create {audience}{} --scope SCOPE`, and allow the client there with `sealwright client update {client} --allow {audience}=SCOPE`",
                if audience.is_uri() { "" } else { " --not-a-uri" }
            ),
        }
    )]
    NotFederated { client: ClientId, audience: Audience, is_resource: bool },
    #[error("AWS accepts no issuer with a port, and this one is {0}: serve it at port 443")]
    IssuerWithPort(Issuer),
    #[error(
        "the audience {0} would not reach the other side as one value: use one without a comma that does not begin with @ and is not a hyphen"
    )]
    AudienceNotOneValue(Audience),
    #[error(
        "the client {0} gets no tokens for itself, of which it would be the subject: `sealwright client update {0} --add-grant client_credentials` allows it"
    )]
    NotForItself(ClientId),
    #[error("the client {0} is disabled: `sealwright client enable {0}`")]
    ClientDisabled(ClientId),
    #[error(
        "the tokens for {audience} are signed with {algorithm}, which none of these accepts: `sealwright resource update {audience} --alg RS256` changes it"
    )]
    NotFederatedBy { audience: Audience, algorithm: Algorithm },
    #[error("{0}")]
    Malformed(Malformed),
    #[error("not ready: {0}")]
    NotReady(String),
    #[error("{url} did not report its health: {why}")]
    NoHealth { url: String, why: String },
    #[error(transparent)]
    Command(#[from] commands::Error),
    #[error(
        "the new secret of the client {client} is stored but could not be shown ({source}): add another with `client add-secret {client}`"
    )]
    SecretLost { client: String, source: io::Error },
    #[error("--{0} cannot be used with `demo`: it keeps everything in a temporary folder and answers on this machine only")]
    NotInDemo(String),
    #[error("the output could not be written: {0}")]
    Output(io::Error),
    #[error("the man pages could not be written to {}: {source}", folder.display())]
    ManPages { folder: PathBuf, source: io::Error },
    #[error("this is not a token: {0}")]
    NotAToken(&'static str),
    #[error("the issuer is missing: name it with --issuer or SEALWRIGHT_ISSUER, as its metadata states it")]
    NoIssuer,
    #[error(transparent)]
    Verifier(#[from] verifier::BuildError),
    #[error("the token is refused: {0} ({code})", code = .0.code())]
    Refused(#[source] verifier::Error),
    #[error("the token could not be verified: {0} ({code})", code = .0.code())]
    NotChecked(#[source] verifier::Error),
    #[error("--{option} cannot be used: {why}")]
    InvalidOption { option: &'static str, why: String },
    #[error("no token: {0}")]
    NoToken(String),
    #[error(
        "no token: the cache cannot be used ({0}), and a login that is not stored there would begin again with each call: fix the cause, or \
         add --no-cache to begin a login all the same"
    )]
    NeedsCache(String),
    #[error("{what} is missing: name its file with --{option} (- for standard input), or set {variable}{other}", other = if *option == "secret-file" { "; or name the file of a private key with --key-file" } else { "" })]
    NoCredential { what: &'static str, option: &'static str, variable: &'static str },
    #[error("{what} cannot be read: {why}")]
    Credential { what: &'static str, why: String },
    #[error(transparent)]
    Exposed(#[from] custody::Exposed),
    #[error("--secret-file and --password-file cannot both be standard input: give one of the two as a file or a variable")]
    OneInput,
    #[error(
        "the value of --{0} contains a secret, which other users of this machine can read in the list of processes: nothing was sent; \
         replace the secret, and give it in a file, a variable or on standard input"
    )]
    SecretInArgument(&'static str),
    #[error("this cannot be undone, and there is no terminal to ask on: add --yes to do it without being asked; nothing was changed")]
    NotConfirmable,
    #[error("not confirmed; nothing was changed")]
    NotConfirmed,
    #[error("keys of several algorithms sign: name one with --alg ({0})")]
    SeveralAlgorithms(String),
    #[error(
        "{quarantined} of {all} signing keys are damaged and are not used; see above. A running server replaces those that are needed and deletes the rows a week after their end: there is nothing to repair, but find out what changed the database"
    )]
    KeysQuarantined { quarantined: usize, all: usize },
    #[error(transparent)]
    RuleFile(#[from] guard::RuleFileError),
    #[error("the METHOD of --check is not a method of HTTP: write one such as GET")]
    NotAMethod,
    #[error("the request is refused; see above")]
    NotAdmitted,
    #[error("the request is not decided as --expect says; see above")]
    NotExpected,
    #[error("the API could not be probed: {0}")]
    Unprobed(#[from] probe::Unprobed),
    #[error("{option} cannot be used: {why}")]
    ProbeOption { option: &'static str, why: String },
    #[error("{0}; see above")]
    ProbeFound(String),
    #[error("{} cannot be written: {why}", .file.display())]
    ProbeFile { file: PathBuf, why: String },
    #[error("some checks failed; see above")]
    CheckFailed,
}

impl Error {
    /// The error of `client drop-secret` and `drop-key`: names the options of the command line.
    pub(super) fn of_drop(error: commands::Error) -> Self {
        match error.last_credential() {
            Some((client, credential)) => Self::LastCredential { client, credential },
            None => error.into(),
        }
    }
}
