//! Where `now` is found, and how long a rounded one holds.

use super::*;

/// Bodies in which `NOW` stands in each position that may be a date.
fn positions() -> Vec<(&'static str, Value)> {
    let query = |query: Value| json!({"query": query});
    let agg = |agg: Value| json!({"aggs": {"a": agg}});
    vec![
        ("query.range.f.gte", query(json!({"range": {"f": {"gte": "NOW"}}}))),
        ("query.range.f.gt", query(json!({"range": {"f": {"gt": "NOW"}}}))),
        ("query.range.f.lte", query(json!({"range": {"f": {"lte": "NOW"}}}))),
        ("query.range.f.lt", query(json!({"range": {"f": {"lt": "NOW"}}}))),
        ("query.range.f.from", query(json!({"range": {"f": {"from": "NOW", "include_lower": true}}}))),
        ("query.range.f.to", query(json!({"range": {"f": {"to": "NOW"}}}))),
        ("query.term.f", query(json!({"term": {"f": "NOW"}}))),
        ("query.term.f.value", query(json!({"term": {"f": {"value": "NOW"}}}))),
        ("query.terms.f[1]", query(json!({"terms": {"f": ["a", "NOW"]}}))),
        ("query.terms_set.f.terms[0]", query(json!({"terms_set": {"f": {"terms": ["NOW"]}}}))),
        ("query.match.f", query(json!({"match": {"f": "NOW"}}))),
        ("query.match.f.query", query(json!({"match": {"f": {"query": "NOW"}}}))),
        ("query.match_phrase.f", query(json!({"match_phrase": {"f": "NOW"}}))),
        ("query.match_phrase_prefix.f", query(json!({"match_phrase_prefix": {"f": "NOW"}}))),
        ("query.match_bool_prefix.f", query(json!({"match_bool_prefix": {"f": "NOW"}}))),
        ("query.multi_match.query", query(json!({"multi_match": {"query": "NOW", "fields": ["f"]}}))),
        (
            "query.distance_feature.origin",
            query(json!({"distance_feature": {"field": "f", "origin": "NOW"}})),
        ),
        (
            "query.function_score.gauss.f.origin",
            query(json!({"function_score": {"gauss": {"f": {"origin": "NOW", "scale": "1d"}}}})),
        ),
        (
            "query.bool.filter[1].range.f.gte",
            query(json!({"bool": {"filter": [{"term": {"a": 1}}, {"range": {"f": {"gte": "NOW"}}}]}})),
        ),
        ("post_filter.range.f.gte", json!({"post_filter": {"range": {"f": {"gte": "NOW"}}}})),
        ("aggs.a.filter.range.f.gte", agg(json!({"filter": {"range": {"f": {"gte": "NOW"}}}}))),
        (
            "aggs.a.filters.filters.x.range.f.gte",
            agg(json!({"filters": {"filters": {"x": {"range": {"f": {"gte": "NOW"}}}}}})),
        ),
        (
            "aggs.a.date_range.ranges[0].from",
            agg(json!({"date_range": {"field": "f", "ranges": [{"from": "NOW"}]}})),
        ),
        ("aggs.a.range.ranges[0].to", agg(json!({"range": {"field": "f", "ranges": [{"to": "NOW"}]}}))),
        (
            "aggs.a.date_histogram.extended_bounds.max",
            agg(
                json!({"date_histogram": {"field": "f", "fixed_interval": "1d", "extended_bounds": {"max": "NOW"}}}),
            ),
        ),
        (
            "aggs.a.date_histogram.hard_bounds.min",
            agg(json!({"date_histogram": {"field": "f", "hard_bounds": {"min": "NOW"}}})),
        ),
        ("aggs.a.max.missing", agg(json!({"max": {"field": "f", "missing": "NOW"}}))),
        ("aggs.a.terms.include[0]", agg(json!({"terms": {"field": "f", "include": ["NOW"]}}))),
        (
            "aggs.a.aggs.b.avg.missing",
            agg(json!({"global": {}, "aggs": {"b": {"avg": {"field": "f", "missing": "NOW"}}}})),
        ),
        (
            "highlight.fields.f.highlight_query.range.f.gte",
            json!({"highlight": {"fields": {"f": {"highlight_query": {"range": {"f": {"gte": "NOW"}}}}}}}),
        ),
        (
            "rescore.query.rescore_query.range.f.gte",
            json!({"rescore": {"query": {"rescore_query": {"range": {"f": {"gte": "NOW"}}}}}}),
        ),
        (
            "collapse.inner_hits.sort[0].f.nested.filter.range.f.gte",
            json!({"collapse": {"field": "f", "inner_hits": {"sort": [{"f": {"nested": {"path": "p", "filter": {"range": {"f": {"gte": "NOW"}}}}}}]}}}),
        ),
    ]
}

