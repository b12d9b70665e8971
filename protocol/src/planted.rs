//! Rules of state and door that a test can loosen while it runs, to see that the suites find out.
//!
//! The switch is in no build but one with the feature `planted`, which nothing but the tests of several crates asks for; in every other one the
//! answer is no, and the compiler knows. `agreement` has loosened rules of its own, since its own tests step it.

#![cfg_attr(not(feature = "planted"), allow(unreachable_pub, reason = "only tests look at it from outside"))]

macro_rules! bugs {
    ($($bug:ident: $rule:literal, $what:literal $(, by $test:literal)?;)*) => {
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

            /// The test of this crate that must find it, suite first: of what the suites over several crates see nothing.
            pub fn found_by(self) -> Option<&'static str> {
                match self {
                    $(Bug::$bug => None $(.or(Some($test)))?,)*
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
    ConvictedEndorse: "4.4", "Whoever is convicted endorses.";
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
    ConvictedReadmitted: "4.5", "Whoever is convicted is admitted anew.";
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
    ConvictedAreAble: "4.7", "The convicted are counted among those who can amend.";
    LapsedEffective: "4.8", "Members whose window is over are effective.";
    SuspendedEffective: "4.8", "Whoever is suspended is effective.";
    SeatsLapse: "4.8", "An endorser's window lapses.";
    ConvictedEffective: "4.8", "Whoever is convicted is effective.";
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
    ProofEndorsed: "4.13", "An accusation, hold or recovery that somebody endorses.";
    BallotsOfAnyDomain: "4.13", "Ballots of another domain convict.";
    BallotsOfTwoKeys: "4.13", "Ballots by two keys convict the first.";
    AnybodyFramed: "4.13", "A key convicts somebody whose it is not.";
    AnyEpochConvicts: "4.13", "Ballots of any epoch convict.";
    ConvictedTwice: "4.13", "One key is convicted again and again.";
    LiarsStrand: "4.13", "Convictions that leave too few to amend.";
    ConvictionsEnd: "4.13", "Every charter ends every conviction.";
    ConvictionsLast: "4.13", "No charter ends a conviction.";
    RotationsOfTwoSequences: "4.13", "Two rotations in turn convict.";
    OneRotationConvicts: "4.13", "A rotation contradicts itself.";
    EarlierHoldsConvict: "4.13", "Holds by an earlier key convict.";
    RotationFreesNobody: "4.13", "A rotation does not end what holds began.";
    EarlierKeysConvict: "4.13", "Rotations by any key convict.";
    HoldsOfAnyDomain: "4.14", "A hold of another domain is recorded.";
    HeldByAnybody: "4.14", "A hold by whoever signed it is recorded.";
    HeldForLong: "4.14", "A hold of any length is recorded.";
    HoldsUnbased: "4.14", "A hold on any basis is recorded.";
    HoldsOfEarlierDays: "4.14", "A hold is recorded after one of a later day.";
    SlotsTwice: "4.14", "A slot is recorded twice.";
    HoldsUnrecorded: "4.14", "A hold in the log leaves nothing in the state.";
    RecoveryAnywhere: "4.15", "A recovery that names another block than its parent.";
    GoneTwice: "4.15", "A recovery revokes who is gone.";
    SuspensionsReplayedByRecovery: "4.15", "A recovery suspends by a number that was used.";
    SuspensionsShortenedByRecovery: "4.15", "A recovery shortens a suspension.";
    RecoveryOfAnyCharter: "4.15", "A recovery whose charter follows any other.";
    RecoveryOfAnyEpoch: "4.15", "A recovery into any epoch.";
    RecoveryOnAnyBasis: "4.15", "Consents to a recovery on any basis.";
    SilentSeatsKeepKeys: "4.15", "A recovery seats who did not consent.";
    SpentByAnybody: "5.2", "A ticket is spent without the signature of its key.";
    JudgedAnew: "5.5", "What was signed is judged anew, and not sent again.", by "door::joining::rule_5_5_an_endorser_stores_what_it_signs_and_resends_it_when_it_would_sign_no_more";
    AnyBasis: "5.6", "An endorser vouches for a block that it does not know.";
    StrangersServed: "5.8", "Strangers are answered like members.";
    NoShares: "5.12", "One endorser may fill all places for proposals.";
    TicketsSignedWithoutEnd: "5.14", "An endorser signs drafts on one ticket without end.", by "door::joining::rule_5_14_for_one_ticket_an_endorser_signs_its_uses_and_a_few_more";
    DismissedInSilence: "5.18", "Whoever was revoked while it was away is not told.", by "door::chains::rule_5_18_whoever_was_revoked_while_it_was_away_is_told_when_it_comes_back";
    EarlierKeysSpeak: "5.19", "Whoever has an earlier key is taken for its owner.", by "door::rotations::rule_5_19_whoever_has_an_endorsers_earlier_key_is_a_stranger";
    RenewedAtOnce: "5.22", "Who was admitted at once renews at once.", by "door::renewals::rule_5_22_members_that_came_at_once_do_not_renew_at_once_and_a_restart_changes_nothing";
    SuspendedRenew: "5.22", "Whoever is suspended asks for a renewal.", by "door::renewals::rule_5_22_whoever_is_suspended_asks_for_nothing_and_renews_once_that_has_lapsed";
    RenewalsSignedWithoutEnd: "5.22", "An endorser signs renewals of one member without end.", by "door::renewals::rule_5_22_of_one_member_an_endorser_signs_a_few_renewals_and_remembers_no_more";
    LapsedForEver: "5.23", "Whoever lapsed may follow for ever.", by "door::renewals::rule_5_23_a_lapsed_member_follows_and_fetches_snapshots_until_it_is_too_late_and_nothing_else_of_it_is_taken";
    HoldsUnsigned: "5.24", "A hold without its signature.";
    SlotsGivenAgain: "5.24", "An endorser gives each slot again and again.", by "door::holds::rule_5_24_an_endorser_gives_each_slot_of_a_day_once_and_none_without_its_journal";
    ContradictedHoldsCount: "5.25", "Of two holds for one slot the first counts.", by "door::two_holds::rule_5_26_whoever_was_away_is_shown_both_halves_of_what_would_hold_somebody";
    OneHoldsAnEndorser: "5.25", "One endorser holds another.", by "door::holds::rule_5_25_one_endorser_holds_a_member_and_it_takes_f_and_one_to_hold_an_endorser";
    HoldsForgotten: "5.25", "A restart forgets holds.", by "door::holds::rule_5_25_a_restart_frees_nobody_and_gives_no_slot_twice";
    HoldsOfTomorrow: "5.25", "A hold on a block that is still to come is taken.", by "door::holds::rule_5_25_what_counts_is_by_an_endorser_with_its_current_key_in_time_and_of_somebody_who_stands";
    HeldGranted: "5.26", "Grants of the held are signed, packed and voted for.", by "door::holds::rule_5_26_no_grant_of_the_held_is_signed_packed_or_voted_for_until_the_hold_is_over";
    LiesUntold: "5.27", "An endorser keeps two ballots to itself.", by "door::accusations::rule_5_27_an_endorser_that_hears_a_contradiction_has_its_author_convicted";
    RivalsUntold: "5.27", "An endorser keeps two rotations to itself.", by "door::accusations::rule_5_27_two_rotations_of_one_number_that_wait_or_are_in_the_log_convict";
    ProofsDropped: "5.27", "A proof that no block can take yet is dropped.", by "door::accusations::rule_5_27_a_proof_that_no_block_can_take_yet_waits_on_the_disk_until_one_can";
    ClonesUnseen: "5.28", "Two machines that speak in turn are taken for one.", by "door::sessions::rule_5_28_two_processes_that_speak_by_one_key_in_turn_are_two_machines";
    LateWordsCount: "5.28", "What was on its way for long is taken for news.", by "door::sessions::rule_5_28_what_was_on_its_way_for_long_proves_nothing";
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
    HoldsWithoutEnd: "6.7", "More holds than a block may record.";
    JudgedBeforeAll: "6.8", "Entries are judged in the state before the block.";
    ConvictedVoters: "7.1", "A key that was convicted is kept among the previous voters.";
    RecoveredVoters: "7.1", "Those who voted before a recovery are its previous voters.";
    AnyPath: "7.2", "A proof that leads to any root.";
    AnyRoots: "7.3", "A proof under any state root.";
    AnySnapshot: "7.4", "A snapshot that is not the state of its header.";
    UnknownIsFree: "7.5", "Whom and what a part does not hold is free.", by "state::lean::rule_7_5_a_key_under_a_stub_is_nobodys_to_take";
    AnyPathGrafted: "7.6", "A path that leads to any root is taken.", by "state::lean::rule_7_6_a_path_that_does_not_lead_to_the_root_changes_nothing";
    LeanWithoutSome: "7.7", "A part of a state that leaves out who stands.", by "state::lean::rule_7_7_a_lean_snapshot_that_leaves_out_somebody_who_stands_is_refused";
    HaltedLedOn: "8.12", "Whoever has halted is led on by a head.", by "door::recovery_attacks::rule_8_12_whoever_has_halted_is_led_to_the_other_branch_by_nothing";
    AnyTwoHolds: "8.15", "Any two holds of one endorser convict.";
    AnyTwoBallots: "8.15", "Any two ballots of one key convict.";
    UnlinkedChains: "9.1", "A chain whose headers do not follow one another.", by "door::following::rule_9_2_a_chain_with_a_link_that_does_not_match_is_taken_in_no_part";
    ChainsByFew: "9.2", "A chain certified by fewer than a quorum.";
    GoneComeBack: "9.4", "A snapshot brings somebody back.", by "door::recovery_attacks::rule_9_4_no_snapshot_brings_anybody_back_whatever_certifies_it";
    StaleIsValid: "9.5", "Answers of any age are valid.";
    NoRations: "9.10", "Members are answered without end.";
    ChainsAcrossEpochs: "9.11", "A chain of two epochs is believed.", by "door::epochs::rule_9_11_a_chain_across_epochs_is_refused_and_its_parts_are_taken";
    LinksUncertified: "9.12", "A link is believed without its certificate.", by "door::hand_over::rule_9_12_a_link_that_fewer_than_a_quorum_certified_leads_nowhere";
    LastDayForgotten: "9.14", "A charter past its last day leads on.", by "door::epochs::rule_9_14_a_newcomer_whose_charter_is_past_its_last_day_is_told_and_who_is_awake_goes_on";
    AnyAnchor: "9.15", "An anchor leads back, or nowhere.", by "door::anchors::rule_9_15_an_anchor_that_is_not_newer_or_of_another_charter_changes_nothing";
    LivingRecovered: "9.16", "A living domain is recovered.", by "door::recovery::rule_9_16_stolen_recovery_keys_move_nobody_in_a_living_domain";
    ClocksLeap: "9.16", "A clock that leaps has listened for as long.", by "door::recovery::rule_9_16_a_clock_far_ahead_talks_no_node_out_of_a_living_domain";
    DenialsForgotten: "9.16", "A recovery may forget who is gone.", by "door::recovery::rule_9_16_a_recovery_that_forgets_somebody_who_is_gone_is_refused";
    RecoveredByOne: "9.17", "One key of the recovery quorum recovers.", by "door::recovery::rule_9_17_fewer_keys_than_the_threshold_or_others_recover_nothing";
    RecoveredAgain: "9.18", "A second recovery of one epoch is no news.", by "door::recovery::rule_9_18_of_two_recoveries_the_one_taken_first_holds";
    ThievesLeadOn: "9.19", "Whoever has no state goes across a recovery at once.", by "door::recovery_attacks::rule_9_19_a_thief_of_the_recovery_keys_misleads_no_newcomer_whom_living_endorsers_hear";
    NothingPruned: "9.20", "Old states stay on the disk.", by "state::growth::rule_9_20_a_node_keeps_two_states_and_the_blocks_since_the_older";
    ArchiveWithGaps: "9.21", "An archive answers with a gap.", by "state::growth::rule_9_21_an_archive_that_begins_later_or_lacks_a_block_shows_its_head";
    ArchiveUnrationed: "9.21", "What is read from an archive counts for nothing.", by "state::growth::rule_9_21_whoever_asks_an_archive_is_rationed_like_whoever_asks_for_blocks";
    NoRoomForRemovals: "9.22", "No place in a queue is kept for removals.", by "state::growth::rule_9_22_a_removal_finds_room_in_a_full_queue_and_in_the_next_block_whatever_the_members_did";
    PathsUnrationed: "9.23", "Questions for paths count for nothing.", by "state::paths::rule_9_23_whoever_floods_questions_for_paths_gets_its_ration_and_no_more";
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
