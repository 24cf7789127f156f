//! What resources have.

use rusqlite::{Connection, Result, Rows, Transaction, params};
use uuid::Uuid;

use super::events;
use crate::ledger::{
    Subject,
    resource::{
        FirstLine, OpenResource, OpenResources, OpenResourcesRequest, PAGE_ROWS, ResourcePlace,
        ResourceRequest, ResourceSum,
    },
    resources::{Change, Key},
    totals::clamp,
};

/// Adds what new lines come to.
pub(super) fn add(transaction: &Transaction<'_>, changes: &[Change]) -> Result<()> {
    const ADD: &str = "INSERT INTO usage_resources AS kept (meter, resource, user_id, org_id, amount, first) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (meter, resource, user_id, org_id) DO UPDATE SET \
        first = min(kept.first, excluded.first), \
        amount = CASE WHEN typeof(kept.amount + excluded.amount) = 'integer' THEN kept.amount + excluded.amount \
        WHEN excluded.amount > 0 THEN 9223372036854775807 ELSE -9223372036854775807 - 1 END";
    const FORGET: &str = "DELETE FROM usage_resources \
        WHERE meter = ?1 AND resource = ?2 AND user_id = ?3 AND org_id = ?4 AND amount = 0";
    if changes.is_empty() {
        return Ok(());
    }
    let (mut add, mut forget) = (transaction.prepare_cached(ADD)?, transaction.prepare_cached(FORGET)?);
    for Change { key: Key { meter, resource, user_id, org_id }, amount, first } in changes {
        let first = Uuid::from_u128(*first).to_string();
        add.execute(params![meter, resource, user_id, org_id, amount, first])?;
        forget.execute(params![meter, resource, user_id, org_id])?;
    }
    Ok(())
}

/// What a resource has of each meter.
pub(super) fn sums(connection: &Connection, request: &ResourceRequest) -> Result<Vec<ResourceSum>> {
    const BY_USER: &str = "SELECT amount, first FROM usage_resources \
        WHERE meter = ?1 AND resource = ?2 AND user_id = ?3";
    const BY_ORG: &str = "SELECT amount, first FROM usage_resources \
        WHERE meter = ?1 AND resource = ?2 AND org_id = ?3 AND org_id <> ''";
    let ResourceRequest { subject, meters, resource, reached: _, reply: _ } = request;
    let (sql, id) = match subject {
        Subject::User(id) => (BY_USER, id),
        Subject::Org(id) => (BY_ORG, id),
    };
    let mut statement = connection.prepare_cached(sql)?;
    let of = |meter| sum(connection, statement.query(params![meter, resource, id])?);
    meters.iter().map(of).collect()
}

fn sum(connection: &Connection, mut rows: Rows<'_>) -> Result<ResourceSum> {
    let (mut amount, mut first) = (0i128, None::<String>);
    while let Some(row) = rows.next()? {
        amount += i128::from(row.get::<_, i64>(0)?);
        let id: String = row.get(1)?;
        first = Some(first.map_or(id.clone(), |first| first.min(id)));
    }
    let first = match first.filter(|_| amount != 0) {
        Some(id) => Some(first_line(connection, &id)?),
        None => None,
    };
    Ok(ResourceSum { amount: clamp(amount), first })
}

/// A page of the resources that have something.
pub(super) fn open(connection: &Connection, request: &OpenResourcesRequest) -> Result<OpenResources> {
    // The sum in two halves, because SQLite's sum fails beyond 64 bits.
    const PAGE: &str = "SELECT resource, user_id, org_id, CASE WHEN ?7 AND org_id <> '' AND NOT (SELECT \
        sum(of.amount >> 32) + (sum(of.amount & 4294967295) >> 32) > 0 \
        OR (sum(of.amount >> 32) + (sum(of.amount & 4294967295) >> 32) = 0 \
        AND sum(of.amount & 4294967295) & 4294967295 > 0) FROM usage_resources AS of \
        WHERE of.meter = one.meter AND of.resource = one.resource AND of.org_id = one.org_id AND of.org_id <> '') \
        THEN 0 ELSE amount END, first FROM usage_resources AS one \
        WHERE meter = ?1 AND resource >= ?2 AND (resource, user_id, org_id) > (?3, ?4, ?5) \
        ORDER BY resource, user_id, org_id LIMIT ?6";
    let OpenResourcesRequest { meter, is_shared, prefix, after, reached: _, reply: _ } = request;
    let after = after.as_ref();
    let of = |part: fn(&ResourcePlace) -> &String| after.map_or("", |after| part(after).as_str());
    let values = params![
        meter,
        prefix,
        of(|place| &place.resource),
        of(|place| &place.user_id),
        of(|place| &place.org_id),
        i64::try_from(PAGE_ROWS).unwrap_or(i64::MAX),
        is_shared,
    ];
    let mut statement = connection.prepare_cached(PAGE)?;
    let mut rows = statement.query(values)?;
    let (mut page, mut count) = (OpenResources::default(), 0);
    while let Some(row) = rows.next()? {
        let place = ResourcePlace { resource: row.get(0)?, user_id: row.get(1)?, org_id: row.get(2)? };
        if !place.resource.starts_with(prefix.as_str()) {
            return Ok(OpenResources { next: None, ..page });
        }
        count += 1;
        page.next = Some(place.clone());
        let amount: i64 = row.get(3)?;
        if amount > 0 {
            let first = first_line(connection, row.get_ref(4)?.as_str()?)?;
            page.resources.push(OpenResource { place, amount, first });
        }
    }
    if count < PAGE_ROWS {
        page.next = None;
    }
    Ok(page)
}

fn first_line(connection: &Connection, id: &str) -> Result<FirstLine> {
    let bad_id =
        |error| rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, Box::new(error));
    let id = Uuid::parse_str(id).map_err(bad_id)?;
    let line = events::get(connection, id)?;
    Ok(FirstLine::new(id, line))
}
