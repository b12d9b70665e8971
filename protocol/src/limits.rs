//! Every bound in one place, unit last, related to one another at compile time.
//!
//! A bound is here because a peer could otherwise make us spend memory, disk, time or bandwidth without end. Limits on what
//! grants keep head-room below limits on what removes, so that a removal always fits.

/// Longest encoded message of any kind. Transports refuse more before they allocate.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest message that a peer who is not a member may send.
pub const STRANGER_MESSAGE_BYTES_MAX: usize = 32 * 1024;
/// Longest gossiped message: one final block with its certificate.
pub const GOSSIP_BYTES_MAX: usize = 1024 * 1024;

/// Endorsers of one domain.
pub const ENDORSERS_MAX: usize = 64;
/// Members of one domain, gone ones not counted.
pub const MEMBERS_MAX: usize = 1 << 20;
/// Entries in one block.
pub const BLOCK_ENTRIES_MAX: usize = 256;
/// Places in a block that only denials may take.
pub const BLOCK_DENIALS_RESERVED: usize = 32;
/// Longest encoded entry.
pub const ENTRY_BYTES_MAX: usize = 16 * 1024;
/// Longest encoded charter.
pub const CHARTER_BYTES_MAX: usize = 64 * 1024;
/// Longest encoded `Amend` with its endorsements: a charter, and 64 endorsers' consents and endorsements.
pub const AMEND_BYTES_MAX: usize = CHARTER_BYTES_MAX + 32 * 1024;
/// Encoded bytes of all entries of a block but an `Amend`: what a leader packs at most.
pub const ENTRIES_BYTES_MAX: usize = 512 * 1024;
/// Longest encoded block body: so an `Amend` finds room, however many others wait.
pub const BLOCK_BYTES_MAX: usize = ENTRIES_BYTES_MAX + AMEND_BYTES_MAX;

/// Rotations in one entry.
pub const ROTATIONS_PER_ENTRY_MAX: usize = 8;
/// Entries with rotations of one identity in a day of block time: nobody else has to agree to them, and each stays for ever.
pub const ROTATE_ENTRIES_PER_DAY: u32 = 4;
/// Entries with rotations in one block: they come before grants, and must not keep those out.
pub const BLOCK_ROTATES_MAX: usize = 64;
/// Rotations by which an endorser shows to a newcomer which key is its own: ten years of two a week, or three years of one a day.
pub const ROTATIONS_SHOWN_MAX: usize = 1024;

/// Holds that one endorser may give in a day: each restrains somebody on one endorser's word alone.
pub const HOLDS_PER_DAY: u8 = 8;
/// Longest that a charter may let a hold last after the time of its basis: a day. So the holds of three days at most are kept.
pub const HOLD_MAX_MS: u64 = 24 * 3600 * 1000;
/// Recorded holds in one block: they come after grants, and change nothing.
pub const BLOCK_HOLDS_MAX: usize = 16;

/// Identities that a recovery names as gone; likewise as suspended.
pub const RECOVERY_DENIALS_MAX: usize = 4096;
/// How far beyond the epoch of the block that it goes on from a recovery's own may be.
pub const RECOVERY_EPOCHS_MAX: u64 = 1 << 20;
/// By how much the number of a suspension in a recovery may be above the last.
pub const RECOVERY_SUSPENSIONS_MAX: u64 = 1 << 20;
/// Roles in one charter, and in one admission.
pub const ROLES_MAX: usize = 32;
/// Capabilities of one role.
pub const CAPABILITIES_MAX: usize = 64;
/// Bytes of a role, capability or domain name.
pub const NAME_BYTES_MAX: usize = 64;
/// Bytes of a reason or note that an operator writes.
pub const NOTE_BYTES_MAX: usize = 256;
/// Addresses in one ticket.
pub const ADDRESSES_MAX: usize = 16;
/// Bytes of one address.
pub const ADDRESS_BYTES_MAX: usize = 256;
/// Uses of one ticket.
pub const TICKET_USES_MAX: u32 = 100_000;
/// Expired tickets that one block forgets: more than one block can spend, so that they never pile up.
pub const TICKETS_FORGOTTEN_MAX: usize = 2 * BLOCK_ENTRIES_MAX;
/// Longest printed ticket, in characters.
pub const PRINTED_TICKET_CHARS_MAX: usize = 64 * 1024;

