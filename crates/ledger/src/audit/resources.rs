//! Whether what resources have is the sum of their lines.

use rusqlite::{Connection, Result};

use super::{AuditReport, Difference};
use crate::ledger::totals::clamp;

/// Compares every sum in the table with the lines that name the resource.
pub(super) fn check(connection: &Connection, report: &mut AuditReport) -> Result<()> {
    // In two halves, because SQLite's sum fails beyond 64 bits.
    const BOTH: &str = "SELECT meter, resource, user_id, org_id, amount, high, low FROM usage_resources \
        FULL JOIN (SELECT meter, resource, user_id, ifnull(org_id, '') org_id, sum(amount >> 32) high, \
        sum(amount & 4294967295) low FROM usage_ledger WHERE resource IS NOT NULL GROUP BY 1, 2, 3, 4) \
        USING (meter, resource, user_id, org_id) ORDER BY 1, 2, 3, 4";
    let mut statement = connection.prepare(BOTH)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let kept: Option<i64> = row.get(4)?;
        let half =
            |column| Ok::<_, rusqlite::Error>(i128::from(row.get::<_, Option<i64>>(column)?.unwrap_or(0)));
        let lines = clamp((half(5)? << 32) + half(6)?);
        report.rollup_rows += u64::from(kept.is_some());
        let kept = kept.unwrap_or(0);
        if kept != lines {
            report.differences.push(Difference::Resource {
                meter: row.get(0)?,
                resource: row.get(1)?,
                user_id: row.get(2)?,
                org_id: row.get(3)?,
                kept,
                lines,
            });
        }
    }
    Ok(())
}
