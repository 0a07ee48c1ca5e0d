use std::{path::PathBuf, time::Duration};

use clap::Args;

use crate::{
    cli::{
        Operator,
        confirmation::Confirmation,
        error::Error,
        output::{Output, Screen, facts, or_dash, warn},
        progress,
    },
    clock::{Clock, SystemClock},
    server::{
        commands::{
            NewSealing,
            view::{ResealView, ResealedView},
        },
        keys::{Begun, READ_WITHIN, Reseal, Resealed, Retired},
    },
};

/// How long to wait for servers, which read their sealing keys again every two seconds.
const WAIT: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(in crate::cli) struct ResealKeys {
    /// The sealing key and a copy of the database may be known: also replace all signing keys and MAC keys, which ends all logins
    #[arg(long)]
    compromised: bool,
    /// The file to write the new set of keys to, if the sealing key is in a setting, a link, or a mounted or read-only file
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    confirmation: Confirmation,
    #[command(flatten)]
    format: Output,
}

impl ResealKeys {
    pub(super) async fn run(self, operator: &Operator) -> Result<(), Error> {
        let Self { compromised, output, confirmation, format } = self;
        let asked = async { Ok(question(compromised || operator.commands.keys().is_replacing_all_keys().await?).to_owned()) };
        confirmation.require(asked).await?;
        let new = NewSealing { compromised, output };
        let view = match operator.commands.keys().begin_reseal(&operator.act_now(), &new).await? {
            Begun::Distribute { kid, output, place } => ResealView::Distribute { sealing_key: kid, output, place },
            Begun::Ready(reseal) => {
                progress::shown("waiting until every server has the new sealing key", servers(operator, &reseal)).await?;
                let (done, retired) = progress::shown("sealing all keys again", seal_again(operator, reseal, &new)).await?;
                ResealView::done(done, retired)
            }
        };
        format.print(&view, |view| match view {
            ResealView::Distribute { sealing_key, output, place } => Screen::from(to_distribute(sealing_key, output, place)),
            ResealView::Done(done) => for_people(done),
        })?;
        if let ResealView::Done(done) = &view {
            for name in &done.unopened {
                warn(&format!("the {name} does not open under any sealing key; its text was left as it is"));
            }
        }
        Ok(())
    }
}

/// Waits for the running servers. Those that are still behind then are reported by the next step.
async fn servers(operator: &Operator, reseal: &Reseal) -> Result<(), Error> {
    let until = SystemClock.now() + WAIT;
    while SystemClock.now() < until && operator.commands.keys().is_any_server_behind(reseal, SystemClock.now()).await? {
        SystemClock.sleep_until("reseal", SystemClock.now() + LOOK_EVERY).await;
    }
    Ok(())
}

async fn seal_again(operator: &Operator, reseal: Reseal, new: &NewSealing) -> Result<(Resealed, Retired), Error> {
    let keys = operator.commands.keys();
    let mut done = keys.rewrite_sealed(&operator.act_now(), &reseal).await?;
    if reseal.replaces_all_keys() {
        // Every node has read the new signing keys then.
        SystemClock.sleep_until("reseal", SystemClock.now() + 2 * READ_WITHIN).await;
        done = keys.withdraw_known_keys(&operator.act_now(), &reseal, done).await?;
        SystemClock.sleep_until("reseal", SystemClock.now() + READ_WITHIN).await;
    }
    Ok(keys.finish_reseal(&operator.act_now(), reseal, done, new).await?)
}

const fn question(compromised: bool) -> &'static str {
    if compromised {
        "This replaces the sealing key, all signing keys and all MAC keys, because they may be known.\n\
         - All logins end at once: users have to sign in again.\n\
         - Access tokens issued until now are refused by verifiers within an hour, as soon as each fetches the published keys again. Apps \
         get new ones at once.\n\
         - Password hashes and secrets of clients do not depend on these keys. If a copy of the database is known, let users set new \
         passwords.\n\
         Replace them?"
    } else {
        "This replaces the sealing key and seals all keys in the database again. Tokens and logins stay valid, servers keep running, and the \
         old sealing key is kept beside the new one for older backups. Replace it?"
    }
}

fn to_distribute(kid: &str, output: &str, place: &str) -> String {
    format!(
        "the new sealing key is {kid}. The set of both keys is in {output}. Nothing is sealed with it yet. Now:\n\
         1. put that set in place of {place} on every node, and restart the servers one after the other\n\
         2. run this command again where the new set is in place; it continues"
    )
}

fn for_people(done: &ResealedView) -> Screen {
    let mut rows = vec![
        ("sealing key", done.sealing_key.clone()),
        ("sealed again", format!("{} keys", done.resealed)),
        ("retired", or_dash(done.retired_sealing_keys.join("\n"))),
    ];
    if !done.mac_keys_replaced.is_empty() || !done.signing_keys_withdrawn.is_empty() {
        rows.push(("replaced", or_dash(done.mac_keys_replaced.join("\n"))));
        rows.push(("logins ended", done.logins_ended.to_string()));
        rows.push(("keys withdrawn", or_dash(done.signing_keys_withdrawn.join("\n"))));
    }
    let next = match &done.retired_file {
        Some(file) => format!(
            "\nBack up the new sealing key now. Backups from before now need the retired one: keep {file} with them, apart from the database, \
             until the last of them is gone. On other machines, replace sealing.key by that of this one."
        ),
        None if done.retired_sealing_keys.is_empty() => String::new(),
        None => "\nRemove the retired key from the set on every node. Backups from before now need it: keep it with them, apart from the \
                 database, until the last of them is gone."
            .to_owned(),
    };
    let screen = Screen::from(facts(rows));
    if next.is_empty() { screen } else { screen.above(next) }
}
