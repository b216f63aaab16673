//! One participant of a room, whichever client it is.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::driver::{Driver, Event, Mark, is};
use crate::stats::Stats;
use crate::{PATIENCE, until};

/// How many peer connections a client makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One, on `/rtc/v1`.
    Single,
    /// A publisher and a subscriber, on `/rtc`.
    Dual,
}

/// How to join. [`Options::new`] gives what clients do by default.
#[derive(Clone, Debug)]
pub struct Options {
    pub room: String,
    pub layout: Layout,
    pub auto_subscribe: bool,
    /// Added to `roomJoin` and `room`; camelCase as in the token.
    pub grant: Value,
    /// Added to the token: `name`, `metadata`, `attributes`, `ttlSeconds`.
    pub claims: Value,
    /// Instead of the node's own address, for example a proxy's.
    pub url: Option<String>,
}

impl Options {
    pub fn new(room: &str) -> Options {
        Options {
            room: room.to_owned(),
            layout: Layout::Single,
            auto_subscribe: true,
            grant: json!({}),
            claims: json!({}),
            url: None,
        }
    }

    pub fn layout(mut self, layout: Layout) -> Options {
        self.layout = layout;
        self
    }

    pub fn auto_subscribe(mut self, auto_subscribe: bool) -> Options {
        self.auto_subscribe = auto_subscribe;
        self
    }

    pub fn grant(mut self, grant: Value) -> Options {
        self.grant = grant;
        self
    }

    pub fn claims(mut self, claims: Value) -> Options {
        self.claims = claims;
        self
    }

    pub fn url(mut self, url: String) -> Options {
        self.url = Some(url);
        self
    }
}

/// What to publish.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Video {
    pub codec: &'static str,
    pub simulcast: bool,
    pub width: u32,
    pub height: u32,
    pub fps: u32,
    pub max_bitrate: u32,
    /// `scalabilityMode` for VP9 and AV1; `None` for one layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scalability: Option<&'static str>,
}

impl Video {
    /// 640×360 at 15 frames per second in one layer.
    pub const fn small(codec: &'static str) -> Video {
        Video { codec, simulcast: false, width: 640, height: 360, fps: 15, max_bitrate: 800_000, scalability: None }
    }

