//! Fuzzing of what reads a request: each line of a file in `tests/corpus` is an input (`␤` is a line break), and so are
//! its mutations. A new finding becomes a line there. Stable Rust; `TEST_FUZZ_CASES` makes it longer, and
//! `TEST_FUZZ_SECONDS` repeats it for so long (`scripts/fuzz`).

use std::cell::Cell;
use std::time::{Duration, Instant};

use escache::cacheability::{Question, Terms, judge, valid_until};
use escache::control::Control;
use escache::elastic::api::{Api, route};
use escache::elastic::filter_path::{self, NEEDED, Widening};
use escache::elastic::json::{self, Json, Order};
use escache::elastic::msearch;
use escache::elastic::params::Params;
use escache::generation::StateVersion;
use escache::key::canonical;
use escache::outcome::Reason;
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderValue, Method};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Unit, ZonedRound};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRunner};
use tokio::io::AsyncWriteExt;

use crate::support::engine::Engine;
use crate::support::escache::Escache;
use crate::support::wire::Wire;

mod answers;

/// How many mutations in a run, but for `TEST_FUZZ_CASES`.
const CASES: u32 = 4000;

/// Runs a target over its corpus, and over mutations of it.
fn fuzz(name: &str, alphabet: &str, target: impl Fn(&str) -> Result<(), TestCaseError>) {
    let file = format!("{}/tests/corpus/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(file).unwrap();
    let corpus: Vec<String> = text.lines().map(|line| line.replace('␤', "\n")).collect();
    for input in &corpus {
        target(input).unwrap_or_else(|error| panic!("{name}: {input:?}: {error}"));
    }
    let pieces: Vec<char> = alphabet.chars().collect();
    let patch = prop_oneof![
        4 => vec(select(pieces), 0..4).prop_map(String::from_iter),
        // a part of another input
        2 => (select(corpus.clone()), any::<Index>(), any::<Index>()).prop_map(|(other, from, to)| {
            let chars: Vec<char> = other.chars().collect();
            let (from, to) = (from.index(chars.len() + 1), to.index(chars.len() + 1));
            chars[from.min(to)..from.max(to)].iter().collect()
        }),
        1 => ".{0,2}",
    ];
    let splice = (any::<Index>(), 0_usize..4, patch);
    let inputs = (select(corpus), vec(splice, 1..4)).prop_map(|(input, splices)| {
        let mut chars: Vec<char> = input.chars().collect();
        for (at, cut, patch) in splices {
            let at = at.index(chars.len() + 1);
            let end = (at + cut).min(chars.len());
            chars.splice(at..end, patch.chars());
        }
        String::from_iter(chars)
    });
    run(name, inputs, |input| target(&input));
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().unwrap())
}

fn run<S: Strategy>(name: &str, inputs: S, target: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let cases = number("TEST_FUZZ_CASES").map_or(CASES, |cases| u32::try_from(cases).unwrap());
    let until = number("TEST_FUZZ_SECONDS").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let executions = Cell::new(0_u64);
    loop {
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        let counted = |input| {
            executions.set(executions.get() + 1);
            target(input)
        };
        if let Err(error) = TestRunner::new(config).run(&inputs, counted) {
            println!("fuzz {name}: {} executions, 1 finding", executions.get());
            panic!("{error}");
        }
        if until.is_none_or(|until| Instant::now() >= until) {
            break;
        }
    }
    println!("fuzz {name}: {} executions, 0 findings", executions.get());
}

/// What serde_json takes we take, but for duplicate members; the canonical text is the same value, and its own canonical
/// text.
#[test]
fn canonical_json() {
    fuzz("json", "{}[]:,\"\\/0123456789.eE+-tfnu \n", |text| {
        let theirs = serde_json::from_str::<serde_json::Value>(text);
        let mut ours = match (json::parse(text.as_bytes()), &theirs) {
            (Ok(ours), _) => ours,
            (Err(refusal), Ok(_)) => {
                prop_assert_eq!(refusal.reason, Reason::DuplicateKey);
                return Ok(());
            }
            (Err(_), Err(_)) => return Ok(()),
        };
        for free in [false, true] {
            if free {
                set_free(&mut ours);
            }
            let once = write(&ours);
            let mut again =
                json::parse(once.as_bytes()).map_err(|e| TestCaseError::fail(format!("{once}: {e}")))?;
            if free {
                set_free(&mut again);
            }
            prop_assert_eq!(&write(&again), &once);
            match &theirs {
                Ok(theirs) => {
                    prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(&once).unwrap(), theirs);
                }
                Err(error) => prop_assert!(error.to_string().contains("out of range"), "{}", error),
            }
        }
        Ok(())
    });
}

