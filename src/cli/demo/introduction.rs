//! What the demo prints: who takes part, and commands to paste.

use std::env;

use super::data::{API, APP, DemoData, READ, RESOURCE, SCOPE, SHOP, USER};
use crate::{cli::terminal::shell_quoted, protocol::ServerMetadata, server::Server};

/// The text that is printed. The commands can be pasted as they are and in this order, from any folder. `orders` is the URL of the API.
pub(super) fn introduction(server: &Server, data: &DemoData, orders: &str) -> String {
    let issuer = server.issuer();
    let docs = issuer.endpoint("/docs");
    let (token, revocation, jwks) = (ServerMetadata::TOKEN_ROUTE, ServerMetadata::REVOCATION_ROUTE, ServerMetadata::JWKS_ROUTE);
    let introspection = ServerMetadata::INTROSPECTION_ROUTE;
    let program = env::current_exe().map_or_else(|_| "sealwright".to_owned(), |path| shell_quoted(&path.display().to_string()));
    let (app, shop, api, password) = (data.app.expose(), data.shop.expose(), data.api.expose(), &data.password);
    format!(
        r#"
Sealwright issues tokens at {issuer}

  the API   {orders}, registered as {RESOURCE}
            with the scopes {SCOPE}

Three clients, each with an id and a secret:

  {APP:<10}  a trusted app, which gets tokens for itself with the scope {READ}
  {SHOP:<10}  a web shop, in which users sign in; it may have both scopes
  {API:<10}  the API itself, which may ask whether a token is still valid

And a user of the web shop: {USER} may have both scopes.

Open {docs} in a browser: a button there gets your first token.

Or paste these into another terminal, from top to bottom. First what all of them use:

  ISSUER={issuer}
  ORDERS={orders}
  APP='{APP}:{app}'
  SHOP='{SHOP}:{shop}'
  API='{API}:{api}'
  PASSWORD='{password}'
  SEALWRIGHT={program}

The app exchanges its secret for a token:

  ANSWER=$(curl -sS -u "$APP" -d grant_type=client_credentials $ISSUER{token})
  echo "$ANSWER"

The app sends the access_token to the API with each request, for expires_in seconds:

  TOKEN=$(echo "$ANSWER" | sed -n 's/.*"access_token":"\([^"]*\)".*/\1/p')
  curl -sS -H "Authorization: Bearer $TOKEN" $ORDERS

Without a token the API answers 401. This one may only read, so the answer to an order is 403:

  curl -sS $ORDERS; echo
  curl -sS -H "Authorization: Bearer $TOKEN" -d '{{"item":"tea"}}' $ORDERS

The API does not ask the issuer about each token. It has fetched the keys that verify them:

  curl -sS $ISSUER{jwks}

These are public. Each has a kid, and the token names the one that signed it.

What the token says:

  echo "$ANSWER" | "$SEALWRIGHT" token inspect -

iss is who issued it, aud the API that it is for, client_id the app, exp the time when it ends.

Verify it, check by check, as an API with the audience {RESOURCE} does:

  echo "$ANSWER" | "$SEALWRIGHT" token verify - --issuer $ISSUER --audience {RESOURCE}

Such an API accepts the token, because each check is ok. No check asks the issuer about it.

A user signs in to the web shop:

  FORM="grant_type=password&username={USER}&password=$PASSWORD"
  LOGIN=$(curl -sS -u "$SHOP" -d "$FORM" $ISSUER{token})
  echo "$LOGIN"

The access_token is for {USER}. The shop keeps the refresh_token, and does not keep the password.

The shop sends that token to the API, and so orders for {USER}:

  TOKEN=$(echo "$LOGIN" | sed -n 's/.*"access_token":"\([^"]*\)".*/\1/p')
  curl -sS -H "Authorization: Bearer $TOKEN" -d '{{"item":"tea"}}' $ORDERS

An API that must know at once whether a token was revoked can ask:

  curl -sS -u "$API" -d "token=$TOKEN" $ISSUER{introspection}

Users stay signed in with the refresh token:

  REFRESH=$(echo "$LOGIN" | sed -n 's/.*"refresh_token":"\([^"]*\)".*/\1/p')
  FORM="grant_type=refresh_token&refresh_token=$REFRESH"
  curl -sS -u "$SHOP" -d "$FORM" $ISSUER{token}

The answer has a new access_token, and the refresh_token for the next time.

They sign out:

  curl -sS -u "$SHOP" -d "token=$REFRESH" -w '%{{http_code}}\n' $ISSUER{revocation}

200 means that the login has ended: no refresh token of it gets a token any more, and its access
tokens are revoked. Introspection reports that at once, and the API refuses them within 12 s.

Ctrl-C ends the demo and removes its files. Until then, each request logs one line:
"#
    )
}
