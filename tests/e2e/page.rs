//! A real browser with one page, whose errors are recorded.

use std::{
    env,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use chromiumoxide::{
    Binary, Browser, BrowserConfig, Page,
    cdp::{
        browser_protocol::{
            emulation::SetDeviceMetricsOverrideParams,
            fetch::{
                AuthChallengeResponse, AuthChallengeResponseResponse, ContinueRequestParams, ContinueWithAuthParams,
                EnableParams as EnableFetch, EventAuthRequired, EventRequestPaused, FulfillRequestParams,
            },
            input::{DispatchKeyEventParams, DispatchKeyEventType, InsertTextParams},
            log::{EnableParams as EnableLog, EventEntryAdded, LogEntryLevel},
            network::{EnableParams as EnableNetwork, EventRequestWillBeSent},
        },
        js_protocol::runtime::{EnableParams as EnableRuntime, EventConsoleApiCalled, EventExceptionThrown},
    },
    page::ScreenshotParams,
};
use futures_util::StreamExt;
use serde_json::Value;

/// A page. Its browser closes with it.
pub(crate) struct Seen {
    pub(crate) page: Page,
    browser: Browser,
    origin: String,
    faults: Arc<Mutex<Vec<String>>>,
    instead: Instead,
}

type Instead = Arc<Mutex<Option<(&'static str, i64, &'static str)>>>;

impl Seen {
    /// A browser with an empty profile.
    pub(crate) async fn open(origin: &str, profile: &Path) -> Self {
        let config = BrowserConfig::builder()
            .chrome_executable(env::var_os("E2E_CHROMIUM").expect("tests/e2e/run says where it is"))
            .no_sandbox()
            .window_size(1200, 900)
            .user_data_dir(profile);
        let config = config.args(["--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
        let (browser, mut handler) = Browser::launch(config.build().unwrap()).await.unwrap();
        tokio::spawn(async move { while handler.next().await.is_some() {} });
        let page = browser.new_page("about:blank").await.unwrap();
        page.execute(EnableLog::default()).await.unwrap();
        page.execute(EnableNetwork::default()).await.unwrap();
        page.execute(EnableRuntime::default()).await.unwrap();
        let seen = Self { page, browser, origin: origin.to_owned(), faults: Arc::default(), instead: Arc::default() };
        seen.listen().await;
        seen
    }

    async fn listen(&self) {
        let mut entries = self.page.event_listener::<EventEntryAdded>().await.unwrap();
        let mut calls = self.page.event_listener::<EventConsoleApiCalled>().await.unwrap();
        let mut thrown = self.page.event_listener::<EventExceptionThrown>().await.unwrap();
        let mut requests = self.page.event_listener::<EventRequestWillBeSent>().await.unwrap();
        let (faults, origin) = (Arc::clone(&self.faults), self.origin.clone());
        tokio::spawn(async move {
            loop {
                let fault = tokio::select! {
                    // Suggestions of the browser, which are reported only in verbose mode.
                    Some(entry) = entries.next() => (entry.entry.level != LogEntryLevel::Verbose).then(|| format!("log: {}", entry.entry.text)),
                    Some(call) = calls.next() => Some(format!("console: {call:?}")),
                    Some(thrown) = thrown.next() => Some(format!("exception: {thrown:?}")),
                    Some(request) = requests.next() => {
                        let url = &request.request.url;
                        let ours = url.starts_with(&origin) || url.starts_with("data:") || url.starts_with("blob:") || url == "about:blank";
                        (!ours).then(|| format!("off the origin: {url}"))
                    }
                    else => return,
                };
                faults.lock().unwrap().extend(fault);
            }
        });
    }

    /// Intercepts password prompts of the browser, which are a fault, and requests to the server, which `instead` may answer.
    pub(crate) async fn intercept(&self) {
        let mut paused = self.page.event_listener::<EventRequestPaused>().await.unwrap();
        let mut wanted = self.page.event_listener::<EventAuthRequired>().await.unwrap();
        let (page, faults, instead) = (self.page.clone(), Arc::clone(&self.faults), Arc::clone(&self.instead));
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(request) = paused.next() => {
                        let id = request.request_id.clone();
                        let answer = instead.lock().unwrap().as_ref().filter(|answer| request.request.url.ends_with(answer.0)).cloned();
                        // It fails if the page has navigated in the meantime.
                        let _ = match answer {
                            Some((_, status, body)) => {
                                let mut answer = FulfillRequestParams::new(id, status);
                                answer.body = Some(Binary::from(BASE64_STANDARD.encode(body)));
                                page.execute(answer).await.map(drop)
                            }
                            None => page.execute(ContinueRequestParams::new(id)).await.map(drop),
                        };
                    }
                    Some(wanted) = wanted.next() => {
                        faults.lock().unwrap().push(format!("a dialog for a password: {}", wanted.request.url));
                        let cancel = AuthChallengeResponse::new(AuthChallengeResponseResponse::CancelAuth);
                        let _ = page.execute(ContinueWithAuthParams::new(wanted.request_id.clone(), cancel)).await;
                    }
                    else => return,
                }
            }
        });
        self.page.execute(EnableFetch::builder().handle_auth_requests(true).build()).await.unwrap();
    }

    /// Answers requests to a path in place of the server, until it is set to `None`.
    pub(crate) fn instead(&self, answer: Option<(&'static str, i64, &'static str)>) {
        *self.instead.lock().unwrap() = answer;
    }

    /// The errors on the page since the last call, as the browser reports them, except for `expected`.
    pub(crate) fn no_faults_but(&self, expected: &[&str]) {
        let faults = std::mem::take(&mut *self.faults.lock().unwrap());
        let others: Vec<_> = faults.iter().filter(|fault| !expected.iter().any(|expected| fault.contains(expected))).collect();
        assert!(others.is_empty(), "{others:#?}");
    }

    /// Leaves the server. On a page of it that is not HTML, a browser would ask for an icon, and there is none.
    pub(crate) async fn leave(&self) {
        self.page.goto("about:blank").await.unwrap();
    }

    pub(crate) async fn goto(&self, path: &str) {
        self.page.goto(format!("{}{path}", self.origin)).await.unwrap();
    }

    /// The result of a script on the page.
    pub(crate) async fn evaluate(&self, script: &str) -> Value {
        self.page.evaluate(script).await.unwrap().into_value().unwrap_or(Value::Null)
    }

    pub(crate) async fn text(&self) -> String {
        // During a navigation there is no page.
        match self.page.evaluate("document.body ? document.body.innerText : ''").await {
            Ok(text) => text.into_value().unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// Waits until the page shows this.
    pub(crate) async fn says(&self, text: &str) {
        for _ in 0..1000 {
            if self.text().await.contains(text) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the page never says {text:?}; it says: {}", self.text().await);
    }

    /// Waits until this is true on the page.
    pub(crate) async fn becomes(&self, truth: &str) {
        for _ in 0..1000 {
            if self.evaluate(truth).await == true {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it is never true that {truth}; the page says: {}", self.text().await);
    }

    /// Waits until `selector` exists and contains `text`.
    pub(crate) async fn shows(&self, selector: &str, text: &str) {
        self.becomes(&format!("!!document.querySelector({selector:?})?.textContent.includes({text:?})")).await;
    }

    pub(crate) async fn text_of(&self, selector: &str) -> String {
        self.evaluate(&format!("document.querySelector({selector:?}).textContent")).await.as_str().unwrap_or_default().to_owned()
    }

    /// Presses a key at the focus.
    pub(crate) async fn press(&self, key: &str) {
        let (code, text) = match key {
            "Enter" => (13, Some("\r")),
            "Escape" => (27, None),
            "Tab" => (9, None),
            "ArrowLeft" => (37, None),
            "ArrowRight" => (39, None),
            _ => panic!("no story presses {key} yet"),
        };
        let event = |kind| DispatchKeyEventParams::builder().r#type(kind).key(key).code(key).windows_virtual_key_code(code);
        let mut down = event(DispatchKeyEventType::KeyDown);
        if let Some(text) = text {
            down = down.text(text);
        }
        self.page.execute(down.build().unwrap()).await.unwrap();
        self.page.execute(event(DispatchKeyEventType::KeyUp).build().unwrap()).await.unwrap();
    }

    /// Presses Tab until the focus is on `selector`.
    pub(crate) async fn tab_to(&self, selector: &str) {
        for _ in 0..300 {
            if self.evaluate(&format!("document.activeElement.matches({selector:?})")).await == true {
                return;
            }
            self.press("Tab").await;
        }
        panic!("Tab never comes to {selector}");
    }

    /// Types at the focus.
    pub(crate) async fn type_text(&self, text: &str) {
        self.page.execute(InsertTextParams::new(text)).await.unwrap();
    }

    /// Chooses an option of a `select`.
    pub(crate) async fn choose(&self, selector: &str, value: &str) {
        let choose = format!(
            "(() => {{ const select = document.querySelector({selector:?}); select.value = {value:?};
            select.dispatchEvent(new Event('change', {{ bubbles: true }})); return select.value }})()"
        );
        assert_eq!(self.evaluate(&choose).await, value);
    }

    pub(crate) async fn wide(&self, width: i64) {
        self.sized(width, 900).await;
    }

    pub(crate) async fn sized(&self, width: i64, height: i64) {
        let size = SetDeviceMetricsOverrideParams::new(width, height, 1.0, width < 600);
        self.page.execute(size).await.unwrap();
    }

    pub(crate) async fn has(&self, selector: &str) -> bool {
        self.page.find_element(selector).await.is_ok()
    }

    pub(crate) async fn type_into(&self, selector: &str, text: &str) {
        let element = self.page.find_element(selector).await.unwrap_or_else(|error| panic!("{selector}: {error}"));
        element.click().await.unwrap();
        self.evaluate(&format!("document.querySelector({selector:?}).value = ''")).await;
        element.type_str(text).await.unwrap();
    }

    pub(crate) async fn press_enter_in(&self, selector: &str) {
        self.page.find_element(selector).await.unwrap().press_key("Enter").await.unwrap();
    }

    pub(crate) async fn click(&self, selector: &str) {
        self.page.find_element(selector).await.unwrap_or_else(|error| panic!("{selector}: {error}")).click().await.unwrap();
    }

    /// Takes a screenshot at this width, and requires that nothing is cut off.
    pub(crate) async fn picture(&self, name: &str, width: i64) {
        self.wide(width).await;
        // Content of an element that scrolls by itself is not cut off.
        let wider = "(() => { const width = document.documentElement.clientWidth;
            if (document.documentElement.scrollWidth <= width) return [];
            const scrolls = each => each && each !== document.body && (getComputedStyle(each).overflowX !== 'visible' || scrolls(each.parentElement));
            return [...document.querySelectorAll('body *')].filter(each => each.getBoundingClientRect().right > width + 1 && !scrolls(each.parentElement))
                .map(each => each.outerHTML.slice(0, 120)).slice(-12).concat(`${document.documentElement.scrollWidth} px`) })()";
        let wider: Vec<String> = serde_json::from_value(self.evaluate(wider).await).unwrap();
        assert!(wider.is_empty(), "{name} at {width} px is wider than the screen: {wider:#?}");
        let folder = env::var_os("E2E_SCREENSHOTS").expect("tests/e2e/run says where screenshots go");
        let file = Path::new(&folder).join(format!("{name}-{width}.png"));
        self.page.save_screenshot(ScreenshotParams::builder().full_page(false).build(), file).await.unwrap();
    }

    pub(crate) async fn close(mut self) {
        self.browser.close().await.unwrap();
        // A browser that does not close is not a fault of the story.
        if tokio::time::timeout(Duration::from_secs(10), self.browser.wait()).await.is_err() {
            self.browser.kill().await;
        }
    }
}
