//! What a submission carries and its completions bring back.
//!
//! ```text
//!   63      56 55               32 31                       0
//!   ┌─────────┬───────────────────┬─────────────────────────┐
//!   │ kind    │ index             │ generation              │
//!   └─────────┴───────────────────┴─────────────────────────┘
//! ```

use super::config::INDEX_MAX;

/// The decoded `user_data` of one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// Which operation a completion belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Multishot receive of a connection.
    Receive,
    /// One-shot poll for writability of a connection.
    Write,
    /// Cancellation of any of the others; its own outcome says nothing new.
    Cancel,
    /// Multishot accept of a listener.
    Accept,
    /// The pause of a listener that ran out of descriptors.
    AcceptRetry,
}

impl Token {
    pub(super) fn encode(self) -> u64 {
        assert!(self.index <= INDEX_MAX, "an index beyond its table");
        let kind = match self.kind {
            Kind::Receive => 1u64,
            Kind::Write => 2,
            Kind::Cancel => 3,
            Kind::Accept => 4,
            Kind::AcceptRetry => 5,
        };
        kind << 56 | u64::from(self.index) << 32 | u64::from(self.generation)
    }

    /// `None` for a token that was never encoded here.
    pub(super) fn decode(token: u64) -> Option<Self> {
        let kind = match token >> 56 {
            1 => Kind::Receive,
            2 => Kind::Write,
            3 => Kind::Cancel,
            4 => Kind::Accept,
            5 => Kind::AcceptRetry,
            _ => return None,
        };
        let index = u32::try_from(token >> 32 & u64::from(INDEX_MAX)).ok()?;
        let generation = u32::try_from(token & u64::from(u32::MAX)).ok()?;
        Some(Self { kind, index, generation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_as_it_was_sent() {
        let kinds = [Kind::Receive, Kind::Write, Kind::Cancel, Kind::Accept, Kind::AcceptRetry];
        for kind in kinds {
            for (index, generation) in [(0, 0), (INDEX_MAX, u32::MAX), (77, 1 << 31)] {
                let token = Token { kind, index, generation };
                assert_eq!(Token::decode(token.encode()), Some(token));
            }
        }
        assert_eq!(Token::decode(0), None);
        assert_eq!(Token::decode(u64::MAX), None);
    }
}
