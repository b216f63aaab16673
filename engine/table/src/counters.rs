//! Counters: one atomic word each, beside the rows, written by one worker and read by anyone.

macro_rules! counters {
    ($(#[$doc:meta])* $name:ident { $($(#[$field:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$field])* $variant,)* }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            pub const COUNT: usize = Self::ALL.len();

            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

counters! {
    /// Per transport.
    TransportCounter {
        ReceivedPackets = "received_packets",
        ReceivedBytes = "received_bytes",
        SentPackets = "sent_packets",
        SentBytes = "sent_bytes",
        Checks = "checks",
    }
}

counters! {
    /// Per ingress layer.
    IngressCounter {
        Packets = "packets",
        Bytes = "bytes",
        Frames = "frames",
        KeyFrames = "key_frames",
        Lost = "lost",
        Duplicates = "duplicates",
        Recovered = "recovered",
        NacksSent = "nacks_sent",
        PlisSent = "plis_sent",
        /// Audio packets with a level at all.
        LevelPackets = "level_packets",
        /// Audio packets at least as loud as the threshold (35 −dBov).
        ActivePackets = "active_packets",
        /// Sum of the −dBov levels of active packets.
        ActiveLevelSum = "active_level_sum",
    }
}

counters! {
    /// Per egress.
    EgressCounter {
        Packets = "packets",
        Bytes = "bytes",
        Frames = "frames",
        Retransmitted = "retransmitted",
        NacksReceived = "nacks_received",
        PlisReceived = "plis_received",
        Switches = "switches",
    }
}

counters! {
    /// Per worker.
    WorkerCounter {
        Turns = "turns",
        Received = "received",
        ReceivedBytes = "received_bytes",
        Sent = "sent",
        SentBytes = "sent_bytes",
        /// Of `sent_bytes` not counted there: padding that makes the datagrams of a train equal.
        PaddingBytes = "padding_bytes",
        Sends = "sends",
        Punted = "punted",
        FanOutRecords = "fan_out_records",
        BusyNs = "busy_ns",
        TurnNsMax = "turn_ns_max",
        RowsTaken = "rows_taken",
        /// How long video waits at present.
        HoldNs = "hold_ns",
        NoBuffers = "no_buffers",
        Allocations = "allocations",
        /// Datagrams that left as frames of their own (AF_XDP).
        XdpFrames = "xdp_frames",
        /// Sockets of the pool that have a subscriber at present.
        Connected = "connected",
    }
}

counters! {
    /// Of the courier.
    CourierCounter {
        Handshakes = "handshakes",
        HandshakesDone = "handshakes_done",
        HandshakesFailed = "handshakes_failed",
        FingerprintMismatch = "fingerprint_mismatch",
        DataReceived = "data_received",
        DataSent = "data_sent",
        DataReplayed = "data_replayed",
        ChannelsOpened = "channels_opened",
    }
}

counters! {
    /// Of signaling: levels, and counts that its restarts do not reset.
    SignalingFigure {
        Rooms = "rooms",
        Participants = "participants",
        /// Open WebSockets.
        Sockets = "sockets",
        Joins = "joins",
        Resumes = "resumes",
        /// Living records of the session journal.
        JournalBytes = "journal_bytes",
        /// From its start until this process had every session of its predecessor.
        AdoptionNs = "adoption_ns",
        /// Messages that went out before every worker had adopted their rows: a worker or the courier is stalled.
        LateMessages = "late_messages",
        /// Connections dropped because the client took too little.
        SlowClients = "slow_clients",
        /// Joins that got an HTTP status instead of a session: the room is full or ending, or a table is full.
        RefusedJoins = "refused_joins",
        /// RoomService calls that reached a room or the list of rooms.
        ApiCalls = "api_calls",
    }
}