fn with(body: &Value, now: &str) -> Value {
    serde_json::from_str(&body.to_string().replace("NOW", now)).unwrap()
}

#[test]
fn now_is_found_wherever_a_date_can_stand() {
    for (place, body) in positions() {
        let now = |now| with(&body, now);
        for text in
            ["now", "now-1h", "now+1d-2h", "now-15m", "now/d", "now-7d/d", "now-1M/M", "<logs-{now/d}>"]
        {
            check(None, "", &now(text), &format!("now at {place}: now"));
        }
        for text in [
            "2026-01-01",
            "2026-01-01||/d",
            "nowhere",
            "now-playing",
            "now?",
            "now ",
            "Now",
            " now",
            "buy now",
            "nowadays",
            "now-",
            "now/",
            "now/2d",
            "now-1",
            "now||/d",
            "snow",
        ] {
            check(None, "", &now(text), "ok");
        }
        for text in ["now/d", "now-7d/d", "now/d-7d", "now/w+1d/d"] {
            let terms = judge_body(Api::Search, None, "", &now(text), true).unwrap();
            assert_eq!(terms.now.len(), 1, "{place}: {text}");
        }
        for text in ["now", "now-7d", "now+1H"] {
            let refusal = judge_body(Api::Search, None, "", &now(text), true).unwrap_err();
            assert_eq!(refusal.to_string(), format!("now at {place}: now"));
        }
    }
}

#[test]
fn now_in_query_text() {
    for (text, found) in [
        ("now", true),
        ("@timestamp:now", true),
        ("@timestamp:[now-15m TO now]", true),
        ("@timestamp:{2026-01-01 TO now}", true),
        ("@timestamp:>=now-1d/d", true),
        ("a AND \"now\"", true),
        ("n\\ow", true),
        ("\\u006eow", true),
        ("(now)", true),
        ("act now or never", true),
        ("now*", true),
        ("_index:<logs-{now/d}>", true),
        ("nowhere", false),
        ("snow", false),
        ("status:200 AND known:yes", false),
        ("now:1", false),
        ("event.now:1", false),
        ("NOW", false),
        ("a\\:b", false),
        ("übernow", false),
    ] {
        let expected = |place: &str| if found { format!("now at {place}: now") } else { "ok".to_owned() };
        for name in ["query_string", "simple_query_string"] {
            check(
                None,
                "",
                &json!({"query": {name: {"query": text}}}),
                &expected(&format!("query.{name}.query")),
            );
        }
    }
}

