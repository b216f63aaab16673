//! Keys and records of the session journal.

/// The room that a journal key belongs to; `None` for keys of others. Sids hold no `/`, so the last one ends a room's name.
pub fn journal_room(key: &[u8]) -> Option<&str> {
    let key = std::str::from_utf8(key).ok()?;
    if let Some(name) = key.strip_prefix("room/") {
        return Some(name);
    }
    let rest = ["participant/", "state/", "bulk/"].iter().find_map(|prefix| key.strip_prefix(prefix))?;
    rest.rsplit_once('/').map(|(name, _)| name)
}
