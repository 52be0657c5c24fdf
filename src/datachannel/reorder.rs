//! What came too early waits here until what is missing has come.

use std::collections::BTreeMap;

use bytes::Bytes;

/// The most that may wait, in bytes, each message counted with its header. Apart from the queue of ready output, so that a slow
/// reader never keeps the missing message out.
pub const REORDER_LIMIT: usize = 20 * 1024 * 1024;
/// What a waiting message costs besides its payload: header and map entry, bytes.
const OVERHEAD: usize = 200;
/// A smaller payload counts as one of this size, bytes: each takes entries in queues as well, once what is missing has come.
const SMALLEST: usize = 1024;
/// No message is further ahead than this. The agent keeps 100,000 unacknowledged ones.
const MAXIMUM_AHEAD: i64 = 131_072;

/// The receiving half of the stream: numbers in any order in, payloads in order out.
#[derive(Debug, Default)]
pub(super) struct ReorderBuffer {
    /// The next number to deliver.
    expected: i64,
    /// What came early, by number; all above `expected`.
    waiting: BTreeMap<i64, (u32, Bytes)>,
    /// What `waiting` costs.
    bytes: usize,
}

/// What became of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Accepted {
    /// It is the next one: deliver it, and then what [`ReorderBuffer::next`] gives. Acknowledge.
    Next(Bytes),
    /// It waits. Acknowledge.
    Waiting,
    /// It was here before. Acknowledge, or its sender sends it for ever.
    Duplicate,
    /// There is no room, or its number is none. Do not acknowledge.
    Refused,
    /// Its number is too far ahead to be one of this stream. Do not acknowledge.
    TooFar,
}

impl ReorderBuffer {
    /// Takes a message.
    pub(super) fn accept(&mut self, number: i64, payload_type: u32, payload: Bytes) -> Accepted {
        if number < 0 {
            return Accepted::Refused;
        }
        if number < self.expected || self.waiting.contains_key(&number) {
            return Accepted::Duplicate;
        }
        if number == self.expected {
            self.expected += 1;
            return Accepted::Next(payload);
        }
        if number.saturating_sub(self.expected) > MAXIMUM_AHEAD {
            return Accepted::TooFar;
        }
        let cost = cost(&payload);
        if self.bytes + cost > REORDER_LIMIT {
            return Accepted::Refused;
        }
        self.bytes += cost;
        // Copied, because the slice would keep the whole read buffer alive that it was cut from.
        self.waiting
            .insert(number, (payload_type, Bytes::copy_from_slice(&payload)));
        Accepted::Waiting
    }

    /// The next message in order, if it waits here already.
    pub(super) fn next(&mut self) -> Option<(u32, Bytes)> {
        let first = self
            .waiting
            .first_entry()
            .filter(|entry| *entry.key() == self.expected)?;
        let (payload_type, payload) = first.remove();
        self.bytes -= cost(&payload);
        self.expected += 1;
        Some((payload_type, payload))
    }

    /// The next number to deliver.
    pub(super) const fn expected(&self) -> i64 {
        self.expected
    }

    /// Bytes that wait.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}

/// What a waiting payload counts.
fn cost(payload: &Bytes) -> usize {
    payload.len().max(SMALLEST) + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn p05_duplicates_are_acknowledged_and_delivered_once() {
        let mut buffer = ReorderBuffer::default();
        let payload = Bytes::from_static(b"a");
        assert_eq!(
            buffer.accept(0, 1, payload.clone()),
            Accepted::Next(payload.clone())
        );
        assert_eq!(buffer.accept(0, 1, payload.clone()), Accepted::Duplicate);
        assert_eq!(buffer.accept(2, 1, payload.clone()), Accepted::Waiting);
        assert_eq!(buffer.accept(2, 1, payload.clone()), Accepted::Duplicate);
        assert_eq!(buffer.next(), None);
    }

    #[test]
    fn p13_what_does_not_fit_is_refused_and_the_missing_head_still_comes() {
        let mut buffer = ReorderBuffer::default();
        let payload = Bytes::from(vec![0; 1 << 20]);
        let refused =
            (1..100).find(|number| buffer.accept(*number, 1, payload.clone()) == Accepted::Refused);
        assert_eq!(
            refused,
            Some(20),
            "19 messages of 1 MiB and their overhead are within 20 MiB"
        );
        assert!(buffer.bytes() <= REORDER_LIMIT);
        assert_eq!(
            buffer.accept(0, 1, payload.clone()),
            Accepted::Next(payload)
        );
        assert_eq!(std::iter::from_fn(|| buffer.next()).count(), 19);
        assert_eq!(buffer.bytes(), 0);
    }

    #[test]
    fn p57_numbers_from_the_edges_are_no_harm() {
        let mut buffer = ReorderBuffer::default();
        assert_eq!(buffer.accept(-1, 1, Bytes::new()), Accepted::Refused);
        assert_eq!(buffer.accept(i64::MIN, 1, Bytes::new()), Accepted::Refused);
        assert_eq!(buffer.accept(i64::MAX, 1, Bytes::new()), Accepted::TooFar);
        assert_eq!(buffer.bytes(), 0);
        for number in [MAXIMUM_AHEAD + 1, 1 << 40, i64::MAX - 1] {
            assert_eq!(buffer.accept(number, 1, Bytes::new()), Accepted::TooFar);
        }
        assert_eq!(
            buffer.accept(MAXIMUM_AHEAD, 1, Bytes::new()),
            Accepted::Waiting
        );
    }

    proptest! {
        #[test]
        fn any_order_with_duplicates_delivers_each_once_in_order(order in proptest::collection::vec(0..40_i64, 0..400)) {
            let mut buffer = ReorderBuffer::default();
            let mut delivered = Vec::new();
            for number in order.iter().copied().chain(0..40) {
                let payload = Bytes::from(number.to_string());
                if let Accepted::Next(payload) = buffer.accept(number, 1, payload) {
                    delivered.push(payload);
                    delivered.extend(std::iter::from_fn(|| buffer.next()).map(|(_, payload)| payload));
                }
            }
            let expected: Vec<_> = (0..40).map(|number| Bytes::from(number.to_string())).collect();
            prop_assert_eq!(delivered, expected);
            prop_assert_eq!(buffer.bytes(), 0);
        }
    }
}
