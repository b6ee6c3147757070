//! Which nodes have applied which changes of the metadata. An acknowledgement speaks for the nodes that the master knows: one that
//! it has dropped is not asked, and answers searches by what it knows until it has joined again.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::ledger::lock;
use super::world::World;

/// How often nodes are asked.
const PAUSE: Duration = Duration::from_millis(50);

/// What happens when all nodes have applied this state, or one after it.
struct Waiting {
    version: u64,
    nodes: Vec<usize>,
    settle: Box<dyn FnOnce() + Send>,
}

#[derive(Default)]
pub(crate) struct States(Mutex<Vec<Waiting>>);

impl States {
    pub(crate) fn wait_for(&self, version: u64, nodes: Range<usize>, settle: impl FnOnce() + Send + 'static) {
        let waiting = Waiting { version, nodes: nodes.collect(), settle: Box::new(settle) };
        lock(&self.0).push(waiting);
    }

    fn waits_for(&self, node: usize) -> bool {
        lock(&self.0).iter().any(|waiting| waiting.nodes.contains(&node))
    }

    /// This node answers by this state, or a later one, from now on.
    fn applied(&self, node: usize, version: u64) {
        let mut all = lock(&self.0);
        for waiting in all.iter_mut().filter(|waiting| waiting.version <= version) {
            waiting.nodes.retain(|other| *other != node);
        }
        for over in all.extract_if(.., |waiting| waiting.nodes.is_empty()) {
            (over.settle)();
        }
    }
}

/// Asks the nodes which state they have applied, where somebody waits for it.
pub(crate) async fn follow(world: Arc<World>) {
    while !world.ledger.over() {
        tokio::time::sleep(PAUSE).await;
        for (node, client) in world.clients.iter().enumerate() {
            let up = world.ledger.up();
            if up.dead && up.down == Some(node) {
                // started again, it searches by no state before it has joined
                world.states.applied(node, u64::MAX);
            } else if world.states.waits_for(node) {
                let told = world.call(client, "GET", "/_cluster/state/version?local=true", None).await;
                let version = told.filter(|(status, _)| *status == 200).map(|(_, answer)| answer);
                if let Some(version) =
                    version.as_ref().map(|answer| &answer["version"]).and_then(Value::as_u64)
                {
                    world.states.applied(node, version);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_change_is_everywhere_when_the_last_node_has_it() {
    let states = States::default();
    let (said, heard) = std::sync::mpsc::channel();
    for version in [7, 9] {
        let said = said.clone();
        states.wait_for(version, 1..3, move || said.send(version).unwrap());
    }
    let heard = || heard.try_iter().collect::<Vec<_>>();
    states.applied(1, 8);
    states.applied(2, 6);
    assert_eq!(heard(), Vec::<u64>::new());
    states.applied(2, 7);
    assert_eq!(heard(), [7]);
    states.applied(1, 9);
    // the process of this one has ended
    states.applied(2, u64::MAX);
    assert_eq!(heard(), [9]);
}
