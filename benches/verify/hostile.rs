//! Which of the hostile tokens huskarl accepts.

use huskarl::{Huskarl, bearer};
use sealwright::verifier::testing::Issuer;
use sealwright_benches::AUDIENCE;

const SCOPE: &str = "orders:read";

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let issuer = Issuer::start().await.expect("an issuer");
        for key in issuer.useless_keys().expect("keys") {
            issuer.publish(key);
        }
        let huskarl = Huskarl::new(issuer.url(), AUDIENCE, issuer.jwks()).await;
        let good = issuer.token(AUDIENCE).scope(SCOPE).sign().expect("a token");
        assert!(
            huskarl.accepts(&bearer(&good).expect("text")).await,
            "it refuses a good token, so a count of hostile ones would mean nothing"
        );

        let hostile = issuer.hostile_tokens(AUDIENCE, SCOPE).expect("tokens");
        let (mut accepted, mut sent) = (0, 0);
        for token in &hostile {
            let Some(headers) = bearer(&token.token) else { continue };
            sent += 1;
            if huskarl.accepts(&headers).await {
                accepted += 1;
                println!("{} ({:?}): {}", token.code, token.made_by, token.name);
            }
        }
        println!("huskarl accepts {accepted} of {} hostile tokens; {} of them no header can hold", hostile.len(), hostile.len() - sent);
    });
}
