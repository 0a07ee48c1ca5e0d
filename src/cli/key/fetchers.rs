//! Asks the servers which sources fetch the keys regularly and do not have the newest ones yet.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use clap::Args;
use serde::Serialize;
use url::Url;

use crate::{
    cli::node,
    server::{
        caller_text::printable,
        commands::view::{FetcherView, FetchersView, PublishedKeyView},
    },
};

const ROUTE: &str = "/jwks-fetchers";
/// More than the longest answer of a server.
const MAX_ANSWER_LEN: usize = 8 * 1024 * 1024;
/// Maximum number of sources of which a warning each is printed.
const MAX_WARNINGS: usize = 10;

/// The nodes to ask.
#[derive(Debug, Args)]
pub(super) struct Nodes {
    /// The URL of another node's management listener, to ask it as well who has fetched the keys; repeatable
    #[arg(long = "node", value_name = "URL", value_parser = management_url)]
    urls: Vec<String>,
}

/// Parses `--node`.
fn management_url(text: &str) -> Result<String, String> {
    let has_credentials = |url: &Url| !url.username().is_empty() || url.password().is_some();
    let is_plain = |url: &Url| ["http", "https"].contains(&url.scheme()) && !has_credentials(url) && url.query().is_none();
    let url = Url::parse(text).ok().filter(|url| is_plain(url) && url.fragment().is_none());
    url.map(|_| text.trim_end_matches('/').to_owned())
        .ok_or_else(|| "expected the URL of a management listener, such as http://10.0.0.5:8081".to_owned())
}

