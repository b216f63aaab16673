//! A client's peer connection as one worker knows it: the desired row's facts and keys on every worker, path, windows and streams
//! on the owner alone.

use engine_base::{ExtensionIds, Ssrc, TimeNs, TransportRef};
use engine_forward::StreamMap;
use engine_forward::source::PublisherClock;
use engine_io::Connection;
use engine_rate::{ArrivalLog, ReceiverEstimate};
use engine_srtp::RtpWindow;
use engine_table::{TransportRow, transport_flags};
use smallvec::SmallVec;

use crate::addresses::{Pair, SOURCES_PER_TRANSPORT};
use crate::egress::Sending;
use crate::keys::{Keys, RtcpWindows};
use crate::link::Link;
use crate::stun::StrangerLimit;
use crate::unknown::Held;

/// SSRCs whose windows are kept per transport: 32 tracks of three layers with RTX would be 192; one client has fewer. Beyond
/// it the SSRC heard first makes room.
const WINDOWS_MAX: usize = 128;

/// A row of the transport table and what refers to it.
#[derive(Debug, Default)]
pub struct Place {
    pub transport: Option<Transport>,
    /// Rows of the ingress table that name this index.
    pub ingresses: Vec<u32>,
    /// Rows of the egress table that name this index, with the SSRC by which the client names each.
    pub sendings: Vec<Sending>,
}

#[derive(Debug)]
pub struct Transport {
    pub reference: TransportRef,
    pub closing: bool,
    pub receive_extensions: ExtensionIds,
    pub keys: Option<Box<Keys>>,
    pub connected: Option<Connected>,
    pub strangers: StrangerLimit,
    /// Validated sources of this worker's sockets, the oldest first.
    pub sources: SmallVec<[Pair; SOURCES_PER_TRANSPORT]>,
    pub owned: Option<Box<Owned>>,
}

/// The path for which a socket was asked, and the socket if there was one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connected {
    pub pair: Pair,
    /// `None`: the kernel refused it.
    pub connection: Option<Connection>,
}

/// Under which keys and whither a transport's packets go.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// Row.
    pub transport: u32,
    pub keys: &'a Keys,
    pub pair: Pair,
    pub connection: Option<Connection>,
    pub no_trains_until: TimeNs,
}

impl<'a> Route<'a> {
    fn new(reference: TransportRef, keys: &'a Keys, link: &Link, connected: Option<Connected>) -> Self {
        let connection = connected.filter(|connected| connected.pair == link.pair).and_then(|it| it.connection);
        let Link { pair, no_trains_until, .. } = *link;
        Self { transport: reference.index, keys, pair, connection, no_trains_until }
    }
}

/// What the owner alone has. It moves as a whole.
#[derive(Debug)]
pub struct Owned {
    pub link: Link,
    pub rtcp_windows: RtcpWindows,
    pub windows: RtpWindows,
    pub streams: StreamMap,
    pub arrivals: ArrivalLog,
    pub held: Held,
    /// The client's clock, from its sender reports.
    pub clock: Option<PublisherClock>,
    pub estimate: ReceiverEstimate,
    /// `streams` has learned of rows since packets were held.
    pub retry_held: bool,
    /// The client's last receiver reference time (RFC 3611 §4.4): its SSRC, the middle of the time, when it came.
    pub reference_time: Option<(Ssrc, u32, TimeNs)>,
    pub observed: ObservedState,
}

/// What of the observed row is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObservedState {
    pub changed: bool,
    pub published_at: TimeNs,
}

impl Transport {
    pub fn new(row: &TransportRow, index: u32) -> Self {
        Self {
            reference: TransportRef::new(index, row.generation),
            closing: row.flags & transport_flags::CLOSING != 0,
            receive_extensions: row.receive_extensions,
            keys: None,
            connected: None,
            strangers: StrangerLimit::default(),
            sources: SmallVec::new(),
            owned: None,
        }
    }

    /// The row changed within its generation.
    pub fn update(&mut self, row: &TransportRow) {
        self.closing = row.flags & transport_flags::CLOSING != 0;
        self.receive_extensions = row.receive_extensions;
    }

    /// Where media goes, once there are keys: to the nominated pair, before a nomination to the newest valid one, which RFC 8445
    /// §12.1.1 permits. libwebrtc nominates a lite peer with a later check only, up to 2.5 s after the handshake (observed: Rust SDK).
    pub fn route(&self) -> Option<Route<'_>> {
        let owned = self.owned.as_deref()?;
        let keys = self.keys.as_deref()?;
        (!self.closing).then(|| Route::new(self.reference, keys, &owned.link, self.connected))
    }

    /// The route, and beside it what the owner changes.
    pub fn route_and_owned(&mut self) -> Option<(Route<'_>, &mut Owned)> {
        let owned = self.owned.as_deref_mut()?;
        let keys = self.keys.as_deref()?;
        (!self.closing).then(|| (Route::new(self.reference, keys, &owned.link, self.connected), owned))
    }
}

