//! A marketplace's products and its servers' logs: the same documents for the same number, on every machine.

use std::fmt::Write as _;

use bytes::Bytes;
use serde_json::{Value, json};

pub(super) const PRODUCTS: &str = "escache-demo-products";
pub(super) const LOGS: &str = "escache-demo-logs-*";
/// How many days of logs there are, the first being the 1st of November 2026.
pub(super) const DAYS: u64 = 8;

/// The documents of one index, by their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) name: String,
    pub(super) documents: u64,
    day: Option<u64>,
}

/// A fifth of the documents are products, the others the logs of some days.
pub(super) fn indices(documents: u64) -> Vec<Index> {
    let products = Index { name: PRODUCTS.to_owned(), documents: documents / 5, day: None };
    let each = (documents - products.documents) / DAYS;
    let logs = (0..DAYS).map(|day| Index { name: log_index(day), documents: each, day: Some(day) });
    std::iter::once(products).chain(logs).collect()
}

pub(super) fn log_index(day: u64) -> String {
    format!("escache-demo-logs-2026.11.{:02}", day + 1)
}

impl Index {
    /// What the index is made with. `_meta` says what it holds, so that a second run finds it complete.
    pub(super) fn settings(&self) -> Value {
        let keyword = json!({"type": "keyword"});
        let properties = if self.day.is_none() {
            json!({
                "sku": keyword, "title": {"type": "text"}, "description": {"type": "text"}, "category": keyword,
                "brand": keyword, "seller": keyword, "color": keyword, "price": {"type": "double"},
                "rating": {"type": "float"}, "stock": {"type": "integer"}, "listed": {"type": "date"}
            })
        } else {
            json!({
                "@timestamp": {"type": "date"}, "service": keyword, "host": keyword, "path": keyword, "user": keyword,
                "status": {"type": "short"}, "level": keyword, "ms": {"type": "float"}, "bytes": {"type": "integer"},
                "message": {"type": "text"}
            })
        };
        json!({
            "settings": {
                "number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": "-1",
                "translog.durability": "async"
            },
            "mappings": {"dynamic": false, "_meta": self.meta(), "properties": properties}
        })
    }

    pub(super) fn meta(&self) -> Value {
        json!({"escache_demo": {"version": 1, "documents": self.documents}})
    }

    /// The lines of a bulk request for the documents of these numbers.
    pub(super) fn bulk(&self, from: u64, to: u64) -> Bytes {
        let mut lines = String::with_capacity((to - from) as usize * 300);
        for number in from..to {
            let _ = writeln!(lines, "{{\"create\":{{\"_id\":\"{number}\"}}}}");
            match self.day {
                None => product(&mut lines, number),
                Some(day) => log(&mut lines, day, number, self.documents),
            }
        }
        lines.into()
    }
}

/// splitmix64: the same numbers from the same seed.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Small numbers are much more likely than large ones.
    fn skewed(&mut self, n: u64) -> u64 {
        self.below(n).min(self.below(n)).min(self.below(n))
    }

    fn of<'w>(&mut self, words: &[&'w str]) -> &'w str {
        words[self.below(words.len() as u64) as usize]
    }

    fn often_the_first<'w>(&mut self, words: &[&'w str]) -> &'w str {
        words[self.skewed(words.len() as u64) as usize]
    }
}

const COLORS: &[&str] =
    &["black", "white", "red", "blue", "green", "brown", "silver", "yellow", "orange", "purple"];
const MATERIALS: &[&str] =
    &["leather", "cotton", "wool", "steel", "oak", "glass", "canvas", "linen", "bamboo"];
const CATEGORIES: &[(&str, &[&str])] = &[
    ("shoes", &["sneaker", "boot", "sandal", "loafer"]),
    ("bags", &["backpack", "tote", "suitcase", "wallet"]),
    ("jackets", &["parka", "blazer", "raincoat"]),
    ("kitchen", &["kettle", "pan", "knife", "teapot"]),
    ("furniture", &["chair", "table", "shelf", "sofa"]),
    ("garden", &["spade", "hose", "lantern", "planter"]),
    ("bicycles", &["saddle", "helmet", "pump", "lock"]),
    ("audio", &["headphones", "speaker", "turntable"]),
    ("toys", &["puzzle", "train", "kite", "doll"]),
    ("books", &["novel", "atlas", "cookbook"]),
    ("camping", &["tent", "lamp", "stove", "hammock"]),
    ("watches", &["chronograph", "strap", "watch"]),
];
const WORDS: &[&str] = &[
    "handmade",
    "light",
    "durable",
    "classic",
    "modern",
    "warm",
    "compact",
    "waterproof",
    "elegant",
    "everyday",
    "soft",
    "sturdy",
    "foldable",
    "vintage",
    "organic",
    "quiet",
    "gift",
    "travel",
    "summer",
    "winter",
    "family",
    "office",
    "weekend",
    "premium",
    "recycled",
    "adjustable",
    "breathable",
    "limited",
    "original",
    "seasonal",
];

