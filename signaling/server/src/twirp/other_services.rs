//! Services that need workers: they answer what LiveKit answers without Redis (PROTOCOL §9).

use signaling_protocol::{Message, proto};

use super::Call;
use super::error::TwirpError;

type Answer = Result<Vec<u8>, TwirpError>;

/// No agents are dispatched here: nobody listens for the room.
pub(super) fn agent_dispatch(call: &Call<'_>) -> Answer {
    let room = match call.method {
        "CreateDispatch" => decode::<proto::CreateAgentDispatchRequest>(call)?.room,
        "DeleteDispatch" => decode::<proto::DeleteAgentDispatchRequest>(call)?.room,
        _ => decode::<proto::ListAgentDispatchRequest>(call)?.room,
    };
    if !call.claims.can_admin(&room) {
        return Err(TwirpError::denied());
    }
    Err(TwirpError::no_response())
}

/// **Input**: the full name of the service.
pub(super) fn without_redis(service: &str, call: &Call<'_>) -> Answer {
    let claims = call.claims;
    let (name, allowed) = match service {
        "livekit.Egress" => ("egress", claims.can_record()),
        "livekit.Ingress" => ("ingress", claims.can_ingress()),
        "livekit.SIP" => {
            let right =
                if matches!(call.method, "CreateSIPParticipant" | "TransferSIPParticipant") { "call" } else { "admin" };
            ("sip", claims.can_sip(right))
        }
        "livekit.Connector" => ("connector", claims.can_create()),
        _ => ("service", claims.can_sip("admin")),
    };
    if !allowed {
        return Err(TwirpError::denied());
    }
    Err(TwirpError::new("internal", format!("{name} not connected (redis required)")))
}

fn decode<T: Message + Default>(call: &Call<'_>) -> Result<T, TwirpError> {
    T::decode(call.body).map_err(|_| TwirpError::malformed("the protobuf request could not be decoded"))
}
