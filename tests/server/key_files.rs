//! `sealwright key import`: which files and which keys it reads, and which it refuses.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::{rand::SystemRandom, signature::Ed25519KeyPair};
use base64::{Engine, prelude::BASE64_STANDARD};
use openssl::{
    ec::{Asn1Flag, EcGroup, EcKey},
    nid::Nid,
    pkcs12::Pkcs12,
    pkey::{Id, PKey, Private},
    symm::Cipher,
    x509::X509,
};
use sealwright::{protocol::Algorithm, server::commands::ResourceChange};

use crate::support::{Backend, Finished, ORDERS, TestApp, TestDatabase, private_keys, sealwright, sealwright_with_input, write_private};

const PASSPHRASE: &str = "plum trousers at the gate";

/// An issuer that was served, and a file to import.
struct Issuer {
    database: Arc<TestDatabase>,
    file: PathBuf,
}

impl Issuer {
    async fn founded() -> Self {
        Self::of(TestApp::start(Backend::Sqlite).await.stop().await)
    }

    /// With a key of this algorithm that signs.
    async fn for_algorithm(algorithm: Algorithm) -> Self {
        let app = TestApp::start(Backend::Sqlite).await.with_orders();
        app.database.update_resource(ORDERS, ResourceChange { algorithm: Some(algorithm), ..ResourceChange::default() });
        app.settle().await;
        app.pass(Duration::from_secs(5)).await;
        app.settle().await;
        app.database.execute("UPDATE signing_keys SET published_at = published_at - 600, activates_at = activates_at - 600").await;
        Self::of(app.stop().await)
    }

    fn of(database: Arc<TestDatabase>) -> Self {
        let file = database.folder().join("elsewhere.key");
        Self { database, file }
    }

    fn write(&self, content: impl AsRef<[u8]>) {
        write_private(&self.file, "");
        fs::write(&self.file, content).unwrap();
    }

    fn run(&self, algorithm: &str) -> Finished {
        sealwright(&self.database, &["key", "import", self.file.to_str().unwrap(), "--alg", algorithm, "--yes", "--json"])
    }

    fn run_with(&self, algorithm: &str, passphrase: &str) -> Finished {
        let arguments = ["key", "import", self.file.to_str().unwrap(), "--alg", algorithm, "--yes", "--json", "--passphrase-stdin"];
        sealwright_with_input(&self.database, &arguments, passphrase)
    }

    /// Withdraws the imported key, so that the next one is not refused.
    async fn forget(&self, imported: &Finished) {
        assert!(imported.status.success(), "{imported:?}");
        self.database.execute("DELETE FROM signing_keys WHERE published_at + 60 < activates_at AND generation > 1").await;
        self.database.execute("UPDATE signing_keys SET retires_at = NULL, expires_at = NULL").await;
    }

    /// Requires that the file is refused with one sentence that names it and contains `words`, and that nothing was changed.
    async fn refuses(&self, algorithm: &str, words: &[&str]) {
        let before = (self.database.contents().await, self.database.texts("SELECT target FROM changes").await);
        let refused = self.run(algorithm);
        refused.failed_saying(&[&[self.file.to_str().unwrap()], words].concat());
        assert_eq!((self.database.contents().await, self.database.texts("SELECT target FROM changes").await), before);
    }
}

fn block(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der))
}

fn ec(curve: Nid, flag: Asn1Flag) -> EcKey<Private> {
    let mut group = EcGroup::from_curve_name(curve).unwrap();
    group.set_asn1_flag(flag);
    EcKey::generate(&group).unwrap()
}