fn product(out: &mut String, number: u64) {
    let chance = &mut Chance(number);
    let (category, things) = CATEGORIES[chance.skewed(CATEGORIES.len() as u64) as usize];
    let (color, material, thing) = (chance.of(COLORS), chance.of(MATERIALS), chance.of(things));
    let _ = write!(
        out,
        r#"{{"sku":"P{number:07}","title":"{} {color} {material} {thing}","description":"#,
        chance.of(WORDS)
    );
    let mut begin = '"';
    for _ in 0..12 {
        let _ = write!(out, "{begin}{}", chance.of(WORDS));
        begin = ' ';
    }
    let price = (300 + chance.skewed(60_000)) as f64 / 100.0;
    let _ = writeln!(
        out,
        r#"","category":"{category}","brand":"brand-{:03}","seller":"seller-{:04}","color":"{color}","price":{price},"rating":{},"stock":{},"listed":"2026-{:02}-{:02}T{:02}:{:02}:00Z"}}"#,
        chance.skewed(300),
        chance.skewed(2_000),
        chance.below(41) as f64 / 10.0 + 1.0,
        chance.below(50),
        chance.below(10) + 1,
        chance.below(28) + 1,
        chance.below(24),
        chance.below(60),
    );
}

const SERVICES: &[&str] = &[
    "shop", "search", "cart", "login", "images", "payment", "mail", "stock", "reviews", "prices", "gateway",
    "export",
];
const ACTIONS: &[&str] = &["list", "show", "update", "add", "remove", "export", "check", "render"];

fn log(out: &mut String, day: u64, number: u64, of: u64) {
    let chance = &mut Chance((day + 1) << 40 | number);
    let service = chance.often_the_first(SERVICES);
    let second = number * 86_400 / of.max(1);
    let (status, level) = match chance.below(1_000) {
        0..=4 => (503, "ERROR"),
        5..=14 => (500, "ERROR"),
        15..=44 => (404, "WARN"),
        45..=94 => (302, "INFO"),
        _ => (200, "INFO"),
    };
    let action = chance.of(ACTIONS);
    let said = match status {
        503 => "upstream timeout, gave up",
        500 => "unexpected failure of the backend",
        404 => "nothing found for",
        _ => "served",
    };
    let path = chance.skewed(400);
    let ms = (chance.skewed(90_000) + if status == 503 { 300_000 } else { 100 }) as f64 / 100.0;
    let _ = writeln!(
        out,
        r#"{{"@timestamp":"2026-11-{:02}T{:02}:{:02}:{:02}Z","service":"{service}","host":"{service}-{}","path":"/{service}/{action}/{path}","user":"u{}","status":{status},"level":"{level}","ms":{ms},"bytes":{},"message":"{said} {action} {path}"}}"#,
        day + 1,
        second / 3_600,
        second / 60 % 60,
        second % 60,
        chance.below(16),
        chance.skewed(60_000),
        chance.skewed(100_000),
    );
}

/// The documents that the story adds behind the proxies' back: every search finds one more.
pub(super) fn added() -> [(String, Value); 2] {
    let product = json!({
        "sku": "P9999999", "title": "new red leather sneaker", "description": "light and durable", "category": "shoes",
        "brand": "brand-000", "seller": "seller-0000", "color": "red", "price": 49.5, "rating": 5.0, "stock": 3,
        "listed": "2026-11-08T12:00:00Z"
    });
    let log = json!({
        "@timestamp": "2026-11-08T12:00:00Z", "service": "shop", "host": "shop-0", "path": "/shop/show/0", "user": "u0",
        "status": 503, "level": "ERROR", "ms": 3000.0, "bytes": 100, "message": "upstream timeout, gave up show 0"
    });
    [
        (format!("/{PRODUCTS}/_doc/escache-demo-added"), product),
        (format!("/{}/_doc/escache-demo-added", log_index(DAYS - 1)), log),
    ]
}
