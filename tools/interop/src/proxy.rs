//! A TCP relay in front of the node's signalling port, that can cut what runs through it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Relays connections to one port of the loopback address until it is dropped.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    open: Mutex<Vec<TcpStream>>,
    accepted: AtomicUsize,
    refuse: AtomicBool,
    ended: AtomicBool,
}

impl Proxy {
    pub fn before(port: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || accept(&listener, port, &shared));
        Proxy { address, state }
    }

    /// The address to join by.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Ends every connection at once, as a lost network does for the two ends.
    pub fn cut(&self) -> usize {
        let open: Vec<TcpStream> = self.state.open.lock().expect("no panic while listing").drain(..).collect();
        for stream in &open {
            let _ = stream.shutdown(Shutdown::Both);
        }
        open.len() / 2
    }

    /// While true, new connections are closed as soon as they come.
    pub fn refuse(&self, refuse: bool) {
        self.state.refuse.store(refuse, Ordering::SeqCst);
    }

    /// Connections that came so far, refused ones included.
    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the thread in `accept`, which then sees `ended`.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(listener: &TcpListener, port: u16, state: &Arc<State>) {
    for client in listener.incoming() {
        if state.ended.load(Ordering::SeqCst) {
            return;
        }
        state.accepted.fetch_add(1, Ordering::SeqCst);
        let Ok(client) = client else { continue };
        if state.refuse.load(Ordering::SeqCst) {
            continue;
        }
        let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
        for stream in [&client, &server] {
            let _ = stream.set_nodelay(true);
            if let Ok(copy) = stream.try_clone() {
                state.open.lock().expect("no panic while listing").push(copy);
            }
        }
        relay(&client, &server);
        relay(&server, &client);
    }
}

/// Copies in one direction until either end closes, then closes both.
fn relay(from: &TcpStream, to: &TcpStream) {
    let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else { return };
    std::thread::spawn(move || {
        let mut buffer = [0u8; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    });
}
