//! `millrace token create`.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use clap::Args;
use signaling_token::TokenBuilder;

#[derive(Debug, Args)]
pub struct CreateToken {
    /// API key that signs the token.
    #[arg(long, env = "LIVEKIT_API_KEY", default_value = "devkey")]
    api_key: String,
    /// Secret of the API key.
    #[arg(long, env = "LIVEKIT_API_SECRET", default_value = "secret", hide_env_values = true)]
    api_secret: String,
    /// Who the participant is.
    #[arg(long, default_value = "")]
    identity: String,
    /// Name that others see.
    #[arg(long)]
    name: Option<String>,
    /// Permits joining this room.
    #[arg(long)]
    room: Option<String>,
    /// Permits administration of the room named by --room.
    #[arg(long)]
    admin: bool,
    /// Permits creating and deleting rooms.
    #[arg(long)]
    create: bool,
    /// Permits listing rooms.
    #[arg(long)]
    list: bool,
    /// The participant may not publish.
    #[arg(long)]
    no_publish: bool,
    /// The participant may not subscribe.
    #[arg(long)]
    no_subscribe: bool,
    /// Others do not see the participant.
    #[arg(long)]
    hidden: bool,
    /// The participant may change its own metadata, name and attributes.
    #[arg(long)]
    update_own_metadata: bool,
    #[arg(long)]
    metadata: Option<String>,
    /// KEY=VALUE; may be repeated.
    #[arg(long = "attribute")]
    attributes: Vec<String>,
    /// How long the token is valid, e.g. 30s, 10m, 6h, 7d.
    #[arg(long, default_value = "6h")]
    valid_for: String,
}

pub fn create(arguments: &CreateToken) -> Result<String> {
    if arguments.room.is_none() && !arguments.create && !arguments.list {
        bail!("the token would permit nothing: name a room with --room, or add --create or --list");
    }
    if arguments.room.is_some() && !arguments.admin && arguments.identity.is_empty() {
        bail!("whoever joins a room needs a name: add --identity");
    }
    let mut builder = TokenBuilder::new(&arguments.identity);
    if let Some(room) = &arguments.room {
        builder = if arguments.admin && arguments.identity.is_empty() { builder } else { builder.join(room) };
        builder = if arguments.admin { builder.admin(room) } else { builder };
    }
    builder = builder.grant(|grant| {
        grant.room_create |= arguments.create;
        grant.room_list |= arguments.list;
        grant.hidden |= arguments.hidden;
        grant.can_publish = arguments.no_publish.then_some(false).or(grant.can_publish);
        grant.can_subscribe = arguments.no_subscribe.then_some(false).or(grant.can_subscribe);
        grant.can_update_own_metadata = arguments.update_own_metadata.then_some(true).or(grant.can_update_own_metadata);
    });
    if let Some(name) = &arguments.name {
        builder = builder.name(name);
    }
    if let Some(metadata) = &arguments.metadata {
        builder = builder.metadata(metadata);
    }
    let builder = builder.attributes(attributes(&arguments.attributes)?).ttl_seconds(seconds(&arguments.valid_for)?);
    Ok(builder.sign(&arguments.api_key, &arguments.api_secret, unix_seconds()))
}

pub fn unix_seconds() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed())
}

fn attributes(pairs: &[String]) -> Result<BTreeMap<String, String>> {
    let mut attributes = BTreeMap::new();
    for pair in pairs {
        let Some((key, value)) = pair.split_once('=') else { bail!("an attribute is KEY=VALUE, not {pair:?}") };
        attributes.insert(key.to_owned(), value.to_owned());
    }
    Ok(attributes)
}

pub fn seconds(text: &str) -> Result<i64> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3_600),
        Some((at, 'd')) => (&text[..at], 86_400),
        _ => (text, 1),
    };
    match number.parse::<i64>().ok().and_then(|number| number.checked_mul(unit)) {
        Some(seconds) if seconds > 0 => Ok(seconds),
        _ => bail!("{text:?} is no length of time: write e.g. 30s, 10m, 6h, 7d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_have_units() {
        assert_eq!(seconds("90").unwrap(), 90);
        assert_eq!(seconds("6h").unwrap(), 21_600);
        assert!(seconds("-1s").is_err() && seconds("h").is_err() && seconds("99999999999999999999d").is_err());
    }
}
