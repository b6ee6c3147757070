//! How tests wait for what must come: as long as it takes. The bound ends a test that hangs, and decides nothing else.

use std::pin::pin;
use std::time::{Duration, Instant};

use crate::support::escache::verdict;
use crate::support::http::Response;

/// How long a test waits before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How long is slept between two looks.
const LOOK: Duration = Duration::from_millis(2);

/// Waits until something holds. The time is real time, also while the test's clock stands.
pub(crate) async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::task::spawn_blocking(|| std::thread::sleep(LOOK)).await.unwrap();
    }
}

/// It is time to look again. Moves no clock that is paused.
async fn look_again() {
    tokio::task::spawn_blocking(|| std::thread::sleep(LOOK)).await.unwrap();
}

/// What comes of something that must end, in real time as well.
pub(crate) async fn ends<T>(what: &str, work: impl Future<Output = T>) -> T {
    let (mut work, begun) = (pin!(work), Instant::now());
    loop {
        tokio::select! {
            biased;
            done = work.as_mut() => return done,
            () = look_again() => assert!(begun.elapsed() < PATIENCE, "never ends: {what}"),
        }
    }
}

/// Asks until the answer comes from the cache: permissions must have been seen for a while before it may.
pub(crate) async fn until_hit(ask: impl AsyncFn() -> Response) -> Response {
    let begun = Instant::now();
    loop {
        let answer = ask().await;
        if verdict(&answer.headers).0 == "HIT" {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "never a hit: {} {:?}", answer.status, answer.headers);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
