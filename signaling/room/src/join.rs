//! Joining, in both layouts (PROTOCOL §2.3–2.5).

use std::collections::BTreeMap;

use engine_base::TimeNs;
use signaling_negotiation::{LocalIce, OfferedPc, SubscriberPc};
use signaling_program::RowChange;
use signaling_protocol::proto;
use signaling_sdp::AnswerPolicy;
use signaling_token::Claims;

use crate::effect::Effect;
use crate::input::{ConnectionId, Context, JoinRequest, Layout};
use crate::message::Message as ToParticipant;
use crate::outbox::record;
use crate::participant::{
    self, Bulk, Client, Core, Deadlines, Link, Participant, Peer, Publishing, StoredClaims, permission_info,
};
use crate::response::{self, PING_INTERVAL_S, PING_TIMEOUT_S, leave};
use crate::room::Room;

const JOIN_TIMEOUT_MS: u64 = 60_000;
const REFRESH_INTERVAL_MS: u64 = 300_000;
/// Of a WebSocket that ends as both sides expect (RFC 6455 §7.4.1).
pub(crate) const CLOSE_NORMAL: u16 = 1_000;

impl Room {
    pub(crate) fn handle_join(&mut self, mut request: JoinRequest, context: &mut Context<'_>) {
        if let Some(resume) = request.resume.take() {
            return self.handle_resume(&request, resume, context);
        }
        if self.ended {
            return self.refuse(request.connection, proto::DisconnectReason::RoomClosed);
        }
        let identity = request.claims.identity().to_owned();
        let replaces = self.own(&identity).is_some() || self.replication.by_identity(&identity).is_some();
        if !replaces && !is_dependent(&request.claims) && self.is_full() {
            return self.refuse(request.connection, proto::DisconnectReason::JoinFailure);
        }
        let Some(peer) = self.new_peer(request.layout, context) else {
            return self.refuse(request.connection, proto::DisconnectReason::JoinFailure);
        };
        self.end_former(&request.claims, context);
        let sid = self.admit(&request, peer, context);
        self.welcome(&sid, request, replaces, context);
    }

    fn is_full(&mut self) -> bool {
        let most = self.record.max_participants as usize;
        self.settle_roster();
        most > 0 && self.independent() >= most
    }

    /// Without a session: `leave` is the first and only message.
    pub(crate) fn refuse(&mut self, connection: ConnectionId, reason: proto::DisconnectReason) {
        self.out.send(connection, leave(proto::leave_request::Action::Disconnect, reason));
        self.out.close(connection, CLOSE_NORMAL);
    }

    /// Another session of the identity ends before anybody sees the new one.
    fn end_former(&mut self, claims: &Claims, context: &mut Context<'_>) {
        let reason = proto::DisconnectReason::DuplicateIdentity;
        let replaced = !claims.permission().hidden;
        self.post(claims.identity(), ToParticipant::End { sid: None, reason, replaced }, context);
    }

    /// Rows of a peer; `None` when the tables are full.
    fn new_peer(&mut self, layout: Layout, context: &mut Context<'_>) -> Option<Peer> {
        let uplink = new_ice(context)?;
        let downlink = match layout {
            Layout::Single => None,
            Layout::Dual => {
                let downlink = new_ice(context);
                if downlink.is_none() {
                    self.out.last.push(RowChange::FreeTransport(uplink.transport()));
                    return None;
                }
                downlink
            }
        };
        Some(peer(uplink, downlink, context))
    }

    fn admit(&mut self, request: &JoinRequest, peer: Peer, context: &mut Context<'_>) -> String {
        let claims = &request.claims;
        self.precede_return(claims.identity());
        let sid = context.sid("PA_");
        let attributes = claims.attributes.iter().chain(&request.attributes);
        let attributes: BTreeMap<String, String> = attributes
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let bulk = Bulk {
            metadata: request.metadata.clone().filter(|text| !text.is_empty()).unwrap_or(claims.metadata.clone()),
            attributes,
            claims: StoredClaims(claims.clone()),
        };
        let core = Core {
            sid: sid.clone(),
            identity: claims.identity().to_owned(),
            name: claims.name.clone(),
            client: Client {
                protocol: request.client.protocol,
                client_protocol: request.client.client_protocol,
                sdk: request.client.sdk,
                capabilities: request.client.capabilities.clone(),
                auto_subscribe: request.auto_subscribe,
                adaptive_stream: request.adaptive_stream,
            },
            kind: claims.participant_kind(),
            kind_details: kind_details(&claims.kind_details),
            joined_ms: context.unix_ms,
            state: proto::participant_info::State::Joining as i32,
            version: 0,
            permission: claims.permission(),
            publishing: Publishing::default(),
            data: context.rows.data().unwrap_or_default(),
            deadlines: Deadlines {
                join: Some(context.now.add_ms(JOIN_TIMEOUT_MS)),
                refresh: Some(context.now.add_ms(REFRESH_INTERVAL_MS)),
                ..Deadlines::default()
            },
        };
        let link = Link { connection: Some(request.connection), ..Link::default() };
        self.places.connections.insert(request.connection, sid.clone());
        let (core, bulk, peer) = (Box::new(core), Box::new(bulk), Box::new(peer));
        self.adopt(Participant { core, bulk, peer, subscriptions: BTreeMap::new(), link });
        self.record_all(&sid);
        if !is_dependent(claims) && !std::mem::replace(&mut self.record.ever_joined, true) {
            self.out.room = true;
        }
        self.note_emptiness(context);
        self.schedule_room_update(context.now);
        sid
    }

