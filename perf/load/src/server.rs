//! The server under load: where it is and how to be let in.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use signaling_token::TokenBuilder;

/// Longer than any run.
const TOKEN_SECONDS: i64 = 6 * 3_600;

#[derive(Clone, Debug)]
pub struct Server {
    /// `ws://host:port`.
    pub url: String,
    pub api_key: String,
    pub api_secret: String,
    /// Load on another machine must be asked for.
    pub allow_remote: bool,
}

impl Server {
    /// The signaling address. **Errors**: not a `ws://` URL, a name without address, or not this machine.
    pub fn address(&self) -> Result<SocketAddr> {
        let authority = self.authority()?;
        let with_port = if has_port(authority) { authority.to_owned() } else { format!("{authority}:80") };
        let mut addresses = with_port.to_socket_addrs().with_context(|| format!("no address for {authority}"))?;
        let address = addresses.next().with_context(|| format!("no address for {authority}"))?;
        if !self.allow_remote && !address.ip().is_loopback() {
            bail!(
                "{} is not this machine ({}): loading somebody's server must be asked for with --allow-remote",
                self.url,
                address.ip()
            );
        }
        Ok(address)
    }

    /// Host and port.
    pub fn authority(&self) -> Result<&str> {
        let Some(rest) = self.url.strip_prefix("ws://") else {
            bail!("{:?} is not a ws:// URL: the load speaks plain WebSocket only", self.url)
        };
        let authority = rest.split('/').next().unwrap_or_default();
        if authority.is_empty() {
            bail!("{:?} has no host", self.url);
        }
        Ok(authority)
    }

    /// A token for `identity` in `room`.
    pub fn token(&self, room: &str, identity: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let builder = TokenBuilder::new(identity).join(room).ttl_seconds(TOKEN_SECONDS);
        builder.sign(&self.api_key, &self.api_secret, i64::try_from(now).unwrap_or(0))
    }
}

fn has_port(authority: &str) -> bool {
    authority
        .rsplit_once(':')
        .is_some_and(|(host, port)| port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str, allow_remote: bool) -> Server {
        Server { url: url.to_owned(), api_key: "k".to_owned(), api_secret: "s".to_owned(), allow_remote }
    }

    #[test]
    fn only_this_machine_is_loaded_unless_told() {
        assert_eq!(server("ws://127.0.0.1:7880", false).address().unwrap(), "127.0.0.1:7880".parse().unwrap());
        assert_eq!(server("ws://[::1]:7880/", false).address().unwrap(), "[::1]:7880".parse().unwrap());
        let refused = server("ws://192.0.2.1:7880", false).address().unwrap_err().to_string();
        assert!(refused.contains("--allow-remote"), "{refused}");
        assert_eq!(server("ws://192.0.2.1", true).address().unwrap(), "192.0.2.1:80".parse().unwrap());
    }

    #[test]
    fn other_schemes_are_refused() {
        for url in ["wss://127.0.0.1", "127.0.0.1:7880", "ws://", "http://127.0.0.1"] {
            assert!(server(url, true).address().is_err(), "{url}");
        }
    }
}
