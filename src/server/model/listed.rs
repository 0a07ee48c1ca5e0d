/// Why an entity cannot be shown: a value in its rows is invalid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged(pub(crate) String);

/// An entity of a list. If its rows are damaged, that hides neither its name nor the other entities.
#[derive(Debug, Clone)]
pub(crate) struct Listed<T> {
    pub(crate) name: String,
    pub(crate) data: Result<T, Damaged>,
}
