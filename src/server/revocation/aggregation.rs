//! The list of lists: draft-ietf-oauth-status-list section 9.3.

use std::sync::{Arc, Weak};

use arc_swap::ArcSwapOption;
use serde_json::json;

use super::resting::Positions;
use crate::server::{document::Document, model::StatusListId};

/// The list of lists, rendered once for each set of lists.
#[derive(Debug, Default)]
pub(super) struct Aggregation(ArcSwapOption<Rendered>);

#[derive(Debug)]
struct Rendered {
    /// The lists of the last request. A weak reference keeps none of their positions, and no other lists get the same address.
    of: Weak<Positions>,
    ids: Vec<StatusListId>,
    document: Document,
}

impl Aggregation {
    /// The document for these lists, of at most `most`, which is the same at every call.
    pub(super) fn document(&self, lists: &Arc<Positions>, most: usize, uri: impl Fn(&StatusListId) -> String) -> Document {
        let last = self.0.load();
        if let Some(last) = &*last
            && last.of.as_ptr() == Arc::as_ptr(lists)
        {
            return last.document.clone();
        }
        // All nodes in the same order, so that they give the same ETag.
        let mut ids: Vec<StatusListId> = lists.keys().cloned().collect();
        ids.sort_unstable();
        ids.truncate(most);
        let document = match &*last {
            // Only positions have changed.
            Some(last) if last.ids == ids => last.document.clone(),
            _ => Document::new(json!({ "status_lists": ids.iter().map(uri).collect::<Vec<String>>() }).to_string()),
        };
        self.0.store(Some(Arc::new(Rendered { of: Arc::downgrade(lists), ids, document: document.clone() })));
        document
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn sl1_the_list_of_lists_is_rendered_once_per_set_of_lists() {
        let id = |letter: &str| letter.repeat(22).parse::<StatusListId>().unwrap();
        let (aggregation, rendered) = (Aggregation::default(), Cell::new(0));
        let lists = |ids: &[&str]| Arc::new(ids.iter().map(|letter| (id(letter), Arc::default())).collect::<Positions>());
        let document = |lists: &Arc<Positions>| {
            let uri = |id: &StatusListId| {
                rendered.set(rendered.get() + 1);
                id.to_string()
            };
            aggregation.document(lists, 2, uri)
        };
        let first = document(&lists(&["A", "B"]));
        assert_eq!(rendered.get(), 2);
        assert_eq!(document(&lists(&["B", "A"])).body, first.body, "in any order");
        assert_eq!(rendered.get(), 2);
        assert_ne!(document(&lists(&["A", "C"])).etag, first.etag);
        assert_eq!(document(&lists(&["A", "C", "B"])).etag, first.etag, "the first ones in their order");
        assert_eq!(rendered.get(), 6);
        assert_eq!(document(&lists(&[])).body, r#"{"status_lists":[]}"#);
    }

    #[test]
    fn lists_that_have_changed_in_place_are_rendered_again() {
        let aggregation = Aggregation::default();
        let mut lists = Arc::new(Positions::new());
        let first = aggregation.document(&lists, 9, ToString::to_string);
        assert_eq!(aggregation.document(&lists, 9, ToString::to_string).etag, first.etag);
        // No one else has them, so that they are not copied.
        Arc::make_mut(&mut lists).insert("A".repeat(22).parse().unwrap(), Arc::default());
        assert_ne!(aggregation.document(&lists, 9, ToString::to_string).etag, first.etag);
    }
}
