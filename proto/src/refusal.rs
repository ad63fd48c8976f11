//! The closed list of refusals, and what a client does about each.

/// What the client should do after a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RetryClass {
    /// The same bytes will be refused again: mend them.
    Never = 0,
    /// The same bytes may pass after `retry_after_ms`.
    Later = 1,
    /// Send again from `expected_seq`.
    Resend = 2,
    /// Connect again, perhaps elsewhere.
    Reconnect = 3,
}

impl RetryClass {
    /// The class with this number.
    #[must_use]
    pub const fn from_u8(n: u8) -> Option<Self> {
        match n {
            0 => Some(Self::Never),
            1 => Some(Self::Later),
            2 => Some(Self::Resend),
            3 => Some(Self::Reconnect),
            _ => None,
        }
    }
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $name:literal, $class:ident;)*) => {
        /// Why something was refused. Numbers and names are a contract.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Refusal { $($(#[$doc])* $variant = $code,)* }

        impl Refusal {
            /// All refusals, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The refusal with this number.
            #[must_use]
            pub const fn from_u16(code: u16) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }

            /// The name used in JSON, metrics and documents.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What the client should do.
            #[must_use]
            pub const fn class(self) -> RetryClass {
                match self { $(Self::$variant => RetryClass::$class,)* }
            }
        }
    };
}

refusals! {
    /// The tenant is beyond its quota.
    RateLimited = 1, "RATE_LIMITED", Later;
    /// The server is beyond its capacity.
    Overloaded = 2, "OVERLOADED", Later;
    /// More bytes in flight than the connection was granted.
    CreditExceeded = 3, "CREDIT_EXCEEDED", Resend;
    /// No room on disk for durable frames.
    DiskFull = 4, "DISK_FULL", Later;
    /// The log failed; the shard restarts.
    StorageFailed = 5, "STORAGE_FAILED", Reconnect;
    /// A sequence number was skipped; `expected_seq` says which comes next.
    SeqGap = 6, "SEQ_GAP", Resend;
    /// A sequence number came again with other bytes.
    SeqReused = 7, "SEQ_REUSED", Never;
    /// A newer epoch of this producer is at work.
    Fenced = 8, "FENCED", Never;
    /// The server no longer knows this producer's marks.
    ProducerUnknown = 9, "PRODUCER_UNKNOWN", Reconnect;
    /// An event lies too far ahead of the server's clock.
    Future = 10, "FUTURE", Never;
    /// A frame, body or name is over its limit.
    TooLarge = 11, "TOO_LARGE", Never;
    /// The bytes break the layout or a rule; the message says where.
    Malformed = 12, "MALFORMED", Never;
    /// Two names share one id.
    IdCollision = 13, "ID_COLLISION", Never;
    /// No such tenant.
    UnknownTenant = 14, "UNKNOWN_TENANT", Never;
    /// The tenant table is full of tenants with live windows.
    TenantsFull = 15, "TENANTS_FULL", Later;
    /// Not allowed.
    Unauthorised = 16, "UNAUTHORISED", Never;
    /// The tenant's program failed.
    ProgramFailed = 17, "PROGRAM_FAILED", Later;
    /// The server is draining.
    GoAway = 18, "GOAWAY", Reconnect;
    /// Asked for something this version does not have.
    Unsupported = 19, "UNSUPPORTED", Never;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip_and_names_differ() {
        let mut names: Vec<_> = Refusal::ALL.iter().map(|r| r.name()).collect();
        for &refusal in Refusal::ALL {
            assert_eq!(Refusal::from_u16(refusal as u16), Some(refusal));
            assert_eq!(RetryClass::from_u8(refusal.class() as u8), Some(refusal.class()));
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Refusal::ALL.len());
        assert_eq!(Refusal::from_u16(0), None);
    }
}