#[test]
fn an_analyzer_may_find_a_date_in_its_text() {
    let clock = "now at query.match.f.query: now";
    let long = format!("{}now", "x".repeat(255));
    for (query, expected) in [
        (json!({"query": " now/d", "analyzer": "whitespace"}), clock),
        (json!({"query": "x now/d", "analyzer": "whitespace", "lenient": true}), clock),
        (json!({"query": "NOW/d", "analyzer": "standard"}), clock),
        (json!({"query": "now.", "analyzer": "standard"}), clock),
        (json!({"query": "_NOW_", "analyzer": "simple"}), clock),
        (json!({"query": "1now", "analyzer": "simple"}), clock),
        (json!({"query": "nows", "analyzer": "english"}), clock),
        (json!({"query": "\u{4e00}now", "analyzer": "standard"}), clock),
        // words are cut at 255 characters
        (json!({"query": long, "analyzer": "standard"}), clock),
        (json!({"query": "now-1h", "analyzer": "keyword"}), clock),
        (json!({"query": "I know of the snow", "analyzer": "standard"}), "ok"),
        (json!({"query": "C:\\users", "analyzer": "whitespace"}), "ok"),
        (json!({"query": "a red car", "analyzer": "english"}), "ok"),
        // nobody knows what words it makes
        (json!({"query": "today", "analyzer": "mine"}), "now at query.match.f.analyzer"),
        (json!({"query": "wo\u{308}n", "analyzer": "german"}), "now at query.match.f.analyzer"),
        (json!({"query": 5, "analyzer": "mine"}), "now at query.match.f.analyzer"),
        (json!({"query": "x", "analyzer": 5}), "unknown-word at query.match.f.analyzer"),
        // the field's own analyzer: a date's takes the text as it is
        (json!({"query": " now/d"}), "ok"),
        (json!({"query": "NOW/d", "analyzer": null}), "ok"),
    ] {
        check(Some(ES8_19), "", &json!({"query": {"match": {"f": query}}}), expected);
    }
    let clock = "now at query.query_string.query: now";
    for (text, name, analyzer, expected) in [
        ("f:NOW", "analyzer", "standard", clock),
        ("f:\"NOW\"", "quote_analyzer", "standard", clock),
        ("f:\"now.\"", "quote_analyzer", "standard", clock),
        ("f:\"n\\OW.\"", "quote_analyzer", "standard", clock),
        ("f:\"today\"", "quote_analyzer", "mine", "now at query.query_string.quote_analyzer"),
        ("f:today", "analyzer", "mine", "now at query.query_string.analyzer"),
        ("f:\"I know\"", "quote_analyzer", "standard", "ok"),
        ("f:NOW", "boost", "1", "ok"),
    ] {
        let body = json!({"query": {"query_string": {"query": text, name: analyzer}}});
        check(Some(ES8_19), "", &body, expected);
    }
    for (query, expected) in [
        ("q=f:now.&analyzer=standard", "now at q: now"),
        ("q=f:know&analyzer=standard", "ok"),
        ("q=f:today&analyzer=mine", "now at analyzer"),
        ("q=f:today&analyzer=ik_smart", "lookup at analyzer"),
    ] {
        check(Some(ES8_19), query, &json!({}), expected);
    }
    // where no date can stand
    let like = json!({"query": {"more_like_this": {"fields": ["f"], "like": "now", "analyzer": "mine"}}});
    check(Some(ES8_19), "", &like, "ok");
}

#[test]
fn index_names_within_a_body() {
    for (body, expected) in [
        (json!({"query": {"wildcard": {"_index": "<logs-{now/d}>"}}}), "now at query.wildcard._index: now"),
        (
            json!({"query": {"wildcard": {"_index": {"value": "-<logs-{now/d}>"}}}}),
            "now at query.wildcard._index.value: now",
        ),
        (json!({"query": {"wildcard": {"a": "now"}}}), "ok"),
        (
            json!({"query": {"term": {"_index": {"value": "<LOGS-{NOW/d}>", "case_insensitive": true}}}}),
            "now at query.term._index.value: now",
        ),
        (json!({"indices_boost": [{"<logs-{now/d}>": 2}]}), "now at indices_boost[0].<logs-{now/d}>: now"),
        (json!({"indices_boost": {"logs-*": 2}}), "ok"),
        (json!({"query": {"term": {"_index": "<logs>"}}}), "ok"),
    ] {
        check(Some(ES8_19), "", &body, expected);
    }
}

/// Milliseconds of a moment.
fn at(text: &str) -> i64 {
    at_time(text).as_millisecond()
}

fn at_time(text: &str) -> jiff::Timestamp {
    text.parse().unwrap()
}

/// Until when `now` in `zone` holds, seen at `wall`.
fn until(now: &str, zone: &str, wall: &str) -> String {
    let until = valid_until(&terms_of(now, zone), at(wall)).unwrap();
    jiff::Timestamp::from_millisecond(until).unwrap().to_string()
}