    /// 1280×720 at 15 frames per second in the three layers q, h and f.
    pub const fn simulcast(codec: &'static str) -> Video {
        Video { codec, simulcast: true, width: 1280, height: 720, fps: 15, max_bitrate: 1_500_000, scalability: None }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Joined {
    pub sid: String,
    pub identity: String,
    pub connected_ms: f64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Published {
    pub sid: String,
}

/// A client of one identity. Its methods are those of the demo page's `Session` and of the Python driver's `Client`.
pub struct Participant {
    pub identity: String,
    driver: Arc<Driver>,
    url: String,
    key: String,
    secret: String,
}

impl Participant {
    pub(crate) fn new(driver: Arc<Driver>, identity: &str, url: &str, key: &str, secret: &str) -> Participant {
        let [url, key, secret] = [url, key, secret].map(str::to_owned);
        Participant { identity: identity.to_owned(), driver, url, key, secret }
    }

    /// A token for this identity, signed by the client's own server SDK.
    pub fn token(&self, options: &Options) -> String {
        let mut grant = json!({ "roomJoin": true, "room": options.room });
        merge(&mut grant, &options.grant);
        let mut claims = json!({ "key": self.key, "secret": self.secret, "identity": self.identity, "grant": grant });
        merge(&mut claims, &options.claims);
        let token = self.driver.call("token", claims).expect("a token can be signed");
        token.as_str().expect("a token is text").to_owned()
    }

    pub fn try_join(&self, options: &Options) -> Result<Joined, String> {
        let token = self.token(options);
        self.join_with_token(options, &token)
    }

    pub fn join_with_token(&self, options: &Options, token: &str) -> Result<Joined, String> {
        let arguments = json!([{
            "url": options.url.as_ref().unwrap_or(&self.url),
            "token": token,
            "singlePeerConnection": options.layout == Layout::Single,
            "autoSubscribe": options.auto_subscribe,
        }]);
        let joined = self.try_call("join", arguments)?;
        Ok(serde_json::from_value(joined).expect("the driver's answer to join"))
    }

    /// # Panics
    /// When the client is not let in.
    pub fn join(&self, options: &Options) -> Joined {
        self.try_join(options).unwrap_or_else(|error| panic!("{} cannot join: {error}", self.identity))
    }

    pub fn leave(&self) {
        self.call("leave", json!([]));
    }

    pub fn publish_video(&self, video: &Video) -> Published {
        let published = self.call("publishVideo", json!([video]));
        serde_json::from_value(published).expect("the driver's answer to publishVideo")
    }

    pub fn publish_audio(&self) -> Published {
        let published = self.call("publishAudio", json!([{}]));
        serde_json::from_value(published).expect("the driver's answer to publishAudio")
    }

    pub fn set_muted(&self, sid: &str, muted: bool) {
        self.call("setMuted", json!([sid, muted]));
    }

    pub fn set_quality(&self, sid: &str, quality: &str) {
        self.call("setQuality", json!([sid, quality]));
    }

    pub fn send_data(&self, text: &str, options: Value) {
        self.call("sendData", json!([text, options]));
    }

    pub fn stats(&self) -> Stats {
        serde_json::from_value(self.call("stats", json!([]))).expect("the driver's statistics")
    }

    /// Everybody in the room as this client sees them, itself first.
    pub fn participants(&self) -> Vec<Value> {
        match self.call("participants", json!([])) {
            Value::Array(list) => list,
            other => panic!("participants of {}: {other}", self.identity),
        }
    }

    /// This client's view of one identity.
    pub fn view_of(&self, identity: &str) -> Option<Value> {
        self.participants().into_iter().find(|each| each["identity"] == identity)
    }

    /// Calls any method of the client by name.
    pub fn try_call(&self, method: &str, arguments: Value) -> Result<Value, String> {
        self.driver.call("call", json!({ "page": self.identity, "method": method, "arguments": arguments }))
    }

    /// # Panics
    /// When the method fails.
    pub fn call(&self, method: &str, arguments: Value) -> Value {
        self.try_call(method, arguments).unwrap_or_else(|error| panic!("{}.{method}: {error}", self.identity))
    }

    /// Starts a method without waiting for it.
    pub fn begin(&self, method: &str, arguments: Value) {
        self.driver.send("call", json!({ "page": self.identity, "method": method, "arguments": arguments }));
    }

    /// A command of the driver that concerns this page (browser only: `signals`, `console`, `click`, …).
    pub fn command(&self, command: &str, mut arguments: Value) -> Value {
        arguments["page"] = json!(self.identity);
        self.driver.call(command, arguments).unwrap_or_else(|error| panic!("{}: {command}: {error}", self.identity))
    }

    pub fn mark(&self) -> Mark {
        self.driver.mark()
    }

    /// Waits for this client's event `name` after `mark`.
    pub fn wait(&self, mark: Mark, name: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        self.wait_within(mark, name, PATIENCE, wanted)
    }

    pub fn wait_within(&self, mark: Mark, name: &str, patience: Duration, wanted: impl Fn(&Event) -> bool) -> Event {
        let what = format!("{name} of {}", self.identity);
        let wanted = |event: &Event| is(event, name) && self.owns(event) && wanted(event);
        self.driver.try_wait(mark, &what, patience, wanted).unwrap_or_else(|missed| {
            eprintln!("{missed}");
            // Whether packets came, were decoded and were shown tells whose fault it is.
            let received = self.try_call("stats", json!([]));
            eprintln!("--- what {} has received ---\n{received:?}", self.identity);
            panic!("no {what} within {patience:?}")
        })
    }

    /// This client's events after `mark`, so far.
    pub fn since(&self, mark: Mark) -> Vec<Event> {
        self.driver.since(mark).into_iter().filter(|event| self.owns(event)).collect()
    }

    /// This client's events of one name after `mark`, so far.
    pub fn named_since(&self, mark: Mark, name: &str) -> Vec<Event> {
        self.since(mark).into_iter().filter(|event| is(event, name)).collect()
    }

    /// Waits until this client sees `identity` as `wanted` says.
    pub fn until_view(&self, what: &str, identity: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until(&format!("{}: {what} of {identity}", self.identity), PATIENCE, || match self.view_of(identity) {
            Some(view) if wanted(&view) => Ok(view),
            other => Err(format!("{other:?}")),
        })
    }

    /// Waits until this client does not see `identity` any more.
    pub fn until_gone(&self, identity: &str) {
        until(&format!("{}: {identity} is gone", self.identity), PATIENCE, || match self.view_of(identity) {
            None => Ok(()),
            Some(view) => Err(view.to_string()),
        });
    }

    fn owns(&self, event: &Event) -> bool {
        event["page"] == self.identity
    }
}

fn merge(into: &mut Value, from: &Value) {
    let from = from.as_object().expect("an object to merge");
    for (name, value) in from {
        into[name] = value.clone();
    }
}
