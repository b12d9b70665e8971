//! Conversations that collect endorsements: a newcomer's admission, and proposals among endorsers (SPEC 5).

mod ticket;

pub use ticket::{Anchor, Answer, Circulated, Draft, Retry, Shown, Ticket, Verdict, spend_digest};
