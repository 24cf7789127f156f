//! Overage: use beyond an included amount, and what it costs.

use crate::{Nanos, Price};

/// What one line of the ledger adds to the use beyond an included amount; negative where a level gives back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overage {
    /// Units beyond.
    pub units: i64,
    /// What they cost, if there is a price.
    pub cost: Option<Nanos>,
}

impl Overage {
    /// Of a line of `amount` units after `before` were used of `included` ones.
    ///
    /// The cost is the difference of two rounded sums, so that the costs of lines that follow each other add up to
    /// the cost of all of them, whatever their sizes.
    #[must_use]
    pub fn of(price: Option<Price>, included: i64, before: i64, amount: i64) -> Self {
        let beyond = |used: i128| (used - i128::from(included)).max(0);
        let (before, after) = (beyond(i128::from(before)), beyond(i128::from(before) + i128::from(amount)));
        let cost = price.map(|price| Nanos(saturated(price.cost(after) - price.cost(before))));
        Self { units: saturated(after - before), cost }
    }

    /// Whether nothing of the line lies beyond.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.units == 0
    }
}

impl Price {
    /// What `units` cost in billionths, rounded half to even. Zero or more units.
    fn cost(&self, units: i128) -> i128 {
        // Both factors are below 2^65 and 2^63.
        let per = i128::from(self.per.max(1));
        let exact = units * i128::from(self.nanos);
        let (whole, rest) = (exact / per, exact % per);
        let up = rest * 2 > per || (rest * 2 == per && whole % 2 != 0);
        whole + i128::from(up)
    }
}

fn saturated(number: i128) -> i64 {
    i64::try_from(number).unwrap_or(if number < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn price(text: &str) -> Price {
        text.parse().unwrap()
    }

    #[test]
    fn costs_of_the_tables() {
        for (text, included, before, amount, units, cost) in [
            ("0.008 EUR per 10", 10_000, 10_000, 12, 12, "0.0096"),
            ("0.008 EUR per 10", 10_000, 9_995, 12, 7, "0.0056"),
            ("0.50 EUR", 100, 100, 3, 3, "1.5"),
            ("2.00 EUR per GB", 5_000_000_000, 5_000_000_000, 500_000_000, 500_000_000, "1"),
            ("2.00 EUR per GB", 5_000_000_000, 6_000_000_000, -2_000_000_000, -1_000_000_000, "-2"),
            ("1 EUR", 10, 3, 7, 0, "0"),
        ] {
            let overage = Overage::of(Some(price(text)), included, before, amount);
            assert_eq!(overage.units, units, "{text}");
            assert_eq!(overage.cost.unwrap().to_string(), cost, "{text}");
        }
        assert_eq!(Overage::of(None, 0, 0, 3), Overage { units: 3, cost: None });
    }

    #[test]
    fn halves_go_to_the_even_one() {
        let price = Price { nanos: 1, per: 2, ..price("1 EUR") };
        let costs: Vec<i128> = (0..6).map(|units| price.cost(units)).collect();
        assert_eq!(costs, [0, 0, 1, 2, 2, 2]);
    }

    proptest! {
        #[test]
        fn the_costs_of_the_lines_add_up_to_the_cost_of_the_total(
            nanos in 0i64..1_000_000_000_000, per in 1i64..2_000_000_000, included in 0i64..2_000,
            mut amounts in prop::collection::vec(-500i64..2_000, 1..60), turned in any::<bool>(),
        ) {
            let price = Price { nanos, per, ..price("1 EUR") };
            if turned {
                amounts.reverse();
            }
            let (mut used, mut units, mut cost) = (0i64, 0i64, 0i64);
            for amount in &amounts {
                let line = Overage::of(Some(price), included, used, *amount);
                used += amount;
                units += line.units;
                cost += line.cost.unwrap().0;
            }
            let total = Overage::of(Some(price), included, 0, used);
            prop_assert_eq!(units, total.units);
            prop_assert_eq!(Nanos(cost), total.cost.unwrap());
            prop_assert_eq!(i128::from(cost), price.cost(i128::from((used - included).max(0))));
        }

        #[test]
        fn no_number_makes_it_fail(
            nanos in 0i64.., per in 1i64.., included in 0i64.., before in any::<i64>(), amount in any::<i64>(),
        ) {
            let price = Price { nanos, per, ..price("1 EUR") };
            let _ = Overage::of(Some(price), included, before, amount);
        }
    }
}
