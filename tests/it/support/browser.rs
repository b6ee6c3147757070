//! A real browser: Chromium without a window, driven by its own driver over the WebDriver protocol (W3C). The protocol
//! is a few JSON requests, so that no library is needed beside the driver.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::support::http::Client;

/// How long a page may take to become what a test waits for, in milliseconds.
const PATIENCE: u64 = 60_000;

/// The name of an element in WebDriver's JSON.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Keys as WebDriver writes them.
pub(crate) mod keys {
    pub(crate) const TAB: &str = "\u{e004}";
    pub(crate) const ENTER: &str = "\u{e007}";
    pub(crate) const ESCAPE: &str = "\u{e00c}";
    pub(crate) const LEFT: &str = "\u{e012}";
    pub(crate) const SPACE: &str = " ";
}

/// A browser with one page, closed when it is dropped.
pub(crate) struct Browser {
    driver: Child,
    session: String,
    client: Client,
}

impl Browser {
    /// A browser; `None` where there is no Chromium, unless `TEST_REQUIRE_CHROMIUM` says that there has to be.
    pub(crate) async fn start() -> Option<Browser> {
        let driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut driver) = driver else {
            let required = std::env::var("TEST_REQUIRE_CHROMIUM").is_ok_and(|value| value == "1");
            assert!(!required, "there is no chromedriver");
            println!("SKIPPED: there is no chromedriver (packages chromium and chromium-driver)");
            return None;
        };
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| {
            let line = line.unwrap();
            line.rsplit_once("successfully on port ").map(|(_, port)| port.trim_end_matches('.').to_owned())
        });
        let base = format!("http://127.0.0.1:{}/session", port.expect("chromedriver tells its port"));
        let client = Client::new();
        let options = json!({"args": [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1200,1000",
            "--lang=en", "--force-device-scale-factor=1", "--hide-scrollbars",
        ]});
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
            "timeouts": {"script": PATIENCE},
        }}});
        let told = client.post(&base, wanted).await.json();
        let id = told["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("{told}"));
        Some(Browser { driver, session: format!("{base}/{id}"), client })
    }

    async fn ask(&self, method: &str, what: &str, body: Option<Value>) -> Value {
        let (status, told) = self.client.json(method, &format!("{}/{what}", self.session), body).await;
        assert_eq!(status, 200, "{method} {what}: {told:#}");
        told["value"].clone()
    }

    /// Goes to a page.
    pub(crate) async fn open(&self, url: &str) {
        self.ask("POST", "url", Some(json!({"url": url}))).await;
    }

    /// What a script gives back.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.ask("POST", "execute/sync", Some(json!({"script": script, "args": []}))).await
    }

    /// Waits until an expression is true: it is looked at whenever the page changes.
    pub(crate) async fn wait_for(&self, expression: &str) {
        let script = format!(
            "const done = arguments[0], look = () => {{
               let found = false;
               try {{ found = {expression}; }} catch (error) {{ found = false; }}
               if (found) {{ observer.disconnect(); done(true); }}
             }};
             const observer = new MutationObserver(look);
             observer.observe(document, {{subtree: true, childList: true, characterData: true, attributes: true}});
             look();"
        );
        let asked = json!({"script": script, "args": []});
        let url = format!("{}/execute/async", self.session);
        let (status, told) = self.client.json("POST", &url, Some(asked)).await;
        if status != 200 {
            let text = self.run("return document.body.innerText").await;
            panic!("never: {expression}\n{told}\n{}", text.as_str().unwrap_or_default());
        }
    }

    /// Presses keys, one after the other, wherever the focus is.
    pub(crate) async fn press(&self, keys: &str) {
        let strokes: Vec<Value> = keys
            .chars()
            .flat_map(|key| {
                [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})]
            })
            .collect();
        let source = json!({"type": "key", "id": "keyboard", "actions": strokes});
        self.ask("POST", "actions", Some(json!({"actions": [source]}))).await;
    }

    /// What a screen reader would say of what has the focus: its role and its name.
    pub(crate) async fn focused(&self) -> (String, String) {
        let element = self.ask("GET", "element/active", None).await;
        let id = element[ELEMENT].as_str().unwrap_or_else(|| panic!("{element}")).to_owned();
        let role = self.ask("GET", &format!("element/{id}/computedrole"), None).await;
        let label = self.ask("GET", &format!("element/{id}/computedlabel"), None).await;
        (role.as_str().unwrap_or_default().to_owned(), label.as_str().unwrap_or_default().to_owned())
    }

    /// A page for people who like it `dark` or `light`.
    pub(crate) async fn prefer(&self, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    /// The page as a picture in PNG, as far as `height` pixels down.
    pub(crate) async fn picture(&self, height: u32) -> Vec<u8> {
        let clip = json!({"x": 0, "y": 0, "width": 1200, "height": height, "scale": 1});
        let options = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        let told = self.devtools("Page.captureScreenshot", options).await;
        BASE64_STANDARD.decode(told["data"].as_str().unwrap()).unwrap()
    }

    async fn devtools(&self, command: &str, options: Value) -> Value {
        self.ask("POST", "goog/cdp/execute", Some(json!({"cmd": command, "params": options}))).await
    }

    /// What the page has written to the console since this was last asked, its errors and those of its policy included.
    pub(crate) async fn console(&self) -> Vec<String> {
        let told = self.ask("POST", "se/log", Some(json!({"type": "browser"}))).await;
        told.as_array().unwrap().iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // the driver ends the browser; a driver that is killed would leave it behind
        let (host, path) = self.session.trim_start_matches("http://").split_once('/').unwrap_or_default();
        if let Ok(mut stream) = TcpStream::connect(host) {
            let request = format!("DELETE /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
            let _ = stream.write_all(request.as_bytes());
            let _ = stream.read(&mut [0; 1]);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
