//! SRTP keys of a transport, taken from its key row, and the replay windows of SRTCP senders.

use engine_base::Ssrc;
use engine_srtp::{MasterKey, Profile, ReceiveContext, Replay, RtcpWindow, SendContext};
use engine_table::KeyRow;
use smallvec::SmallVec;

/// SRTCP senders remembered per transport. A client has one per published stream; the first of them makes room.
const RTCP_SENDERS_MAX: usize = 64;

/// Both directions under one key row.
pub struct Keys {
    /// Publication word of the row they came from.
    pub version: u64,
    pub send: SendContext,
    pub receive: ReceiveContext,
}

impl Keys {
    /// `Ok(None)` when the row holds no keys; `Err` for a row that cannot be right (`Drop::RowBad`).
    /// **Cost**: allocates; twelve key derivations.
    pub fn take(version: u64, row: &KeyRow) -> Result<Option<Self>, ()> {
        if row.profile == 0 {
            return Ok(None);
        }
        let profile = Profile::from_u16(row.profile).ok_or(())?;
        let master = |key: &[u8; 32], salt: &[u8; 16]| {
            MasterKey::new(profile, &key[..profile.key_len()], &salt[..profile.salt_len()]).map_err(|_| ())
        };
        let send = SendContext::new(&master(&row.send_key, &row.send_salt)?).map_err(|_| ())?;
        let receive = ReceiveContext::new(&master(&row.receive_key, &row.receive_salt)?).map_err(|_| ())?;
        Ok(Some(Self { version, send, receive }))
    }

    pub fn profile(&self) -> Profile {
        self.send.profile()
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("profile", &self.profile()).finish_non_exhaustive()
    }
}

/// SRTCP indices count per sender SSRC (RFC 3711 §3.2.3), so each has its own window.
#[derive(Debug, Default)]
pub struct RtcpWindows {
    /// In the order in which they were first heard.
    windows: SmallVec<[(Ssrc, RtcpWindow); 8]>,
}

impl RtcpWindows {
    /// True if the index was not seen. Ask before the packet is opened, and accept it after.
    pub fn is_fresh(&self, sender: Ssrc, index: u32) -> bool {
        let window = self.windows.iter().find(|(ssrc, _)| *ssrc == sender);
        window.is_none_or(|(_, window)| window.check(index) == Replay::Fresh)
    }

    /// Marks an authenticated index as seen.
    pub fn accept(&mut self, sender: Ssrc, index: u32) {
        let position = match self.windows.iter().position(|(ssrc, _)| *ssrc == sender) {
            Some(position) => position,
            None => {
                if self.windows.len() >= RTCP_SENDERS_MAX {
                    self.windows.remove(0);
                }
                self.windows.push((sender, RtcpWindow::default()));
                self.windows.len() - 1
            }
        };
        self.windows[position].1.accept(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sender_has_its_own_window() {
        let mut windows = RtcpWindows::default();
        windows.accept(Ssrc(1), 5);
        assert!(!windows.is_fresh(Ssrc(1), 5));
        assert!(windows.is_fresh(Ssrc(1), 6) && windows.is_fresh(Ssrc(2), 5));
    }

    #[test]
    fn the_oldest_sender_makes_room() {
        let mut windows = RtcpWindows::default();
        for ssrc in 0..=RTCP_SENDERS_MAX as u32 {
            windows.accept(Ssrc(ssrc), 1);
        }
        assert!(windows.is_fresh(Ssrc(0), 1) && !windows.is_fresh(Ssrc(1), 1));
    }

    #[test]
    fn a_row_with_an_unknown_profile_is_bad_and_one_without_is_empty() {
        let mut row = KeyRow {
            generation: 1,
            profile: 2,
            reserved: 0,
            send_key: [1; 32],
            receive_key: [2; 32],
            send_salt: [3; 16],
            receive_salt: [4; 16],
        };
        assert!(Keys::take(1, &row).is_err());
        row.profile = 0;
        assert!(matches!(Keys::take(1, &row), Ok(None)));
        for profile in Profile::ALL {
            row.profile = profile as u16;
            assert_eq!(Keys::take(1, &row).unwrap().unwrap().profile(), profile);
        }
    }
}