fn write(json: &Json<'_>) -> String {
    let mut out = Vec::new();
    canonical::write(json, &mut out);
    String::from_utf8(out).unwrap()
}

fn set_free(json: &mut Json<'_>) {
    match json {
        Json::Array(items) => items.iter_mut().for_each(set_free),
        Json::Object(object) => {
            object.order = Order::Free;
            object.members.iter_mut().for_each(|(_, value)| set_free(value));
        }
        _ => {}
    }
}

/// What is taken apart loses nothing: joined again it is the same but for empty header lines, and header lines that are
/// understood make a query string that is understood.
#[test]
fn multi_searches() {
    fuzz("msearch", "{}[]:,\"\\ \n\r\tindexau1", |text| {
        let Ok(items) = msearch::split(text.as_bytes()) else {
            return Ok(());
        };
        prop_assert_eq!(text.bytes().filter(|byte| *byte == b'\n').count(), 2 * items.len());
        let lines: Vec<&[u8]> = items.iter().flat_map(|item| [item.header, item.body]).collect();
        let plain: Vec<u8> = lines.iter().flat_map(|line| [*line, b"\n"].concat()).collect();
        prop_assert_eq!(plain, text.as_bytes());
        let joined = msearch::join(items.iter().copied());
        let again = msearch::split(&joined).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(msearch::join(again), joined);
        for item in items {
            let Ok(header) = msearch::header(item.header) else { continue };
            let query = msearch::common(Api::Msearch, "routing=a%26b&human").unwrap().query(&header);
            let params = Params::parse(&query).map_err(|e| TestCaseError::fail(format!("{query}: {e}")))?;
            prop_assert!(params.get("routing").is_some());
        }
        Ok(())
    });
}

/// Only whole segments name an endpoint, and the index expression is the decoded segment before it.
#[test]
fn paths() {
    fuzz("paths", "/_%2Fscearhount,*-<>{}.0Aa", |path| {
        for method in [Method::GET, Method::POST, Method::PUT, Method::HEAD, Method::DELETE] {
            let route = route(&method, path, None);
            let name = match route.api {
                Api::Search => "_search",
                Api::Count => "_count",
                Api::Msearch => "_msearch",
                _ => continue,
            };
            prop_assert!(method == Method::GET || method == Method::POST);
            let mut segments: Vec<String> = path
                .split('/')
                .filter(|segment| !segment.is_empty())
                .map(decode)
                .collect::<Option<_>>()
                .unwrap();
            let last = segments.pop();
            prop_assert_eq!(last.as_deref(), Some(name), "{}", path);
            prop_assert!(segments.len() <= 1, "{}", path);
            prop_assert_eq!(route.index.as_deref(), segments.first().map(String::as_str), "{}", path);
        }
        Ok(())
    });
}

/// Percent escapes undone, the slow way.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// What is taken is what a plain decoder finds, and written again it is read again.
#[test]
fn parameters() {
    fuzz("parameters", "&=%+;#?2Baq_.", |query| {
        let Ok(params) = Params::parse(query) else { return Ok(()) };
        let pairs: Vec<(String, String)> =
            params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let plain: Option<Vec<(String, String)>> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Some((decode(&name.replace('+', " "))?, decode(&value.replace('+', " "))?))
            })
            .collect();
        prop_assert_eq!(Some(&pairs), plain.as_ref());
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let written: Vec<_> =
            pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        let written = written.join("&");
        let again = Params::parse(&written).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(again, params);
        Ok(())
    });
}

/// The rounded `now`s of a text in the place of a date.
fn dates_in(text: &str) -> Result<Terms, Reason> {
    let body = serde_json::json!({"query": {"range": {"d": {"gte": text}}}}).to_string();
    let (mut body, params) = (json::parse(body.as_bytes()).unwrap(), Params::default());
    let question = Question {
        api: Api::Search,
        engine: None,
        params: &params,
        body: Some(&mut body),
        rounded_now: true,
    };
    judge(question).map_err(|refusal| refusal.reason)
}

