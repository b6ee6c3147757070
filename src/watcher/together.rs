//! Counters of several targets in one call. While such a call is under way, those that are wanted next wait for the next
//! one, so many hot targets cost the engine hardly more than one.
//!
//! It names concrete indices alone, those that the target's own name shows under the same metadata
//! (`Sandwich::indices`), and each target's part of the answer is closed by the version of the state as its own answer
//! would be. A call that fails says nothing about any of them: then each asks by its own name, and the next time for its
//! indices alone, so that it is found out who spoils it ([`Joining`]). Targets whose own question fails or is slow, and
//! wide ones, are asked for alone, so that the others need not wait for them.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::questions::Questions;
use crate::elastic::target;
use crate::generation::COUNTERS_FILTER;

/// A target of more indices is asked for alone.
const WIDEST: usize = 8;

/// So many bytes of names fit into the first line of a request: the engines take 4,096 for all of it.
const LONGEST: usize = 2_500;

/// A question that takes longer than this part of the time that a reading has is slow.
pub(super) const SLOW: u32 = 4;

/// So many calls are under way at once.
const CALLS: usize = 2;

/// Who waits for counters of some indices.
#[derive(Debug, Default)]
pub(super) struct Together(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Wanted>,
    calls: usize,
}

#[derive(Debug)]
struct Wanted {
    indices: Arc<[String]>,
    answer: oneshot::Sender<Bytes>,
}

/// What `_stats` answers, as far as it has to be parted.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(rename = "_shards")]
    shards: Broadcast,
    #[serde(borrow, default)]
    indices: HashMap<String, &'a RawValue>,
}

#[derive(Deserialize)]
struct Broadcast {
    failed: u64,
}

/// How a target is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Joining {
    /// With others.
    #[default]
    Joins,
    /// By its indices, without others: a call that named them failed, perhaps for them.
    Suspect,
    /// By its own name, so many times more and of so many: a call that named its indices alone failed.
    Apart { left: u32, of: u32 },
    /// By its own name, until that is answered in time.
    Troubled,
}

impl Joining {
    /// Its own question was answered in time. Whether it had been `tried` in another way before.
    pub(super) fn answered(self, tried: bool) -> Joining {
        const FEWEST: u32 = 16;
        const MOST: u32 = 1024;
        match self {
            Joining::Joins if !tried => Joining::Joins,
            Joining::Joins | Joining::Troubled => Joining::Suspect,
            Joining::Suspect if !tried => Joining::Suspect,
            Joining::Suspect => Joining::Apart { left: FEWEST, of: FEWEST },
            Joining::Apart { left: 0, of } if tried => {
                let of = (4 * of).min(MOST);
                Joining::Apart { left: of, of }
            }
            Joining::Apart { left, of } => Joining::Apart { left: left.saturating_sub(1), of },
        }
    }
}

/// Whether indices are few enough to be asked for with those of others.
pub(super) fn fits(indices: &[String]) -> bool {
    !indices.is_empty() && indices.len() <= WIDEST && written(indices) <= LONGEST
}

/// What `_stats` would answer to these indices, asked for without others. `None` if it does not.
pub(super) async fn by_itself(questions: &Questions, indices: &[String]) -> Option<Bytes> {
    let answer = ask(questions, indices.iter().map(String::as_str)).await?;
    part(&whole(&answer)?, indices)
}

/// Asks for the counters of these indices; `None` if there is no answer, or none in time.
async fn ask<'a>(questions: &Questions, names: impl IntoIterator<Item = &'a str>) -> Option<Bytes> {
    let names = target::list(names);
    let question = format!("/{names}/_stats/refresh,merge?level=shards&filter_path={COUNTERS_FILTER}");
    tokio::time::timeout(questions.timeout / SLOW, questions.ask(&question)).await.ok()?.ok()
}

/// What `_stats` would answer to each that [fits], by a question that is sent after this was called. `None` if it does
/// not, to somebody.
pub(super) async fn counters(questions: &Arc<Questions>, indices: &Arc<[String]>) -> Option<Bytes> {
    let (answer, part) = oneshot::channel();
    let calls = {
        let mut state = questions.together.lock();
        state.waiting.push(Wanted { indices: Arc::clone(indices), answer });
        let calls = state.calls < CALLS;
        state.calls += usize::from(calls);
        calls
    };
    if calls {
        tokio::spawn(Call { questions: Arc::clone(questions), done: false }.run());
    }
    part.await.ok()
}

impl Together {
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks as long as somebody waits. If it is lost, those who wait are told, and ask alone.
struct Call {
    questions: Arc<Questions>,
    done: bool,
}

impl Call {
    async fn run(mut self) {
        // whoever is renewed at the same moment is to be in the first call already
        tokio::task::yield_now().await;
        while let Some(wanted) = self.next() {
            let names: BTreeSet<&str> =
                wanted.iter().flat_map(|wanted| wanted.indices.iter()).map(String::as_str).collect();
            let Some(answer) = ask(&self.questions, names).await else { continue };
            for (wanted, part) in parts(&answer, wanted) {
                let _ = wanted.send(part);
            }
        }
    }

