//! Conversations that collect endorsements: a newcomer's admission, and proposals among endorsers (SPEC 5).

mod printed;
mod ticket;

pub use printed::NotPrinted;
pub use ticket::{Anchor, Answer, Circulated, Draft, Retry, Shown, Ticket, Verdict, spend_digest};
