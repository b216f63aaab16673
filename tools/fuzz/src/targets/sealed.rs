//! Protected packets: what is looked at before and after a tag is checked.

use engine_srtp::{MasterKey, Profile, ReceiveContext, SendContext};

use super::{Outcome, Target};

pub fn targets() -> Vec<Target> {
    vec![Target { name: "srtp", what: "SRTP and SRTCP of the three profiles; byte 0 chooses", seeds, run: open }]
}

fn master(profile: Profile) -> Option<MasterKey> {
    MasterKey::new(profile, &[7; 32][..profile.key_len()], &[9; 14][..profile.salt_len()]).ok()
}

/// RTP and RTCP, sealed, behind the byte that names profile and kind.
fn seeds() -> Vec<Vec<u8>> {
    let plain: [&[u8]; 2] = [
        &[0x90, 96, 0, 1, 0, 0, 0, 9, 0, 0, 0, 7, 0xbe, 0xde, 0, 1, 0x10, 0x30, 0, 0, 1, 2, 3, 4, 5],
        &[0x81, 0xc9, 0, 7, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ];
    let mut seeds = Vec::new();
    for (number, profile) in (0u8..).zip(Profile::ALL) {
        let Some(send) = master(profile).and_then(|master| SendContext::new(&master).ok()) else { continue };
        for (kind, plain) in (0u8..).zip(plain) {
            let mut buffer = [0; 128];
            buffer[1..=plain.len()].copy_from_slice(plain);
            buffer[0] = number << 1 | kind;
            let rest = &mut buffer[1..];
            let sealed = match kind {
                0 => send.protect_rtp(rest, plain.len(), 1),
                _ => send.protect_rtcp(rest, plain.len(), 1),
            };
            seeds.extend(sealed.map(|length| buffer[..=length].to_vec()));
        }
    }
    seeds
}

fn open(bytes: &[u8]) -> u64 {
    let mut outcome = Outcome::new();
    let Some((&choice, packet)) = bytes.split_first() else { return 0 };
    let profile = Profile::ALL[usize::from(choice >> 1) % Profile::ALL.len()];
    let Some(receive) = master(profile).and_then(|master| ReceiveContext::new(&master).ok()) else { return 1 };
    let mut packet = packet.to_vec();
    outcome.add(choice & 1);
    outcome.add(u64::from(receive.rtcp_index(&packet).is_some()));
    let opened = match choice & 1 {
        0 => receive.unprotect_rtp(&mut packet, 1),
        _ => receive.unprotect_rtcp(&mut packet).map(|(length, _)| length),
    };
    match opened {
        Ok(length) => outcome.count(length),
        Err(error) => outcome.named(&error),
    }
    outcome.0
}
