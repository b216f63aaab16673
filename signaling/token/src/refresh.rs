//! Refreshed tokens: they keep a long session able to reconnect, with what has changed since the join (PROTOCOL §2.9).

use std::collections::BTreeMap;

use crate::claims::Claims;
use crate::grant::Permission;

/// A refreshed token is valid at least this long.
const VALIDITY_SECONDS_MIN: i64 = 600;

/// A participant as it is now.
#[derive(Clone, Copy, Debug)]
pub struct Current<'a> {
    pub name: &'a str,
    pub metadata: &'a str,
    pub attributes: &'a BTreeMap<String, String>,
    pub permission: &'a Permission,
}

/// `claims` of the join with the participant's present state, valid for the remaining time or ten minutes, whichever is
/// longer. The caller signs them.
pub fn refresh(claims: &Claims, current: &Current<'_>, now: i64) -> Claims {
    let soonest = now.saturating_add(VALIDITY_SECONDS_MIN);
    Claims {
        exp: Some(claims.exp.map_or(soonest, |exp| exp.max(soonest))),
        nbf: Some(now),
        name: current.name.to_owned(),
        metadata: current.metadata.to_owned(),
        attributes: current.attributes.clone(),
        video: Some(claims.video.clone().unwrap_or_default().with_permission(current.permission)),
        ..claims.clone()
    }
}
