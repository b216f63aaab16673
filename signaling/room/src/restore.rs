//! What a room does once, after it was read from the journal.

use crate::outbox::record;
use crate::rendition::Which;
use crate::room::Room;

impl Room {
    /// A kill between two effects of one step may leave a record without its counterpart, as each key is written by itself:
    /// a subscription whose section the connection does not know, a track of a publisher that is gone. What cannot go on ends
    /// here, so that rows and descriptions agree again. Nothing new begins, as rows of other rooms are not claimed yet: a
    /// resume makes up for it.
    pub(crate) fn forget_orphans(&mut self) {
        let all: Vec<String> = self.participants.keys().cloned().collect();
        for sid in &all {
            self.rebind_tracks(sid);
        }
        for sid in &all {
            self.wait_for_unknown_again(sid);
            self.drop_lost_sections(sid);
        }
        for track in self.places.tracks.keys().cloned().collect::<Vec<_>>() {
            self.note_demand(&track);
        }
    }

    fn wait_for_unknown_again(&mut self, sid: &str) {
        let Some(participant) = self.participants.get(sid) else { return };
        let wished = participant.subscriptions.iter().filter(|(_, it)| it.wish == Some(true));
        let unknown = wished.filter(|(track, _)| !self.places.tracks.contains_key(*track));
        for (track, since) in unknown.map(|(track, it)| (track.clone(), it.since)).collect::<Vec<_>>() {
            self.wait_for_unknown(sid, &track, since);
        }
    }

    /// Subscriptions and sections that do not know of each other, and subscriptions that may not be served any more.
    fn drop_lost_sections(&mut self, sid: &str) {
        let Some(participant) = self.participants.get(sid) else { return };
        let peer = &participant.peer;
        let mid_of = |track: &str| match &peer.subscriber {
            Some(pc) => pc.mid_of(track).map(str::to_owned),
            None => peer.offered.mid_of(track).map(str::to_owned),
        };
        let sending = participant.subscriptions.iter().filter_map(|(track, it)| Some((track, it.sending.as_ref()?)));
        let lost: Vec<String> = sending
            .filter(|(track, sending)| {
                mid_of(track).as_ref() != Some(&sending.mid) || self.wanted_rendition(sid, track) != Some(sending.which)
            })
            .map(|(track, _)| track.clone())
            .collect();
        for track in lost {
            self.stop_sending(sid, &track);
        }
        self.free_unknown_sections(sid);
    }

    /// Sections that carry a track without a subscription.
    fn free_unknown_sections(&mut self, sid: &str) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        let subscriptions = &participant.subscriptions;
        let served = |track: &str| subscriptions.get(track).is_some_and(|it| it.sending.is_some());
        let mids = match &participant.peer.subscriber {
            Some(pc) => pc.mid_to_track_id(),
            None => participant.peer.offered.mid_to_track_id(),
        };
        for (mid, track) in mids.into_iter().filter(|(_, track)| !served(track)) {
            match &mut participant.peer.subscriber {
                Some(pc) => drop(pc.remove(&track)),
                None => drop(participant.peer.offered.free(&mid)),
            }
            self.out.record(sid, record::PEER);
        }
    }

    /// A track whose section the connection does not know waits for it again: the client's next offer brings it.
    fn rebind_tracks(&mut self, sid: &str) {
        let Some(participant) = self.participants.get_mut(sid) else { return };
        let offered = &mut participant.peer.offered;
        let mut lost = Vec::new();
        for track in &mut participant.core.publishing.tracks {
            let requests = Which::BOTH.map(|which| (which, track.publish_request(which)));
            for (which, request) in requests {
                let Some(rendition) = track.rendition_mut(which).filter(|rendition| rendition.is_published()) else {
                    continue;
                };
                if !offered.bind_publish(&rendition.mid, request) {
                    let ingress = rendition.unbind();
                    lost.push((track.sid().to_owned(), which, ingress));
                }
            }
        }
        for (track, which, ingress) in lost {
            self.places.ingresses.remove(&ingress);
            self.out.record(sid, record::CORE);
            for subscriber in self.wishing(&track) {
                if self.takes(&subscriber, &track) == Some(which) {
                    self.stop_sending(&subscriber, &track);
                }
            }
        }
    }
}
