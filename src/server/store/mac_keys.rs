use sqlx::Row;

use super::{
    Error, Store,
    epochs::{self, Kind},
    sealed::is_under_the_sealing_key,
};

impl Store {
    /// The sealed MAC key of this name.
    pub(crate) async fn find_mac_key(&self, name: &str) -> Result<Option<String>, Error> {
        let row = sqlx::query("SELECT sealed FROM mac_keys WHERE name = $1").bind(name.to_owned()).fetch_optional(&self.pool).await?;
        row.map(|row| Ok(row.try_get("sealed")?)).transpose()
    }

    /// Inserts a MAC key. One that exists already stays. Refused if the sealing key was replaced since the key was sealed.
    pub(crate) async fn insert_mac_key_unless_there(&self, name: &'static str, sealed: String) -> Result<(), Error> {
        self.write(move |connection| {
            Box::pin(async move {
                epochs::raise(connection, Kind::Keys).await?;
                if !is_under_the_sealing_key(connection, &sealed).await? {
                    return Err(Error::Resealed);
                }
                sqlx::query("INSERT INTO mac_keys (name, sealed) VALUES ($1, $2) ON CONFLICT DO NOTHING")
                    .bind(name)
                    .bind(sealed)
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .await
    }
}
