//! The pure room: tiers, limits, windows, amounts, settlements and event ids.
//!
//! Nothing here does I/O, reads a clock or awaits. `now` is always an argument, amounts are checked
//! `i64`, and money is an exact decimal.

mod amount;
mod beyond;
mod calendar;
mod event;
mod limit;
pub mod metadata;
mod meter;
mod model;
mod overage;
mod pointer;
mod price;
mod tier;
mod time;
mod tokens;
mod usage;
mod window;

pub use amount::{Conversion, Decimal, Ratio, RatioError, Rounding, Value, Wanted};
pub use beyond::{Grace, Queue, Rate};
pub use calendar::Calendar;
pub use event::{Charge, Charges, Event, EventId, RequestKey, SETTLEMENT_CHARGES_MAX, SettledBy, Settlement};
pub use limit::{Limit, Max, OnStoreFailure, Over, Scope};
pub use meter::{Meter, MeterKind, MeterPart};
pub use model::{ModelPattern, ModelPatternError};
pub use overage::Overage;
pub use pointer::{Pointer, PointerError};
pub use price::{Currency, Nanos, Price, PriceError};
pub use tier::{MeterIndex, OtherMeters, Plans, Tier, TierIndex};
pub use time::{Span, UnixMillis};
pub use tokens::{ModelPrices, PriceTable, PricedTokens, TokenPrices};
pub use usage::Usage;
pub use window::Window;
