//! The pages, as functions from what is to be shown. Whatever is put into them is escaped by `maud`.

use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;

/// What comes with each page. No script runs, nothing comes from elsewhere, and no page may frame it.
pub(crate) const CONTENT_SECURITY_POLICY: &str =
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// How many characters what is ordered may have.
pub(crate) const ITEM_MAX: usize = 100;

pub(crate) const NO_RIGHT: &str = "You may neither see orders nor place any. Ask the operator of this shop for permission.";

#[derive(Debug, Deserialize)]
pub(crate) struct Order {
    pub(crate) id: u64,
    pub(crate) item: String,
}

/// What a signed-in user is shown.
#[derive(Debug)]
pub(crate) struct Orders {
    pub(crate) name: String,
    /// Something to say before the rest.
    pub(crate) notice: Option<&'static str>,
    /// None: the user may not see orders.
    pub(crate) list: Option<Vec<Order>>,
    /// Whether the form is there.
    pub(crate) may_order: bool,
}

fn page(title: &str, narrow: bool, who: Option<&str>, content: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " - Orders" }
                link rel="icon" type="image/svg+xml" href="/icon.svg";
                link rel="stylesheet" href="/style.css";
            }
            body {
                @if let Some(name) = who {
                    header {
                        a href="/" { "Orders" }
                        div.who {
                            p { "Signed in as " (name) }
                            form method="post" action="/sign-out" { button { "Sign out" } }
                        }
                    }
                }
                main class=[narrow.then_some("narrow")] { (content) }
            }
        }
    }
}

fn notice(text: Option<&str>) -> Markup {
    html! { @if let Some(text) = text { p.notice role="alert" { (text) } } }
}

/// The form on which a person signs in. The name may be there already, the password never is.
pub(crate) fn sign_in(name: &str, sentence: Option<&str>) -> Markup {
    let content = html! {
        h1 { "Sign in to order" }
        section {
            (notice(sentence))
            form method="post" action="/sign-in" {
                label for="username" { "User name" }
                input #username name="username" value=(name) autocomplete="username" autocapitalize="none" spellcheck="false"
                    maxlength="255" required autofocus[name.is_empty()];
                label for="password" { "Password" }
                input #password name="password" type="password" autocomplete="current-password" maxlength="1024" required
                    autofocus[!name.is_empty()];
                button { "Sign in" }
            }
        }
    };
    page("Sign in", true, None, content)
}

/// What the user may do, and nothing else.
pub(crate) fn orders(shown: &Orders) -> Markup {
    let content = html! {
        h1 { "Your orders" }
        (notice(shown.notice))
        @if shown.may_order {
            section aria-labelledby="new" {
                h2 #new { "Order something" }
                form method="post" action="/orders" {
                    label for="item" { "What shall it be?" }
                    div.row {
                        input #item name="item" maxlength=(ITEM_MAX) required autocomplete="off";
                        button { "Order" }
                    }
                }
            }
        }
        @if let Some(list) = &shown.list {
            section aria-labelledby="list" {
                h2 #list { "Ordered so far" }
                @if list.is_empty() { p.quiet { "Nothing yet." } }
                // The newest first.
                @else { ol reversed { @for order in list.iter().rev() { li { span { (order.id) } (order.item) } } } }
            }
        }
        @if !shown.may_order && shown.list.is_none() {
            section { p { (NO_RIGHT) } }
        }
    };
    page("Your orders", false, Some(&shown.name), content)
}

/// A page that is left at once, by its `Refresh` header.
pub(crate) fn go_on(path: &str) -> Markup {
    page("Orders", true, None, html! { section { p { a href=(path) { "Go on to the orders" } } } })
}

/// A sentence, when there is nothing else to show.
pub(crate) fn sorry(sentence: &str) -> Markup {
    let content = html! {
        h1 { "That did not work" }
        section {
            p { (sentence) }
            p { a href="/" { "Try again" } }
        }
    };
    page("That did not work", true, None, content)
}
