//! Sockets of their own for transports that media goes to: the port's, while it has some.

use engine_io::{Sender, Unconnected};
use engine_table::transport_state;

use crate::state::State;
use crate::transport::Connected;

impl State {
    /// Connects a socket along the nominated path of an owned transport that has egresses; gives it back when the path is another, or
    /// nobody is there. Media goes on by the address's own socket meanwhile, and when there is none.
    pub(crate) fn settle_connection(&mut self, index: u32, sender: &mut impl Sender) {
        let Some(place) = self.transports.at_mut(index) else { return };
        let is_subscriber = !place.sendings.is_empty();
        let Some(transport) = &mut place.transport else { return };
        let is_established = is_subscriber && !transport.closing && transport.keys.is_some();
        let link = transport.owned.as_deref().map(|owned| &owned.link);
        let link = link.filter(|link| is_established && link.nominated && link.state != transport_state::FAILED);
        let wanted = link.map(|link| link.pair);
        if transport.connected.map(|connected| connected.pair) == wanted {
            return;
        }
        if let Some(connection) = transport.connected.take().and_then(|former| former.connection) {
            sender.disconnect(connection);
        }
        let Some(pair) = wanted else { return };
        transport.connected = match sender.connect(pair.socket, &pair.remote) {
            Ok(connection) => Some(Connected { pair, connection: Some(connection) }),
            Err(Unconnected::Refused) => Some(Connected { pair, connection: None }),
            Err(Unconnected::NoneFree) => None,
        };
    }
}