/// Whatever stands there: no panic, and what does not begin with `now` is no clock.
#[test]
fn date_texts() {
    fuzz("dates", "now+-/|0123456789yMwdhHms ", |text| {
        match dates_in(text) {
            Ok(terms) => prop_assert!(terms.now.is_empty() || text.starts_with("now"), "{}", text),
            Err(reason) => {
                // a range may be one of index names, and `<logs-{now/d}>` is a name
                let clock = text.starts_with("now") || text.trim_start_matches('-').starts_with('<');
                prop_assert!(reason == Reason::Now && clock, "{} {}", text, reason);
            }
        }
        Ok(())
    });
}

/// A step of date maths: a shift by so many units, or (without a number) a rounding down.
type Step = (Option<i32>, char);

/// Until the moment that is promised, date maths says what it says now.
#[test]
fn date_maths_holds_until_its_boundary() {
    let unit = select(vec!['y', 'M', 'w', 'd', 'h', 'm', 's']);
    let step = (prop_oneof![Just(None), (-40..40_i32).prop_map(Some)], unit);
    // 1990 to 2060
    let moment = 631_152_000_000..2_840_140_800_000_i64;
    run("date_maths", (vec(step, 1..4), moment, any::<Index>()), |(steps, wall, within)| {
        let text: String = steps
            .iter()
            .map(|(by, unit)| by.map_or_else(|| format!("/{unit}"), |by| format!("{by:+}{unit}")))
            .collect();
        let text = format!("now{text}");
        let Ok(terms) = dates_in(&text) else {
            prop_assert!(steps.iter().all(|(by, _)| by.is_some()), "{}", text);
            return Ok(());
        };
        let until = valid_until(&terms, wall).unwrap();
        prop_assert!(until >= wall, "{}", text);
        if until > wall {
            let later = wall + i64::try_from(within.index(usize::try_from(until - wall).unwrap())).unwrap();
            for moment in [later, until - 1] {
                prop_assert_eq!(
                    evaluate(&steps, moment),
                    evaluate(&steps, wall),
                    "{} at {} and {}",
                    text,
                    wall,
                    moment
                );
            }
        }
        Ok(())
    });
}

/// Date maths in UTC, by another library's calendar.
fn evaluate(steps: &[Step], millis: i64) -> i64 {
    let mut at = Timestamp::from_millisecond(millis).unwrap().to_zoned(TimeZone::UTC);
    for &(by, unit) in steps {
        at = match (by, unit) {
            (Some(by), 'y') => at.checked_add(by.years()).unwrap(),
            (Some(by), 'M') => at.checked_add(by.months()).unwrap(),
            (Some(by), 'w') => at.checked_add(by.weeks()).unwrap(),
            (Some(by), 'd') => at.checked_add(by.days()).unwrap(),
            (Some(by), 'h') => at.checked_add(by.hours()).unwrap(),
            (Some(by), 'm') => at.checked_add(by.minutes()).unwrap(),
            (Some(by), _) => at.checked_add(by.seconds()).unwrap(),
            (None, 'y') => at.first_of_year().unwrap().start_of_day().unwrap(),
            (None, 'M') => at.first_of_month().unwrap().start_of_day().unwrap(),
            (None, 'w') => {
                let days = i32::from(at.weekday().to_monday_zero_offset());
                at.start_of_day().unwrap().checked_sub(days.days()).unwrap()
            }
            (None, 'd') => at.start_of_day().unwrap(),
            (None, unit) => {
                let unit = if unit == 'h' {
                    Unit::Hour
                } else if unit == 'm' {
                    Unit::Minute
                } else {
                    Unit::Second
                };
                at.round(ZonedRound::new().smallest(unit).mode(jiff::RoundMode::Floor)).unwrap()
            }
        };
    }
    at.timestamp().as_millisecond()
}

/// What is cut out of an answer are the members that the client did not ask for, and nothing else.
#[test]
fn filter_path_cut() {
    fuzz("answers", "{}[]:,\"\\ \n_shardtime0e", |text| {
        let cut = filter_path::cut(text.as_bytes());
        // names with escapes are not compared: no engine writes them
        let Ok(mut value) = serde_json::from_str::<serde_json::Value>(text) else { return Ok(()) };
        if text.contains('\\') || json::parse(text.as_bytes()).is_err() {
            return Ok(());
        }
        let Some(members) = value.as_object_mut() else {
            prop_assert!(cut.is_err());
            return Ok(());
        };
        NEEDED.split(',').for_each(|name| {
            members.shift_remove(name);
        });
        let cut = String::from_utf8(cut.unwrap()).unwrap();
        let found: serde_json::Value =
            serde_json::from_str(&cut).map_err(|e| TestCaseError::fail(format!("{cut}: {e}")))?;
        prop_assert_eq!(found, value);
        Ok(())
    });
}

