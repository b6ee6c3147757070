//! Answers that the engine loses: a run goes on without them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use super::history::Word;
use super::ledger::Ledger;
use super::world::World;
use super::{Chance, Scenario, questions};
use crate::support::engine::{Api, Engine, Twist};
use crate::support::http::Client;
use crate::support::node;

fn impatient(engine: &Engine) -> Client {
    Client::at(&engine.url()).within(Duration::from_millis(100))
}

#[tokio::test]
async fn an_answer_that_never_comes_is_not_judged() {
    let engine = Engine::start();
    engine.on_any().always(Twist::Hang);
    for directly in [true, false] {
        let (ledger, mut chance) = (Ledger::new(), Chance::new(1, 1));
        let asked = questions::ask(&ledger, &impatient(&engine), &mut chance, directly).await;
        // escache itself always answers: there is no excuse for it
        assert_eq!((asked.answer.is_some(), asked.lost, asked.judged), (false, directly, Ok(())));
        let counts = &ledger.counts;
        let counted = [&counts.lost, &counts.direct, &counts.answers].map(|c| c.load(Ordering::SeqCst));
        assert_eq!(counted, [u64::from(directly), 0, 0]);
    }
}

/// Whether a change was made of which nobody has heard is found out by making it again.
#[tokio::test]
async fn a_change_without_an_answer_is_made_once_more() {
    let engine = Engine::start();
    engine.index("logs", "1", json!({}));
    engine.index("other", "1", json!({}));
    let client = impatient(&engine);
    let mut world = World::new(Scenario::single(node::Engine::OpenSearch2), Vec::new(), client.clone());
    Arc::get_mut(&mut world).unwrap().clients.push(client.clone());
    for (index, twist, lost) in [("logs", Twist::Hang, 1), ("other", Twist::DropAfter, 1)] {
        engine.on(Api::Index).next(twist);
        world.change("DELETE", &format!("/{index}"), None, |_| {}).await;
        assert_eq!(client.get(format!("/{index}")).await.status, 404);
        assert_eq!(world.ledger.counts.lost.load(Ordering::SeqCst), lost);
    }
    // nor does a refusal say that nothing was done
    engine.index("third", "1", json!({}));
    let refusal = Twist::error(502, "node_disconnected_exception", "[node-2] disconnected");
    engine.on(Api::Index).times(2, refusal);
    let (said, heard) = std::sync::mpsc::channel();
    world.change("DELETE", "/third", None, move |word| said.send(word).unwrap()).await;
    assert_eq!(client.get("/third").await.status, 404);
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), [Word::Engine, Word::AllNodes]);
    assert_eq!(world.ledger.counts.refused.load(Ordering::SeqCst), 2);
    // a write of which nothing is known is neither counted nor sure
    engine.on(Api::Doc).always(Twist::Hang);
    assert_eq!(world.call(&client, "PUT", "/logs/_doc/1", Some(json!({}))).await, None);
    assert_eq!(world.ledger.counts.lost.load(Ordering::SeqCst), 2);
}