/// The answers of the nodes, as one.
#[derive(Debug, Serialize)]
pub(super) struct AskedNodes {
    nodes: Vec<AskedNode>,
    /// The sources that fetch regularly and lack a published key, on every node that answered. The last one to fetch first.
    behind: Vec<Behind>,
    /// What an operator should know before the next key signs.
    pub(super) warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct AskedNode {
    url: String,
    /// When it began to record who fetches. Null if it did not answer.
    since: Option<String>,
    /// How many sources it dropped because there were too many. Null if it did not answer.
    dropped: Option<u64>,
    /// Why it did not answer.
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Behind {
    #[serde(flatten)]
    fetcher: FetcherView,
    /// The first of the keys that it lacks to sign.
    key: PublishedKeyView,
}

impl Nodes {
    /// Asks the server of this machine, whose management listener is at `management`, and the given ones.
    pub(super) async fn ask(&self, management: Option<SocketAddr>) -> AskedNodes {
        let local = management.and_then(node::on_this_machine).map(|address| (format!("http://{address}"), true));
        let others = self.urls.iter().map(|url| (url.clone(), false));
        let (mut nodes, mut answers) = (Vec::new(), Vec::new());
        for (url, known) in local.into_iter().chain(others) {
            let (since, dropped, error) = match ask(&format!("{url}{ROUTE}"), known).await {
                Ok(view) => {
                    let (since, dropped) = (view.since.clone(), view.dropped);
                    answers.push(view);
                    (Some(since), Some(dropped), None)
                }
                Err(why) => (None, None, Some(why)),
            };
            nodes.push(AskedNode { url, since, dropped, error });
        }
        let behind = behind(answers);
        AskedNodes { warnings: warnings(&nodes, &behind), nodes, behind }
    }
}

async fn ask(url: &str, known: bool) -> Result<FetchersView, String> {
    let (status, body) = node::get(url, known, MAX_ANSWER_LEN).await?;
    if status != reqwest::StatusCode::OK {
        return Err(node::foreign(status));
    }
    serde_json::from_slice(&body).map_err(|_| node::foreign(status))
}

/// Sources by what is shown of them: address and user agent.
type Sources = BTreeMap<(String, String), FetcherView>;

/// The sources that fetch regularly and lack a key, whichever node they asked last.
fn behind(answers: Vec<FetchersView>) -> Vec<Behind> {
    let mut keys: BTreeMap<String, PublishedKeyView> = BTreeMap::new();
    let mut sources = Sources::new();
    for answer in answers {
        keys.extend(answer.keys.into_iter().map(|key| (key.kid.clone(), key)));
        let mut of_node = Sources::new();
        answer.fetchers.into_iter().for_each(|fetcher| add(&mut of_node, fetcher, missing_in_either));
        of_node.into_values().for_each(|fetcher| add(&mut sources, fetcher, missing_in_both));
    }
    let lacks = |fetcher: FetcherView| {
        fetcher.period_s?;
        let missing = fetcher.missing.iter().filter_map(|kid| keys.get(kid));
        let key = missing.min_by(|a, b| a.activates_at.cmp(&b.activates_at))?.clone();
        Some(Behind { fetcher, key })
    };
    let mut behind: Vec<_> = sources.into_values().filter_map(lacks).collect();
    behind.sort_by(|a, b| b.fetcher.last_fetch.cmp(&a.fetcher.last_fetch));
    behind
}

/// Adds what is known of a source. `missing` decides which keys it lacks if it is among them already.
fn add(sources: &mut Sources, fetcher: FetcherView, missing: fn(&FetcherView, &FetcherView) -> Vec<String>) {
    let source = (fetcher.address.clone(), fetcher.user_agent.clone());
    let fetcher = match sources.remove(&source) {
        Some(known) => {
            let missing = missing(&known, &fetcher);
            FetcherView { missing, ..merged(known, fetcher) }
        }
        None => fetcher,
    };
    sources.insert(source, fetcher);
}

/// One node knows two sources that look alike, because a part of their user agents is not shown: each may lack a key.
fn missing_in_either(one: &FetcherView, other: &FetcherView) -> Vec<String> {
    let others = other.missing.iter().filter(|kid| !one.missing.contains(kid));
    one.missing.iter().chain(others).cloned().collect()
}

/// Two nodes know one source. Behind a load balancer, each of them sees a part of its fetches.
fn missing_in_both(one: &FetcherView, other: &FetcherView) -> Vec<String> {
    one.missing.iter().filter(|kid| other.missing.contains(kid)).cloned().collect()
}

/// The fetches of both, and the rest of the one that fetched last.
fn merged(one: FetcherView, other: FetcherView) -> FetcherView {
    let (last, before) = if one.last_fetch >= other.last_fetch { (one, other) } else { (other, one) };
    FetcherView {
        first_fetch: last.first_fetch.min(before.first_fetch),
        fetches: last.fetches.saturating_add(before.fetches),
        period_s: last.period_s.into_iter().chain(before.period_s).min(),
        silent: last.silent && before.silent,
        ..last
    }
}

fn warnings(nodes: &[AskedNode], behind: &[Behind]) -> Vec<String> {
    let failed = nodes.iter().filter_map(|node| Some((node, node.error.as_ref()?)));
    let mut warnings: Vec<String> =
        failed.map(|(node, why)| format!("{} could not be asked who has fetched the keys: {}", node.url, printable(why))).collect();
    if nodes.iter().all(|node| node.since.is_none()) {
        let what = "no server could be asked which verifiers lack the next key: run this beside one, or name one with --node";
        warnings.push(what.to_owned());
        return warnings;
    }
    for (AskedNode { url, .. }, dropped) in nodes.iter().filter_map(|node| Some((node, node.dropped.filter(|dropped| *dropped > 0)?))) {
        warnings.push(format!("{url} has dropped {dropped} sources because there were too many: verifiers may be missing here"));
    }
    let (silent, due): (Vec<_>, Vec<_>) = behind.iter().partition(|behind| behind.fetcher.silent);
    warnings.extend(due.iter().take(MAX_WARNINGS).map(|behind| behind.warning()));
    if due.len() > MAX_WARNINGS {
        let more = due.len() - MAX_WARNINGS;
        warnings.push(format!("{more} more sources that fetch the keys regularly do not have the newest ones yet"));
    }
    if let [last, ..] = &silent[..] {
        let count = if silent.len() == 1 { "1 source".to_owned() } else { format!("{} sources", silent.len()) };
        let (who, when) = (last.fetcher.who(), printable(&last.fetcher.last_fetch).into_owned());
        warnings.push(format!(
                "{count} used to fetch the keys regularly and stopped before the newest key was published, the last one {who} at {when}: gone, idle, or unable to reach the servers"
            ));
    }
    if let ([only], false) = (nodes, behind.is_empty()) {
        let url = &only.url;
        warnings.push(format!("only {url} was asked, and each node knows only who fetched from it: name the others with --node"));
    }
    warnings
}

impl Behind {
    fn warning(&self) -> String {
        let Self { fetcher, key } = self;
        let period = humantime::format_duration(Duration::from_secs(to_minutes(fetcher.period_s.unwrap_or_default())));
        let (who, kid, alg) = (fetcher.who(), printable(&key.kid), printable(&key.alg));
        let (last, at) = (printable(&fetcher.last_fetch), printable(&key.activates_at));
        let signs = if key.state == "published" { "signs from" } else { "has signed since" };
        format!("{who} fetches the keys every {period} or so, last at {last}, and does not have the {alg} key {kid}, which {signs} {at}")
    }
}

impl FetcherView {
    /// Its name or user agent, and its address. All of it comes from outside.
    fn who(&self) -> String {
        let agent = self.name.as_deref().unwrap_or(&self.user_agent);
        let agent = if agent.is_empty() { "a source without a user agent" } else { agent };
        format!("{} ({})", printable(agent), printable(&self.address))
    }
}

/// Whole minutes, if it is longer than two.
fn to_minutes(seconds: u64) -> u64 {
    if seconds > 120 { seconds.saturating_add(30) / 60 * 60 } else { seconds }
}
