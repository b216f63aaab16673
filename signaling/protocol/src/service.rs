//! Which Twirp methods exist, and the messages they take and give.

use crate::json::pool;

/// A method of the public API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method {
    /// Full message names, e.g. `livekit.CreateRoomRequest`.
    pub input: String,
    pub output: String,
}

/// **Input**: e.g. `livekit.RoomService`, `CreateRoom`.
pub fn method(service: &str, method: &str) -> Option<Method> {
    let service = pool().get_service_by_name(service)?;
    let found = service.methods().find(|candidate| candidate.name() == method)?;
    Some(Method { input: found.input().full_name().to_owned(), output: found.output().full_name().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_found_by_their_twirp_names() {
        let found = method("livekit.RoomService", "CreateRoom").unwrap();
        assert_eq!((found.input.as_str(), found.output.as_str()), ("livekit.CreateRoomRequest", "livekit.Room"));
        assert!(method("livekit.RoomService", "Nothing").is_none());
        for (service, name) in [
            ("livekit.Egress", "StartRoomCompositeEgress"),
            ("livekit.Ingress", "CreateIngress"),
            ("livekit.SIP", "CreateSIPParticipant"),
            ("livekit.AgentDispatchService", "CreateDispatch"),
        ] {
            assert!(method(service, name).is_some(), "{service}/{name}");
        }
    }
}
