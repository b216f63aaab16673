//! Tables of one publisher and its subscribers, as signaling and courier would have written them, and the publisher's packets.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use engine_base::ufrag::{LocalUfrag, password};
use engine_base::{
    ExtensionIds, IngressRef, Kind, Limits, RtpTimestamp, SequenceNumber, Ssrc, TimeNs, TransportRef, WallOffset,
};
use engine_io::{MemoryPort, Port};
use engine_srtp::{MasterKey, Profile, SendContext};
use engine_table::*;
use engine_wire::RtpHeader;
use engine_wire::stun::{BindingRequest, IceRole, TransactionId};
use engine_worker::{Crew, Regions, Site, Worker};
use zerocopy::FromZeros;

use crate::case::Case;
use crate::device;
use crate::port::Injected;

const NODE_TAG: u32 = 0x1_0101;
const SSRC: u32 = 0x1234_5678;
const EXTENSIONS: ExtensionIds = ExtensionIds { mid: 4, transport_cc: 5, abs_send_time: 2, ..ExtensionIds::NONE };

pub struct Node<P: Port> {
    pub worker: Worker<Injected<P>>,
    pub now: TimeNs,
    pub regions: Regions,
    publisher: SendContext,
    sequence: u64,
    frame: u32,
}

impl<P: Port> Node<P> {
    /// **Cost**: six key derivations and one connectivity check per subscriber.
    pub fn new(case: &Case, way: P) -> Result<Self> {
        let count = case.subscribers + 1;
        let limits = Limits { workers: 1, transports: count, ingresses: 1, egresses: count, datas: 1 };
        let regions = Regions::anonymous(&limits);
        let mut row = NodeRow::new_zeroed();
        (row.wall_offset, row.limits) = (WallOffset(1_795_000_000_000_000_000), limits);
        (row.node_tag, row.address_count) = (NODE_TAG, 1);
        regions.holder.node().publish(0, &row);
        let (crew, mut mailboxes) = Crew::new(&limits);
        let site = Site::new(0, &regions, Arc::new(crew)).context("the node row was just written")?;
        let now = TimeNs::from_ms(1_000_000);
        let local = SocketAddr::new(IpAddr::V4(device::LOCAL), 7_882);
        let port = Injected::new(MemoryPort::new(&[SocketAddress::new(local)], 1), way);
        let mailbox = mailboxes.pop().context("one worker has one mailbox")?;
        let worker = Worker::new(port, site, mailbox, now);
        let publisher =
            SendContext::new(&master(0, case.srtp.profile(), false)?).map_err(|error| anyhow!("{error}"))?;
        let mut node = Self { worker, now, regions, publisher, sequence: 1_000, frame: 0 };
        for index in 0..count {
            node.add_transport(index, case.srtp.profile())?;
        }
        node.add_streams(count);
        node.settle();
        for index in 0..count {
            node.connect(index)?;
        }
        node.settle();
        Ok(node)
    }

    fn add_transport(&mut self, index: u32, profile: Profile) -> Result<()> {
        let (ufrag, password) = credentials(index);
        let mut row = TransportRow::new_zeroed();
        (row.state, row.dtls_role, row.generation) = (ROW_ACTIVE, DTLS_CLIENT, 1);
        row.credentials[0].local_ufrag = Text::new(&ufrag).context("a ufrag fits")?;
        row.credentials[0].local_password = Text::new(&password).context("a password fits")?;
        row.receive_extensions = EXTENSIONS;
        self.regions.signaling.transports().publish(index, &row);
        self.regions.signaling.log().push(TableId::Transport, index);
        let (send, receive) = (master(index, profile, true)?, master(index, profile, false)?);
        let salt = |key: &MasterKey| {
            let mut salt = [0; 16];
            salt[..14].copy_from_slice(&key.salt);
            salt
        };
        let keys = KeyRow {
            generation: 1,
            profile: profile as u16,
            reserved: 0,
            send_key: send.key,
            receive_key: receive.key,
            send_salt: salt(&send),
            receive_salt: salt(&receive),
        };
        self.regions.keys.keys().publish(index, &keys);
        self.regions.courier.log().push(TableId::Key, index);
        // A log holds so many entries until the worker has taken them.
        if index % 64 == 63 {
            self.settle();
        }
        Ok(())
    }

    fn add_streams(&mut self, count: u32) {
        let mapping = PayloadMapping { payload_type: 96, rtx_payload_type: 97, codec: 3, format: 0 };
        let mut ingress = IngressRow::new_zeroed();
        (ingress.state, ingress.kind, ingress.generation) = (ROW_ACTIVE, Kind::Video as u8, 1);
        ingress.transport = TransportRef::new(0, 1);
        ingress.flags = ingress_flags::TRANSPORT_CC | ingress_flags::NACK;
        ingress.extensions = EXTENSIONS;
        ingress.payload_types[0] = mapping;
        ingress.layer_count = 1;
        ingress.layers[0].ssrc = Ssrc(SSRC);
        self.regions.signaling.ingresses().publish(0, &ingress);
        self.regions.signaling.log().push(TableId::Ingress, 0);
        for index in 1..count {
            let mut row = EgressRow::new_zeroed();
            (row.state, row.kind, row.generation) = (ROW_ACTIVE, Kind::Video as u8, 1);
            row.flags = egress_flags::ENABLED | egress_flags::NACK;
            (row.transport, row.ingress) = (TransportRef::new(index, 1), IngressRef::new(0, 1));
            (row.ssrc, row.rtx_ssrc) = (Ssrc(0x5000_0000 + index), Ssrc(0x6000_0000 + index));
            (row.layer_max, row.temporal_max) = (2, 3);
            row.payload_types[0] = mapping;
            row.extensions = EXTENSIONS;
            row.cname = Text::cut("PA_publisher");
            self.regions.signaling.egresses().publish(index, &row);
            self.regions.signaling.log().push(TableId::Egress, index);
            if index % 64 == 63 {
                self.settle();
            }
        }
    }

