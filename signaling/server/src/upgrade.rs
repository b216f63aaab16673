//! The opening handshake of a WebSocket (RFC 6455 §4.2), and its frames as the server writes them.
//!
//! Reading is tungstenite's. Writing is done here, straight from shared bytes to the socket: tungstenite copies every message
//! into a buffer per connection that never shrinks, and a `join` of a large room has a hundred kilobytes.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// Allocated per connection for its life; signal messages are small, and larger ones are read in parts.
const READ_BUFFER_BYTES: usize = 2 << 10;

/// A request that may become a WebSocket.
#[derive(Debug)]
pub(crate) struct Upgrade {
    on_upgrade: OnUpgrade,
    accept: HeaderValue,
}

impl Upgrade {
    /// `None` for a request that asks for none, or in a way that RFC 6455 §4.2.1 does not know.
    pub(crate) fn of(request: &mut Request<Body>) -> Option<Self> {
        let headers = request.headers();
        let asked = request.method() == Method::GET
            && request.version() == Version::HTTP_11
            && has_token(headers, header::CONNECTION, "upgrade")
            && has_token(headers, header::UPGRADE, "websocket")
            && headers.get(header::SEC_WEBSOCKET_VERSION)? == "13";
        let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
        let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok().filter(|_| asked)?;
        Some(Self { on_upgrade: request.extensions_mut().remove()?, accept })
    }

    /// The answer, and the socket once it was sent.
    pub(crate) fn accept(self, message_bytes_max: usize) -> (Response, impl Future<Output = Option<Stream>>) {
        let headers = [
            (header::CONNECTION, HeaderValue::from_static("upgrade")),
            (header::UPGRADE, HeaderValue::from_static("websocket")),
            (header::SEC_WEBSOCKET_ACCEPT, self.accept),
        ];
        let stream = async move {
            let parts = self.on_upgrade.await.ok()?.downcast::<TokioIo<TcpStream>>().ok()?;
            let config = WebSocketConfig::default()
                .max_message_size(Some(message_bytes_max))
                .max_frame_size(Some(message_bytes_max))
                .read_buffer_size(READ_BUFFER_BYTES);
            // Copied: what was read behind the request is mostly nothing, in a buffer of 8 kB that would live as long as the socket.
            let (socket, read) = (parts.io.into_inner(), parts.read_buf.to_vec());
            Some(WebSocketStream::from_partially_read(socket, read, Role::Server, Some(config)).await)
        };
        ((StatusCode::SWITCHING_PROTOCOLS, headers).into_response(), stream)
    }
}

pub(crate) type Stream = WebSocketStream<TcpStream>;

fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|found| found.trim().eq_ignore_ascii_case(token))
}

/// RFC 6455 §11.8.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Opcode {
    Text = 1,
    Binary = 2,
    Ping = 9,
}

/// The head of a whole, unmasked frame (RFC 6455 §5.2).
pub(crate) fn put_head(out: &mut Vec<u8>, opcode: Opcode, payload_bytes: usize) {
    const FIN: u8 = 0x80;
    out.push(FIN | opcode as u8);
    match payload_bytes {
        short @ 0..=125 => out.push(short as u8),
        medium @ 126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            out.push(127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use tokio_tungstenite::tungstenite::protocol::frame::FrameSocket;

    use super::*;

    #[test]
    fn heads_are_what_a_client_reads_at_every_length_form() {
        for bytes in [0, 1, 125, 126, 127, 0xffff, 0x1_0000, 200_000] {
            let mut out = Vec::new();
            put_head(&mut out, Opcode::Binary, bytes);
            out.resize(out.len() + bytes, 7);
            put_head(&mut out, Opcode::Ping, 0);
            let mut socket = FrameSocket::new(Cursor::new(out));
            let frame = socket.read(None).unwrap().unwrap();
            assert_eq!((frame.payload().len(), frame.header().is_final), (bytes, true));
            assert!(socket.read(None).unwrap().unwrap().header().opcode.to_string().contains("PING"));
        }
    }

    fn request(headers: &[(&str, &str)]) -> Request<Body> {
        let mut request = Request::builder().version(Version::HTTP_11);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    }

    #[test]
    fn tokens_are_found_among_others_in_any_case() {
        let found = request(&[("Connection", "keep-alive, Upgrade"), ("Upgrade", "WebSocket")]);
        assert!(has_token(found.headers(), header::CONNECTION, "upgrade"));
        assert!(has_token(found.headers(), header::UPGRADE, "websocket"));
        assert!(!has_token(request(&[("Connection", "close")]).headers(), header::CONNECTION, "upgrade"));
    }
}