/// The terms of a range from `now` in `zone`.
fn terms_of(now: &str, zone: &str) -> Terms {
    let mut body = json!({"query": {"range": {"f": {"gte": now}}}});
    if !zone.is_empty() {
        body["query"]["range"]["f"]["time_zone"] = json!(zone);
    }
    judge_body(Api::Search, None, "", &body, true).unwrap()
}

#[test]
fn a_rounded_now_holds_until_its_boundary() {
    for (now, zone, wall, expected) in [
        // -- plain boundaries
        ("now/s", "", "2026-03-04T05:06:07.89Z", "2026-03-04T05:06:08Z"),
        ("now/m", "", "2026-03-04T05:06:07Z", "2026-03-04T05:07:00Z"),
        ("now/h", "", "2026-03-04T05:06:07Z", "2026-03-04T06:00:00Z"),
        ("now/H", "", "2026-03-04T05:00:00Z", "2026-03-04T06:00:00Z"),
        ("now/d", "", "2026-03-04T05:06:07Z", "2026-03-05T00:00:00Z"),
        ("now/d", "", "2026-03-04T23:59:59.999Z", "2026-03-05T00:00:00Z"),
        ("now/w", "", "2026-03-04T05:06:07Z", "2026-03-09T00:00:00Z"),
        ("now/w", "", "2026-03-08T23:06:07Z", "2026-03-09T00:00:00Z"),
        ("now/M", "", "2026-02-04T05:06:07Z", "2026-03-01T00:00:00Z"),
        ("now/y", "", "2024-02-29T05:06:07Z", "2025-01-01T00:00:00Z"),
        // -- shifts before the rounding move the boundary, shifts after it do not
        ("now-7d/d", "", "2026-03-04T05:06:07Z", "2026-03-05T00:00:00Z"),
        ("now-1h/d", "", "2026-03-04T00:30:00Z", "2026-03-04T01:00:00Z"),
        ("now-1h/d", "", "2026-03-04T05:06:07Z", "2026-03-05T01:00:00Z"),
        ("now+90m/h", "", "2026-03-04T05:06:07Z", "2026-03-04T05:30:00Z"),
        ("now/d-7d", "", "2026-03-04T05:06:07Z", "2026-03-05T00:00:00Z"),
        ("now/h/d", "", "2026-03-04T05:06:07Z", "2026-03-04T06:00:00Z"),
        ("now-1M/M", "", "2026-03-31T05:06:07Z", "2026-04-01T00:00:00Z"),
        ("now-1M/h", "", "2026-03-30T23:06:07Z", "2026-03-31T00:00:00Z"),
        ("now-1w-1d/w", "", "2026-03-04T05:06:07Z", "2026-03-10T00:00:00Z"),
        // -- zones
        ("now/d", "+05:30", "2026-03-04T05:06:07Z", "2026-03-04T18:30:00Z"),
        ("now/h", "+05:30", "2026-03-04T05:06:07Z", "2026-03-04T05:30:00Z"),
        ("now/d", "-08", "2026-03-04T05:06:07Z", "2026-03-04T08:00:00Z"),
        ("now/d", "UTC+2", "2026-03-04T05:06:07Z", "2026-03-04T22:00:00Z"),
        ("now/d", "Z", "2026-03-04T05:06:07Z", "2026-03-05T00:00:00Z"),
        ("now/d", "Etc/UTC", "2026-03-04T05:06:07Z", "2026-03-05T00:00:00Z"),
        // -- named ones: the engine's rules are not known, so until the offset could change
        ("now/d", "Europe/Berlin", "2026-03-04T05:06:07Z", "2026-03-04T05:14:00Z"),
        ("now/y", "America/Vancouver", "2026-11-04T05:14:07Z", "2026-11-04T05:15:00Z"),
        ("now/w", "America/Asuncion", "2026-07-04T05:00:07Z", "2026-07-04T05:01:00Z"),
        ("now-7d/d", "Asia/Almaty", "2026-03-04T05:31:00Z", "2026-03-04T05:44:00Z"),
        ("now/h", "Australia/Lord_Howe", "2026-04-04T14:45:00Z", "2026-04-04T14:46:00Z"),
        ("now/m", "Asia/Kathmandu", "2026-03-04T05:06:07Z", "2026-03-04T05:07:00Z"),
        ("now/s", "Asia/Kathmandu", "2026-03-04T05:06:07.8Z", "2026-03-04T05:06:08Z"),
        // (shifts move what is counted from)
        ("now-7m/h", "Europe/Berlin", "2026-03-04T05:06:07Z", "2026-03-04T05:07:00Z"),
        ("now-90s-1d/d", "Europe/Berlin", "2026-03-04T05:15:40Z", "2026-03-04T05:16:00Z"),
        ("now-1M/M", "Europe/Berlin", "2026-03-04T05:06:07Z", "2026-03-04T05:14:00Z"),
        // (offsets had odd seconds once)
        ("now-60y/y", "Africa/Monrovia", "2026-03-04T05:06:07Z", "2026-03-04T05:06:07Z"),
        ("now-46y/y", "Africa/Monrovia", "2026-03-04T05:06:07Z", "2026-03-04T05:14:00Z"),
        ("now-60y/y", "+01:00", "2026-03-04T05:06:07Z", "2026-03-04T23:00:00Z"),
    ] {
        assert_eq!(until(now, zone, wall), expected, "{now} in {zone:?} at {wall}");
    }
}

