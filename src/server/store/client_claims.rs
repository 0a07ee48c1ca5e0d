//! The fixed claims of clients beside those of the resources whose tokens they get.

use sqlx::AnyConnection;

use super::{
    Error,
    row::{parsed, parsed_if_any, readable},
};
use crate::{
    protocol::{Audience, ClientId},
    server::model::CustomClaims,
};

/// The fixed claims of the clients that are allowed at a resource. A damaged client gets no tokens, so it does not count.
pub(super) async fn of_clients_at(connection: &mut AnyConnection, audience: &Audience) -> Result<Vec<(ClientId, CustomClaims)>, Error> {
    let rows = sqlx::query(
        "SELECT id, fixed_claims FROM clients
         WHERE fixed_claims IS NOT NULL AND id IN (SELECT client_id FROM client_permissions WHERE audience = $1) ORDER BY id",
    );
    let mut clients = Vec::new();
    for row in rows.bind(audience.to_string()).fetch_all(connection).await? {
        let client = parsed(&row, "id").and_then(|id| Ok((id, parsed_if_any(&row, "fixed_claims")?.unwrap_or_default())));
        clients.extend(readable(client)?.ok());
    }
    Ok(clients)
}
