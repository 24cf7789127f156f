//! Amounts as they are said somewhere, and what they are of a meter: exact decimals, scaled and rounded once.

mod conversion;
mod decimal;
mod ratio;
mod wanted;

pub use conversion::{Conversion, Rounding};
pub use decimal::Decimal;
pub use ratio::{Ratio, RatioError};
pub use wanted::{Value, Wanted};
