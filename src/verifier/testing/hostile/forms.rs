//! Texts that do not have the form of a token.

use std::io;

use serde_json::json;

use super::{Forger, MadeBy};
use crate::verifier::testing::published::encode;

impl Forger<'_> {
    /// A wrong number of parts, or another serialisation: RFC 7515 section 7.
    pub(super) fn forms(&mut self) -> io::Result<()> {
        let good = self.good().sign()?;
        let parts: Vec<&str> = good.split('.').collect();
        let [header, payload, signature] = parts[..] else { return Ok(()) };
        let json = json!({ "protected": header, "payload": payload, "signature": signature });
        for (by, name, token) in [
            (MadeBy::Anyone, "empty", String::new()),
            (MadeBy::Anyone, "dots", "..".to_owned()),
            (MadeBy::Anyone, "one part", header.to_owned()),
            (MadeBy::Anyone, "two parts", format!("{header}.{payload}")),
            (MadeBy::Reencoding, "four parts", format!("{good}.{signature}")),
            (MadeBy::Reencoding, "five parts, as a JWE", format!("{header}.{payload}.{signature}.{payload}.{signature}")),
            (MadeBy::Reencoding, "JSON serialisation", json.to_string()),
            (MadeBy::Anyone, "no header", format!(".{payload}.{signature}")),
            (MadeBy::Anyone, "no signature", format!("{header}.{payload}.")),
        ] {
            self.by = by;
            self.add("malformed", name, token);
        }
        self.by = MadeBy::IssuerMistake;
        let nested = self.issuer.sign(self.good().header("cty", "JWT").header_text(), &good)?;
        self.add("malformed", "a token within a token", nested);
        self.add("malformed", "no claims", self.issuer.sign(self.good().header_text(), "")?);
        self.sign("too_large", "more than 16 KiB", |token| token.claim("x", "y".repeat(16_000)))?;
        self.by = MadeBy::Anyone;
        self.add("too_large", "a million dots", ".".repeat(1_000_000));
        Ok(())
    }

    /// Not base64url without padding: RFC 7515 section 2.
    pub(super) fn encodings(&mut self) -> io::Result<()> {
        let good = self.good().sign()?;
        let (header, payload) = (encode(self.good().header_text()), encode(self.good().claims_text()));
        let (signed, signature) = good.rsplit_once('.').unwrap_or_default();
        let cut = &signature[..signature.len() - 1];
        // The last character of an encoded signature of 256 bytes has four unused bits, so it is A, Q, g or w. A decoder that ignores those
        // bits reads the next letter as the same value.
        let spare: String = signature.chars().last().and_then(|last| char::from_u32(u32::from(last) + 1)).into_iter().collect();
        for (name, token) in [
            ("padding at the end", format!("{good}=")),
            ("a space before it", format!(" {good}")),
            ("a space after it", format!("{good} ")),
            ("a line break after it", format!("{good}\n")),
            ("the other alphabet", self.in_the_other_alphabet()?),
            ("a character outside the alphabet", format!("{signed}.{cut}?")),
            ("unused bits that are set", format!("{signed}.{cut}{spare}")),
        ] {
            self.by = MadeBy::Reencoding;
            self.add("malformed", name, token);
        }
        self.by = MadeBy::IssuerMistake;
        for (name, token) in [
            ("a padded header", self.issuer.sign_encoded(&format!("{header}="), &payload)?),
            ("padded claims", self.issuer.sign_encoded(&header, &format!("{payload}="))?),
            ("a line break within the claims", self.issuer.sign_encoded(&header, &format!("{payload}\n"))?),
        ] {
            self.add("malformed", name, token);
        }
        Ok(())
    }

    /// A good token with its signature in the standard alphabet of base64 (RFC 4648 section 4).
    fn in_the_other_alphabet(&self) -> io::Result<String> {
        loop {
            let good = self.good().sign()?;
            let (signed, signature) = good.rsplit_once('.').unwrap_or_default();
            // One signature in fifty thousand is the same in both alphabets.
            if signature.contains(['-', '_']) {
                return Ok(format!("{signed}.{}", signature.replace('-', "+").replace('_', "/")));
            }
        }
    }
}
