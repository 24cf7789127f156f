//! Meters that are made of others: whatever charges a part charges them, too.

use tollgate_core::{Conversion, MeterIndex, Plans};

/// What `amount` of `meter` is of each meter that is made of it, each rounded up by itself.
pub(super) fn wholes(
    plans: &Plans,
    meter: MeterIndex,
    amount: i64,
) -> impl Iterator<Item = (MeterIndex, i64)> {
    plans.meters.iter().enumerate().flat_map(move |(index, whole)| {
        let part = whole.parts.iter().find(|part| part.meter == meter);
        part.map(|part| {
            let conversion = Conversion { ratio: part.ratio, ..Conversion::NONE };
            (MeterIndex(index), conversion.apply_whole(amount))
        })
    })
}