/// Longest member lifetime that a charter may set: ten years.
pub const MEMBER_LIFETIME_MAX_MS: u64 = 10 * 366 * 24 * 3600 * 1000;
/// Longest of all other bounds that a charter sets: one year.
pub const CHARTER_BOUND_MAX_MS: u64 = 366 * 24 * 3600 * 1000;

/// Entries that wait at one endorser for a block.
pub const WAITING_ENTRIES_MAX: usize = 4096;
/// Of these, how many only denials may take.
pub const WAITING_DENIALS_RESERVED: usize = 512;
/// Proposals that wait for operators at one endorser.
pub const PROPOSALS_MAX: usize = 1024;
/// Of these, how many may be endorsed by no more than may lie; each endorser has its share of them.
pub const PROPOSALS_UNVOUCHED_MAX: usize = PROPOSALS_MAX / 4;
/// Of these, how many one stranger may hold.
pub const PROPOSALS_PER_STRANGER_MAX: usize = 4;

/// Certificates or blocks in one answer between endorsers.
pub const WANTED_MAX: usize = 64;
/// Iterations beyond its own for which an endorser keeps ballots of each peer.
pub const ITERATIONS_AHEAD_MAX: u64 = 64;
/// Iterations beyond its own for which an endorser keeps proposals: blocks are larger than ballots.
pub const PROPOSALS_AHEAD_MAX: u64 = 8;
/// Blocks in one answer between endorsers.
pub const WANTED_BLOCKS_MAX: usize = 4;
/// Iterations before its own whose finalises an endorser sends again while they came to nothing.
pub const FINALISES_RESENT_MAX: usize = 4;
/// Answers that an endorser gives each peer in one iteration, or until it is itself stuck for another time-out.
pub const ANSWERS_PER_ITERATION_MAX: u32 = 16;
/// Items of a map in one snapshot chunk.
pub const SNAPSHOT_CHUNK_ITEMS_MAX: usize = 4096;
/// Chunks of one snapshot.
pub const SNAPSHOT_CHUNKS_MAX: usize = 8 * MEMBERS_MAX / SNAPSHOT_CHUNK_ITEMS_MAX;
/// Encoded bytes of items in one snapshot chunk.
pub const SNAPSHOT_CHUNK_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of items that a node gathers for one snapshot before it can tell whether they are one.
pub const SNAPSHOT_BYTES_MAX: usize = 512 * 1024 * 1024;
/// How long a peer may take for one chunk.
pub const SNAPSHOT_PATIENCE_MS: u64 = 5_000;
/// How many bytes of a snapshot a peer must bring each millisecond, over all of it, beyond that patience: 64 KiB a second.
pub const SNAPSHOT_BYTES_PER_MS_MIN: u64 = 64;
/// How many must be gone for a snapshot that leaves them out to be worth the questions that come after it.
pub const LEAN_GONE_MIN: usize = 1024;
/// And how many for each who stands.
pub const LEAN_GONE_PER_MEMBER: usize = 4;
/// Paths in one question, and in its answer: a block of newcomers touches two each.
pub const PATHS_MAX: usize = 1024;
/// Bytes of a value at the end of a path: who is gone, or whose a key is.
pub const PATH_VALUE_BYTES_MAX: usize = 128;
/// How long a peer may take to show paths before another is asked.
pub const PATHS_PATIENCE_MS: u64 = 2_000;
/// How many peers are asked for paths before a node takes a snapshot instead.
pub const PATHS_TRIES_MAX: u32 = 3;
/// What working out a state of the past for a peer counts as, in bytes of answers: it is executed anew from the last that is kept.
pub const PAST_STATE_BYTES: usize = 256 * 1024;
/// States of the past that are kept once they were worked out: nodes of one head ask at one time.
pub const PAST_STATES_KEPT: usize = 4;
/// Snapshots that are kept to be served: the newest, and the one before for whoever is in the middle of it.
pub const SNAPSHOTS_KEPT: usize = 2;
/// Signatures in one message: a batch that fails is taken apart to find the culprit, and nobody shall make us do that for long.
pub const SIGNATURES_PER_MESSAGE_MAX: usize = 32 * 1024;
/// How long a newcomer waits at first before it asks again; doubled each time, to a cap.
pub const NEWCOMER_PATIENCE_FIRST_MS: u64 = 1_000;
/// That cap.
pub const NEWCOMER_PATIENCE_CAP_MS: u64 = 30_000;
/// Headers of a head that was shown to a newcomer before the charter was.
pub const EARLY_HEADERS_MAX: usize = 4;
/// Headers between the last block of an answer and the certified one.
pub const HEADERS_BETWEEN_MAX: usize = 4096;
/// Encoded bytes of blocks in one answer to a follower.
pub const FOLLOW_ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of answers to one follower at once, before it must wait: a few snapshots of a thousand members, or all of a tail.
pub const ANSWER_BYTES_BURST: u64 = 32 * 1024 * 1024;
/// Bytes of answers that one follower is forgiven each millisecond: 8 MiB a second.
pub const ANSWER_BYTES_PER_MS: u64 = 8 * 1024;
/// Encoded bytes of recent blocks that a node keeps at hand to serve; older ones are on the disk, and newcomers take snapshots.
pub const TAIL_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Recent final blocks, heartbeats included, that a node knows by height: what the basis of a grant may name.
pub const RECENT_BLOCKS_MAX: usize = 1024;
/// Blocks with entries between two states that snapshots are served from, at most.
pub const CHECKPOINT_BLOCKS: usize = 64;
/// States that a node could go back to, if the log were recovered from there.
pub const STATES_KEPT: usize = 32;
/// Entries between two such states, at most, in a small domain: whoever takes a snapshot executes those since.
pub const CHECKPOINT_ENTRIES: usize = 512;
/// How many stand for each entry between two such states, in a larger one: making a snapshot costs as much as many stand.
pub const CHECKPOINT_MEMBERS_PER_ENTRY: usize = 4;
/// States that a node keeps on its disk to begin from: the newest, and the one before, should the newest be damaged.
pub const BASES_KEPT: usize = 2;
/// Bytes of blocks after such a state before another is written; as many as the state has, if that is more.
pub const BASE_AFTER_BYTES_MIN: usize = 1024 * 1024;
/// Bytes of an archive's answer, if no block of it up to the usual length has a proof of its own: such a run came in one answer.
pub const ARCHIVE_ANSWER_BYTES_MAX: usize = 2 * FOLLOW_ANSWER_BYTES_MAX;
/// Heights for which an endorser's journal goes back behind its head, since the table of final blocks may lose its tail.
pub const JOURNAL_KEPT_HEIGHTS: u64 = 256;
/// Links from charter to charter in one answer.
pub const LINKS_MAX: usize = 16;
/// Drafts that wait at one endorser because it is behind their basis.
pub const DRAFTS_AHEAD_MAX: usize = 64;
/// How far the basis of a draft may be beyond an endorser's head for it to wait.
pub const BASIS_AHEAD_MAX: u64 = 16;
/// Admissions by one ticket that an endorser signs beyond the ticket's uses, before it waits for some to be in the log.
pub const SPARE_ENDORSEMENTS_PER_TICKET: usize = 16;
/// Renewals of one member that an endorser signs before one of them is in the log, or they are too old to be: honest ones draft anew each time
/// that half of the basis bound is over.
pub const RENEWALS_SIGNED_MAX: usize = 8;
/// Keys of which a node remembers by which processes they speak.
pub const SESSIONS_MAX: usize = 4096;
/// Earlier processes that it remembers of each.
pub const SESSIONS_EACH_MAX: usize = 4;
/// Statements of which one endorser remembers which newcomer waits for them.
pub const NEWCOMERS_WAITING_MAX: usize = 4096;

