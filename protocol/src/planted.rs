//! Rules of state and door that a test can loosen while it runs, to see that the suites find out.
//!
//! The switch is in no build but one with the feature `planted`, which nothing but the tests of several crates asks for; in every other one the
//! answer is no, and the compiler knows. `agreement` has loosened rules of its own, since its own tests step it.

#![cfg_attr(not(feature = "planted"), allow(unreachable_pub, reason = "only tests look at it from outside"))]

macro_rules! bugs {
    ($($bug:ident: $rule:literal, $what:literal;)*) => {
        /// A rule loosened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Bug {
            $(#[doc = $what] $bug,)*
        }

        #[cfg(feature = "planted")]
        impl Bug {
            /// All of them, in the order of the rules.
            pub const ALL: &[Bug] = &[$(Bug::$bug,)*];

            /// Which rule it loosens, and what it does.
            pub fn about(self) -> (&'static str, &'static str) {
                match self {
                    $(Bug::$bug => ($rule, $what),)*
                }
            }
        }
    };
}

bugs! {
    AnySignature: "1.5", "Signatures are not looked at.";
    AnyKey: "1.6", "Any bytes are taken for a key that a statement introduces.";
    KeysUnproven: "2.1", "Possession of a first key is not proven.";
    KeysShared: "2.3", "A first key may be another identity's.";
    RotatedByAThief: "2.4", "A rotation to a key that was not committed to.";
    RotationsUnsigned: "2.4", "A rotation without the new key's signature.";
    AmendBelowQuorum: "3.2", "A charter that fewer than a quorum amend.";
    OneAdmits: "3.2", "A charter by which one endorser of several admits.";
    FreshnessShort: "3.3", "A charter whose idle domain is stale.";
    KeysTwice: "3.4", "A charter with one key twice.";
    ConsentsUnsigned: "3.8", "A consent without its signature.";
    VotingKeysUnproven: "3.8", "A consent without proof of the voting key.";
    AnyDomain: "4.1", "A statement of another domain.";
    SignaturesCounted: "4.3", "Signatures are counted instead of identities.";
    OneShort: "4.4", "One endorsement fewer than the threshold.";
    MembersEndorse: "4.4", "Whoever stands endorses.";
    GoneEndorse: "4.4", "A revoked endorser endorses.";
    SuspendedEndorse: "4.4", "A suspended endorser is counted.";
    OldKeysEndorse: "4.4", "Earlier keys endorse.";
    GoneReadmitted: "4.5", "Whoever is gone is admitted again.";
    SuspendedReadmitted: "4.5", "Whoever is suspended is admitted anew.";
    NumberReused: "4.5", "An admission with the number before.";
    UnknownRoles: "4.5", "Roles that the charter does not have.";
    WindowLapsed: "4.5", "A window that is over.";
    WindowLong: "4.5", "A window longer than the charter's lifetime.";
    BasisAhead: "4.5", "A basis at the block's own height, or above.";
    BasisLater: "4.5", "A basis later than the block.";
    BasisOld: "4.5", "A basis of any age.";
    AnyGrounds: "4.5", "Tickets where the charter allows none.";
    RenewedAnyhow: "4.5", "A renewal at any time, with any role.";
    RenewalTakesKeys: "4.5", "An admission puts the first key back in force.";
    TicketExpired: "4.6", "An expired ticket is spent.";
    TicketSpentTwice: "4.6", "A ticket is spent without end.";
    RolesBeyondTicket: "4.6", "Roles beyond those of the ticket.";
    TicketsForMembers: "4.6", "A ticket for whoever stands.";
    TicketOfAnotherDomain: "4.6", "A ticket of another domain.";
    TicketsKept: "4.6", "Expired tickets are not forgotten.";
    TicketsForgottenEarly: "4.6", "Tickets are forgotten at their expiry, while they can be spent.";
    OneRevokesAnother: "4.7", "One signature revokes somebody else.";
    Stranded: "4.7", "Restraints that leave too few to amend.";
    GoneForgotten: "4.7", "A revocation does not record who is gone.";
    LapsedEffective: "4.8", "Members whose window is over are effective.";
    SuspendedEffective: "4.8", "Whoever is suspended is effective.";
    SeatsLapse: "4.8", "An endorser's window lapses.";
    SuspensionReplayed: "4.9", "A suspension with any number.";
    SuspensionOver: "4.9", "A suspension that is over before it begins.";
    SuspensionShortened: "4.9", "A suspension shortens the one in force.";
    SuspensionEndless: "4.9", "A suspension does not lapse.";
    ReleaseReplayed: "4.10", "The release of an earlier suspension lifts a later one.";
    ReleaseOfAnybody: "4.10", "A release of whoever is not suspended.";
    ReleaseUnbased: "4.10", "A release with any basis.";
    ReleaseFreesNumber: "4.10", "A release gives the suspension's number back.";
    RotationEndorsed: "4.11", "A rotation that somebody endorses.";
    RotatedOften: "4.11", "Rotations without end in a day.";
    RotatedToTakenKeys: "4.11", "A rotation to a key that is somebody's.";
    RotatedKeysForgotten: "4.11", "Keys rotated to are not recorded as its own.";
    AnyPrevious: "4.12", "A charter that follows another than the one in force.";
    WrittenLater: "4.12", "A charter written after the block.";
    WrittenLongAgo: "4.12", "A charter written longer ago than a proposal lives.";
    LastDayOver: "4.12", "A charter whose last day is over.";
    LapsedSeated: "4.12", "A seat for whoever is not effective.";
    RecoveryKeysShared: "4.12", "A recovery key that is somebody's.";
    CharterStrandsItself: "4.12", "A charter that too few can amend.";
    OldKeysConsent: "4.12", "A consent by an earlier key.";
    VotingKeysShared: "4.12", "A voting key that is somebody's.";
    FormerSeatsEndless: "4.12", "Whoever loses its seat stands for ever.";
    RolesComeBack: "4.12", "Roles that the charter loses are kept.";
    VotingKeysForgotten: "4.12", "Voting keys are not recorded as anybody's.";
    SpentByAnybody: "5.2", "A ticket is spent without the signature of its key.";
    AnyBasis: "5.6", "An endorser vouches for a block that it does not know.";
    StrangersServed: "5.8", "Strangers are answered like members.";
    NoShares: "5.12", "One endorser may fill all places for proposals.";
    AnyPreviousBlock: "6.1", "A block on any earlier block with entries.";
    AnyEpoch: "6.2", "A block of another epoch.";
    AnyParent: "6.2", "A block on any parent.";
    AnyHeight: "6.2", "A block of any height.";
    TimeStandsStill: "6.2", "A block no later than its parent.";
    NoTimeBetween: "6.2", "No time for the heartbeats between.";
    AnyEntriesRoot: "6.3", "Another body than the header names.";
    AnyLogRoot: "6.4", "A header with another history.";
    AnyStateRoot: "6.5", "A header with another state.";
    AnySpineRoot: "6.5", "A header with another spine.";
    HeartbeatsCount: "6.6", "A heartbeat changes the state: it forgets tickets.";
    AnyOrder: "6.7", "The order of a block's entries does not matter.";
    TwoAmends: "6.7", "Two amendments in one block.";
    ReservedPlacesTaken: "6.7", "Grants in the places kept for denials.";
    RotationsWithoutEnd: "6.7", "More rotations than a block may hold.";
    PackedAsItComes: "6.7", "A leader packs entries as they come.";
    JudgedBeforeAll: "6.8", "Entries are judged in the state before the block.";
    AnyPath: "7.2", "A proof that leads to any root.";
    AnyRoots: "7.3", "A proof under any state root.";
    AnySnapshot: "7.4", "A snapshot that is not the state of its header.";
    ChainsByFew: "9.2", "A chain certified by fewer than a quorum.";
    StaleIsValid: "9.5", "Answers of any age are valid.";
    NoRations: "9.10", "Members are answered without end.";
}

#[cfg(feature = "planted")]
thread_local! {
    static LOOSENED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Loosens one rule on this thread, or none any more.
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Bug>) {
    LOOSENED.set(bug);
}

/// Whether this rule is loosened.
#[cfg(feature = "planted")]
pub(crate) fn loosened(bug: Bug) -> bool {
    LOOSENED.get() == Some(bug)
}

/// No.
#[cfg(not(feature = "planted"))]
pub(crate) const fn loosened(_: Bug) -> bool {
    false
}