impl Owned {
    pub fn new(link: Link) -> Box<Self> {
        Box::new(Self {
            link,
            rtcp_windows: RtcpWindows::default(),
            windows: RtpWindows::default(),
            streams: StreamMap::default(),
            arrivals: ArrivalLog::new(),
            held: Held::default(),
            clock: None,
            estimate: ReceiverEstimate::new(),
            retry_held: false,
            reference_time: None,
            observed: ObservedState { changed: true, published_at: TimeNs::ZERO },
        })
    }
}

/// SRTP windows by SSRC.
#[derive(Debug, Default)]
pub struct RtpWindows {
    windows: Vec<(Ssrc, RtpWindow)>,
    /// Where the last one was found: packets come in trains.
    last: usize,
}

impl RtpWindows {
    /// The window of an SSRC that was authenticated before.
    #[inline]
    pub fn find(&mut self, ssrc: Ssrc) -> Option<&mut RtpWindow> {
        if self.windows.get(self.last).is_none_or(|(known, _)| *known != ssrc) {
            self.last = self.windows.iter().position(|(known, _)| *known == ssrc)?;
        }
        self.windows.get_mut(self.last).map(|(_, window)| window)
    }

    /// The newest authenticated index of an SSRC, 0 before the first.
    pub fn newest(&self, ssrc: Ssrc) -> u64 {
        let window = self.windows.iter().find(|(known, _)| *known == ssrc);
        window.and_then(|(_, window)| window.highest()).unwrap_or(0)
    }

    /// Notes an authenticated index. **Cost**: allocates with a transport's first SSRCs only.
    pub fn accept(&mut self, ssrc: Ssrc, index: u64) {
        if let Some(window) = self.find(ssrc) {
            window.accept(index);
            return;
        }
        if self.windows.len() >= WINDOWS_MAX {
            self.windows.remove(0);
        }
        let mut window = RtpWindow::default();
        window.accept(index);
        self.windows.push((ssrc, window));
    }
}

/// Every transport that this worker knows, by row index.
#[derive(Debug)]
pub struct Transports {
    places: Box<[Option<Box<Place>>]>,
}

impl Transports {
    pub fn new(rows: u32) -> Self {
        Self { places: (0..rows).map(|_| None).collect() }
    }

    /// The place of an index, made when it is first named; `None` outside the table.
    pub fn place(&mut self, index: u32) -> Option<&mut Place> {
        let place = self.places.get_mut(index as usize)?;
        Some(place.get_or_insert_default())
    }

    #[inline]
    pub fn at(&self, index: u32) -> Option<&Place> {
        self.places.get(index as usize)?.as_deref()
    }

    #[inline]
    pub fn at_mut(&mut self, index: u32) -> Option<&mut Place> {
        self.places.get_mut(index as usize)?.as_deref_mut()
    }

    /// The transport of this very use of the row.
    #[inline]
    pub fn get(&self, reference: TransportRef) -> Option<&Transport> {
        self.at(reference.index)?.transport.as_ref().filter(|transport| transport.reference == reference)
    }

    #[inline]
    pub fn get_mut(&mut self, reference: TransportRef) -> Option<&mut Transport> {
        self.at_mut(reference.index)?.transport.as_mut().filter(|transport| transport.reference == reference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_belongs_to_its_ssrc() {
        let mut windows = RtpWindows::default();
        assert!(windows.find(Ssrc(1)).is_none());
        assert_eq!(windows.newest(Ssrc(1)), 0);
        windows.accept(Ssrc(1), 70_000);
        windows.accept(Ssrc(2), 3);
        assert_eq!(windows.find(Ssrc(1)).unwrap().highest(), Some(70_000));
        assert_eq!(windows.find(Ssrc(2)).unwrap().highest(), Some(3));
        assert_eq!(windows.newest(Ssrc(1)), 70_000);
    }

    #[test]
    fn the_windows_of_a_transport_are_bounded() {
        let mut windows = RtpWindows::default();
        for ssrc in 0..=WINDOWS_MAX as u32 {
            windows.accept(Ssrc(ssrc), 1);
        }
        assert!(windows.find(Ssrc(0)).is_none() && windows.find(Ssrc(1)).is_some());
        assert_eq!(windows.windows.len(), WINDOWS_MAX);
    }
}