const _: () = assert!(SNAPSHOT_CHUNK_BYTES_MAX <= SNAPSHOT_BYTES_MAX);
const _: () = assert!(PATHS_MAX >= 2 * BLOCK_ENTRIES_MAX);
// Of two maps of as many items as a domain may ever have, a path has some forty steps of hash and bit.
const _: () = assert!(PATHS_MAX * (48 * 34 + 34 + PATH_VALUE_BYTES_MAX) <= MESSAGE_BYTES_MAX);
const _: () = assert!(NEWCOMER_PATIENCE_FIRST_MS <= NEWCOMER_PATIENCE_CAP_MS);
const _: () = assert!(STRANGER_MESSAGE_BYTES_MAX <= MESSAGE_BYTES_MAX);
const _: () = assert!(GOSSIP_BYTES_MAX <= MESSAGE_BYTES_MAX);
const _: () = assert!(BLOCK_BYTES_MAX + 64 * 1024 <= GOSSIP_BYTES_MAX);
const _: () = assert!(AMEND_BYTES_MAX + RECOVERY_DENIALS_MAX * (35 + 55) <= BLOCK_BYTES_MAX);
const _: () = assert!(ENTRY_BYTES_MAX <= STRANGER_MESSAGE_BYTES_MAX);
const _: () = assert!(ENTRY_BYTES_MAX * BLOCK_DENIALS_RESERVED <= ENTRIES_BYTES_MAX);
const _: () = assert!(BLOCK_DENIALS_RESERVED < BLOCK_ENTRIES_MAX);
const _: () = assert!(BLOCK_ROTATES_MAX < BLOCK_ENTRIES_MAX - BLOCK_DENIALS_RESERVED);
const _: () = assert!(BLOCK_HOLDS_MAX + BLOCK_ROTATES_MAX < BLOCK_ENTRIES_MAX - BLOCK_DENIALS_RESERVED);
// The standing of an endorser has a bit for each.
const _: () = assert!(HOLDS_PER_DAY as u32 <= u8::BITS);
const _: () = assert!(HOLD_MAX_MS <= CHARTER_BOUND_MAX_MS);
const _: () = assert!(ROTATIONS_SHOWN_MAX <= SIGNATURES_PER_MESSAGE_MAX);
const _: () = assert!(WAITING_DENIALS_RESERVED < WAITING_ENTRIES_MAX);
const _: () = assert!(ENDORSERS_MAX <= MEMBERS_MAX);
const _: () = assert!(ENDORSERS_MAX <= PROPOSALS_UNVOUCHED_MAX);
const _: () = assert!(TICKETS_FORGOTTEN_MAX > BLOCK_ENTRIES_MAX);
const _: () = assert!(2 * SNAPSHOT_CHUNK_BYTES_MAX <= MESSAGE_BYTES_MAX);
const _: () = assert!(PROPOSALS_AHEAD_MAX <= ITERATIONS_AHEAD_MAX);
const _: () = assert!(WANTED_BLOCKS_MAX <= WANTED_MAX);
const _: () = assert!((WANTED_BLOCKS_MAX + 1) * BLOCK_BYTES_MAX <= MESSAGE_BYTES_MAX);
const _: () = assert!(LINKS_MAX * (CHARTER_BYTES_MAX + ENTRY_BYTES_MAX) <= MESSAGE_BYTES_MAX);
const _: () = assert!(BLOCK_BYTES_MAX <= FOLLOW_ANSWER_BYTES_MAX);
const _: () = assert!(ARCHIVE_ANSWER_BYTES_MAX + FOLLOW_ANSWER_BYTES_MAX <= MESSAGE_BYTES_MAX);
const _: () = assert!(TAIL_BYTES_MAX as u64 <= ANSWER_BYTES_BURST);
// Whoever waits for a chunk after a full burst gets it before it loses patience.
const _: () = assert!(MESSAGE_BYTES_MAX as u64 / ANSWER_BYTES_PER_MS < SNAPSHOT_PATIENCE_MS);