#[test]
fn the_nearest_boundary_counts() {
    let body = json!({
        "query": {"range": {"f": {"gte": "now-7d/d", "lt": "now/h"}}},
        "aggs": {"a": {"date_range": {"field": "f", "time_zone": "+01:00", "ranges": [{"from": "now/d"}]}}},
    });
    let terms = judge_body(Api::Search, None, "", &body, true).unwrap();
    assert_eq!(terms.now.len(), 3);
    assert_eq!(valid_until(&terms, at("2026-03-04T22:10:00Z")), Some(at("2026-03-04T23:00:00Z")));
    assert_eq!(valid_until(&Terms::default(), 0), None);
}

#[test]
fn so_are_many_shifts() {
    let judged = |shifts: usize| {
        let date = format!("now{}/d-1d+1d", "-1d".repeat(shifts));
        judge_body(Api::Search, None, "", &json!({"query": {"range": {"f": {"gte": date}}}}), true)
    };
    assert!(judged(8).is_ok());
    assert_eq!(judged(9).unwrap_err().to_string(), "now at query.range.f.gte: now");
}

/// As each is compared with those before, and asked for its boundary whenever it is answered.
#[test]
fn many_different_ones_are_refused() {
    let judged = |count: usize| {
        let days = (0..count).map(|day| format!("now-{day}d/d"));
        let days: Vec<_> = days.clone().chain(days).collect();
        judge_body(Api::Search, None, "", &json!({"query": {"terms": {"day": days}}}), true)
    };
    assert_eq!(judged(64).unwrap().now.len(), 64);
    assert_eq!(judged(65).unwrap_err().to_string(), "now at query.terms.day[64]: now");
}

#[test]
fn the_zone_is_that_of_the_object() {
    let bounds = |zone: &str| {
        json!({"aggs": {"a": {"date_histogram":
        {"field": "f", "extended_bounds": {"max": "now/d"}, "time_zone": zone}}}})
    };
    let terms = judge_body(Api::Search, None, "", &bounds("+06:00"), true).unwrap();
    assert_eq!(valid_until(&terms, at("2026-03-04T12:00:00Z")), Some(at("2026-03-04T18:00:00Z")));
    for zone in ["+25:00", "+1:00", "UTC+1:0"] {
        let refusal = judge_body(Api::Search, None, "", &bounds(zone), true).unwrap_err();
        assert_eq!(refusal.to_string(), "now at aggs.a.date_histogram.extended_bounds.max: now", "{zone}");
    }
    let numeric = json!({"aggs": {"a": {"date_range": {"ranges": [{"to": "now/d"}], "time_zone": 2}}}});
    assert!(judge_body(Api::Search, None, "", &numeric, true).is_err());
}

