//! Tokens as SDKs make them, as attackers make them, and as we make them.

use std::collections::BTreeMap;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use proptest::prelude::*;
use serde_json::{Value, json};
use signaling_token::*;

const NOW: i64 = 1_795_000_000;

fn keys() -> KeyStore {
    KeyStore::new([("devkey".to_owned(), "secret".to_owned())])
}

fn raw(claims: &Value, secret: &str, algorithm: Algorithm) -> String {
    encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

fn read(claims: &Value) -> Result<Claims, TokenError> {
    verify(&raw(claims, "secret", Algorithm::HS256), &keys(), NOW)
}

/// Signed by another implementation (Python's hmac module).
const FOREIGN: &str = concat!(
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.",
    "eyJpc3MiOiJkZXZrZXkiLCJzdWIiOiJhIiwidmlkZW8iOnsicm9vbUpvaW4iOnRydWUsInJvb20iOiJyIn19.",
    "FaptdvZfL-mIdeTrh0hx1wWv4qdgRqJNsa29PS-miIQ"
);

#[test]
fn a_token_of_another_implementation_verifies() {
    assert_eq!(verify(FOREIGN, &keys(), NOW).unwrap().join(), Ok(("r", "a")));
}

#[test]
fn what_the_builder_signs_is_read_back() {
    let token = TokenBuilder::new("ann")
        .join("hall")
        .name("Ann")
        .metadata("{}")
        .attributes(BTreeMap::from([("a".to_owned(), "1".to_owned())]))
        .grant(|video| video.can_publish_data = Some(false))
        .sign("devkey", "secret", NOW);
    let claims = verify(&token, &keys(), NOW).unwrap();
    assert_eq!(claims.join(), Ok(("hall", "ann")));
    assert_eq!((claims.iss.as_str(), claims.exp), ("devkey", Some(NOW + DEFAULT_TTL_SECONDS)));
    assert!(claims.permission().can_publish && !claims.permission().can_publish_data);
    assert_eq!(claims.attributes["a"], "1");
}

#[test]
fn times_have_a_minute_of_leeway() {
    for (exp, nbf, fine) in [
        (NOW - 30, NOW - 60, true),
        (NOW - 60, NOW - 60, true),
        (NOW - 61, NOW - 99, false),
        (NOW + 60, NOW + 30, true),
        (NOW + 99, NOW + 61, false),
    ] {
        assert_eq!(read(&json!({"iss": "devkey", "exp": exp, "nbf": nbf})).is_ok(), fine, "{exp} {nbf}");
    }
    assert!(matches!(read(&json!({"iss": "devkey", "exp": NOW - 120})), Err(TokenError::Expired { .. })));
    assert!(matches!(read(&json!({"iss": "devkey", "nbf": NOW + 120})), Err(TokenError::NotYetValid { .. })));
    assert!(read(&json!({"iss": "devkey"})).is_ok(), "without exp");
    assert!(read(&json!({"iss": "devkey", "exp": NOW as f64 + 0.5})).is_ok(), "with a fraction");
}

#[test]
fn only_hs256_with_the_right_secret_is_taken() {
    let claims = json!({"iss": "devkey", "sub": "a", "exp": NOW + 60});
    assert!(matches!(
        verify(&raw(&claims, "other", Algorithm::HS256), &keys(), NOW),
        Err(TokenError::BadSignature { .. })
    ));
    assert_eq!(verify(&raw(&claims, "secret", Algorithm::HS512), &keys(), NOW), Err(TokenError::Unreadable));
    let signed = raw(&claims, "secret", Algorithm::HS256);
    let payload = signed.split('.').nth(1).unwrap();
    let none = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{payload}.");
    assert_eq!(verify(&none, &keys(), NOW), Err(TokenError::Unreadable));
    let unsigned = format!("{}.{payload}.", signed.split('.').next().unwrap());
    assert!(matches!(verify(&unsigned, &keys(), NOW), Err(TokenError::BadSignature { .. })));
}

#[test]
fn refusals_have_the_texts_that_clients_know() {
    let stranger = raw(&json!({"iss": "nobody"}), "secret", Algorithm::HS256);
    for (token, status, text) in [
        ("", 401, "no permissions to access the room"),
        ("a.b.c", 401, "invalid authorization token"),
        ("garbage", 401, "invalid authorization token"),
        (stranger.as_str(), 401, "invalid API key: nobody"),
    ] {
        let error = verify(token, &keys(), NOW).unwrap_err();
        assert_eq!((error.status(), error.to_string().as_str()), (status, text));
    }
    let expired = raw(&json!({"iss": "devkey", "exp": 1}), "secret", Algorithm::HS256);
    let text = verify(&expired, &keys(), NOW).unwrap_err().to_string();
    assert!(text.starts_with(&format!("invalid token: {expired}, error: ")));
    assert_eq!(bearer("Basic x").unwrap_err().to_string(), "invalid authorization header. Must start with Bearer ");
    assert_eq!(bearer("Bearer x.y.z"), Ok("x.y.z"));
}

#[test]
fn joining_needs_grant_identity_and_room_in_that_order() {
    let join = |claims: Value| {
        let claims = read(&claims).unwrap();
        claims.join().map(|_| ()).map_err(|error| (error.status(), error.to_string()))
    };
    let refused = |status, text: &str| Err((status, text.to_owned()));
    let base = || json!({"iss": "devkey", "sub": "a", "video": {"roomJoin": true, "room": "r"}});
    assert_eq!(join(base()), Ok(()));
    assert_eq!(join(json!({"iss": "devkey", "sub": "a"})), refused(401, "no permissions to access the room"));
    assert_eq!(join(json!({"iss": "devkey", "video": {"room": "r"}})), refused(401, "permissions denied"));
    assert_eq!(join(json!({"iss": "devkey", "video": {"roomJoin": true}})), refused(400, "identity cannot be empty"));
    assert_eq!(join(json!({"iss": "devkey", "sub": "a", "video": {"roomJoin": true}})), refused(400, "no room name"));
}

#[test]
fn jti_is_the_identity_of_old_tokens() {
    let claims = read(&json!({"iss": "devkey", "jti": "old", "sub": ""})).unwrap();
    assert_eq!(claims.identity(), "old");
}

#[test]
fn administration_is_of_the_named_room_only() {
    let claims = read(&json!({"iss": "devkey", "video": {"roomAdmin": true, "room": "r", "roomList": true}})).unwrap();
    assert!(claims.can_admin("r") && !claims.can_admin("other") && !claims.can_admin(""));
    assert!(claims.can_list() && !claims.can_create() && !claims.can_join("r"));
    assert!(!read(&json!({"iss": "devkey", "video": {"roomAdmin": true}})).unwrap().can_admin("r"));
}

#[test]
fn nulls_are_absent_and_unknown_claims_are_kept() {
    let claims = read(&json!({
        "iss": "devkey", "sub": "a", "metadata": null, "attributes": null, "roomConfig": {"name": "x", "agents": null},
        "video": {"roomJoin": true, "room": "r", "canPublish": null, "canPublishSources": null},
        "sip": {"admin": true}, "kind": "agent", "novelty": 1
    }))
    .unwrap();
    assert!(claims.permission().can_publish && claims.can_sip("admin") && !claims.can_sip("call"));
    assert_eq!(claims.participant_kind(), ParticipantKind::Agent);
    assert_eq!(claims.room_config, Some(json!({"name": "x"})));
    assert_eq!(claims.other["novelty"], 1);
}

#[test]
fn claims_of_another_shape_are_unreadable() {
    for claims in [json!({"iss": "devkey", "video": 1}), json!({"iss": "devkey", "exp": "soon"})] {
        assert_eq!(read(&claims), Err(TokenError::Unreadable));
    }
}

#[test]
fn a_refreshed_token_has_the_present_state_and_enough_time() {
    let claims = TokenBuilder::new("a").join("r").name("old").ttl_seconds(60).claims(NOW);
    let attributes = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
    let permission = Permission { can_publish: false, ..claims.permission() };
    let current = Current { name: "new", metadata: "m", attributes: &attributes, permission: &permission };
    let refreshed = refresh(&claims, &current, NOW + 30);
    let read = verify(&sign(&refreshed, "devkey", "secret"), &keys(), NOW + 30).unwrap();
    assert_eq!((read.name.as_str(), read.metadata.as_str(), &read.attributes), ("new", "m", &attributes));
    assert_eq!(read.permission(), permission);
    assert_eq!((read.join(), read.exp), (Ok(("r", "a")), Some(NOW + 630)));
    let long = TokenBuilder::new("a").join("r").claims(NOW);
    assert_eq!(refresh(&long, &current, NOW).exp, long.exp);
}

#[test]
fn secrets_are_not_printed() {
    assert!(!format!("{:?}", keys()).contains("secret"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_text_is_never_a_token(text in "\\PC{1,200}") {
        prop_assert!(verify(&text, &keys(), NOW).is_err());
    }

    #[test]
    fn a_changed_token_is_never_taken(at in 0usize..1_000, with in "[A-Za-z0-9_.-]") {
        let token = TokenBuilder::new("ann").join("hall").sign("devkey", "secret", NOW);
        let mut changed = token.clone();
        let at = at % token.len();
        changed.replace_range(at..=at, &with);
        prop_assert!(changed == token || verify(&changed, &keys(), NOW).is_err());
    }
}
