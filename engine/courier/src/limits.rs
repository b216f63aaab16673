//! Bounds of the courier, each with its arithmetic.

/// Handshakes in progress. One costs about 100 kB while it lasts: 1,024 are 100 MB, a mass reconnect of 4,096 participants
/// passes in a few seconds.
pub const HANDSHAKES_MAX: usize = 1_024;
/// First resend of a DTLS flight; LAN and continental paths answer in less.
pub const DTLS_RTO_MS: u64 = 100;
/// Resends of a flight: 100 ms × (2⁸ − 1) = 25 s until it is given up.
pub const DTLS_RETRIES: usize = 7;
/// How long a finished handshake waits for the fingerprint that signaling writes with the client's description.
pub const FINGERPRINT_WAIT_MS: u64 = 15_000;
/// Datagrams of application data kept while the fingerprint is awaited: INIT and a few resends.
pub const EARLY_DATAGRAMS_MAX: usize = 16;

/// `a=sctp-port`.
pub const SCTP_PORT: u16 = 5_000;
/// `a=max-message-size` is 65,535; one byte more harms nobody.
pub const MESSAGE_BYTES_MAX: usize = 65_536;
/// User bytes of one DATA chunk: 1,280 (IPv6 minimum MTU) − 48 (IPv6, UDP) − 37 (DTLS 1.2 record) − 28 (SCTP, DATA) = 1,167.
pub const SCTP_PAYLOAD_BYTES: u32 = 1_160;
/// Streams that a client may open: SDKs use ids up to 5, applications open few.
pub const SCTP_STREAMS_MAX: u16 = 256;
pub const SCTP_RTO_INITIAL_MS: u64 = 500;
pub const SCTP_RTO_MIN_MS: u64 = 200;
/// After an outage of a moving client data flows again within this.
pub const SCTP_RTO_MAX_MS: u64 = 2_000;
/// Every WebRTC client sends INIT itself; only when none comes do we.
pub const SCTP_PASSIVE_MS: u64 = 1_000;

/// Reliable bytes queued for one receiver: 15 of the largest messages (PROTOCOL §4.4 high watermark).
pub const RELIABLE_QUEUE_BYTES: usize = 1 << 20;
/// Lossy bytes queued for one receiver: 100 ms at 5 Mbit/s.
pub const LOSSY_QUEUE_BYTES: usize = 64 << 10;
/// Sequenced packets of a room that are kept for replay.
pub const REPLAY_BYTES: usize = 1 << 20;
/// The reference keeps 2 s; a full reconnect after a courier's death takes longer, and receivers drop what they know.
pub const REPLAY_AGE_MS: u64 = 10_000;
/// Packets without a sequence kept for a receiver whose channel is not open yet (PROTOCOL §4.3).
pub const UNSEQUENCED_QUEUE_BYTES: usize = 100_000;

/// Datagrams taken from each worker's ring in one turn.
pub const PUNTS_PER_TURN: usize = 256;
/// Commands taken from signaling in one turn.
pub const COMMANDS_PER_TURN: usize = 64;
/// Changed rows taken from each log in one turn.
pub const CHANGES_PER_TURN: usize = 1_024;
/// Longest sleep: eventfds are hints and may be lost.
pub const SLEEP_MS_MAX: u64 = 100;
