//! Limits are exact: under any number of clients, and across crashes.

use tollgate_testkit::Origin;

use super::{ROUTES, TIERS, of_org};
use crate::{
    books::assert_clean,
    scene::{Scene, all_at_once},
};

#[test]
fn a_crash_gives_nobody_a_second_budget() {
    let mut scene = Scene::start_with_two_workers(Origin::builder(), ROUTES, TIERS);
    let admitted = |scene: &Scene, clients: usize, each: usize| {
        let statuses = all_at_once(clients, each, |_| scene.get("/two/", "ann", "many"));
        assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
        statuses.iter().filter(|status| **status == 200).count()
    };
    let mut total = 0;
    for _ in 0..3 {
        total += admitted(&scene, 4, 15);
        // Answered, and perhaps not in the ledger yet.
        scene.gateway.kill_9();
        scene.gateway.restart();
    }
    assert_eq!(total, 180);
    assert_eq!(total + admitted(&scene, 4, 15), 200, "exactly what is left");
    let lines = scene.settled();
    let sum =
        |meter: &str| lines.iter().filter(|line| line.meter == meter).map(|line| line.amount).sum::<i64>();
    assert_eq!((sum("calls"), sum("tokens")), (200, 1400));
    assert_clean(&scene.gateway);
}

#[test]
fn under_64_clients_at_once_a_limit_is_exact() {
    let scene = Scene::start_with_two_workers(Origin::builder(), ROUTES, TIERS);
    let statuses = all_at_once(64, 10, |client| {
        // All users of one organisation, each with less than a share: only the organisation's limit refuses.
        let user = format!("user-{}", client % 4);
        scene.get(
            if client % 2 == 0 { "/x/" } else { "/two/" },
            if client < 32 { "ann" } else { &user },
            "many",
        )
    });
    let admitted = statuses.iter().filter(|status| **status == 200).count();
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    let lines = scene.settled();
    let used = |user: &str| lines.iter().filter(|line| line.user == user && line.meter == "calls").count();
    assert_eq!(used("ann"), 200, "320 asked, 200 fit");
    for user in ["user-0", "user-1", "user-2", "user-3"] {
        assert_eq!(used(user), 80, "80 asked, 200 would fit: nobody is refused falsely");
    }
    assert_eq!(admitted, 200 + 4 * 80);
    assert_clean(&scene.gateway);
}

#[test]
fn under_64_clients_at_once_user_and_organisation_stay_exact_together() {
    let scene = Scene::start_with_two_workers(Origin::builder(), ROUTES, TIERS);
    let statuses = all_at_once(64, 3, |client| of_org(&scene, &format!("user-{}", client % 16), "acme"));
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 8, "{statuses:?}");
    assert_eq!(scene.settled().len(), 8);
    let mut left_of_own = 0;
    for number in 0..16 {
        // In another organisation the user's own limit shows, less this request.
        let answer = of_org(&scene, &format!("user-{number}"), &format!("org-{number}"));
        if answer.status == 200 {
            left_of_own +=
                1 + answer.header("ratelimit").unwrap().strip_prefix("\"calls-lifetime\";r=").unwrap()[..1]
                    .parse::<i64>()
                    .unwrap();
        }
    }
    assert_eq!(left_of_own, 16 * 5 - 8, "what the organisation refused took nothing from its users");
}
