//! As much HTTP/1.1 as the API tests need: one request per connection, on the loopback address.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// A response, headers in lower case.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// # Panics
    /// When the body is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in the body of {self:?}"))
    }
}

pub fn get(base: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    request(base, "GET", path, headers, "")
}

/// POSTs JSON.
pub fn post(base: &str, path: &str, token: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    request(base, "POST", path, &headers, &body.to_string())
}

/// Sends one request to `base` (`http://host:port`) and reads the whole answer.
///
/// # Panics
/// When the server cannot be reached or does not answer in HTTP.
pub fn request(base: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let host = base.strip_prefix("http://").expect("an http:// address").trim_end_matches('/');
    let mut stream = TcpStream::connect(host).unwrap_or_else(|error| panic!("connecting to {base}: {error}"));
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket option");
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || method == "POST" {
        text.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    stream.write_all(format!("{text}\r\n{body}").as_bytes()).expect("the server reads the request");
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw).unwrap_or_else(|error| panic!("reading the answer to {method} {path}: {error}"));
    parse(&raw).unwrap_or_else(|| panic!("not an HTTP answer to {method} {path}: {}", String::from_utf8_lossy(&raw)))
}

fn parse(raw: &[u8]) -> Option<Answer> {
    let end = raw.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(raw.get(..end)?).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let body = raw.get(end + 4..)?;
    let body = if chunked { join_chunks(body)? } else { body.to_vec() };
    Some(Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

fn join_chunks(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(rest.get(..line)?).ok()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(line + 2..line + 2 + size)?);
        rest = rest.get(line + 2 + size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn an_answer_in_chunks_is_joined() {
        let raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        let answer = parse(raw).expect("a good answer");
        assert_eq!((answer.status, answer.body.as_str()), (200, "abcde"));
    }

    #[test]
    fn an_answer_without_length_ends_with_the_connection() {
        let answer = parse(b"HTTP/1.1 401 Unauthorized\r\nX-A: b\r\n\r\nno").expect("a good answer");
        assert_eq!((answer.status, answer.header("x-a"), answer.body.as_str()), (401, Some("b"), "no"));
    }

    #[test]
    fn half_a_head_is_no_answer() {
        assert!(parse(b"HTTP/1.1 200 OK\r\nX-A").is_none());
    }
}
