//! Any conversation, with sockets and processes that die anywhere in it, ends in the state that everybody's wishes describe.

use std::collections::{BTreeMap, BTreeSet};

use engine_table::{egress_flags, transport_flags, transport_state};
use proptest::prelude::*;
use signaling_protocol::proto::{self, leave_request::Action, signal_request};
use signaling_room::*;
use signaling_token::VideoGrant;

use crate::person::Person;
use crate::stage::*;

const PEOPLE: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Join {
        who: usize,
        dual: bool,
        rust: bool,
        auto: bool,
        hidden: bool,
    },
    Publish {
        who: usize,
        video: bool,
    },
    Unpublish {
        who: usize,
    },
    Mute {
        who: usize,
        muted: bool,
    },
    Subscribe {
        who: usize,
        of: usize,
        on: bool,
    },
    Permit {
        who: usize,
        publish: bool,
        subscribe: bool,
        hidden: bool,
    },
    Allow {
        who: usize,
        everybody: bool,
    },
    Leave {
        who: usize,
    },
    Cut {
        who: usize,
        after: usize,
    },
    Resume {
        who: usize,
    },
    Listen {
        who: usize,
    },
    /// Its media path fails, whether it has a socket or not.
    Fail {
        who: usize,
    },
    Restart,
    /// The process dies in the middle of a step.
    Crash {
        writes: usize,
        step: Box<Step>,
    },
    Wait {
        ms: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => simple(),
        1 => (0_usize..9, simple()).prop_map(|(writes, step)| Step::Crash { writes, step: Box::new(step) }),
    ]
}

fn simple() -> impl Strategy<Value = Step> {
    let who = || 0..PEOPLE;
    let on = any::<bool>;
    let seldom = || prop::bool::weighted(0.2);
    let mostly = || prop::bool::weighted(0.8);
    prop_oneof![
        3 => (who(), on(), on(), mostly(), seldom())
            .prop_map(|(who, dual, rust, auto, hidden)| Step::Join { who, dual, rust, auto, hidden }),
        4 => (who(), on()).prop_map(|(who, video)| Step::Publish { who, video }),
        2 => who().prop_map(|who| Step::Unpublish { who }),
        1 => (who(), on()).prop_map(|(who, muted)| Step::Mute { who, muted }),
        3 => (who(), who(), on()).prop_map(|(who, of, on)| Step::Subscribe { who, of, on }),
        2 => (who(), mostly(), mostly(), seldom())
            .prop_map(|(who, publish, subscribe, hidden)| Step::Permit { who, publish, subscribe, hidden }),
        1 => (who(), on()).prop_map(|(who, everybody)| Step::Allow { who, everybody }),
        1 => who().prop_map(|who| Step::Leave { who }),
        3 => (who(), 0_usize..6).prop_map(|(who, after)| Step::Cut { who, after }),
        3 => who().prop_map(|who| Step::Resume { who }),
        6 => who().prop_map(|who| Step::Listen { who }),
        1 => who().prop_map(|who| Step::Fail { who }),
        1 => Just(Step::Restart),
        2 => prop_oneof![4 => 0_u64..400, 1 => 400_u64..20_000].prop_map(|ms| Step::Wait { ms }),
    ]
}

#[derive(Default)]
struct Crowd {
    people: BTreeMap<usize, Person>,
    /// Of each person, by track.
    wishes: BTreeMap<usize, BTreeMap<String, bool>>,
    auto: BTreeMap<usize, bool>,
    denying: BTreeSet<usize>,
    cids: usize,
}

fn identity(who: usize) -> String {
    format!("p{who}")
}

fn tracks(stage: &Stage, who: usize) -> Vec<String> {
    let info = stage.participant(&identity(who)).unwrap_or_default();
    info.tracks.into_iter().map(|track| track.sid).collect()
}

impl Crowd {
    fn join(&mut self, stage: &mut Stage, who: usize, kind: (Layout, bool), auto: bool, hidden: bool) {
        let grant = VideoGrant { hidden, ..grant() };
        let person = Person::join(stage, &identity(who), kind, |request| {
            request.claims = claims(&identity(who), grant);
            request.auto_subscribe = auto;
        });
        self.people.insert(who, person);
        self.wishes.insert(who, BTreeMap::new());
        self.auto.insert(who, auto);
        self.denying.remove(&who);
    }