    /// The first messages, in the reference's order.
    fn welcome(&mut self, sid: &str, request: JoinRequest, replaces: bool, context: &mut Context<'_>) {
        self.settle_roster();
        let join = self.join_response(sid, request.layout, context);
        let parts = self.encode_join(sid, &join);
        self.out.messages.push(Effect::SendEncoded { connection: request.connection, parts });
        self.send_refresh_token(sid, context);
        if let Some(participant) = self.participants.get_mut(sid) {
            participant.core.state = proto::participant_info::State::Joined as i32;
            participant.core.version += 1;
        }
        if replaces {
            self.announce(sid);
        } else {
            self.share(sid);
        }
        self.auto_subscribe_to_all(sid, context);
        self.negotiate(sid, context);
        for add_track in request.add_tracks {
            self.handle_add_track(sid, add_track, context);
        }
        if let Some(offer) = request.publisher_offer {
            self.handle_offer(sid, &offer, context);
        }
        self.out.negotiate(sid);
    }

    /// Without the others.
    fn join_response(&self, sid: &str, layout: Layout, context: &Context<'_>) -> proto::JoinResponse {
        let participant = self.participants.get(sid);
        let server_info = response::server_info(context);
        proto::JoinResponse {
            room: Some(self.room_info()),
            participant: participant.map(Participant::info),
            server_version: server_info.version.clone(),
            server_region: server_info.region.clone(),
            server_info: Some(server_info),
            ice_servers: context.node.ice_servers.clone(),
            subscriber_primary: layout == Layout::Dual,
            ping_timeout: PING_TIMEOUT_S,
            ping_interval: PING_INTERVAL_S,
            sif_trailer: self.record.sif_trailer.clone(),
            enabled_publish_codecs: response::codecs(context.defaults.enabled_codecs),
            fast_publish: participant.is_some_and(|participant| participant.core.permission.can_publish),
            ..Default::default()
        }
    }

    pub(crate) fn send_refresh_token(&mut self, sid: &str, context: &Context<'_>) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        participant.core.deadlines.refresh = Some(context.now.add_ms(REFRESH_INTERVAL_MS));
        let current = signaling_token::Current {
            name: &participant.core.name,
            metadata: &participant.bulk.metadata,
            attributes: &participant.bulk.attributes,
            permission: &participant.core.permission,
        };
        let now = (context.unix_ms / 1_000) as i64;
        let claims = Box::new(signaling_token::refresh(&participant.bulk.claims.0, &current, now));
        if let Some(connection) = participant.link.connection {
            self.out.messages.push(Effect::RefreshToken { connection, claims });
        }
    }

    /// The primary connection is up.
    pub(crate) fn activate(&mut self, sid: &str, now: TimeNs) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        if participant.is_active() || !participant.is_connected() {
            return;
        }
        participant.core.state = proto::participant_info::State::Active as i32;
        participant.core.deadlines.join = None;
        self.out.record(sid, record::CORE);
        match participant.core.publishing.is_publisher {
            true => self.announce(sid),
            false => self.announce_soon(sid, now),
        }
        self.schedule_room_update(now);
    }
}

fn new_ice(context: &mut Context<'_>) -> Option<LocalIce> {
    let transport = context.rows.transport()?;
    Some(LocalIce::new(transport, context.node.node_tag, context.ice()))
}

/// `downlink`: of the dual layout.
fn peer(uplink: LocalIce, downlink: Option<LocalIce>, context: &mut Context<'_>) -> Peer {
    let enabled = context.defaults.enabled_codecs;
    let (layout, policy) = match downlink {
        None => (signaling_negotiation::Layout::Single, AnswerPolicy::single_pc(enabled)),
        Some(_) => (signaling_negotiation::Layout::Publisher, AnswerPolicy::dual_publisher(enabled)),
    };
    let offered = OfferedPc::new(layout, policy, uplink, context.random_u64());
    let subscriber = downlink.map(|downlink| {
        let first_id = 1 + context.random_u32() % 256;
        SubscriberPc::new(enabled, downlink, context.random_u64(), first_id)
    });
    Peer { offered, subscriber, trickled: false }
}

fn is_dependent(claims: &Claims) -> bool {
    participant::is_dependent(claims.participant_kind() as i32, &permission_info(&claims.permission()))
}

fn kind_details(names: &[String]) -> Vec<i32> {
    let detail = |name: &String| proto::participant_info::KindDetail::from_str_name(&name.to_ascii_uppercase());
    names.iter().filter_map(detail).map(|detail| detail as i32).collect()
}