    /// Turns at the present time until there is nothing to do.
    fn settle(&mut self) {
        loop {
            self.worker.turn(self.now);
            self.worker.rest(self.now);
            if !self.worker.has_work() && self.worker.port_mut().arrivals.pending() == 0 {
                return;
            }
        }
    }

    fn connect(&mut self, index: u32) -> Result<()> {
        let (ufrag, password) = credentials(index);
        let username = [&ufrag[..], b":remote"].concat();
        let request = BindingRequest {
            transaction: TransactionId([7; 12]),
            username: &username,
            priority: 1,
            role: IceRole::Controlling(7),
            use_candidate: true,
        };
        let mut out = [0; 256];
        let bytes = request.write(&mut out, |parts| hmac(&password, parts));
        let bytes = bytes.map_err(|error| anyhow!("{error:?}"))?;
        self.worker.port_mut().arrivals.inject(0, address(index), &out[..bytes]);
        self.worker.turn(self.now);
        self.worker.rest(self.now);
        Ok(())
    }

    /// Every client checks again, as its consent demands.
    pub fn check_all(&mut self, subscribers: u32) -> Result<()> {
        (0..=subscribers).try_for_each(|index| self.connect(index))
    }

    /// Lets one frame of the publisher arrive. **Input**: payload bytes of each of its packets.
    pub fn inject_frame(&mut self, packets: u32, payload_bytes: usize, key: bool) -> Result<()> {
        self.frame = self.frame.wrapping_add(1);
        let picture_id = self.frame as u16 & 0x7fff;
        for position in 0..packets {
            let mut out = [0; 1_600];
            let header = RtpHeader {
                marker: position + 1 == packets,
                payload_type: 96,
                sequence: SequenceNumber(self.sequence as u16),
                timestamp: RtpTimestamp(self.frame.wrapping_mul(3_000)),
                ssrc: Ssrc(SSRC),
                ..RtpHeader::default()
            };
            let number = (self.sequence as u16).to_be_bytes();
            let length = header
                .write_with(&mut out, None, |block| block.put(EXTENSIONS.transport_cc, &number))
                .map_err(|error| anyhow!("{error:?}"))?;
            let payload = &mut out[length..length + payload_bytes];
            payload.fill(0x5a);
            let [high, low] = picture_id.to_be_bytes();
            payload[..5].copy_from_slice(&[
                0x80 | u8::from(position == 0) << 4,
                0x80,
                0x80 | high,
                low,
                u8::from(!key),
            ]);
            let sealed = self.publisher.protect_rtp(&mut out, length + payload_bytes, self.sequence);
            let sealed = sealed.map_err(|error| anyhow!("{error}"))?;
            self.worker.port_mut().arrivals.inject(0, address(0), &out[..sealed]);
            self.sequence += 1;
        }
        Ok(())
    }

    /// Drops by reason.
    pub fn drops(&self) -> HashMap<&'static str, u64> {
        let load = |reason| self.regions.engine.drops(0, reason).load(std::sync::atomic::Ordering::Relaxed);
        let all = engine_base::Drop::ALL.iter().map(|reason| (reason.name(), load(*reason)));
        all.filter(|(_, count)| *count > 0).collect()
    }

    pub fn counter(&self, counter: WorkerCounter) -> u64 {
        self.regions.engine.counter(0, counter).load(std::sync::atomic::Ordering::Relaxed)
    }
}

fn address(index: u32) -> SocketAddress {
    SocketAddress::new(SocketAddr::new(IpAddr::V4(device::remote(index)), 5_000))
}

fn credentials(index: u32) -> (Vec<u8>, Vec<u8>) {
    let ufrag = LocalUfrag { index, generation: 1, credential: 1, node: NODE_TAG, random: 5 };
    (ufrag.encode().to_vec(), password([index as u8; 24]).to_vec())
}

/// All keys are distinct, so that no cache of the cipher's state flatters the figures.
pub fn master(index: u32, profile: Profile, from_server: bool) -> Result<MasterKey> {
    let mut key = [u8::from(from_server); 32];
    key[..4].copy_from_slice(&index.to_be_bytes());
    let salt = [9; 14];
    MasterKey::new(profile, &key[..profile.key_len()], &salt[..profile.salt_len()]).map_err(|error| anyhow!("{error}"))
}

fn hmac(password: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password);
    let mut context = aws_lc_rs::hmac::Context::with_key(&key);
    parts.iter().for_each(|part| context.update(part));
    let mut tag = [0; 20];
    tag.copy_from_slice(context.sign().as_ref());
    tag
}
