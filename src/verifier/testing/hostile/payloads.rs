//! Tokens whose parts are not JSON objects that every reader understands alike.

use std::io;

use super::{Forger, MadeBy};

impl Forger<'_> {
    /// Claims that two readers could interpret differently, or that none should accept.
    pub(super) fn payloads(&mut self) -> io::Result<()> {
        self.by = MadeBy::IssuerMistake;
        let header = self.good().header_text();
        let claims = self.good().claims_text();
        for payload in ["null", "[]", "1", "\"x\"", "{", "{}{}", "{} x", "\u{feff}{}"] {
            self.add("malformed", format!("claims {payload:?}"), self.issuer.sign(&header, payload)?);
            self.add("malformed", format!("header {payload:?}"), self.issuer.sign(payload, &claims)?);
        }
        let deep = format!("\"x\":{}{}", "[".repeat(2_000), "]".repeat(2_000));
        let members: [(&str, &[u8]); 11] = [
            ("aud twice", br#""aud":"https://x.example""#),
            ("aud twice, once escaped", br#""\u0061ud":"https://x.example""#),
            ("sub twice", br#""sub":"admin""#),
            ("exp twice, once escaped", br#""e\u0078p":9999999999"#),
            ("a custom claim twice", br#""x":1,"x":2"#),
            ("a claim twice within a claim", br#""x":{"y":1,"y":2}"#),
            ("a name that a JSON library uses internally", br#""$serde_json::private::RawValue":"{}""#),
            ("the same for numbers", br#""$serde_json::private::Number":"1""#),
            ("bytes that are not UTF-8", b"\"x\":\"\xff\""),
            ("half a surrogate pair", br#""x":"\ud800""#),
            ("arrays without end", deep.as_bytes()),
        ];
        for (name, member) in members {
            self.insert("malformed", name, "", member)?;
        }
        let twice = format!("{},\"alg\":\"none\"}}", header.trim_end_matches('}'));
        self.add("malformed", "alg twice", self.issuer.sign(twice, claims)?);
        for claim in ["exp", "iat", "nbf"] {
            for value in ["\"9999999999\"", "9999999999.5", "9999999999.0", "-1", "-0", "1e400", "9223372036854775808", "null", "[]"] {
                self.insert("malformed", format!("{claim} as {value}"), claim, format!("\"{claim}\":{value}").as_bytes())?;
            }
        }
        Ok(())
    }
}
