//! A real browser: headless Chromium, driven through chromedriver.

use std::{path::PathBuf, process::Command};

use sentinel_testkit::{
    base64::{Engine, engine::general_purpose::STANDARD as BASE64},
    fantoccini::{Client, ClientBuilder, Locator, wd::WebDriverCompatibleCommand},
    free_port, http, hyper_util, url, wait_for,
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::cluster::Process;

/// A name that leads to this machine, as a page on the internet can arrange.
pub(crate) const EVIL: &str = "evil.example";

pub(crate) struct Browser {
    client: Client,
    runtime: Runtime,
    _driver: Process,
    _dir: tempfile::TempDir,
}

impl Browser {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let port = free_port();
        let mut driver = Command::new(found("chromedriver"));
        let driver = Process::spawn(driver.arg(format!("--port={port}")), dir.path());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let profile = dir.path().join("profile");
        let args = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &format!("--user-data-dir={}", profile.display()),
            &format!("--host-resolver-rules=MAP {EVIL} 127.0.0.1"),
        ];
        let options = json!({ "args": args, "binary": found("chromium") });
        let capabilities = json!({ "goog:chromeOptions": options, "timeouts": { "script": 20_000 } });
        let Value::Object(capabilities) = capabilities else { unreachable!("it is an object") };
        let client = wait_for("a browser", || {
            let mut builder = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
            let driver = format!("http://127.0.0.1:{port}");
            runtime.block_on(builder.capabilities(capabilities.clone()).connect(&driver)).ok()
        });
        Self { client, runtime, _driver: driver, _dir: dir }
    }

    /// Goes to a page.
    pub(crate) fn go(&self, url: &str) {
        self.runtime.block_on(self.client.goto(url)).expect("a page");
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        self.runtime.block_on(self.client.current_url()).expect("a page").to_string()
    }

    /// Types into what this CSS selector finds, and presses Enter there.
    pub(crate) fn enter(&self, selector: &str, text: &str) {
        let typed = async {
            let field = self.client.find(Locator::Css(selector)).await?;
            field.send_keys(&format!("{text}\u{e007}")).await
        };
        self.runtime.block_on(typed).expect("a field");
    }

    /// Clicks on what this CSS selector finds.
    pub(crate) fn click(&self, selector: &str) {
        self.click_on(Locator::Css(selector));
    }

    /// Clicks on what is there: a page that is live may have put another in its place meanwhile.
    fn click_on(&self, what: Locator<'_>) {
        wait_for("what to click on", || {
            let clicked = async { self.client.find(what).await?.click().await };
            match self.runtime.block_on(clicked) {
                Ok(()) => Some(()),
                Err(error) if error.is_stale_element_reference() => None,
                Err(error) => panic!("{what:?}: {error}"),
            }
        });
    }

    /// Clicks on the link whose text holds this.
    pub(crate) fn follow(&self, text: &str) {
        self.click_on(Locator::XPath(&containing("a", text)));
    }

    /// Presses the button whose text holds this.
    pub(crate) fn press(&self, text: &str) {
        self.click_on(Locator::XPath(&containing("button", text)));
    }

    /// What one reads on the page.
    pub(crate) fn text(&self) -> String {
        let text = self.run("arguments[0](document.body.innerText)", vec![]);
        text.as_str().expect("a text").to_owned()
    }

    /// Waits until one reads this on the page.
    pub(crate) fn wait_for_text(&self, text: &str) {
        wait_for(text, || self.text().contains(text).then_some(()));
    }

    /// Presses keys wherever the focus is.
    pub(crate) fn keys(&self, keys: &str) {
        for key in keys.split(' ') {
            let code = match key {
                "Tab" => 9,
                "Enter" => 13,
                "Escape" => 27,
                "/" => 191,
                other => panic!("{other} is not known here"),
            };
            let text = match key {
                "Enter" => "\r",
                "/" => "/",
                _ => "",
            };
            let down = json!({
                "type": if text.is_empty() { "rawKeyDown" } else { "keyDown" }, "key": key, "code": key,
                "text": text, "windowsVirtualKeyCode": code,
            });
            self.cdp("Input.dispatchKeyEvent", down);
            let up = json!({ "type": "keyUp", "key": key, "code": key, "windowsVirtualKeyCode": code });
            self.cdp("Input.dispatchKeyEvent", up);
        }
    }

    /// Looks at pages on a screen of this size, light or dark.
    pub(crate) fn look(&self, width: u32, height: u32, scheme: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.cdp("Emulation.setDeviceMetricsOverride", size);
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.cdp("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    /// A picture of the page, all of it or what is on the screen.
    pub(crate) fn picture(&self, is_whole: bool) -> Vec<u8> {
        let asked = json!({ "format": "png", "captureBeyondViewport": is_whole });
        let answer = self.cdp("Page.captureScreenshot", asked);
        BASE64.decode(answer["data"].as_str().expect("a picture")).expect("base64")
    }

    /// Turns the scripts of pages off.
    pub(crate) fn without_scripts(&self) {
        self.cdp("Emulation.setScriptExecutionDisabled", json!({ "value": true }));
    }

    /// What the protocol of the developer tools answers.
    pub(crate) fn cdp(&self, command: &str, params: Value) -> Value {
        let asked = Devtools { command: command.to_owned(), params };
        self.runtime
            .block_on(self.client.issue_cmd(asked))
            .unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// The value that a script of the page answers, whose last argument takes it.
    pub(crate) fn run(&self, script: &str, args: Vec<Value>) -> Value {
        self.runtime.block_on(self.client.execute_async(script, args)).expect("an answer")
    }
}

/// A command of the protocol of the developer tools, which `ChromeDriver` passes on.
#[derive(Debug)]
struct Devtools {
    command: String,
    params: Value,
}

impl WebDriverCompatibleCommand for Devtools {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _url: &url::Url) -> (http::Method, Option<String>) {
        let body = json!({ "cmd": self.command, "params": self.params });
        (http::Method::POST, Some(body.to_string()))
    }
}

/// Elements of a kind whose text holds this.
fn containing(element: &str, text: &str) -> String {
    assert!(!text.contains('"'), "{text}");
    format!("//{element}[contains(normalize-space(.), \"{text}\")]")
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It goes with its driver, too.
        drop(self.runtime.block_on(self.client.clone().close()));
    }
}

fn found(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.exists());
    found.unwrap_or_else(|| panic!("{program} is missing: `cargo xtask test` installs it"))
}
