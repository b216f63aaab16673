//! What one test stands on: a node, the client processes it asked for, and a room name of its own.

use std::process::Command;
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};

use crate::driver::Driver;
use crate::environment;
use crate::node::Node;
use crate::participant::{Options, Participant};

/// Fields are dropped in this order: clients leave before their node ends.
pub struct Scene {
    browser: OnceLock<Arc<Driver>>,
    python: OnceLock<Arc<Driver>>,
    sdk: OnceLock<Arc<Driver>>,
    pub room: String,
    pub node: Node,
}

impl Scene {
    /// A scene on [`Node::start`].
    pub fn new() -> Scene {
        Scene::on(Node::start())
    }

    /// A scene on a node of its own, for tests that look inside.
    pub fn own() -> Scene {
        Scene::on(Node::start_own())
    }

    pub fn on(node: Node) -> Scene {
        let room = format!("room-{}-{:x}", std::process::id(), crate::wall_ms());
        Scene { browser: OnceLock::new(), python: OnceLock::new(), sdk: OnceLock::new(), room, node }
    }

    /// What clients do by default, in this scene's room.
    pub fn options(&self) -> Options {
        Options::new(&self.room)
    }

    /// A page of Chromium with the demo page in it, not yet joined.
    pub fn chromium(&self, identity: &str) -> Participant {
        let driver = self.browser();
        let place = match &self.node.demo_url {
            Some(url) => json!({ "page": identity, "demoUrl": url }),
            None => json!({ "page": identity, "folder": environment::demo() }),
        };
        driver.call("open", place).unwrap_or_else(|error| panic!("opening the demo page: {error}"));
        self.participant(driver, identity)
    }

    /// A client of the Python SDK, not yet joined.
    pub fn python(&self, identity: &str) -> Participant {
        let driver = self.python_driver();
        driver.call("open", json!({ "page": identity })).unwrap_or_else(|error| panic!("a Python client: {error}"));
        self.participant(driver, identity)
    }

    /// RoomService by `livekit-api`: `method` in snake case. `Err` holds `code`, `status` and `message`.
    pub fn python_service(&self, method: &str, request: Value) -> Result<Value, Value> {
        unwrap_service(self.python_driver().call("service", self.service_arguments(method, request)))
    }

    /// RoomService by `livekit-server-sdk`: `method` in camel case, `arguments` in its own order.
    pub fn node_service(&self, method: &str, arguments: Value) -> Result<Value, Value> {
        let driver = self.sdk.get_or_init(|| Arc::new(start_script("sdk", "node/driver.mjs")));
        unwrap_service(driver.call("service", self.service_arguments(method, arguments)))
    }

    /// A token of the node's key with this grant, signed by `livekit-api`.
    pub fn token(&self, identity: &str, grant: Value) -> String {
        let arguments =
            json!({ "key": self.node.key, "secret": self.node.secret, "identity": identity, "grant": grant });
        self.sign(arguments)
    }

    /// A token from whatever the test gives: `key`, `secret`, `identity`, `grant`, `ttlSeconds`, …
    pub fn sign(&self, arguments: Value) -> String {
        let token = self.python_driver().call("token", arguments).expect("a token can be signed");
        token.as_str().expect("a token is text").to_owned()
    }

    /// A token of exactly these claims, which no SDK would sign.
    pub fn sign_claims(&self, secret: &str, claims: Value) -> String {
        let token = self.python_driver().call("claims", json!({ "secret": secret, "claims": claims }));
        token.expect("claims can be signed").as_str().expect("a token is text").to_owned()
    }

    fn service_arguments(&self, method: &str, request: Value) -> Value {
        let Node { http_url, key, secret, .. } = &self.node;
        json!({ "url": http_url, "key": key, "secret": secret, "method": method, "request": request })
    }

    fn participant(&self, driver: Arc<Driver>, identity: &str) -> Participant {
        let Node { url, key, secret, .. } = &self.node;
        Participant::new(driver, identity, url, key, secret)
    }

    fn browser(&self) -> Arc<Driver> {
        Arc::clone(self.browser.get_or_init(|| Arc::new(start_script("chromium", "browser/driver.mjs"))))
    }

    fn python_driver(&self) -> Arc<Driver> {
        let start = || {
            let mut command = Command::new(environment::clients().join("venv/bin/python"));
            command.args(["-W", "ignore"]).arg(environment::scripts().join("python/driver.py"));
            command.env("PYTHONDONTWRITEBYTECODE", "1");
            Arc::new(Driver::start("python", &mut command))
        };
        Arc::clone(self.python.get_or_init(start))
    }
}

impl Drop for Scene {
    /// A test that fails shows the node as it was then, while the clients are still there.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the node's status ---\n{}", self.node.picture());
        }
    }
}

impl Default for Scene {
    fn default() -> Self {
        Scene::new()
    }
}

fn start_script(name: &'static str, script: &str) -> Driver {
    let mut command = Command::new("node");
    command.arg(environment::scripts().join(script)).env("MILLRACE_INTEROP_DIR", environment::clients());
    Driver::start(name, &mut command)
}

fn unwrap_service(answer: Result<Value, String>) -> Result<Value, Value> {
    let mut answer = answer.unwrap_or_else(|error| panic!("calling RoomService: {error}"));
    match answer.get_mut("error") {
        Some(error) => Err(error.take()),
        None => Ok(answer["ok"].take()),
    }
}
