//! Writes that are held against the index afterwards: each one sent is acknowledged or failed, each acknowledged one is there.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::churn::ledger::lock;
use crate::support::http::Client;

/// Where they are written to.
const INDEX: &str = "journal";

/// Documents of one `_bulk`.
const LINES: usize = 3;

/// Who writes by one way.
pub(crate) struct Journal {
    way: &'static str,
    entries: Mutex<Entries>,
    pub(crate) over: AtomicBool,
}

#[derive(Default)]
struct Entries {
    sent: usize,
    failed: usize,
    acknowledged: Vec<String>,
}

impl Journal {
    pub(crate) fn new(way: &'static str) -> Arc<Journal> {
        Arc::new(Journal { way, entries: Mutex::default(), over: AtomicBool::new(false) })
    }

    /// Makes the index.
    pub(crate) async fn open(client: &Client, replicas: usize) {
        let body = json!({"settings": {"number_of_shards": 2, "number_of_replicas": replicas},
            "mappings": {"properties": {"way": {"type": "keyword"}}}});
        let (status, answer) = client.json("PUT", &format!("/{INDEX}"), Some(body)).await;
        assert!(status == 200 || answer.to_string().contains("resource_already_exists"), "{answer}");
    }

    /// Writes until it is over, in `_bulk`s and one document at a time.
    pub(crate) async fn write(self: Arc<Self>, client: Client, pause: Duration) {
        while !self.over.load(Ordering::SeqCst) {
            let bulk = lock(&self.entries).sent.is_multiple_of(2);
            if bulk {
                self.bulk(&client).await;
            } else {
                self.one(&client).await;
            }
            tokio::time::sleep(pause).await;
        }
    }

    fn ids(&self, count: usize) -> Vec<String> {
        let mut entries = lock(&self.entries);
        let from = entries.sent;
        entries.sent += count;
        (from..from + count).map(|number| format!("{}-{number}", self.way)).collect()
    }

    async fn bulk(&self, client: &Client) {
        let ids = self.ids(LINES);
        let line =
            |id: &String| format!("{}\n{}\n", json!({"create": {"_id": id}}), json!({"way": self.way}));
        let body: String = ids.iter().map(line).collect();
        let json = [("content-type", "application/x-ndjson")];
        let answer = client.try_request("POST", &format!("/{INDEX}/_bulk"), &json, body).await;
        let answer: Value = match answer {
            Ok(answer) if answer.status == 200 => answer.json(),
            _ => Value::Null,
        };
        let items = answer["items"].as_array().cloned().unwrap_or_default();
        let mut entries = lock(&self.entries);
        for (number, id) in ids.into_iter().enumerate() {
            // a bulk that was sent twice would say 409 for what it had created itself
            match items.get(number).map(|item| &item["create"]["status"]) {
                Some(status) if status == 201 => entries.acknowledged.push(id),
                _ => entries.failed += 1,
            }
        }
    }

    async fn one(&self, client: &Client) {
        let id = self.ids(1).remove(0);
        let json = [("content-type", "application/json")];
        let body = json!({"way": self.way}).to_string();
        let answer = client.try_request("PUT", &format!("/{INDEX}/_create/{id}"), &json, body).await;
        let mut entries = lock(&self.entries);
        match answer.is_ok_and(|answer| answer.status == 201) {
            true => entries.acknowledged.push(id),
            false => entries.failed += 1,
        }
    }

    /// How many were sent, acknowledged, and are not there though they were acknowledged.
    pub(crate) async fn audit(&self, client: &Client) -> Audit {
        let (sent, acknowledged, failed) = {
            let entries = lock(&self.entries);
            (entries.sent, entries.acknowledged.clone(), entries.failed)
        };
        let mut there: HashSet<String> = HashSet::new();
        for ids in acknowledged.chunks(1000) {
            let (status, found) = client
                .json("POST", &format!("/{INDEX}/_mget?_source=false"), Some(json!({"ids": ids})))
                .await;
            assert_eq!(status, 200, "{found}");
            let docs = found["docs"].as_array().cloned().unwrap_or_default();
            there.extend(
                docs.iter()
                    .filter(|doc| doc["found"] == true)
                    .filter_map(|doc| doc["_id"].as_str().map(str::to_owned)),
            );
        }
        let lost = acknowledged.iter().filter(|id| !there.contains(*id)).count();
        Audit { sent, acknowledged: acknowledged.len(), failed, lost }
    }
}

/// What became of writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Audit {
    pub(crate) sent: usize,
    pub(crate) acknowledged: usize,
    pub(crate) failed: usize,
    pub(crate) lost: usize,
}
