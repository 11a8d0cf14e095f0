//! A real browser: headless Chromium, driven through chromedriver.

use std::{path::PathBuf, process::Command};

use sentinel_testkit::{
    fantoccini::{Client, ClientBuilder, Locator},
    free_port, hyper_util, wait_for,
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

    /// The value that a script of the page answers, whose last argument takes it.
    pub(crate) fn run(&self, script: &str, args: Vec<Value>) -> Value {
        self.runtime.block_on(self.client.execute_async(script, args)).expect("an answer")
    }
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
