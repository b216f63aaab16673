//! A client that keeps what real ones keep, sees only what reaches it, and insists on what they insist on.

use std::collections::BTreeMap;

use signaling_protocol::proto::{self, leave_request::Action, signal_request, signal_response::Message};
use signaling_room::*;
use signaling_sdp::SessionDescription;

use crate::sdp::{self, Part};
use crate::stage::*;

pub struct Person {
    pub client: Client,
    pub online: bool,
    /// By identity. An end is an end of the identity, as in livekit-client.
    pub known: BTreeMap<String, proto::ParticipantInfo>,
    /// What our last description that it applied said: SSRC, participant and track by mid.
    pub remote: BTreeMap<String, (u32, String, String)>,
    /// Our ufrags in the last description that it applied: of the connection on which it offers, and of the other one.
    pub ufrags: [String; 2],
    /// Own tracks by section.
    pub published: BTreeMap<usize, String>,
    /// Its SDK: the Rust one numbers no offers, goes on receiving where it has sent, and restarts ICE with every resume.
    pub rust: bool,
    /// Said to be gone for good, or to join anew.
    pub over: Option<Action>,
    awaits_answer: bool,
    wants_offer: bool,
}

impl Person {
    pub fn join(
        stage: &mut Stage,
        identity: &str,
        (layout, rust): (Layout, bool),
        change: impl FnOnce(&mut JoinRequest),
    ) -> Self {
        let mut client = stage.enter(identity, layout, |request| {
            change(request);
            if rust {
                request.client.sdk = proto::client_info::Sdk::Python as i32;
                request.publisher_offer.iter_mut().for_each(|offer| offer.id = 0);
            }
        });
        client.numbers = !rust;
        for transport in stage.transports_of(&client.sid) {
            stage.connect(transport);
        }
        Self {
            awaits_answer: layout == Layout::Single,
            client,
            online: true,
            known: BTreeMap::new(),
            remote: BTreeMap::new(),
            ufrags: Default::default(),
            published: BTreeMap::new(),
            rust,
            over: None,
            wants_offer: false,
        }
    }

    /// The socket breaks after so many of the waiting messages.
    pub fn cut(&mut self, stage: &mut Stage, after: usize) {
        let mut messages = stage.take(&self.client);
        messages.truncate(after);
        for message in messages {
            self.hear(stage, message);
        }
        if self.online {
            stage.input(Input::SocketLost { connection: self.client.connection });
            self.lose();
        }
    }

    /// What was under way is lost, too.
    pub fn lose(&mut self) {
        self.online = false;
    }

    pub fn resume(&mut self, stage: &mut Stage) {
        stage.resume(&mut self.client, |_| {});
        self.online = true;
        for transport in stage.transports_of(&self.client.sid) {
            stage.connect(transport);
        }
        self.wants_offer |= std::mem::take(&mut self.awaits_answer);
        if self.rust && (self.client.layout == Layout::Single || self.client.parts.len() > 1) {
            self.client.ufrag.push('r');
            self.wants_offer = true;
        }
    }

    pub fn publish(&mut self, stage: &mut Stage, request: proto::AddTrackRequest) {
        let part = if request.r#type == 1 { Part::video(&request.cid) } else { Part::audio(&request.cid) };
        stage.signal(&self.client, signal_request::Message::AddTrack(request));
        self.client.parts.push(part);
        self.offer(stage);
    }

    pub fn unpublish(&mut self, stage: &mut Stage, track: &str) {
        let Some(place) = self.published.iter().find(|(_, sid)| *sid == track).map(|(place, _)| *place) else { return };
        self.published.remove(&place);
        if let Part::Send { kind, .. } = self.client.parts[place] {
            self.client.parts[place] = if self.rust { Part::Receive(kind) } else { Part::Inactive(kind) };
            self.offer(stage);
        }
    }

    fn offer(&mut self, stage: &mut Stage) {
        if self.awaits_answer || !self.online {
            self.wants_offer = true;
            return;
        }
        (self.awaits_answer, self.wants_offer) = (true, false);
        stage.offer(&mut self.client);
    }

    /// Everything that has reached it. True when there was something.
    pub fn listen(&mut self, stage: &mut Stage) -> bool {
        if !self.online {
            return false;
        }
        if self.wants_offer {
            self.offer(stage);
        }
        let messages = stage.take(&self.client);
        let some = !messages.is_empty();
        for message in messages {
            self.hear(stage, message);
        }
        some
    }

