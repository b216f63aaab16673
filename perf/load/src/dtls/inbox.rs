//! Handshake messages of the peer, put together from their fragments and given out in order (RFC 6347 §4.2.3).

use std::collections::BTreeMap;

use super::reader::{Reader, u24};

/// The largest message is a certificate chain.
const MESSAGE_BYTES_MAX: usize = 16 << 10;
/// Messages that may come before their turn: a flight of the server has five.
const AHEAD_MAX: u16 = 8;

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub kind: u8,
    pub sequence: u16,
    pub body: Vec<u8>,
}

impl Message {
    /// As it stands in the transcript: in one fragment.
    pub fn to_bytes(&self) -> Vec<u8> {
        let length = u24(self.body.len());
        let mut out = vec![self.kind];
        out.extend(length);
        out.extend(self.sequence.to_be_bytes());
        out.extend([0; 3]);
        out.extend(length);
        out.extend(&self.body);
        out
    }
}

struct Partial {
    kind: u8,
    length: usize,
    /// In order: a fragment that leaves a gap is left to the resend.
    body: Vec<u8>,
}

#[derive(Default)]
pub struct Inbox {
    next: u16,
    partial: BTreeMap<u16, Partial>,
}

impl Inbox {
    /// Fragments of one record.
    pub fn take(&mut self, record: &[u8]) {
        let mut reader = Reader::new(record);
        while !reader.is_empty() && self.take_one(&mut reader).is_some() {}
    }

    fn take_one(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        let (kind, length, sequence) = (reader.u8()?, reader.u24()?, reader.u16()?);
        let (offset, fragment) = (reader.u24()?, reader.vector24()?);
        let is_due = sequence.checked_sub(self.next).is_some_and(|ahead| ahead < AHEAD_MAX);
        if !is_due || length > MESSAGE_BYTES_MAX || offset + fragment.len() > length {
            return Some(());
        }
        let partial = self.partial.entry(sequence).or_insert_with(|| Partial { kind, length, body: Vec::new() });
        if partial.kind == kind && partial.length == length && offset <= partial.body.len() {
            let known = partial.body.len() - offset;
            partial.body.extend(fragment.get(known..).unwrap_or_default());
        }
        Some(())
    }

    /// The next message, when it is whole.
    pub fn pop(&mut self) -> Option<Message> {
        let whole = self.partial.get(&self.next).is_some_and(|partial| partial.body.len() == partial.length);
        let partial = if whole { self.partial.remove(&self.next)? } else { return None };
        let sequence = self.next;
        self.next = self.next.checked_add(1)?;
        Some(Message { kind: partial.kind, sequence, body: partial.body })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fragment(message: &Message, from: usize, to: usize) -> Vec<u8> {
        let mut out = vec![message.kind];
        out.extend(u24(message.body.len()));
        out.extend(message.sequence.to_be_bytes());
        out.extend(u24(from));
        out.extend(u24(to - from));
        out.extend(&message.body[from..to]);
        out
    }

    #[test]
    fn fragments_in_order_overlapping_or_repeated_make_one_message() {
        let message = Message { kind: 11, sequence: 0, body: (0..100).collect() };
        let mut inbox = Inbox::default();
        for (from, to) in [(50, 100), (0, 40), (0, 40), (30, 60), (50, 100)] {
            inbox.take(&fragment(&message, from, to));
        }
        assert_eq!(inbox.pop(), Some(message));
        assert_eq!(inbox.pop(), None);
    }

    #[test]
    fn messages_come_out_in_their_order() {
        let message = |sequence| Message { kind: 1, sequence, body: vec![sequence as u8] };
        let mut inbox = Inbox::default();
        inbox.take(&message(1).to_bytes());
        assert_eq!(inbox.pop(), None);
        inbox.take(&[message(0).to_bytes(), message(2).to_bytes()].concat());
        assert_eq!(std::iter::from_fn(|| inbox.pop()).collect::<Vec<_>>(), [message(0), message(1), message(2)]);
        inbox.take(&message(1).to_bytes());
        assert!(inbox.partial.is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn arbitrary_records_are_bounded(records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..50)) {
            let mut inbox = Inbox::default();
            for record in &records {
                inbox.take(record);
            }
            prop_assert!(inbox.partial.len() <= usize::from(AHEAD_MAX));
        }
    }
}
