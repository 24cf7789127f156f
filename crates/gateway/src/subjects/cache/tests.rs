use tollgate_core::UnixMillis;
use tollgate_ledger::{Subject, SubjectRow};

use super::*;

const FRESH: Duration = Duration::from_secs(60);

fn ann() -> SubjectKey<'static> {
    SubjectKey { scope: Scope::User, id: "ann" }
}

fn row(tier: &str, version: u64) -> Option<Arc<Profile>> {
    let row = SubjectRow { tier: Some(tier.to_owned()), ..SubjectRow::empty(UnixMillis(0)) };
    Some(Arc::new(Profile::new(&Subject::User("ann".to_owned()), Some(row), version)))
}

fn tier(profile: &Arc<Profile>) -> &str {
    profile.tier.as_deref().unwrap()
}

fn missing(found: Found) -> Arc<Ask> {
    match found {
        Found::Missing(ask) => ask,
        other => panic!("{}", name(&other)),
    }
}

fn name(found: &Found) -> &'static str {
    match found {
        Found::Fresh(_) => "fresh",
        Found::Stale(_, Some(_)) => "stale, to be read",
        Found::Stale(_, None) => "stale",
        Found::Asked(_) => "asked",
        Found::Missing(_) => "missing",
        Found::Unavailable => "unavailable",
    }
}

/// A cache with ann's row, read at `at`.
fn cached(at: Instant) -> Cache {
    let cache = Cache::new(1000);
    let ask = missing(cache.get(ann(), FRESH, at));
    assert!(cache.answered(ann(), &ask, row("pro", 1), at).0.is_some());
    cache
}

#[test]
fn one_reads_and_all_others_wait_for_it() {
    let (cache, now) = (Cache::new(1000), Instant::now());
    let ask = missing(cache.get(ann(), FRESH, now));
    for _ in 0..3 {
        let Found::Asked(other) = cache.get(ann(), FRESH, now) else { panic!("it is being read") };
        assert!(Arc::ptr_eq(&ask, &other));
    }
    cache.answered(ann(), &ask, row("pro", 1), now);
    assert_eq!(name(&cache.get(ann(), FRESH, now)), "fresh");
}

#[test]
fn an_old_row_answers_while_it_is_read_again_and_while_it_cannot_be() {
    let start = Instant::now();
    let cache = cached(start);
    let at = |seconds| start + Duration::from_secs(seconds);
    assert_eq!(name(&cache.get(ann(), FRESH, at(59))), "fresh");
    let Found::Stale(_, Some(ask)) = cache.get(ann(), FRESH, at(60)) else { panic!("60 s are over") };
    assert_eq!(name(&cache.get(ann(), FRESH, at(61))), "stale", "one reading is enough");
    assert_eq!(cache.answered(ann(), &ask, None, at(62)).0.as_ref().map(tier), Some("pro"));
    assert_eq!(name(&cache.get(ann(), FRESH, at(62))), "stale", "not again at once");
    assert_eq!(name(&cache.get(ann(), FRESH, at(63))), "stale, to be read");
    // A day is the end of it.
    let late = start + STALE_MAX;
    assert_eq!(name(&cache.get(ann(), FRESH, late)), "asked");
}

#[test]
fn a_row_that_cannot_be_read_is_asked_for_again_by_the_next() {
    let (cache, now) = (Cache::new(1000), Instant::now());
    for _ in 0..3 {
        let ask = missing(cache.get(ann(), FRESH, now));
        assert!(cache.answered(ann(), &ask, None, now).0.is_none());
    }
}

#[test]
fn a_change_while_the_row_is_read_has_it_read_once_more() {
    let (cache, now) = (Cache::new(1000), Instant::now());
    let first = missing(cache.get(ann(), FRESH, now));
    assert!(cache.changed(ann(), now).is_none(), "it is being read");
    assert!(cache.changed(ann(), now).is_none());
    let (known, again) = cache.answered(ann(), &first, row("old", 1), now);
    assert_eq!(known.as_ref().map(tier), Some("old"), "who waited gets what there is");
    let again = again.expect("it may have been read before the change");
    assert_eq!(name(&cache.get(ann(), FRESH, now)), "stale");
    assert!(cache.answered(ann(), &again, row("new", 2), now).1.is_none());
    let Found::Fresh(known) = cache.get(ann(), FRESH, now) else { panic!("it was read") };
    assert_eq!(tier(&known), "new");
}

#[test]
fn what_says_the_same_keeps_its_version() {
    let now = Instant::now();
    let cache = cached(now);
    let Found::Fresh(before) = cache.get(ann(), FRESH, now) else { panic!("it was read") };
    let ask = cache.changed(ann(), now).unwrap();
    cache.answered(ann(), &ask, row("pro", 2), now);
    let Found::Fresh(after) = cache.get(ann(), FRESH, now) else { panic!("it was read") };
    assert!(Arc::ptr_eq(&before, &after));
}

#[test]
fn changes_that_were_missed_outdate_everything_also_what_is_being_read() {
    let now = Instant::now();
    let cache = cached(now);
    let ask = cache.changed(ann(), now).unwrap();
    cache.outdate_all();
    cache.answered(ann(), &ask, row("new", 2), now);
    assert_eq!(name(&cache.get(ann(), FRESH, now)), "stale, to be read");
}

#[test]
fn what_was_cleared_is_not_filled_by_an_older_reading() {
    let (cache, now) = (Cache::new(1000), Instant::now());
    let ask = missing(cache.get(ann(), FRESH, now));
    cache.clear();
    assert!(cache.answered(ann(), &ask, row("old", 1), now).0.is_some());
    missing(cache.get(ann(), FRESH, now));
    assert!(cache.changed(SubjectKey { scope: Scope::Org, id: "ann" }, now).is_none());
}

#[test]
fn there_is_a_bound_and_who_is_asked_for_stays() {
    const MAX: usize = 64 * 16;
    let (cache, now) = (Cache::new(MAX), Instant::now());
    let entries = |cache: &Cache| cache.shards.iter().map(|shard| lock(shard).len()).sum::<usize>();
    let ask = missing(cache.get(ann(), FRESH, now));
    cache.answered(ann(), &ask, row("pro", 1), now);
    for number in 0..100_000u32 {
        let id = number.to_string();
        let key = SubjectKey { scope: Scope::User, id: &id };
        let ask = missing(cache.get(key, FRESH, now));
        cache.answered(key, &ask, row("pro", 1), now);
        assert!(entries(&cache) <= MAX);
    }
    assert!(entries(&cache) > MAX / 4);
    // What is being read is never forgotten, so there is an end to it.
    let (mut asked, mut refused) = (0, 0);
    for number in 0..4 * MAX {
        let id = format!("reading-{number}");
        match cache.get(SubjectKey { scope: Scope::User, id: &id }, FRESH, now) {
            Found::Missing(_) => asked += 1,
            Found::Unavailable => refused += 1,
            other => panic!("{}", name(&other)),
        }
    }
    assert!(asked <= MAX && refused >= 3 * MAX, "{asked} {refused}");
}