    /// Those who wait, as far as their names fit in; `None` if there are none, and then this call is over.
    fn next(&mut self) -> Option<Vec<Wanted>> {
        let mut state = self.questions.together.lock();
        state.waiting.retain(|wanted| !wanted.answer.is_closed());
        let mut room = LONGEST;
        let fits = |wanted: &&Wanted| {
            let left = room.checked_sub(written(&wanted.indices));
            room = left.unwrap_or_default();
            left.is_some()
        };
        let count = state.waiting.iter().take_while(fits).count();
        if count == 0 {
            self.done = true;
            state.calls -= 1;
            return None;
        }
        Some(state.waiting.drain(..count).collect())
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.done {
            let mut state = self.questions.together.lock();
            state.calls -= 1;
            state.waiting.clear();
        }
    }
}

/// At most so many bytes names take in a path: an escaped one is three.
fn written(names: &[String]) -> usize {
    names.iter().map(|name| 3 * name.len() + 1).sum()
}

/// What of an answer is whose, each as the answer to its own question would be.
fn parts(answer: &[u8], wanted: Vec<Wanted>) -> impl Iterator<Item = (oneshot::Sender<Bytes>, Bytes)> {
    let whole = whole(answer);
    wanted
        .into_iter()
        .filter_map(move |wanted| Some((wanted.answer, part(whole.as_ref()?, &wanted.indices)?)))
}

fn whole(answer: &[u8]) -> Option<Answer<'_>> {
    serde_json::from_slice::<Answer<'_>>(answer).ok().filter(|answer| answer.shards.failed == 0)
}

fn part(answer: &Answer<'_>, indices: &[String]) -> Option<Bytes> {
    let mut part = String::from(r#"{"_shards":{"failed":0},"indices":{"#);
    for (number, name) in indices.iter().enumerate() {
        let comma = if number > 0 { "," } else { "" };
        let _ = write!(part, "{comma}{}:{}", serde_json::to_string(name).ok()?, answer.indices.get(name)?);
    }
    part.push_str("}}");
    Some(part.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each of them would be told.
    fn told(answer: &str, wanted: &[&[&str]]) -> Vec<Option<String>> {
        let (wanted, answers): (Vec<_>, Vec<_>) = wanted
            .iter()
            .map(|names| {
                let (answer, told) = oneshot::channel();
                let indices = names.iter().map(|name| (*name).to_owned()).collect();
                (Wanted { indices, answer }, told)
            })
            .unzip();
        for (wanted, part) in parts(answer.as_bytes(), wanted) {
            wanted.send(part).unwrap();
        }
        let text = |part: Bytes| String::from_utf8(part.to_vec()).unwrap();
        answers.into_iter().map(|mut told| told.try_recv().ok().map(text)).collect()
    }

    #[test]
    fn each_is_told_of_its_own_indices_and_of_all_of_them() {
        let answer = r#"{"_shards":{"total":3,"successful":3,"failed":0},"indices":{"b":{"uuid":"2"},"a":{"uuid":"1"}}}"#;
        let part = |indices: &str| Some(format!(r#"{{"_shards":{{"failed":0}},"indices":{{{indices}}}}}"#));
        assert_eq!(
            told(answer, &[&["a"], &["a", "b"], &["b", "c"], &["c"]]),
            [part(r#""a":{"uuid":"1"}"#), part(r#""a":{"uuid":"1"},"b":{"uuid":"2"}"#), None, None]
        );
    }

    #[test]
    fn who_spoils_calls_is_found_out_and_left_apart() {
        let apart = |left, of| Joining::Apart { left, of };
        for (before, tried, after) in [
            (Joining::Joins, true, Joining::Suspect),
            (Joining::Joins, false, Joining::Joins),
            (Joining::Suspect, true, apart(16, 16)),
            (Joining::Suspect, false, Joining::Suspect),
            (apart(16, 16), false, apart(15, 16)),
            (apart(0, 16), true, apart(64, 64)),
            (apart(0, 16), false, apart(0, 16)),
            (apart(0, 1024), true, apart(1024, 1024)),
            (Joining::Troubled, false, Joining::Suspect),
        ] {
            assert_eq!(before.answered(tried), after, "{before:?} {tried}");
        }
    }

    #[test]
    fn an_answer_that_lacks_a_shard_is_nobodys() {
        let answer = r#"{"_shards":{"total":2,"successful":1,"failed":1},"indices":{"a":{},"b":{}}}"#;
        assert_eq!(told(answer, &[&["a"], &["b"]]), [None, None]);
        assert_eq!(told(&answer.replace(r#""failed":1"#, r#""failed":0"#), &[&["a"]]).len(), 1);
        for odd in ["", "{}", r#"{"error":"x"}"#, "[]"] {
            assert_eq!(told(odd, &[&["a"]]), [None]);
        }
    }
}
