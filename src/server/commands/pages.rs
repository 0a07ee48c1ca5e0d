use super::Error;
use crate::server::{
    model::Listed,
    store::{self, Page},
};

/// Reads a list page by page: `read` returns the page after a name. Sorted by name, whatever the database's order is.
pub(super) async fn read_all<T>(read: impl AsyncFn(&str) -> Result<Page<T>, store::Error>) -> Result<Vec<Listed<T>>, Error> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = read(&after).await?;
        all.extend(page.listed);
        match page.next {
            Some(next) => after = next,
            None => break,
        }
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}
