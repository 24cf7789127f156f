//! What a route charges, part by part: what the request says, what the answer says, and what is known without either.
//!
//! A route's [`Plan`] is compiled once. When a request is admitted, [`ask`] notes what it says itself ([`Stated`]): which
//! parts it is not charged, and how much of others. When it is settled, [`charge`] adds the parts up, meter by meter,
//! and then what is made of these meters. What cannot be told is charged: a body that cannot be read frees nobody.

mod ask;
mod charge;
mod condition;
mod guard;
mod header;
mod part;
mod plan;
mod sums;
mod unsaid;

pub(crate) use self::{
    ask::{Body, Sender, Stated, ask},
    charge::{Charged, Charges, Id, JobChange, Settling, charge},
    part::{Measured, Part, PartAmount, Source},
    plan::{Collector, Heard, Plan},
    sums::per_meter,
};
