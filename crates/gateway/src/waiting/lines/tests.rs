//! Order and bound of lines, with many who come and leave at once.

use std::{
    future::poll_fn,
    sync::{
        Barrier, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::Waker,
    thread,
};

use proptest::prelude::*;
use tokio::runtime::Builder;
use tollgate_core::Window;
use tollgate_quota::MeterId;

use super::*;

fn key(id: &str) -> Key {
    let counter = CounterKey { meter: MeterId(0), window: Window::Lifetime };
    Key { scope: Scope::User, id: id.into(), counter, max: Max::AtMost(1), rate: None }
}

fn is_first(place: &Place) -> bool {
    place.poll_first(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[derive(Clone, Debug)]
enum Step {
    Join(usize),
    Leave(usize),
}

proptest! {
    /// Whoever leaves when, those who stay keep their order, and no line is longer than it may be.
    #[test]
    fn a_line_is_as_a_plain_queue(
        steps in prop::collection::vec(
            prop_oneof![3 => (0..3usize).prop_map(Step::Join), 2 => any::<usize>().prop_map(Step::Leave)],
            1..200,
        ),
        length_max in 1..6usize,
    ) {
        let lines = Arc::new(Lines::default());
        let keys = [key("ann"), key("bob"), key("cyd")];
        let mut model: [Vec<Place>; 3] = Default::default();
        for step in steps {
            match step {
                Step::Join(line) => {
                    let joined = lines.join(&keys[line], length_max, 0);
                    prop_assert_eq!(joined.is_some(), model[line].len() < length_max);
                    if let Some((place, length)) = joined {
                        model[line].push(place);
                        prop_assert_eq!(length, model[line].len());
                    }
                }
                Step::Leave(which) => {
                    let all: usize = model.iter().map(Vec::len).sum();
                    let Some(mut which) = which.checked_rem(all) else { continue };
                    for line in &mut model {
                        if which < line.len() {
                            drop(line.remove(which));
                            break;
                        }
                        which -= line.len();
                    }
                }
            }
            for (line, key) in model.iter().zip(&keys) {
                prop_assert_eq!(lines.length(key), line.len());
                for (index, place) in line.iter().enumerate() {
                    prop_assert_eq!(is_first(place), index == 0);
                }
            }
            prop_assert_eq!(lines.lock().waiting, model.iter().map(Vec::len).sum::<usize>());
        }
        drop(model);
        prop_assert!(lines.lock().lines.is_empty(), "nothing of them stays");
    }
}

#[test]
fn those_who_wait_keep_a_bounded_part_of_what_is_kept_of_bodies() {
    let lines = Arc::new(Lines::default());
    let (ann, bob) = (key("ann"), key("bob"));
    let half = WAITING_BYTES_MAX / 2;
    let (first, _) = lines.join(&ann, 9, half).unwrap();
    let second = lines.join(&bob, 9, half).unwrap();
    assert!(lines.join(&ann, 9, 1).is_none());
    let third = lines.join(&ann, 9, 0);
    assert!(third.is_some(), "who keeps nothing may wait");
    drop(first);
    assert!(lines.join(&bob, 9, half + 1).is_none());
    let fourth = lines.join(&bob, 9, half);
    assert!(fourth.is_some());
    drop((second, third, fourth));
    assert_eq!(lines.lock().bytes, 0);
}

#[test]
fn many_threads_are_served_in_their_order() {
    const THREADS: usize = 24;
    let lines = Arc::new(Lines::default());
    let key = key("ann");
    // So that the line, and the numbers in it, go on when nobody is in it for a moment.
    let (place, _) = lines.join(&key, THREADS, 0).unwrap();
    place.pace(|pace| pace.take(Instant::now(), Rate { requests: 1, seconds: 3600 })).unwrap();
    drop(place);
    let (served, at_once) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    let start = Barrier::new(THREADS);
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (lines, key, served, at_once, start) = (&lines, &key, &served, &at_once, &start);
            scope.spawn(move || {
                let runtime = Builder::new_current_thread().build().unwrap();
                start.wait();
                for turn in 0..50 {
                    let (place, _) = lines.join(key, THREADS, 0).unwrap();
                    if (number + turn) % 7 == 0 {
                        // A client who hangs up.
                        continue;
                    }
                    runtime.block_on(poll_fn(|cx| place.poll_first(cx)));
                    assert_eq!(at_once.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
                    served.lock().unwrap().push(place.number);
                    at_once.fetch_sub(1, Ordering::SeqCst);
                }
            });
        }
    });
    let served = served.into_inner().unwrap();
    assert!(served.len() > THREADS * 40 && served.is_sorted(), "{served:?}");
    assert_eq!(lines.waiting(), 0);
}