/// A certificate of a new key, and that key.
fn certificate() -> (X509, PKey<Private>) {
    let made = rcgen::generate_simple_self_signed(["elsewhere.example".to_owned()]).unwrap();
    (X509::from_der(made.cert.der()).unwrap(), PKey::private_key_from_der(made.signing_key.serialized_der()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_rsa_key_is_read_in_each_usual_format() {
    let issuer = Issuer::founded().await;
    let rsa = private_keys::rsa(2048);
    let key = PKey::from_rsa(rsa.clone()).unwrap();
    let pem = key.private_key_to_pem_pkcs8().unwrap();
    let (certificate, _) = certificate();
    let bundle = [certificate.to_pem().unwrap(), b"a note\r\n".to_vec(), pem.clone()].concat();
    let mut kids = Vec::new();
    for (what, content) in [
        ("PKCS#8, PEM", pem.clone()),
        ("PKCS#8, DER", key.private_key_to_pkcs8().unwrap()),
        ("PKCS#1, PEM", rsa.private_key_to_pem().unwrap()),
        ("PKCS#1, DER", rsa.private_key_to_der().unwrap()),
        ("with line ends of Windows", String::from_utf8(pem).unwrap().replace('\n', "\r\n").into_bytes()),
        ("beside a certificate", bundle),
    ] {
        issuer.write(content);
        let imported = issuer.run("RS256");
        assert!(imported.status.success(), "{what}: {imported:?}");
        issuer.forget(&imported).await;
        kids.push(imported.json()["kid"].clone());
    }
    kids.dedup();
    assert_eq!(kids.len(), 1, "it is the same key");
    // The group may read it: its owner meant that.
    fs::set_permissions(&issuer.file, fs::Permissions::from_mode(0o640)).unwrap();
    issuer.run("RS256").succeeded();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_p256_is_read_in_each_usual_format() {
    let issuer = Issuer::for_algorithm(Algorithm::Es256).await;
    let ec_key = ec(Nid::X9_62_PRIME256V1, Asn1Flag::NAMED_CURVE);
    let key = PKey::from_ec_key(ec_key.clone()).unwrap();
    let sec1 = ec_key.private_key_to_pem().unwrap();
    // As `openssl ecparam -genkey` writes it: the name of the curve, prime256v1, comes first.
    let parameters = block("EC PARAMETERS", &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]);
    let explicit = PKey::from_ec_key(ec(Nid::X9_62_PRIME256V1, Asn1Flag::EXPLICIT_CURVE)).unwrap();
    for (what, content) in [
        ("SEC 1, PEM", sec1.clone()),
        ("SEC 1, DER", ec_key.private_key_to_der().unwrap()),
        ("SEC 1 below its parameters", [parameters.into_bytes(), sec1].concat()),
        ("PKCS#8, PEM", key.private_key_to_pem_pkcs8().unwrap()),
        ("PKCS#8, DER", key.private_key_to_pkcs8().unwrap()),
        ("a curve that is given by its numbers", explicit.private_key_to_pem_pkcs8().unwrap()),
    ] {
        issuer.write(content);
        let imported = issuer.run("ES256");
        assert!(imported.status.success(), "{what}: {imported:?}");
        issuer.forget(&imported).await;
    }
    issuer.write(PKey::from_ec_key(ec(Nid::SECP384R1, Asn1Flag::NAMED_CURVE)).unwrap().private_key_to_pem_pkcs8().unwrap());
    issuer.refuses("ES256", &["a key on the curve secp384r1", "ES256 needs a key on the curve P-256"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ed25519_key_is_read_with_its_public_key_beside_it_or_without() {
    let issuer = Issuer::for_algorithm(Algorithm::EdDsa).await;
    let key = PKey::generate_ed25519().unwrap();
    // RFC 5958, as Rust libraries write it.
    let both = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    for (what, content) in [
        ("PKCS#8, PEM", key.private_key_to_pem_pkcs8().unwrap()),
        ("PKCS#8, DER", key.private_key_to_pkcs8().unwrap()),
        ("RFC 5958, PEM", block("PRIVATE KEY", both.as_ref()).into_bytes()),
        ("RFC 5958, DER", both.as_ref().to_vec()),
    ] {
        issuer.write(content);
        let imported = issuer.run("Ed25519");
        assert!(imported.status.success(), "{what}: {imported:?}");
        issuer.forget(&imported).await;
    }
    issuer.write(PKey::generate_ed448().unwrap().private_key_to_pem_pkcs8().unwrap());
    issuer.refuses("Ed25519", &["an Ed448 key", "Ed25519 needs an Ed25519 key"]).await;
    // The first example of RFC 8037, appendix A.1.
    let seed = BASE64_STANDARD.decode("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=").unwrap();
    issuer.write(PKey::private_key_from_raw_bytes(&seed, Id::ED25519).unwrap().private_key_to_pem_pkcs8().unwrap());
    issuer.refuses("Ed25519", &["published as an example (RFC 8037, A.1)"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_key_is_read_with_its_passphrase() {
    let issuer = Issuer::founded().await;
    let rsa = private_keys::rsa(2048);
    let key = PKey::from_rsa(rsa.clone()).unwrap();
    let cipher = Cipher::aes_256_cbc();
    let pkcs8 = key.private_key_to_pem_pkcs8_passphrase(cipher, PASSPHRASE.as_bytes()).unwrap();
    for (what, content) in [
        ("PKCS#8, PEM", pkcs8),
        ("PKCS#8, DER", key.private_key_to_pkcs8_passphrase(cipher, PASSPHRASE.as_bytes()).unwrap()),
        ("PKCS#1, Proc-Type", rsa.private_key_to_pem_passphrase(cipher, PASSPHRASE.as_bytes()).unwrap()),
    ] {
        issuer.write(content);
        issuer.refuses("RS256", &[]).await;
        let wrong = issuer.run_with("RS256", "green trousers");
        assert!(!wrong.stderr.contains("green"), "{what}: {wrong:?}");
        wrong.failed_saying(&["the passphrase is wrong", "nothing was changed"]);
        let imported = issuer.run_with("RS256", PASSPHRASE);
        assert!(imported.status.success() && !format!("{imported:?}").contains(PASSPHRASE), "{what}: {imported:?}");
        issuer.forget(&imported).await;
    }
    issuer.run_with("RS256", "").failed_saying(&["the passphrase is empty"]);
    issuer.run_with("RS256", &"x".repeat(1025)).failed_saying(&["more than 1,024 bytes"]);
    // One that is not needed does no harm.
    issuer.write(key.private_key_to_pem_pkcs8().unwrap());
    issuer.run_with("RS256", PASSPHRASE).succeeded();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_one_private_key_is_refused_and_said_what_it_is() {
    let issuer = Issuer::founded().await;
    let rsa = private_keys::rsa(2048);
    let key = PKey::from_rsa(rsa.clone()).unwrap();
    let (pem, der) = (key.private_key_to_pem_pkcs8().unwrap(), key.private_key_to_pkcs8().unwrap());
    let (certificate, of_certificate) = certificate();
    let pkcs12 = Pkcs12::builder().pkey(&of_certificate).cert(&certificate).build2(PASSPHRASE).unwrap();
    let without = |pem: &[u8]| String::from_utf8(pem.to_vec()).unwrap().lines().take(8).collect::<Vec<_>>().join("\n");
    for (words, content) in [
        ("it is empty", Vec::new()),
        ("it contains no private key that can be read", b"junk".to_vec()),
        ("it contains no private key that can be read", vec![0; 300]),
        ("it contains no private key that can be read", der[..der.len() / 2].to_vec()),
        ("its private key is damaged or cut off", without(&pem).into_bytes()),
        ("its private key is damaged or cut off", block("PRIVATE KEY", &der[..der.len() / 2]).into_bytes()),
        ("a public key alone", key.public_key_to_pem().unwrap()),
        ("a public key alone", key.public_key_to_der().unwrap()),
        ("a public key alone", rsa.public_key_to_pem_pkcs1().unwrap()),
        ("a public key alone", rsa.public_key_to_der_pkcs1().unwrap()),
        ("a certificate alone", certificate.to_pem().unwrap()),
        ("a certificate alone", certificate.to_der().unwrap()),
        ("it contains 2 private keys", [pem.clone(), pem].concat()),
        ("it is JSON", b"{\"kty\": \"RSA\"}".to_vec()),
        ("format of OpenSSH", block("OPENSSH PRIVATE KEY", b"openssh-key-v1").into_bytes()),
        ("it is a PKCS#12 file", pkcs12.to_der().unwrap()),
        ("it has more than 64 KiB", vec![b'x'; 64 * 1024 + 1]),
    ] {
        issuer.write(content);
        issuer.refuses("RS256", &[words, "nothing was changed"]).await;
    }
    issuer.write(of_certificate.private_key_to_pem_pkcs8().unwrap());
    issuer.refuses("RS256", &["a key on the curve prime256v1", "RS256 needs an RSA key"]).await;
    let unknown = issuer.run("HS256");
    assert!(unknown.status.code() == Some(2) && unknown.stderr.contains("RS256"), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hd9_a_file_that_others_can_read_or_that_is_not_a_file_is_refused() {
    let issuer = Issuer::founded().await;
    issuer.refuses("RS256", &["it cannot be read"]).await;
    issuer.write(private_keys::pem(private_keys::rsa(2048)));
    for mode in [0o644, 0o604, 0o660] {
        fs::set_permissions(&issuer.file, fs::Permissions::from_mode(mode)).unwrap();
        issuer.refuses("RS256", &["can be read or written by others", &format!("{mode:o}"), "chmod 600"]).await;
    }
    fs::set_permissions(&issuer.file, fs::Permissions::from_mode(0o600)).unwrap();
    let target = issuer.database.folder().join("target.key");
    fs::rename(&issuer.file, target.as_path()).unwrap();
    symlink(&target, &issuer.file).unwrap();
    issuer.refuses("RS256", &["it is a symbolic link"]).await;
    fs::remove_file(&issuer.file).unwrap();
    fs::create_dir(&issuer.file).unwrap();
    issuer.refuses("RS256", &["it is not a file"]).await;
    fs::remove_dir(&issuer.file).unwrap();
    // No one writes to the pipe.
    assert!(std::process::Command::new("mkfifo").args(["-m", "600"]).arg(&issuer.file).status().unwrap().success());
    issuer.refuses("RS256", &["it is not a file"]).await;
    let device = Issuer { database: Arc::clone(&issuer.database), file: PathBuf::from("/dev/zero") };
    device.refuses("RS256", &["it is not a file"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weak_key_is_refused_and_said_why() {
    let issuer = Issuer::founded().await;
    for (words, key) in private_keys::weak() {
        issuer.write(private_keys::pem(key));
        issuer.refuses("RS256", &[words, "nothing was changed"]).await;
    }
    for bits in [2048, 2056, 3072, 4096] {
        issuer.write(private_keys::pem(private_keys::rsa(bits)));
        let imported = issuer.run("RS256");
        assert!(imported.status.success(), "{bits}: {imported:?}");
        issuer.forget(&imported).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_file_restricts_it_to_pss_is_refused() {
    let issuer = Issuer::founded().await;
    // The identifier of rsaEncryption, with that of RSASSA-PSS in its place.
    let der = PKey::from_rsa(private_keys::rsa(2048)).unwrap().private_key_to_pkcs8().unwrap();
    let encryption = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    let at = der.windows(encryption.len()).position(|window| window == encryption).unwrap();
    let mut pss = der;
    pss[at + 10] = 0x0a;
    pss[at + 11] = 0x30;
    issuer.write(&pss);
    issuer.refuses("RS256", &["restricts to PSS"]).await;
}
