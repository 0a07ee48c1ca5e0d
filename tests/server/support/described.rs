use std::{collections::BTreeSet, sync::LazyLock};

use serde_json::Value;

use super::Answer;

/// `openapi.yaml`, with which every answer that a test reads is compared.
pub(crate) static DESCRIPTION: LazyLock<Value> = LazyLock::new(|| serde_saphyr::from_str(include_str!("../../../openapi.yaml")).unwrap());

/// Headers of HTTP itself, of connections and of CORS, on any answer.
const OF_HTTP: [&str; 6] = ["allow", "connection", "content-length", "content-type", "date", "vary"];

/// The value of a reference within the document.
pub(crate) fn resolved(value: &Value) -> &Value {
    match value["$ref"].as_str() {
        Some(reference) => DESCRIPTION.pointer(reference.trim_start_matches('#')).unwrap_or_else(|| panic!("{reference} leads nowhere")),
        None => value,
    }
}

/// The description of this method at this path, if there is one. The path of the issuer comes first.
fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let paths = DESCRIPTION["paths"].as_object().unwrap();
    let (_, item) = paths.iter().find(|(described, _)| is_at(path, described))?;
    item.get(method.to_ascii_lowercase())
}

/// Whether a path ends with the described one, of which a segment in braces stands for any.
fn is_at(path: &str, described: &str) -> bool {
    let mut segments = path.rsplit('/');
    described[1..].rsplit('/').all(|described| segments.next().is_some_and(|sent| sent == described || described.starts_with('{')))
}

/// An error text with a placeholder where the catalogue has one.
pub(crate) fn as_listed(words: &str, request_id: &str) -> String {
    let words = words.replace(&format!("by its id, {request_id}."), "by its id, {request_id}.");
    match words.split_once(" the scope token ") {
        Some((before, named)) => {
            let after = if named.ends_with(" at this resource.") { " at this resource." } else { "." };
            format!("{before} the scope token {{scope_token}}{after}")
        }
        None => words,
    }
}

/// Compares an answer with the description: its status, headers, type, and error text.
#[track_caller]
pub(super) fn hold(method: &str, path: &str, answer: &Answer) {
    // An issuer with a path serves nothing outside it.
    if let Some(operation) = operation(method, path).filter(|_| answer.status != 404) {
        let described = resolved(&operation["responses"][answer.status.to_string()]);
        assert!(described.is_object(), "{method} {path}: the status {} is not described", answer.status);
        let headers: BTreeSet<String> =
            described["headers"].as_object().into_iter().flatten().map(|(name, _)| name.to_ascii_lowercase()).collect();
        let others = answer.headers.keys().map(|name| name.as_str().to_owned());
        let others: Vec<_> = others.filter(|name| !headers.contains(name) && !OF_HTTP.contains(&name.as_str())).collect();
        assert!(others.is_empty(), "{method} {path}, {}: not described are the headers {others:?}", answer.status);
        let types: Vec<_> = described["content"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
        match answer.header("content-type") {
            Some(sent) => {
                assert!(types.iter().any(|described| described == sent), "{method} {path}, {}: {sent} is not described", answer.status)
            }
            None => assert!(answer.body.is_empty() && types.is_empty(), "{method} {path}, {}: a body without a type", answer.status),
        }
    }
    if let Ok(Value::Object(error)) = serde_json::from_str(&answer.body)
        && let (Some(code), Some(words)) = (error.get("error"), error.get("error_description"))
    {
        let words = as_listed(words.as_str().unwrap(), answer.header("x-request-id").unwrap_or_default());
        let catalogue = DESCRIPTION["x-errors"].as_array().unwrap();
        let known = catalogue.iter().any(|entry| {
            let statuses = entry["status"].as_array().unwrap();
            entry["code"] == *code
                && statuses.contains(&answer.status.into())
                && entry["descriptions"].as_array().unwrap().contains(&words.clone().into())
        });
        assert!(known, "{method} {path}: {} {code} {words:?} is not in x-errors of openapi.yaml", answer.status);
    }
}
