//! What one participant sent and received, for reports that name everybody.

use engine_base::Kind;

#[derive(Clone, Debug, Default)]
pub struct Account {
    pub identity: String,
    /// Connected, all tracks accepted, all streams announced.
    pub has_joined: bool,
    pub sent: Vec<StreamAccount>,
    pub received: Vec<StreamAccount>,
    /// Why it is not there, or no longer.
    pub failure: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamAccount {
    pub kind: Kind,
    pub packets: u64,
    /// Sent: RTP payloads. Received: whole UDP payloads.
    pub bytes: u64,
    /// Sequence numbers that did not come.
    pub lost: u64,
    pub expected: u64,
}

impl StreamAccount {
    /// With nothing on it.
    pub fn of(kind: Kind) -> Self {
        Self { kind, packets: 0, bytes: 0, lost: 0, expected: 0 }
    }
}
