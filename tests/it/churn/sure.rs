//! What an acknowledgement is worth: who can still be shown what was there before.

use serde_json::{Value, json};

use super::Scenario;
use super::history::{History, Window, Word};
use super::ledger::Up;
use super::world::World;
use crate::support::http::Client;
use crate::support::node::Engine;

impl World {
    /// By whose word something is visible, if it is, after a call that was to make it visible in this many shards has been
    /// answered. `up`: what was known before the call; `fails`: a copy that did not do it is a copy no more.
    pub(super) fn word(&self, answer: &Value, shards: u64, up: Up, fails: bool) -> Option<Word> {
        let number = |name: &str| answer["_shards"][name].as_u64();
        let (total, successful) = (number("total")?, number("successful")?);
        // where there are fewer copies than usual, one is on its way out: a node that does not know may search it
        if self.scenario.segments || total != shards * (1 + self.scenario.replicas() as u64) {
            return None;
        }
        // one of each, since the other one was on the node that is down: a new one begins with what is visible
        let half = number("failed") == Some(0) && successful * 2 == total && self.ledger.up() == up;
        if successful == total || (half && up.dead) {
            Some(Word::AllNodes)
        } else if fails || (half && up.down.is_some() && shards == 1) {
            // a node that runs may have been dropped. (Of two shards, one might be on both nodes and the other on none.)
            Some(Word::Engine)
        } else {
            None
        }
    }
}

#[test]
fn an_acknowledgement_is_worth_the_copies_that_it_names() {
    let world = World::new(Scenario::pair(Engine::OpenSearch2), Vec::new(), Client::new());
    let shards = |total, successful, failed| json!({"_shards": {"total": total, "successful": successful, "failed": failed}});
    let up = world.ledger.up();
    let refresh = |answer, of| world.word(&answer, of, world.ledger.up(), false);
    let write = |answer| world.word(&answer, 1, world.ledger.up(), true);
    assert_eq!(refresh(shards(2, 2, 0), 1), Some(Word::AllNodes));
    assert_eq!(refresh(shards(4, 4, 0), 2), Some(Word::AllNodes));
    assert_eq!(write(shards(2, 2, 0)), Some(Word::AllNodes));
    // a copy was not reached: the engine takes it away for a write, and not for a refresh
    assert_eq!((refresh(shards(2, 1, 0), 1), write(shards(2, 1, 0))), (None, Some(Word::Engine)));
    assert_eq!((refresh(shards(2, 1, 1), 1), write(shards(2, 1, 1))), (None, Some(Word::Engine)));
    // replicas that are taken away are searched until all nodes know
    assert_eq!((refresh(shards(1, 1, 0), 1), write(shards(1, 1, 0))), (None, None));
    // killed, but who knows when
    world.ledger.set_down(Some(1), false);
    assert_eq!(refresh(shards(2, 1, 0), 1), Some(Word::Engine));
    assert_eq!(refresh(shards(4, 2, 0), 2), None);
    assert_eq!(world.word(&shards(2, 1, 0), 1, up, false), None);
    // dead for certain
    world.ledger.set_down(Some(1), true);
    assert_eq!(refresh(shards(2, 1, 0), 1), Some(Word::AllNodes));
    assert_eq!(refresh(shards(4, 2, 0), 2), Some(Word::AllNodes));
    assert_eq!(refresh(shards(4, 2, 2), 2), None);
}

#[test]
fn what_the_engine_alone_is_sure_of_binds_hits_and_not_its_own_answers() {
    let mut history = History::new(None);
    let step = history.begin(Some(1));
    let possible = |history: &History<Option<u64>>, word| {
        let now = std::time::Instant::now();
        history.possible(Window { span: (now, now), word }).copied().collect::<Vec<_>>()
    };
    assert_eq!(possible(&history, Word::Engine), [Some(1), None]);
    history.settle(step, Word::Engine);
    assert_eq!(possible(&history, Word::Engine), [Some(1)]);
    assert_eq!(possible(&history, Word::AllNodes), [Some(1), None]);
    history.settle(step, Word::AllNodes);
    assert_eq!(possible(&history, Word::AllNodes), [Some(1)]);
}