/// What the engine makes of a rounded `now` (`JavaDateMathParser.parseMath`), against what is promised: between `wall`
/// and the promised moment the engine says the same, whichever rules it has for the name of a zone.
#[test]
fn the_engine_says_the_same_until_then() {
    use jiff::{RoundMode, Span, ToSpan, Unit, Zoned, ZonedRound};
    let round = |at: &Zoned, unit: &str| match unit {
        "d" => at.start_of_day().unwrap(),
        "M" => at.first_of_month().unwrap().start_of_day().unwrap(),
        "y" => at.first_of_year().unwrap().start_of_day().unwrap(),
        "w" => {
            let days = i64::from(at.weekday().to_monday_zero_offset());
            at.checked_sub(days.days()).unwrap().start_of_day().unwrap()
        }
        _ => {
            let unit = if unit == "h" { Unit::Hour } else { Unit::Minute };
            at.round(ZonedRound::new().smallest(unit).mode(RoundMode::Trunc)).unwrap()
        }
    };
    for (name, rules, from) in [
        ("UTC", "UTC", "2026-01-01T00:00:00Z"),
        ("+05:30", "Asia/Kolkata", "2026-01-01T00:00:00Z"),
        ("Europe/Berlin", "Europe/Berlin", "2026-01-01T00:00:00Z"),
        ("America/Vancouver", "America/New_York", "2026-01-01T00:00:00Z"),
        ("America/Vancouver", "Asia/Kathmandu", "2026-01-01T00:00:00Z"),
        ("America/Vancouver", "America/Havana", "2026-01-01T00:00:00Z"),
        ("America/Vancouver", "Australia/Lord_Howe", "2026-01-01T00:00:00Z"),
        // clocks that change one minute after midnight
        ("America/Vancouver", "Antarctica/Casey", "2020-10-01T00:00:00Z"),
        ("America/Vancouver", "America/St_Johns", "2010-06-01T00:00:00Z"),
    ] {
        let tz = jiff::tz::TimeZone::get(rules).unwrap();
        let changes: Vec<_> =
            tz.following(at_time(from)).take(2).map(|change| change.timestamp().as_millisecond()).collect();
        for unit in ["m", "h", "d", "w", "M", "y"] {
            for (shift, text) in [
                (Span::new(), ""),
                (1.days(), "-1d"),
                (2.weeks(), "-2w"),
                (1.months(), "-1M"),
                (1.years(), "-1y"),
                (5.hours(), "-5h"),
                (7.minutes(), "-7m"),
                (100.seconds(), "-100s"),
            ] {
                let engine = |millis: i64| {
                    let now = jiff::Timestamp::from_millisecond(millis).unwrap().to_zoned(tz.clone());
                    round(&now.checked_sub(shift).unwrap(), unit).timestamp()
                };
                let far = (0..60).map(|step| at(from) + step * (6 * 86_400_000 + 3_737_000));
                let near =
                    changes.iter().flat_map(|change| (-30..30).map(move |step| change + step * 3_221_000));
                // where the shift leads to the change, as well
                let there = changes.iter().flat_map(|change| {
                    let zoned = jiff::Timestamp::from_millisecond(*change).unwrap().to_zoned(tz.clone());
                    let from = zoned.checked_add(shift).unwrap().timestamp().as_millisecond();
                    (-30..30).map(move |step| from + step * 20_000)
                });
                let terms = terms_of(&format!("now{text}/{unit}"), name);
                for wall in far.chain(near).chain(there) {
                    let until = valid_until(&terms, wall).unwrap();
                    assert!(until > wall);
                    for between in [wall + (until - wall) / 3, wall + (until - wall) * 2 / 3, until - 1] {
                        assert_eq!(
                            engine(between),
                            engine(wall),
                            "now{text}/{unit} in {name} by the rules of {rules} at {wall}"
                        );
                    }
                }
            }
        }
    }
}
