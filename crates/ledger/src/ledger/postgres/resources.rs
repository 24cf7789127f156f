//! What resources have.

use std::collections::HashMap;

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::{PostgresError, connection::Connection, events, types::stored};
use crate::ledger::{
    Subject,
    resource::{
        FirstLine, OpenResource, OpenResources, OpenResourcesRequest, PAGE_ROWS, ResourcePlace,
        ResourceRequest, ResourceSum,
    },
    resources::{Change, Key},
};

/// Adds what new lines come to.
pub(super) async fn add(connection: &Connection, changes: &[Change]) -> Result<(), PostgresError> {
    const ADD: &str = "INSERT INTO usage_resources AS kept (meter, resource, user_id, org_id, amount, first) \
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::uuid[]) \
        ON CONFLICT (meter, resource, user_id, org_id) DO UPDATE SET \
        first = least(kept.first, excluded.first), amount = least(greatest(\
        kept.amount::numeric + excluded.amount, -9223372036854775808), 9223372036854775807)";
    const FORGET: &str = "DELETE FROM usage_resources AS kept \
        USING unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS gone (meter, resource, user_id, org_id) \
        WHERE kept.meter = gone.meter AND kept.resource = gone.resource AND kept.user_id = gone.user_id \
        AND kept.org_id = gone.org_id AND kept.amount = 0";
    if changes.is_empty() {
        return Ok(());
    }
    let text = |part: fn(&Key) -> &String| -> Vec<_> {
        changes.iter().map(|change| part(&change.key).as_str()).collect()
    };
    let meters = text(|key| &key.meter);
    let resources = text(|key| &key.resource);
    let users = text(|key| &key.user_id);
    let orgs = text(|key| &key.org_id);
    let amounts: Vec<_> = changes.iter().map(|change| change.amount).collect();
    let firsts: Vec<_> = changes.iter().map(|change| Uuid::from_u128(change.first)).collect();
    let keys: [&(dyn ToSql + Sync); 4] = [&meters, &resources, &users, &orgs];
    let [meters, resources, users, orgs] = keys;
    connection.execute(ADD, &[meters, resources, users, orgs, &amounts, &firsts]).await?;
    connection.execute(FORGET, &keys).await.map(|_| ())
}

/// What a resource has of each meter.
pub(super) async fn sums(
    connection: &Connection,
    request: &ResourceRequest,
) -> Result<Vec<ResourceSum>, PostgresError> {
    const BY_USER: &str = "SELECT meter, least(greatest(coalesce(sum(amount), 0), -9223372036854775808), 9223372036854775807)::bigint, \
        (array_agg(first ORDER BY first))[1] FROM usage_resources \
        WHERE meter = ANY($1) AND resource = $2 AND user_id = $3 GROUP BY meter";
    const BY_ORG: &str = "SELECT meter, least(greatest(coalesce(sum(amount), 0), -9223372036854775808), 9223372036854775807)::bigint, \
        (array_agg(first ORDER BY first))[1] FROM usage_resources \
        WHERE meter = ANY($1) AND resource = $2 AND org_id = $3 AND org_id <> '' GROUP BY meter";
    let ResourceRequest { subject, meters, resource, reached: _, reply: _ } = request;
    let (sql, id) = match subject {
        Subject::User(id) => (BY_USER, id),
        Subject::Org(id) => (BY_ORG, id),
    };
    let meters: Vec<_> = meters.iter().map(|meter| stored(meter)).collect();
    let rows = connection.query(sql, &[&meters, &stored(resource), &stored(id)]).await?;
    let mut some = Vec::with_capacity(rows.len());
    for row in &rows {
        let (meter, amount): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
        if amount != 0 {
            some.push((meter, amount, row.try_get::<_, Uuid>(2)?));
        }
    }
    let ids: Vec<_> = some.iter().map(|(.., first)| *first).collect();
    let firsts = first_lines(connection, &ids).await?;
    let some = some.into_iter().zip(firsts);
    let mut some: HashMap<_, _> =
        some.map(|((meter, amount, _), first)| (meter, ResourceSum { amount, first: Some(first) })).collect();
    Ok(meters.iter().map(|meter| some.remove(&**meter).unwrap_or_default()).collect())
}

/// A page of the resources that have something.
pub(super) async fn open(
    connection: &Connection,
    request: &OpenResourcesRequest,
) -> Result<OpenResources, PostgresError> {
    const PAGE: &str = "SELECT resource, user_id, org_id, CASE WHEN $7 AND org_id <> '' AND NOT (SELECT \
        sum(of.amount) > 0 FROM usage_resources AS of WHERE of.meter = one.meter AND of.resource = one.resource \
        AND of.org_id = one.org_id AND of.org_id <> '') THEN 0 ELSE amount END, first FROM usage_resources AS one \
        WHERE meter = $1 AND resource >= $2 AND (resource, user_id, org_id) > ($3, $4, $5) \
        ORDER BY resource, user_id, org_id LIMIT $6";
    let OpenResourcesRequest { meter, is_shared, prefix, after, reached: _, reply: _ } = request;
    let after = after.as_ref();
    let of = |part: fn(&ResourcePlace) -> &String| stored(after.map_or("", |after| part(after).as_str()));
    let (resource, user, org) =
        (of(|place| &place.resource), of(|place| &place.user_id), of(|place| &place.org_id));
    let (meter, prefix, limit) =
        (stored(meter), stored(prefix), i64::try_from(PAGE_ROWS).unwrap_or(i64::MAX));
    let rows = connection.query(PAGE, &[&meter, &prefix, &resource, &user, &org, &limit, is_shared]).await?;
    let is_full = rows.len() >= PAGE_ROWS;
    let mut places = Vec::with_capacity(rows.len());
    for row in &rows {
        let place =
            ResourcePlace { resource: row.try_get(0)?, user_id: row.try_get(1)?, org_id: row.try_get(2)? };
        places.push((place, row.try_get::<_, i64>(3)?, row.try_get::<_, Uuid>(4)?));
    }
    let read = places.len();
    let within = places.iter().take_while(|(place, ..)| place.resource.starts_with(&*prefix)).count();
    places.truncate(within);
    let next = places.last().filter(|_| is_full && within == read).map(|(place, ..)| place.clone());
    places.retain(|(_, amount, _)| *amount > 0);
    let ids: Vec<_> = places.iter().map(|(.., first)| *first).collect();
    let firsts = first_lines(connection, &ids).await?;
    let resources = places.into_iter().zip(firsts);
    let resources =
        resources.map(|((place, amount, _), first)| OpenResource { place, amount, first }).collect();
    Ok(OpenResources { resources, next })
}

/// The lines with these ids, in their order.
async fn first_lines(connection: &Connection, ids: &[Uuid]) -> Result<Vec<FirstLine>, PostgresError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let lines = events::by_id(connection, ids).await?;
    let mut lines: HashMap<_, _> = lines.into_iter().map(|line| (line.id, line)).collect();
    Ok(ids.iter().map(|id| FirstLine::new(*id, lines.remove(id))).collect())
}