    fn run(&mut self, stage: &mut Stage, step: &Step) {
        match *step {
            Step::Join { who, dual, rust, auto, hidden } => {
                let layout = if dual { Layout::Dual } else { Layout::Single };
                self.join(stage, who, (layout, rust), auto, hidden);
            }
            Step::Fail { who } => {
                let sid = self.people.get(&who).map(|person| person.client.sid.clone()).unwrap_or_default();
                if let Some(transport) = stage.transports_of(&sid).pop() {
                    stage.observe(transport, transport_state::FAILED);
                }
            }
            Step::Restart => self.restart(stage),
            Step::Crash { writes, ref step } => {
                // The same where the process dies with it.
                if !matches!(
                    **step,
                    Step::Subscribe { .. } | Step::Allow { .. } | Step::Permit { .. } | Step::Wait { .. }
                ) {
                    stage.crash = Some(writes);
                    self.run(stage, step);
                }
                (stage.crash, stage.crashed) = (None, false);
                self.restart(stage);
            }
            Step::Wait { ms } => stage.advance(ms),
            Step::Permit { who, publish, subscribe, hidden } => {
                let permission = proto::ParticipantPermission {
                    can_publish: publish,
                    can_subscribe: subscribe,
                    hidden,
                    ..Default::default()
                };
                let identity = identity(who);
                let _ = stage.api(ApiCall::UpdateParticipant(proto::UpdateParticipantRequest {
                    identity,
                    permission: Some(permission),
                    ..Default::default()
                }));
            }
            Step::Cut { who, after } => {
                if let Some(person) = self.people.get_mut(&who).filter(|person| person.online) {
                    person.cut(stage, after);
                }
            }
            Step::Resume { who } => {
                if let Some(person) = self.people.get_mut(&who).filter(|it| !it.online && it.over.is_none()) {
                    person.resume(stage);
                }
            }
            _ => self.speak(stage, step),
        }
        self.renew(stage);
    }

    fn restart(&mut self, stage: &mut Stage) {
        self.people.values_mut().for_each(Person::lose);
        stage.world.sent.clear();
        stage.restore();
    }

    /// What needs a socket.
    fn speak(&mut self, stage: &mut Stage, step: &Step) {
        let (Step::Publish { who, .. }
        | Step::Unpublish { who }
        | Step::Mute { who, .. }
        | Step::Subscribe { who, .. }
        | Step::Allow { who, .. }
        | Step::Leave { who }
        | Step::Listen { who }) = *step
        else {
            return;
        };
        let Some(person) = self.people.get_mut(&who).filter(|person| person.online) else { return };
        // What is wished on a socket that is closed already is said again by the client alone, and only in part.
        let lost = stage.world.closed.contains_key(&person.client.connection);
        if lost && matches!(step, Step::Subscribe { .. } | Step::Allow { .. }) {
            return;
        }
        let own = tracks(stage, who).pop();
        let message = match *step {
            Step::Publish { video, .. } => {
                self.cids += 1;
                let cid = format!("cid{}", self.cids);
                return person.publish(stage, if video { camera(&cid) } else { microphone(&cid) });
            }
            Step::Unpublish { .. } => return own.into_iter().for_each(|track| person.unpublish(stage, &track)),
            Step::Listen { .. } => {
                person.listen(stage);
                return;
            }
            Step::Mute { muted, .. } => {
                let sid = own.unwrap_or_default();
                signal_request::Message::Mute(proto::MuteTrackRequest { sid, muted })
            }
            Step::Subscribe { of, on, .. } => {
                let track_sids: Vec<String> = tracks(stage, of).pop().into_iter().filter(|_| of != who).collect();
                let wishes = self.wishes.entry(who).or_default();
                wishes.extend(track_sids.iter().map(|track| (track.clone(), on)));
                let request = proto::UpdateSubscription { track_sids, subscribe: on, participant_tracks: Vec::new() };
                signal_request::Message::Subscription(request)
            }
            Step::Allow { everybody, .. } => {
                if everybody {
                    self.denying.remove(&who)
                } else {
                    self.denying.insert(who)
                };
                let rule = proto::SubscriptionPermission { all_participants: everybody, ..Default::default() };
                signal_request::Message::SubscriptionPermission(rule)
            }
            _ => signal_request::Message::Leave(proto::LeaveRequest::default()),
        };
        stage.signal(&person.client, message);
    }

    /// Who was told so, or got no answer to its join, joins anew; who was told to go is gone.
    fn renew(&mut self, stage: &mut Stage) {
        if stage.crashed {
            return;
        }
        let over = self.people.iter().filter_map(|(who, person)| {
            let action = if person.client.sid.is_empty() { Action::Reconnect } else { person.over? };
            Some((*who, action, (person.client.layout, person.rust)))
        });
        for (who, action, kind) in over.collect::<Vec<_>>() {
            let auto = self.auto.get(&who).copied().unwrap_or(true);
            self.people.remove(&who);
            if action == Action::Reconnect {
                self.join(stage, who, kind, auto, false);
            }
        }
    }