/// A filter that is widened asks for all that is needed, and needs no more.
#[test]
fn filter_paths() {
    fuzz("filters", "_shardtime,.*- ", |filter| {
        if filter_path::widen(filter) == Ok(Widening::Add) {
            prop_assert_eq!(filter_path::widen(&format!("{filter},{NEEDED}")), Ok(Widening::None));
            let touched = filter.split(',').any(|path| {
                let first = path.trim().split('.').next().unwrap_or_default();
                NEEDED.split(',').any(|name| matches(first, name))
            });
            prop_assert!(!touched, "{}", filter);
        }
        Ok(())
    });
}

/// Whether a pattern with `*` matches a name.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len()).any(|at| rest.is_char_boundary(at) && matches(tail, &rest[at..]))
        }),
    }
}

/// What the engine says of itself is read without a panic, whatever stands there; and of what is read as a version the
/// parts are there.
#[test]
fn engine_states() {
    fuzz("states", "{}[]:,\"\\ \n0123456789-versionuidcluste", |text| {
        let Ok(state) = StateVersion::read(text.as_bytes()) else { return Ok(()) };
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|e| TestCaseError::fail(format!("{text}: {e}")))?;
        prop_assert_eq!(value["version"].as_u64(), Some(state.version));
        prop_assert_eq!(value["cluster_uuid"].as_str(), Some(state.cluster_uuid.as_str()));
        Ok(())
    });
}

/// Whatever comes over a connection: no panic, no request for the engine that was not whole, and whoever asks next is
/// served.
#[test]
fn connections() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let engine = Engine::start();
    let escache = runtime.block_on(Escache::start_with(&engine.url(), |_| {}));
    let asked = Cell::new(0_u64);
    fuzz("connections", "GET POST/_search HTTP1.\r\n:0123456789abcdef,;=chunked\t\0", |text| {
        asked.set(asked.get() + 1);
        // one in twenty, so that this one takes no longer than the others
        if !asked.get().is_multiple_of(20) {
            return Ok(());
        }
        let answer = runtime.block_on(async {
            let mut wire = Wire::to(&escache.url).await;
            let _ = wire.0.write_all(text.replace('\n', "\r\n").as_bytes()).await;
            let _ = wire.0.shutdown().await;
            wire.rest().await
        });
        for line in answer.lines().filter(|line| line.starts_with("HTTP/")) {
            prop_assert!(line.starts_with("HTTP/1.1 ") || line.starts_with("HTTP/1.0 "), "{}", line);
        }
        prop_assert_eq!(escache.proxy.stats.plain.panics.get(), 0, "{:?}", text);
        Ok(())
    });
    let next = runtime.block_on(escache.send("GET", "/_echo", &[], ""));
    assert_eq!(next.status, 200);
}

/// A bound is raised no further than allowed, and a stricter directive is never overlooked.
#[test]
fn cache_control() {
    fuzz("cache_control", "no-cache,store=\"0123456789 maxlifd", |text| {
        let Ok(value) = HeaderValue::from_str(text) else { return Ok(()) };
        let control = Control::of(&HeaderMap::from_iter([(CACHE_CONTROL, value)]));
        if text.is_ascii() {
            let has = |name: &str| text.split(',').any(|one| one.trim().eq_ignore_ascii_case(name));
            prop_assert!(!has("no-store") || control.no_store, "{}", text);
            prop_assert!(!has("no-cache") || control.no_cache, "{}", text);
            prop_assert!(!has("only-if-cached") || control.only_if_cached, "{}", text);
        }
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        for (configured, most) in [(second, minute), (minute, second), (Duration::ZERO, Duration::ZERO)] {
            let bound = control.bound(configured, most);
            prop_assert!(bound <= configured.max(most), "{} {:?}", text, bound);
            prop_assert!(!control.no_cache || bound.is_zero());
            prop_assert!(control.max_age.is_none_or(|limit| bound <= limit));
        }
        Ok(())
    });
}
