//! The signaling WebSocket of one participant, non-blocking, one protobuf message per frame.

use std::io;
use std::net::SocketAddr;

use anyhow::{Context, Result, anyhow, bail};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use signaling_protocol::Message as _;
use signaling_protocol::proto::{SignalRequest, SignalResponse, signal_request, signal_response};
use tungstenite::handshake::MidHandshake;
use tungstenite::handshake::client::ClientHandshake;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{HandshakeError, Message, WebSocket};

/// A message is a few kB; larger ones grow the buffer.
const READ_BUFFER_BYTES: usize = 4 << 10;

enum State {
    /// Until the socket says that it is writable.
    Connecting(TcpStream, Box<str>),
    Upgrading(MidHandshake<ClientHandshake<TcpStream>>),
    Open(Box<WebSocket<TcpStream>>),
    Closed,
}

pub struct Signal {
    state: State,
}

impl Signal {
    /// Begins to connect to `address` with `url`, which carries the token.
    pub fn connect(address: SocketAddr, url: &str, registry: &Registry, token: Token) -> Result<Self> {
        let mut stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        registry
            .register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)
            .context("cannot watch a TCP socket")?;
        Ok(Self { state: State::Connecting(stream, url.into()) })
    }

    /// Something happened on the socket: goes as far as it can. **Errors**: refused, closed or broken; final.
    pub fn handle_ready(&mut self, mut handle: impl FnMut(signal_response::Message)) -> Result<()> {
        self.advance()?;
        loop {
            let State::Open(socket) = &mut self.state else { return Ok(()) };
            match socket.read() {
                Ok(Message::Binary(bytes)) => {
                    let response = SignalResponse::decode(bytes).context("the server sent no SignalResponse")?;
                    response.message.into_iter().for_each(&mut handle);
                }
                Ok(Message::Close(frame)) => {
                    self.state = State::Closed;
                    bail!(
                        "the server closed the signaling socket{}",
                        frame.map_or(String::new(), |f| format!(": {f}"))
                    );
                }
                Ok(_) => {}
                Err(error) if is_blocking(&error) => return Ok(()),
                Err(error) => {
                    self.state = State::Closed;
                    return Err(error).context("the signaling socket broke");
                }
            }
        }
    }

    /// Queues and writes one message; what does not fit into the socket goes out when it is writable.
    pub fn send(&mut self, message: signal_request::Message) -> Result<()> {
        let State::Open(socket) = &mut self.state else { bail!("the signaling socket is not open") };
        let bytes = SignalRequest { message: Some(message) }.encode_to_vec();
        match socket.send(Message::binary(bytes)) {
            Ok(()) => Ok(()),
            Err(error) if is_blocking(&error) => Ok(()),
            Err(error) => Err(error).context("the signaling socket broke"),
        }
    }

    /// Says that it is over; does not wait.
    pub fn close(&mut self) {
        if let State::Open(socket) = &mut self.state {
            let _ = socket.close(None);
            let _ = socket.flush();
        }
        self.state = State::Closed;
    }

    fn advance(&mut self) -> Result<()> {
        let result = match std::mem::replace(&mut self.state, State::Closed) {
            State::Connecting(stream, url) => {
                if let Some(error) = stream.take_error()? {
                    return Err(error).context("cannot connect to the signaling port");
                }
                if stream.peer_addr().is_err_and(|error| error.kind() == io::ErrorKind::NotConnected) {
                    self.state = State::Connecting(stream, url);
                    return Ok(());
                }
                let _ = stream.set_nodelay(true);
                tungstenite::client::client_with_config(&*url, stream, Some(config()))
            }
            State::Upgrading(handshake) => handshake.handshake(),
            State::Open(mut socket) => {
                let flushed = socket.flush();
                self.state = State::Open(socket);
                return match flushed {
                    Err(error) if !is_blocking(&error) => Err(error).context("the signaling socket broke"),
                    _ => Ok(()),
                };
            }
            State::Closed => bail!("the signaling socket is closed"),
        };
        match result {
            Ok((socket, _)) => self.state = State::Open(Box::new(socket)),
            Err(HandshakeError::Interrupted(handshake)) => self.state = State::Upgrading(handshake),
            Err(HandshakeError::Failure(tungstenite::Error::Http(response))) => {
                let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
                return Err(anyhow!("the server refused to let a participant in: {} {body}", response.status()));
            }
            Err(HandshakeError::Failure(error)) => return Err(error).context("the WebSocket handshake failed"),
        }
        Ok(())
    }
}

/// The library's own choice is 128 KiB for each participant.
fn config() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES)
}

fn is_blocking(error: &tungstenite::Error) -> bool {
    matches!(error, tungstenite::Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock)
}