    /// Everybody is online and has heard everything.
    fn settle(&mut self, stage: &mut Stage) {
        for round in 0..40 {
            let mut news = false;
            for person in self.people.values_mut() {
                if !person.online && person.over.is_none() {
                    person.resume(stage);
                }
                news |= person.listen(stage);
            }
            news |= self.people.values().any(|person| person.over.is_some());
            self.renew(stage);
            stage.advance(250);
            if !news && round > 2 {
                return;
            }
        }
        panic!("the conversation does not come to rest");
    }

    fn check(&self, stage: &Stage) {
        for (who, person) in &self.people {
            self.check_view(stage, person);
            check_ice(stage, person);
            let mut served = BTreeSet::new();
            let transports = stage.transports_of(&person.client.sid);
            for row in stage.world.desired.egresses.values().filter(|row| transports.contains(&row.transport)) {
                let track = row.label.as_str().to_owned();
                assert_ne!(row.flags & egress_flags::ENABLED, 0, "{track} never flows to p{who}");
                let known = person.remote.get(row.mid.as_str());
                let known = known.unwrap_or_else(|| panic!("p{who} does not know section {}", row.mid.as_str()));
                assert_eq!((known.0, known.2.as_str()), (row.ssrc.0, track.as_str()));
                assert!(served.insert(track), "once");
            }
            assert_eq!(person.remote.len(), served.len(), "p{who} expects nothing else");
            assert_eq!(served, self.wanted(stage, *who), "what p{who} wants");
        }
    }

    fn wanted(&self, stage: &Stage, who: usize) -> BTreeSet<String> {
        let subscriber = stage.participant(&identity(who)).unwrap();
        let wishes = &self.wishes[&who];
        let others = self.people.keys().filter(|of| **of != who && !self.denying.contains(of));
        let visible = others.filter_map(|of| stage.participant(&identity(*of)));
        let visible = visible.filter(|info| !info.permission.as_ref().unwrap().hidden);
        let tracks = visible.flat_map(|info| info.tracks).map(|track| track.sid);
        let wanted = tracks.filter(|track| wishes.get(track).copied().unwrap_or(self.auto[&who]));
        wanted.filter(|_| subscriber.permission.as_ref().unwrap().can_subscribe).collect()
    }

    fn check_view(&self, stage: &Stage, person: &Person) {
        let own = &person.client.identity;
        let all = stage.room.participants();
        let seen = |info: &&proto::ParticipantInfo| {
            info.identity == *own || !info.permission.as_ref().is_some_and(|permission| permission.hidden)
        };
        let actual: BTreeMap<_, _> =
            all.iter().filter(seen).map(|info| (info.identity.clone(), info.clone())).collect();
        assert_eq!(person.known, actual, "what {own} knows");
        let published: BTreeSet<&String> = person.published.values().collect();
        let tracks: BTreeSet<&String> = actual[own].tracks.iter().map(|track| &track.sid).collect();
        assert_eq!(published, tracks, "what {own} publishes");
        for (place, track) in &person.published {
            let ingress = stage.ingress_of(track).unwrap_or_else(|| panic!("{track} is taken from nowhere"));
            assert_eq!(stage.world.desired.ingresses[&ingress].mid.as_str(), place.to_string(), "where {own} sends");
        }
    }
}

/// Both sides know each other's newest credentials.
fn check_ice(stage: &Stage, person: &Person) {
    for at in stage.transports_of(&person.client.sid) {
        let row = &stage.world.desired.transports[&at];
        let newest = &row.credentials[usize::from(row.credentials_newest)];
        let ours = usize::from(row.flags & transport_flags::OPEN_CHANNELS != 0);
        let local = &person.ufrags[ours];
        if local.is_empty() {
            assert_eq!(
                (ours, person.client.parts.len()),
                (0, 1),
                "only a publisher connection without tracks stays unused"
            );
            continue;
        }
        let remote = if ours == 1 { format!("{}s", person.client.ufrag) } else { person.client.ufrag.clone() };
        assert_eq!((newest.local_ufrag.as_str(), newest.remote_ufrag.as_str()), (local.as_str(), remote.as_str()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn any_conversation_comes_to_rest_in_what_everybody_wants(steps in prop::collection::vec(step(), 1..48)) {
        let mut stage = Stage::new();
        stage.api(ApiCall::UpdateRoom(RoomSettings::new(60_000, 60_000, 0, ""))).unwrap();
        let mut crowd = Crowd::default();
        for step in &steps {
            crowd.run(&mut stage, step);
        }
        crowd.settle(&mut stage);
        crowd.check(&stage);
    }
}
