//! Several meters and how much of each, as checks and holds name them.

use tollgate_core::MeterIndex;

use super::{
    Request, amount,
    basket::Wanted,
    event::meter,
    input::{Object, Place},
    served::ServedMeter,
    wholes::wholes,
};
use crate::{identity::Caller, live::Live, refusal::Refusal};

/// Most elements of a list: as many meters as a gateway can have.
const AMOUNTS_MAX: usize = 256;

/// So much of a meter.
pub(super) struct Amount {
    pub(super) meter: MeterIndex,
    pub(super) amount: i64,
    pub(super) place: Place,
}

/// What `object` names: `amounts`, or one `meter` with its `amount`. Each meter is there once.
pub(super) fn read(object: &Object<'_>, live: &Live) -> Result<Vec<Amount>, Refusal> {
    let Some(list) = object.get("amounts") else { return Ok(vec![read_one(object, live)?]) };
    if let Some(other) = object.get("meter").or(object.get("amount")) {
        return Err(other.wrong("must not be there beside amounts"));
    }
    let mut amounts: Vec<Amount> = Vec::new();
    for one in list.objects(AMOUNTS_MAX)? {
        one.only(&["meter", "amount"])?;
        let one = read_one(&one, live)?;
        match amounts.iter_mut().find(|known| known.meter == one.meter) {
            None => amounts.push(one),
            Some(known) => {
                let sum = known.amount.checked_add(one.amount);
                known.amount = sum.ok_or_else(|| one.place.wrong("is too much together with the others"))?;
            }
        }
    }
    Ok(amounts)
}

fn read_one(object: &Object<'_>, live: &Live) -> Result<Amount, Refusal> {
    let (index, meter, place) = meter(object, live)?;
    let field = object.need("amount", "how much is asked for")?;
    let amount = amount::read(&field, meter)?;
    if amount < 0 {
        return Err(field.wrong("must not be negative"));
    }
    Ok(Amount { meter: index, amount, place })
}

/// The same with what is made of it, for the caller's tier, which has to have the meters.
pub(super) fn wanted<'a>(
    amounts: &[Amount],
    request: &Request<'a>,
    caller: &Caller,
) -> Result<Vec<Wanted<'a>>, Refusal> {
    let mut all: Vec<Wanted<'a>> = Vec::new();
    for Amount { meter, amount, place } in amounts {
        let own = (available(request, caller, (*meter, place))?, *amount);
        let wholes = wholes(request.live.plans(), *meter, *amount);
        let wholes = wholes.filter_map(|(index, amount)| Some((request.served.meter(index)?, amount)));
        for (meter, need) in std::iter::once(own).chain(wholes) {
            match all.iter_mut().find(|known| known.meter.index == meter.index) {
                None => all.push(Wanted { meter, need }),
                Some(known) => known.need = known.need.saturating_add(need),
            }
        }
    }
    Ok(all)
}

/// The meter, if the caller's tier has it.
pub(super) fn available<'a>(
    request: &Request<'a>,
    caller: &Caller,
    (index, place): (MeterIndex, &Place),
) -> Result<&'a ServedMeter, Refusal> {
    let tier = request.live.tier(caller.tier);
    let meter = request.served.meter(index).filter(|_| tier.allows(index));
    meter.ok_or_else(|| place.wrong(&format!("is not a meter of tier {}", tier.name)))
}
