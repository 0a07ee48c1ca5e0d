//! Entities as programs read them: the JSON of the command line, and later of the admin API. Never a secret, except for a new one.

mod change;
mod client;
mod fetcher;
mod key;
mod key_plan;
mod login;
mod reseal;
mod resource;
mod restored;
mod token;
mod user;

use std::collections::BTreeMap;

use serde::Serialize;

pub(crate) use change::ChangeView;
pub(crate) use client::{ClientView, KeyOfClientView, NewSecretView, SecretView};
pub(crate) use fetcher::{FetcherView, FetchersView, PublishedKeyView};
pub(crate) use key::ListedKeyView;
pub(crate) use key_plan::{KeyEventView, KeyPlanView};
pub(crate) use login::LoginView;
pub(crate) use reseal::{ResealView, ResealedView};
pub(crate) use resource::ResourceView;
pub(crate) use restored::{LostChangeView, RestoredView};
pub(crate) use token::{RevokedTokenView, RevokedTokensView, RevokedView};
pub(crate) use user::UserView;

use crate::{
    clock::Timestamp,
    protocol::{Audience, Scope},
    server::model::{Damaged, Listed, rfc3339},
};

/// An entity, or the name of one whose rows are damaged.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum EntityView<T> {
    Whole(T),
    Damaged(DamagedView),
}

/// A damaged entity: its name, under the key under which a whole one has it, and what is wrong.
#[derive(Debug, Serialize)]
pub(crate) struct DamagedView {
    #[serde(flatten)]
    pub(crate) name: BTreeMap<&'static str, String>,
    pub(crate) damaged: String,
}

/// An entity that has a view.
pub(crate) trait Viewed {
    type View: Serialize;
    /// The key of the view that has the name.
    const NAME: &'static str;

    fn view(&self, now: Timestamp) -> Self::View;
}

impl<T: Serialize> EntityView<T> {
    pub(crate) fn of<E: Viewed<View = T>>(name: &str, data: &Result<E, Damaged>, now: Timestamp) -> Self {
        match data {
            Ok(entity) => Self::Whole(entity.view(now)),
            Err(Damaged(why)) => Self::Damaged(DamagedView { name: BTreeMap::from([(E::NAME, name.to_owned())]), damaged: why.clone() }),
        }
    }

    /// The views of a list.
    pub(crate) fn list<E: Viewed<View = T>>(listed: Vec<Listed<E>>, now: Timestamp) -> Vec<Self> {
        listed.into_iter().map(|entity| Self::of(&entity.name, &entity.data, now)).collect()
    }
}

impl DamagedView {
    pub(crate) fn name(&self) -> &str {
        self.name.values().next().map_or("", String::as_str)
    }
}

/// Permissions: scope tokens by resource.
fn scope_lists<'a>(permissions: impl IntoIterator<Item = (&'a Audience, &'a Scope)>) -> BTreeMap<String, Vec<String>> {
    let tokens = |scope: &Scope| scope.iter().map(ToString::to_string).collect();
    permissions.into_iter().map(|(audience, scope)| (audience.to_string(), tokens(scope))).collect()
}

fn rfc3339_if_any(time: Option<Timestamp>) -> Option<String> {
    time.map(rfc3339)
}