    fn hear(&mut self, stage: &mut Stage, message: Message) {
        match message {
            Message::Join(join) => join.other_participants.into_iter().for_each(|info| self.see(info)),
            Message::Update(update) => update.participants.into_iter().for_each(|info| self.see(info)),
            Message::Answer(answer) => self.take_answer(stage, &answer),
            Message::Offer(offer) => {
                assert_eq!(self.client.layout, Layout::Dual, "the single layout knows no offers of ours");
                self.ufrags[1] = ufrag(&offer.sdp);
                self.apply(&offer);
                let sdp = sdp::answer(&offer.sdp, &format!("{}s", self.client.ufrag));
                let answer = proto::SessionDescription { sdp, id: offer.id, ..Default::default() };
                stage.signal(&self.client, signal_request::Message::Answer(answer));
            }
            Message::MediaSectionsRequirement(need) => {
                self.client.parts.extend(vec![Part::Receive("audio"); need.num_audios as usize]);
                self.client.parts.extend(vec![Part::Receive("video"); need.num_videos as usize]);
                self.offer(stage);
            }
            Message::TrackPublished(published) => {
                let place = self.client.parts.iter().position(|part| match part {
                    Part::Send { cid, .. } => *cid == published.cid,
                    _ => false,
                });
                let sid = published.track.unwrap_or_default().sid;
                self.published.extend(place.map(|place| (place, sid)));
            }
            Message::Reconnect(_) => {
                let known = |sid: &String| proto::TrackPublishedResponse {
                    cid: String::new(),
                    track: Some(proto::TrackInfo { sid: sid.clone(), ..Default::default() }),
                };
                let publish_tracks = self.published.values().map(known).collect();
                let state = proto::SyncState { publish_tracks, ..Default::default() };
                stage.signal(&self.client, signal_request::Message::SyncState(state));
            }
            Message::TrackUnpublished(ended) => self.unpublish(stage, &ended.track_sid),
            Message::Leave(leave) => {
                self.online = false;
                let action = Action::try_from(leave.action).unwrap();
                self.over = (action != Action::Resume).then_some(action);
            }
            _ => {}
        }
    }

    fn see(&mut self, info: proto::ParticipantInfo) {
        if let Some(known) = self.known.get(&info.identity).filter(|known| known.sid == info.sid) {
            assert!(known.version <= info.version, "the version of {} goes back", info.identity);
        }
        match info.state {
            3 => drop(self.known.remove(&info.identity)),
            _ => drop(self.known.insert(info.identity.clone(), info)),
        }
    }

    fn take_answer(&mut self, stage: &mut Stage, answer: &proto::SessionDescription) {
        if self.client.numbers && answer.id != self.client.offer_id {
            return;
        }
        assert!(self.awaits_answer, "an offer is answered once");
        self.awaits_answer = false;
        self.ufrags[0] = ufrag(&answer.sdp);
        if self.client.layout == Layout::Single {
            self.apply(answer);
        }
        if self.wants_offer {
            self.offer(stage);
        }
    }

    fn apply(&mut self, description: &proto::SessionDescription) {
        let parsed = SessionDescription::parse(&description.sdp).unwrap();
        let streams = parsed.sections.iter().filter_map(|section| {
            let msid = section.streams.msid.as_ref()?;
            let (participant, _) = msid.stream.split_once('|').unwrap();
            let ssrc = section.streams.ssrcs.first().unwrap().ssrc;
            Some((section.mid.clone(), (ssrc, participant.to_owned(), msid.track.clone())))
        });
        let remote: BTreeMap<_, _> = streams.collect();
        let map: BTreeMap<_, _> = remote.iter().map(|(mid, (.., track))| (mid.clone(), track.clone())).collect();
        assert_eq!(map, description.mid_to_track_id.clone().into_iter().collect(), "the map is complete");
        for (mid, (_, participant, track)) in &remote {
            let before = self.remote.get(mid);
            let same = before.is_none_or(|(.., before)| before == track);
            assert!(same, "section {mid} goes from {before:?} to {track} without a pause");
            let publisher = self.known.values().find(|info| info.sid == *participant);
            let publisher = publisher.unwrap_or_else(|| panic!("{track} of an unknown participant"));
            assert!(publisher.tracks.iter().any(|info| info.sid == *track), "{track} was not announced");
        }
        self.remote = remote;
    }
}

fn ufrag(sdp: &str) -> String {
    SessionDescription::parse(sdp).unwrap().ice().unwrap().ufrag.clone()
}
