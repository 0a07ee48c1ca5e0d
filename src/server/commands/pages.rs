use super::Error;
use crate::server::{
    model::Listed,
    store::{self, Page},
};

/// Reads a list page by page: `read` returns the page after a name. At most `limit` entities, the first in the database's order, sorted
/// by name, whatever that order is.
pub(super) async fn read_all<T>(
    limit: Option<u32>,
    read: impl AsyncFn(&str) -> Result<Page<T>, store::Error>,
) -> Result<Vec<Listed<T>>, Error> {
    let limit = limit.map_or(usize::MAX, |limit| limit.try_into().unwrap_or(usize::MAX));
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = read(&after).await?;
        all.extend(page.listed);
        match page.next {
            Some(next) if all.len() < limit => after = next,
            _ => break,
        }
    }
    all.truncate(limit);
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}
