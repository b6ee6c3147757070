//! Renewal ahead.

use super::*;

#[tokio::test(start_paused = true)]
async fn what_is_used_is_renewed_before_it_ages_out_and_nothing_else_is() {
    let rounds = rounds(1_000);
    pass(Duration::from_secs(100)).await;
    rounds.get(within()).await;
    for _ in 0..200 {
        pass(Duration::from_millis(50)).await;
        assert!(rounds.serving(within()).is_some(), "a hit would have waited");
    }
    // 10 s, each 0.75 s
    assert_eq!(rounds.begun(), 1 + 13);
    // used since the last one, so one more
    pass(Duration::from_secs(1)).await;
    assert_eq!(rounds.begun(), 1 + 14);
    pass(Duration::from_secs(100)).await;
    assert_eq!(rounds.begun(), 1 + 14);
    // a strict request renews nothing
    rounds.get(Needed::since(Instant::now())).await;
    assert!(rounds.serving(Needed::since(Instant::now())).is_some());
    pass(Duration::from_secs(100)).await;
    assert_eq!(rounds.begun(), 1 + 15);
}

#[tokio::test(start_paused = true)]
async fn the_shortest_bound_in_use_decides_when_to_renew() {
    let rounds = rounds(1_000);
    pass(Duration::from_secs(1_000)).await;
    rounds.get(Needed::since(Instant::now())).await;
    for bound in [600, 60, 6] {
        assert!(rounds.serving(Needed::within(Duration::from_secs(bound), Instant::now())).is_some());
    }
    // at three quarters, or at the last sixteenth of the bound before
    pass(Duration::from_millis(4_249)).await;
    assert_eq!(rounds.begun(), 1);
    pass(Duration::from_millis(1)).await;
    assert_eq!(rounds.begun(), 2);
    // the renewal that the others had asked for is done with this one
    pass(Duration::from_secs(1_000)).await;
    assert_eq!(rounds.begun(), 2);
}

/// Between the look at what others want and the renewal itself, others come in. What counts is who needs it first, and
/// nobody needs what has a successor.
#[tokio::test(start_paused = true)]
async fn no_bound_takes_the_renewal_of_a_shorter_one_away() {
    let rounds = rounds(1_000);
    pass(Duration::from_secs(100)).await;
    let second = Duration::from_secs(1);
    let first = rounds.get(Needed::since(Instant::now())).await.unwrap();
    for due in [4, 40, 2, 20] {
        rounds.renew_at(&first, due * second);
    }
    pass(2 * second - MOMENT).await;
    assert_eq!(rounds.begun(), 1);
    pass(MOMENT).await;
    assert_eq!(rounds.begun(), 2, "the shortest one");
    let successor = rounds.latest().unwrap();
    rounds.renew_at(&successor, 3 * second);
    // who has found the first one before
    rounds.renew_at(&first, second);
    pass(3 * second - MOMENT).await;
    assert_eq!(rounds.begun(), 2);
    pass(MOMENT).await;
    assert_eq!(rounds.begun(), 3, "of the successor");
    pass(100 * second).await;
    assert_eq!(rounds.begun(), 3);
}

/// A renewal that has found nothing is no reason not to try again for who comes with a shorter bound.
#[tokio::test(start_paused = true)]
async fn a_renewal_that_has_ended_is_in_nobodys_way() {
    let rounds = rounds(1_000);
    pass(Duration::from_secs(100)).await;
    let second = Duration::from_secs(1);
    let first = rounds.get(Needed::since(Instant::now())).await.unwrap();
    rounds.subject.fails.store(1, Ordering::SeqCst);
    rounds.renew_at(&first, second);
    pass(second).await;
    assert_eq!((rounds.begun(), rounds.latest().unwrap().found), (2, Ok(1)));
    rounds.subject.fails.store(0, Ordering::SeqCst);
    rounds.renew_at(&first, 3 * second);
    pass(2 * second).await;
    assert_eq!((rounds.begun(), rounds.latest().unwrap().found), (3, Ok(3)));
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_is_not_renewed() {
    let rounds = rounds(1_000);
    pass(Duration::from_secs(100)).await;
    rounds.get(within()).await;
    assert!(rounds.serving(within()).is_some());
    let (weak, before) =
        (Arc::downgrade(&rounds), tokio::runtime::Handle::current().metrics().num_alive_tasks());
    drop(rounds);
    settle().await;
    assert!(weak.upgrade().is_none());
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), before - 1);
}

/// So that one call to the engine may ask for several of them.
#[tokio::test(start_paused = true)]
async fn what_was_measured_at_about_the_same_time_is_renewed_at_the_same_moment() {
    let pace = Arc::new(Pace::new(wall, PAUSE, LATE, 100));
    let mut all = Vec::new();
    for _ in 0..40 {
        let rounds = Arc::new(Rounds::new(Probe::of(2), Arc::clone(&pace)));
        rounds.get(within()).await;
        assert!(rounds.serving(within()).is_some());
        all.push((rounds, Instant::now()));
        pass(Duration::from_millis(3)).await;
    }
    let mut moments = BTreeSet::new();
    while moments.last() != Some(&all.len()) {
        pass(Duration::from_millis(1)).await;
        let renewed = |(rounds, _): &&(Arc<Rounds<Probe>>, Instant)| rounds.begun() == 2;
        moments.insert(all.iter().filter(renewed).count());
        assert!(all.iter().all(|one| renewed(&one) || one.1.elapsed() < BOUND), "one has aged out");
    }
    // those of 120 ms are renewed at two or three of the sixteenths of a second
    assert!(moments.len() <= 1 + 3, "{moments:?}");
}

#[test]
fn a_renewal_has_time_to_land() {
    let due = |bound, took| renewal(Duration::from_millis(bound), Duration::from_millis(took)).as_millis();
    assert_eq!(due(1_000, 1), 750);
    assert_eq!(due(1_000, 100), 700);
    assert_eq!(due(1_000, 10_000), 500);
    assert_eq!(due(0, 10), 0);
}

/// Dashboards that look again just as often as the bound says come when it is nearly over. Their targets are renewed
/// together too, a little later than each for itself, and nobody waits.
#[tokio::test(start_paused = true)]
async fn what_is_used_as_often_as_the_bound_says_is_renewed_at_the_same_moments() {
    let pace = Arc::new(Pace::new(wall, PAUSE, LATE, 100));
    let mut all = Vec::new();
    for _ in 0..100 {
        let rounds = Arc::new(Rounds::new(Probe::of(100), Arc::clone(&pace)));
        rounds.get(within()).await;
        all.push(rounds);
        pass(BOUND / 100).await;
    }
    let mut moments = BTreeSet::new();
    for turn in 1..=8 {
        for rounds in &all {
            assert!(rounds.serving(within()).is_some() || turn == 1, "a hit would have waited");
            rounds.get(within()).await;
            for _ in 0..10 {
                pass(BOUND / 1_000).await;
                if turn > 4 {
                    moments.insert(all.iter().map(|one| one.begun()).sum::<usize>());
                }
            }
        }
    }
    let last = *moments.last().unwrap() - *moments.first().unwrap();
    assert!((360..=440).contains(&last), "each once for each use: {last}");
    // sixteen a second, for four seconds
    assert!(moments.len() <= 1 + 65, "{} moments", moments.len());
}
