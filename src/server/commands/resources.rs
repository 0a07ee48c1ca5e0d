use super::{Act, Error};
use crate::{
    protocol::{Audience, Scope},
    server::{
        model::{Resource, ResourceChange, TokenLifetime},
        store::{self, Store},
    },
};

/// The commands on resources.
#[derive(Debug, Clone, Copy)]
pub struct Resources<'a> {
    pub(super) store: &'a Store,
}

/// A resource to create.
#[derive(Debug, Clone)]
pub struct NewResource {
    /// Its audience.
    pub audience: Audience,
    /// The scope tokens that it owns.
    pub scope: Scope,
    /// Maximum lifetime of its tokens, if it is not the default.
    pub token_lifetime: Option<TokenLifetime>,
}

impl Resources<'_> {
    /// Creates a resource.
    ///
    /// # Errors
    ///
    /// If the audience or a scope token is taken, there are too many scopes, or the database fails.
    pub async fn create(&self, act: &Act, new: NewResource) -> Result<Resource, Error> {
        let NewResource { audience, scope, token_lifetime } = new;
        let resource = Resource { audience, scope, token_lifetime, created_at: act.now };
        self.store.insert_resource(act, resource.clone()).await?;
        Ok(resource)
    }

    /// All resources, in alphabetical order.
    pub(crate) async fn list(&self) -> Result<Vec<Resource>, Error> {
        Ok(self.store.list_resources().await?)
    }

    pub(crate) async fn find(&self, audience: &Audience) -> Result<Resource, Error> {
        let resource = self.store.find_resource(audience).await?;
        Ok(resource.ok_or_else(|| store::Error::Missing(format!("resource {audience}")))?)
    }

    /// Applies a change and returns the changed resource.
    ///
    /// # Errors
    ///
    /// If there is no such resource, the change is not possible, or the database fails.
    pub async fn update(&self, act: &Act, audience: Audience, change: ResourceChange) -> Result<Resource, Error> {
        Ok(self.store.update_resource(act, audience, change).await?)
    }

    pub(crate) async fn delete(&self, act: &Act, audience: Audience) -> Result<(), Error> {
        Ok(self.store.delete_resource(act, audience).await?)
    }
}
