//! Connections: accepted from inherited listeners, bounded in number and in patience.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::http::HttpService;

/// HTTP connections at once, WebSockets excluded: the rest waits in the listener's backlog.
const HTTP_CONNECTIONS_MAX: usize = 1_024;
/// Until a request's headers are complete, and between requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// An HTTP connection takes no further request after this long: whoever sends requests and reads no answers must not keep a place.
const CONNECTION_TIME: Duration = Duration::from_secs(60);
/// For the request under way then: the longest call, and its answer.
const LAST_ANSWER_TIME: Duration = Duration::from_secs(30);
/// Of headers with the request line, which alone may have hyper's 65,534 bytes: an offer travels in it.
const HEADER_BYTES_MAX: usize = 128 << 10;
const HEADERS_MAX: usize = 100;
/// After a failed accept, e.g. for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The tasks that accept. Dropping ends them; connections go on.
#[derive(Debug)]
pub struct Listeners {
    tasks: Vec<JoinHandle<()>>,
}

impl Listeners {
    /// Within a tokio runtime. **Errors**: a listener that is none.
    pub fn start(listeners: Vec<std::net::TcpListener>, service: &HttpService) -> std::io::Result<Self> {
        let places = Arc::new(Semaphore::new(HTTP_CONNECTIONS_MAX));
        let mut tasks = Vec::new();
        for listener in listeners {
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            tasks.push(tokio::spawn(accept(listener, service.clone(), Arc::clone(&places))));
        }
        Ok(Self { tasks })
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn accept(listener: TcpListener, service: HttpService, places: Arc<Semaphore>) {
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let service = service.clone();
                tokio::spawn(async move {
                    serve(stream, peer, service).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Returns when the connection ended or became a WebSocket.
async fn serve(stream: TcpStream, peer: SocketAddr, service: HttpService) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(service.respond(request.map(Body::new), peer).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = match timeout(CONNECTION_TIME, connection.as_mut()).await {
        Ok(ended) => Ok(ended),
        Err(_) => {
            connection.as_mut().graceful_shutdown();
            timeout(LAST_ANSWER_TIME, connection).await
        }
    };
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%peer, %error, "connection ended"),
        Err(_) => tracing::debug!(%peer, "dropped a connection that does not take its answer"),
    }
}
