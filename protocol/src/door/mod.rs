//! The door: one closed input, one bundle of effects, one deadline.

mod effects;
mod input;
mod message;
mod record;

pub use effects::{Effects, Outbox, Unsettled};
pub use input::{Alarm, Command, Error, Event, Input};
pub use message::{Envelope, Message, Standing, Talk, open_envelope};
pub use record::{Durability, Record, Table};
