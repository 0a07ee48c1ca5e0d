//! The list of lists: draft-ietf-oauth-status-list section 9.3.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use serde_json::json;

use crate::server::{document::Document, model::StatusListId};

/// The list of lists, rendered once for each set of lists.
#[derive(Debug, Default)]
pub(super) struct Aggregation(ArcSwapOption<Rendered>);

#[derive(Debug)]
struct Rendered {
    ids: Vec<StatusListId>,
    document: Document,
}

impl Aggregation {
    /// The document for these lists, of at most `most`.
    pub(super) fn document(&self, mut ids: Vec<StatusListId>, most: usize, uri: impl Fn(&StatusListId) -> String) -> Document {
        // All nodes in the same order, so that they give the same ETag.
        ids.sort_unstable();
        ids.truncate(most);
        if let Some(rendered) = &*self.0.load()
            && rendered.ids == ids
        {
            return rendered.document.clone();
        }
        let uris: Vec<String> = ids.iter().map(uri).collect();
        let document = Document::new(json!({ "status_lists": uris }).to_string());
        self.0.store(Some(Arc::new(Rendered { ids, document: document.clone() })));
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
        let document = |ids: &[&str], most| {
            let uri = |id: &StatusListId| {
                rendered.set(rendered.get() + 1);
                id.to_string()
            };
            aggregation.document(ids.iter().map(|letter| id(letter)).collect(), most, uri)
        };
        let first = document(&["A", "B"], 9);
        assert_eq!(rendered.get(), 2);
        assert_eq!(document(&["B", "A"], 9).body, first.body, "in any order");
        assert_eq!(rendered.get(), 2);
        assert_ne!(document(&["A", "C"], 9).etag, first.etag);
        assert_eq!(document(&["A", "C", "B"], 2).etag, first.etag, "the first ones in their order");
        assert_eq!(rendered.get(), 6);
        assert_eq!(document(&[], 9).body, r#"{"status_lists":[]}"#);
    }
}
