//! `config/escache.yml`: every setting with its default, as comments to be uncommented.

use std::fmt::Write as _;

use super::table::{Setting, TABLE};
use super::value::Shape;

const HEAD: &str = "\
# ======================== escache configuration ========================
#
# Every setting stands here with its default. To change one, remove the # before its name.
# Dotted and nested names are the same: cache.hits: false is cache: { hits: false }.
# Each setting can also be given in the environment: cache.hits is ESCACHE_CACHE_HITS.
# A flag wins over the environment, the environment over this file.
#
# Times have a unit: nanos, micros, ms, s, m, h, d. Sizes too: b, kb, mb, gb, tb.
# escache check --config FILE says what is in force, or what is wrong.
";

const RULES: &str = "\
#rules:
#  - index: [logs-*, metrics-*]
#    max_staleness: 5s
#  - index: secret-*
#    cache: false
";

/// The text of `config/escache.yml`.
#[must_use]
pub fn template() -> String {
    let mut text = HEAD.to_owned();
    let mut section = "";
    for row in TABLE {
        if row.section != section {
            section = row.section;
            let _ = write!(text, "#\n# {section:-<70}\n#\n", section = format!("--- {section} "));
        } else {
            text.push_str("#\n");
        }
        for line in wrapped(row.help) {
            let _ = writeln!(text, "# {line}");
        }
        text.push_str(&example(row));
    }
    text
}

fn example(row: &Setting) -> String {
    match row.shape {
        Shape::One => format!("#{}\n", format!("{}: {}", row.name, row.default).trim_end()),
        Shape::Many => format!("#{}: [{}]\n", row.name, row.default),
        Shape::Rules => RULES.to_owned(),
    }
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always a line");
        if line.len() + word.len() >= 100 {
            lines.push(word.to_owned());
        } else {
            *line += if line.is_empty() { "" } else { " " };
            *line += word;
        }
    }
    lines
}
