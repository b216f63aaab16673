//! Why a packet was dropped. The discriminant indexes a counter per worker; the operator's table in docs/OPERATING.md is
//! generated from [`Drop::remedy`].

macro_rules! drops {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $remedy:literal;)*) => {
        /// A reason to drop a packet. No payload: it is counted, never logged.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Drop {
            $($(#[$doc])* $name,)*
        }

        impl Drop {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
            pub const COUNT: usize = Self::ALL.len();

            /// snake_case name, as `millrace ctl` and metrics show it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Whose fault it is and what an operator does about it.
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)* }
            }
        }
    };
}

drops! {
    Empty = "empty", "Sender: a datagram without bytes. Nothing to do.";
    UnknownFirstByte = "unknown_first_byte", "Stranger: not STUN, DTLS, RTP or RTCP (RFC 7983). Scans cause it.";
    StunMalformed = "stun_malformed", "Stranger or broken client: not a STUN message.";
    StunUnknownUfrag = "stun_unknown_ufrag", "A check for a session that has ended or belongs to another node. Many: clients do not hear that they were closed.";
    StunBadIntegrity = "stun_bad_integrity", "A check with a wrong password: a stale session or an attacker.";
    StunNotRequest = "stun_not_request", "STUN that needs no answer: indications and responses.";
    StunRateLimited = "stun_rate_limited", "More checks of one source than a client sends. An attacker or a loop.";
    SourceUnknown = "source_unknown", "Not STUN, from an address that no transport validated. Strangers, or a client whose address changed before its next check.";
    NoKeys = "no_keys", "Media before the handshake has ended. A few at each join are normal.";
    DtlsBeforeCheck = "dtls_before_check", "DTLS of an address without an authenticated check.";
    PuntRingFull = "punt_ring_full", "The courier is too slow or stopped: see its restarts and CPU.";
    WorkerRingFull = "worker_ring_full", "A worker is overloaded or stalled: more cores, fewer sessions.";
    SrtpMalformed = "srtp_malformed", "Client: a packet too short for its profile.";
    SrtpReplayed = "srtp_replayed", "A packet came twice, or an attacker replays. Some are normal on bad networks.";
    SrtpAuth = "srtp_auth", "Wrong key or a changed packet. After a client's restart for a moment normal.";
    RtpMalformed = "rtp_malformed", "Client: not RTP (RFC 3550 §5.1).";
    RtcpMalformed = "rtcp_malformed", "Client: not RTCP (RFC 3550 §6).";
    RtpUnknownStream = "rtp_unknown_stream", "RTP whose SSRC, mid and rid name no ingress. At the start of a stream a few are normal.";
    RtpUnknownPayloadType = "rtp_unknown_payload_type", "Client: a payload type that was not negotiated.";
    RtpTooOld = "rtp_too_old", "A packet later than its place in the cache.";
    RtpDuplicate = "rtp_duplicate", "The network or the client sent it twice.";
    RtpPaddingOnly = "rtp_padding_only", "Bandwidth probes of the publisher: counted for feedback, never forwarded.";
    RtpTooLarge = "rtp_too_large", "A packet larger than a slot.";
    DescriptorMalformed = "descriptor_malformed", "Client: the codec's payload descriptor cannot be read.";
    SlotsBusy = "slots_busy", "A worker is stalled and still holds the slot. See the watchdog in ctl.";
    NoSubscriber = "no_subscriber", "Nobody has this track: normal.";
    EgressPaused = "egress_paused", "The subscriber disabled the track or has no permission: normal.";
    EgressWaitsForKeyFrame = "egress_waits_for_key_frame", "Before the first key frame of a layer: normal for < 1 s.";
    EgressOtherLayer = "egress_other_layer", "A simulcast or temporal layer that this subscriber does not get: normal.";
    EgressOldLayer = "egress_old_layer", "A packet older than the last layer switch: normal.";
    EgressCodec = "egress_codec", "The subscriber did not negotiate this codec.";
    EgressNotConnected = "egress_not_connected", "The subscriber's transport has no address or no keys yet.";
    SendBufferFull = "send_buffer_full", "The socket's send buffer is full: raise net.core.wmem_max, see the start-up notice.";
    SendTooLarge = "send_too_large", "The path's MTU is smaller than the packet.";
    SendFailed = "send_failed", "The kernel refused the send: see the counters by errno.";
    SendQueueFull = "send_queue_full", "All send slots are in flight: the core is overloaded.";
    NackTooOld = "nack_too_old", "A subscriber asks for a packet that the cache no longer has; it will ask for a key frame.";
    NackRepeated = "nack_repeated", "A packet asked for more often than it is resent.";
    CourierHandshakeLimit = "courier_handshake_limit", "Too many handshakes at once: an attack, or a mass reconnect, whose clients try again.";
    CourierDtls = "courier_dtls", "DTLS that cannot be read or belongs to no session.";
    CourierSctp = "courier_sctp", "SCTP that cannot be read.";
    DataMalformed = "data_malformed", "Client: a data packet that is not a DataPacket.";
    DataNotPermitted = "data_not_permitted", "The sender may not publish data.";
    DataDuplicate = "data_duplicate", "A reliable packet whose sequence was seen: resent after a resume. Normal.";
    DataNoReceiver = "data_no_receiver", "No participant of that identity is here.";
    DataQueueFull = "data_queue_full", "A receiver too slow for its data.";
    DataTrackUnserved = "data_track_unserved", "A packet on _data_track: this version does not forward data tracks.";
    DataKind = "data_kind", "A kind of data packet that clients may not send.";
    RowBad = "row_bad", "A row of another process had a wrong value: a bug, please report the ctl output.";
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    #[test]
    fn discriminants_are_dense() {
        for (i, drop) in Drop::ALL.iter().enumerate() {
            assert_eq!(*drop as usize, i);
        }
    }

    #[test]
    fn the_operators_table_has_every_reason() {
        let table = include_str!("../../../docs/OPERATING.md");
        for drop in Drop::ALL {
            let row = std::format!("| `{}` | {} |", drop.name(), drop.remedy());
            assert!(table.contains(&row), "docs/OPERATING.md lacks this row: {row}");
        }
    }
}
