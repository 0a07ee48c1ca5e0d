use std::collections::BTreeSet;

use super::{Act, Error, nearest::or_nearest, pages::read_all};
use crate::{
    protocol::{Algorithm, Audience, Scope},
    server::{
        model::{ClaimName, CustomClaims, Listed, Resource, ResourceChange, ResourceFilter, TokenLifetime},
        store::{Error as StoreError, Missing, Store},
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
    /// The algorithm that signs its tokens.
    pub algorithm: Algorithm,
    /// Claims of all its tokens.
    pub fixed_claims: CustomClaims,
    /// The attributes of users that it asks for.
    pub claims: BTreeSet<ClaimName>,
}

impl Resources<'_> {
    /// Creates a resource.
    ///
    /// # Errors
    ///
    /// If the audience is taken, there are too many scopes or claims, or the database fails.
    pub async fn create(&self, act: &Act, new: NewResource) -> Result<Resource, Error> {
        let NewResource { audience, scope, token_lifetime, algorithm, fixed_claims, claims } = new;
        let resource = Resource { audience, scope, token_lifetime, algorithm, fixed_claims, claims, created_at: act.now };
        self.store.insert_resource(act, resource.clone()).await?;
        Ok(resource)
    }

    /// The selected resources, in alphabetical order.
    pub(crate) async fn list(&self, filter: &ResourceFilter) -> Result<Vec<Listed<Resource>>, Error> {
        let listed = read_all(filter.limit, async |after: &str| self.store.list_resources(filter, after).await).await?;
        // No resource of a mistyped scope would look like an answer.
        let unknown = filter.scope.clone().filter(|_| listed.is_empty());
        or_nearest(self.store, unknown.map_or(Ok(listed), |token| Err(StoreError::Missing(Missing::ScopeOwner(token))))).await
    }

    pub(crate) async fn find(&self, audience: &Audience) -> Result<Resource, Error> {
        let resource = self.store.find_resource(audience).await?;
        or_nearest(self.store, resource.ok_or_else(|| StoreError::Missing(Missing::Resource(audience.clone())))).await
    }

    /// The resource, or `None` if there is no such one.
    pub(crate) async fn find_if_any(&self, audience: &Audience) -> Result<Option<Resource>, Error> {
        Ok(self.store.find_resource(audience).await?)
    }

    /// Requires that the resource exists.
    pub(crate) async fn require(&self, audience: &Audience) -> Result<(), Error> {
        or_nearest(self.store, self.store.require_resource(audience).await).await
    }

    /// Applies a change and returns the changed resource.
    ///
    /// # Errors
    ///
    /// If there is no such resource, the change is not possible, or the database fails.
    pub async fn update(&self, act: &Act, audience: Audience, change: ResourceChange) -> Result<Resource, Error> {
        or_nearest(self.store, self.store.update_resource(act, audience, change).await).await
    }

    pub(crate) async fn delete(&self, act: &Act, audience: Audience) -> Result<(), Error> {
        or_nearest(self.store, self.store.delete_resource(act, audience).await).await
    }
}
