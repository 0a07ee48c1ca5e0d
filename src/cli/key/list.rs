use clap::Args;

use super::time_line::{Life, time_line};
use crate::{
    cli::{
        Operator,
        error::Error,
        output::{Output, Screen, is_narrow, or_dash, table, warn},
        terminal::columns_of_stdout,
    },
    server::{commands::view::ListedKeyView, keys::ListedKey},
};

#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    output: Output,
}

impl List {
    pub(super) async fn run(self, operator: &Operator) -> Result<(), Error> {
        let now = operator.act.now;
        let listed = operator.commands.keys().list().await?;
        let lives: Vec<Life> = listed.keys.iter().filter_map(Life::of).collect();
        let names: Vec<String> = listed.keys.iter().map(ListedKey::name).collect();
        let views: Vec<ListedKeyView> = listed.keys.into_iter().map(|key| ListedKeyView::new(key, now)).collect();
        self.output.print(&views, |views| {
            let drawn = time_line(&lives, now, columns_of_stdout());
            let reasons = reasons(&names, views);
            [reasons, drawn.map(Screen::from)].into_iter().flatten().fold(keys(&names, views), |screen, below| {
                // An empty line between them.
                screen.above(String::new()).above(below)
            })
        })?;
        if let Some(why) = listed.not_opened {
            warn(&format!("the private keys were not opened, so damage to them is not known: {why}"));
        }
        let all = views.len();
        match views.iter().filter(|view| view.error().is_some()).count() {
            0 => Ok(()),
            quarantined => Err(Error::KeysQuarantined { quarantined, all }),
        }
    }
}

/// The table of the keys. Kids are long: on a narrow terminal, they have a table of their own, so that they stay whole.
fn keys(names: &[String], views: &[ListedKeyView]) -> Screen {
    const HEADING: [&str; 6] = ["KEY", "STATE", "PUBLISHED", "ACTIVATES", "RETIRES", "EXPIRES"];
    let rows = names.iter().zip(views);
    let dates = |(name, view): (&String, &ListedKeyView)| {
        let [state, published, activates, retires, expires] = columns(view);
        [name.clone(), state, published, activates, retires, expires]
    };
    if views.is_empty() {
        return table(HEADING, rows.map(dates)).above("There is none yet: the first start of a server creates one.".to_owned());
    }
    if is_narrow() {
        let kids = table(["KEY", "KID"], rows.clone().map(|(name, view)| [name.clone(), kid(view)]));
        return table(HEADING, rows.map(dates)).above(String::new()).above(kids);
    }
    let [key, state, published, activates, retires, expires] = HEADING;
    let row = |(name, view)| {
        let [name, state, published, activates, retires, expires] = dates((name, view));
        [name, state, published, activates, retires, expires, kid(view)]
    };
    table([key, state, published, activates, retires, expires, "KID"], rows.map(row))
}

/// Why damaged keys are not used.
fn reasons(names: &[String], views: &[ListedKeyView]) -> Option<Screen> {
    let rows: Vec<_> = names.iter().zip(views).filter_map(|(name, view)| Some([name.clone(), view.error()?.to_owned()])).collect();
    (!rows.is_empty()).then(|| table(["KEY", "QUARANTINED BECAUSE"], rows))
}

fn kid(view: &ListedKeyView) -> String {
    match view {
        ListedKeyView::Whole(key) => key.kid.clone(),
        ListedKeyView::Quarantined(key) => or_dash(key.kid.clone().unwrap_or_default()),
    }
}

fn columns(view: &ListedKeyView) -> [String; 5] {
    let planned = |time: &Option<String>| or_dash(time.clone().unwrap_or_default());
    match view {
        ListedKeyView::Whole(key) => {
            let state = key.revoked_at.as_ref().map_or_else(|| key.state.to_string(), |at| format!("{} {at}", key.state));
            [state, key.published_at.clone(), key.activates_at.clone(), planned(&key.retires_at), planned(&key.expires_at)]
        }
        ListedKeyView::Quarantined(key) => [
            key.state.to_owned(),
            planned(&key.published_at),
            planned(&key.activates_at),
            planned(&key.retires_at),
            planned(&key.expires_at),
        ],
    }
}
