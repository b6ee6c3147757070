//! `now` in date maths: where it is, and how long what it says stays the same.
//!
//! The rules are those of the engines' `JavaDateMathParser`: a text that starts with `now` is the clock, followed by
//! operations such as `-7d` (a shift) or `/d` (down to the start of the day, in the time zone of the request). A
//! `now` that is rounded says the same until the next boundary of its unit.
//!
//! The rules of a zone with a name are those of the engine's Java, which nobody can ask for: other releases of the time
//! zone database have other ones. So in such a zone a `now` holds only until its offset could change by any rules.

use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{Span, Timestamp};

use super::Terms;

/// What a text says about the clock.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Now {
    /// It does not look at the clock.
    None,
    /// It says the same for some time.
    Rounded(RoundedNow),
    /// It says something else each millisecond, or it cannot be told for how long it says the same.
    Exact,
}

/// A `now` with its date maths up to the first rounding. What follows that cannot change more often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoundedNow {
    /// The shifts before the rounding, such as `-7d`; at most [`MOST_SHIFTS`].
    shifts: Vec<(i32, Unit)>,
    /// The unit of the rounding.
    unit: Unit,
    /// The time zone in which days begin.
    zone: Rules,
}

/// So many different rounded `now`s a body or an index expression may have. Each is asked for its boundary at each request.
const MOST_ROUNDED: usize = 64;

/// So many shifts it may have before its rounding: they are kept, and gone through each time.
pub(super) const MOST_SHIFTS: usize = 8;

/// Notes a rounded `now` once; `false`: there are too many others.
#[must_use]
pub(super) fn note(found: &mut Vec<RoundedNow>, now: RoundedNow) -> bool {
    found.contains(&now)
        || found.len() < MOST_ROUNDED && {
            found.push(now);
            true
        }
}

/// What is known of a zone's offset from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rules {
    /// It is always this.
    Fixed(Offset),
    /// The engine has a rule for it.
    Named,
}

/// A unit of date maths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Year,
    Month,
    Week,
    Day,
    Hour,
    Minute,
    Second,
}

/// The time zone of the dates in one object of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Zone {
    /// One that Java knows, if the engine takes it.
    Known(Rules),
    /// One that escache cannot follow.
    Unknown,
}

/// The moment, in milliseconds since 1970, until which (exclusive) every rounded `now` of the terms says what it
/// says at `wall_clock_millis`; `None` where there is none, so that the answer does not depend on the clock at all.
/// May be earlier than necessary where the rules of a zone are not known, down to `wall_clock_millis` itself, never later.
#[must_use]
pub fn valid_until(terms: &Terms, wall_clock_millis: i64) -> Option<i64> {
    let lasts = terms.now.iter().map(|now| now.lasts(wall_clock_millis).unwrap_or(0).max(0)).min()?;
    Some(wall_clock_millis.saturating_add(lasts))
}

/// Reads a value that may be a date, as `JavaDateMathParser.parse` does.
pub(super) fn read(text: &str, zone: &Zone) -> Now {
    let Some(maths) = text.strip_prefix("now") else { return Now::None };
    // Java takes any digit of Unicode for a digit: rather than to follow it, take such a text for the clock.
    if !maths.is_ascii() {
        return if maths.starts_with(['+', '-', '/']) { Now::Exact } else { Now::None };
    }
    let Some(steps) = steps(maths) else { return Now::None };
    let Some(at) =
        steps.iter().position(|step| matches!(step, Step::Round(_))).filter(|at| *at <= MOST_SHIFTS)
    else {
        return Now::Exact;
    };
    let shifts = steps[..at].iter().filter_map(|step| match step {
        Step::Shift(count, unit) => Some((*count, *unit)),
        Step::Round(_) => None,
    });
    let (Step::Round(unit) | Step::Shift(_, unit)) = steps[at];
    match *zone {
        Zone::Known(zone) => Now::Rounded(RoundedNow { shifts: shifts.collect(), unit, zone }),
        Zone::Unknown => Now::Exact,
    }
}

/// Whether the text of a query in Lucene's syntax (`query_string`, `simple_query_string`, `q=`) has the word `now`,
/// so that the engine may read it as the clock. Errs on the side of yes: the syntax may hide it behind escapes.
pub(super) fn in_query_text(text: &str) -> bool {
    has_now(text) || (text.contains('\\') && (text.contains("\\u") || has_now(&text.replace('\\', ""))))
}

/// The same of a text of which one of the [analyzers whose words are known](super::analyzers::is_known) makes words:
/// whether one of them may begin with `now`. They divide no run of ASCII letters but a very long one.
pub(super) fn in_analyzed_text(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.match_indices("now").any(|(at, _)| {
        text.len() > LONGEST_WORD || !text[..at].ends_with(|before: char| before.is_ascii_lowercase())
    })
}

/// The same of the text of a query in Lucene's syntax.
pub(super) fn in_analyzed_query_text(text: &str) -> bool {
    in_query_text(text)
        || in_analyzed_text(text)
        || text.contains('\\') && in_analyzed_text(&text.replace('\\', ""))
}

/// The longest word that tokenizers make; they divide a longer one (`StandardTokenizer`, `CharTokenizer`).
const LONGEST_WORD: usize = 255;

fn has_now(text: &str) -> bool {
    text.match_indices("now").any(|(at, now)| {
        let before = text[..at].chars().next_back();
        let after = text[at + now.len()..].chars().next();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '.')
            && !after.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '.' || c == ':')
    })
}

enum Step {
    Shift(i32, Unit),
    Round(Unit),
}

/// The operations of date maths; `None` where the engines answer with an error.
fn steps(maths: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = maths;
    while let Some(operator) = rest.chars().next() {
        rest = &rest[1..];
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let count = if digits == 0 { 1 } else { rest[..digits].parse().ok()? };
        let unit = Unit::read(rest[digits..].chars().next()?)?;
        rest = &rest[digits + 1..];
        steps.push(match (operator, count) {
            ('/', 1) => Step::Round(unit),
            ('+', count) => Step::Shift(count, unit),
            ('-', count) => Step::Shift(-count, unit),
            _ => return None,
        });
    }
    Some(steps)
}

impl Unit {
    fn read(letter: char) -> Option<Unit> {
        Some(match letter {
            'y' => Unit::Year,
            'M' => Unit::Month,
            'w' => Unit::Week,
            'd' => Unit::Day,
            'h' | 'H' => Unit::Hour,
            'm' => Unit::Minute,
            's' => Unit::Second,
            _ => return None,
        })
    }

    /// The length, where it is always the same in local time.
    fn millis(self) -> Option<i64> {
        match self {
            Unit::Year | Unit::Month => None,
            Unit::Week => Some(7 * DAY),
            Unit::Day => Some(DAY),
            Unit::Hour => Some(3_600_000),
            Unit::Minute => Some(60_000),
            Unit::Second => Some(1_000),
        }
    }

    /// A shift by so many of it.
    fn span(self, count: i32) -> Option<Span> {
        let span = Span::new();
        match self {
            Unit::Year => span.try_years(count),
            Unit::Month => span.try_months(count),
            Unit::Week => span.try_weeks(count),
            Unit::Day => span.try_days(count),
            Unit::Hour => span.try_hours(count),
            Unit::Minute => span.try_minutes(count),
            Unit::Second => span.try_seconds(count),
        }
        .ok()
    }
}

const DAY: i64 = 86_400_000;
const QUARTER: i64 = 900_000;
const MINUTE: i64 = 60_000;

impl RoundedNow {
    /// For how many milliseconds from `wall` it says the same; `None` where that cannot be told.
    ///
    /// As long as no offset changes, time passes equally at all points to which the shifts lead: then the first that
    /// reaches a limit tells. Where the offset is not known it is a multiple of a quarter of an hour, as that of UTC is,
    /// so that whatever is a boundary in the zone is also a quarter of an hour (or a minute, a second) of UTC.
    fn lasts(&self, wall: i64) -> Option<i64> {
        let offset = match self.zone {
            Rules::Fixed(offset) => offset,
            Rules::Named => Offset::UTC,
        };
        let mut local = offset.to_datetime(Timestamp::from_millisecond(wall).ok()?);
        let mut lasts = self.zone.lasts(local)?;
        for &(count, unit) in &self.shifts {
            if matches!(unit, Unit::Year | Unit::Month) {
                // The last days of a long month all lead to the last day of a short one.
                lasts = lasts.min(DAY - millis_of_day(local));
            }
            local = local.checked_add(unit.span(count)?).ok()?;
            lasts = lasts.min(self.zone.lasts(local)?);
        }
        Some(lasts.min(until_next(self.unit, local)?))
    }
}

impl Rules {
    /// For how long from then the offset stays what it is for sure; `None` where it may be anything.
    ///
    /// By all rules since [`EVEN_SINCE`], offsets are multiples of a quarter of an hour, and clocks change at such a time
    /// or a minute after it (Newfoundland until 2011, Casey in 2022) or before it (Dhaka in 2009, as first announced).
    fn lasts(self, at: DateTime) -> Option<i64> {
        match self {
            Rules::Fixed(_) => Some(i64::MAX),
            Rules::Named if at.year() < EVEN_SINCE => None,
            Rules::Named => {
                let passed = millis_of_day(at) % QUARTER;
                let next = [MINUTE, QUARTER - MINUTE, QUARTER].into_iter().find(|next| *next > passed)?;
                Some(next - passed)
            }
        }
    }
}

/// The last clocks with another offset were those of Kiritimati until October 1979.
const EVEN_SINCE: i16 = 1980;

/// How long until the next boundary of the unit, in local time. Weeks begin on Monday.
fn until_next(unit: Unit, local: DateTime) -> Option<i64> {
    let of_day = millis_of_day(local);
    let days = match unit {
        Unit::Year => i64::from(local.date().days_in_year()) - i64::from(local.date().day_of_year()),
        Unit::Month => i64::from(local.date().days_in_month()) - i64::from(local.date().day()),
        Unit::Week => 6 - i64::from(local.date().weekday().to_monday_zero_offset()),
        Unit::Day => 0,
        Unit::Hour | Unit::Minute | Unit::Second => {
            let length = unit.millis()?;
            return Some(length - of_day % length);
        }
    };
    Some(days * DAY + DAY - of_day)
}

fn millis_of_day(local: DateTime) -> i64 {
    let time = local.time();
    let minutes = i64::from(time.hour()) * 60 + i64::from(time.minute());
    (minutes * 60 + i64::from(time.second())) * 1000 + i64::from(time.millisecond())
}

impl Zone {
    /// The default.
    pub(super) const UTC: Zone = Zone::Known(Rules::Fixed(Offset::UTC));

    /// Reads a zone as Java's `ZoneId.of` does. A name that the engine does not know is for the engine to refuse.
    pub(super) fn read(text: &str) -> Zone {
        let offset = match text {
            "Z" | "UTC" | "GMT" | "UT" | "Etc/UTC" | "Etc/GMT" => return Zone::UTC,
            _ => text
                .strip_prefix("UTC")
                .or(text.strip_prefix("GMT"))
                .or(text.strip_prefix("UT"))
                .unwrap_or(text),
        };
        if offset.starts_with(['+', '-']) {
            return read_offset(offset).map_or(Zone::Unknown, |offset| Zone::Known(Rules::Fixed(offset)));
        }
        Zone::Known(Rules::Named)
    }
}

/// `+h`, `+hh`, `+hh:mm`, `+hhmm`, `+hh:mm:ss`, `+hhmmss`, as Java's `ZoneOffset.of`.
fn read_offset(text: &str) -> Option<Offset> {
    let (sign, digits) = (if text.starts_with('-') { -1 } else { 1 }, &text[1..]);
    let two =
        |at: usize| digits.get(at..at + 2).filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?.parse().ok();
    let colon = |at: usize| (digits.as_bytes().get(at) == Some(&b':')).then_some(());
    let (hours, minutes, seconds): (i32, i32, i32) = match digits.len() {
        1 => (i32::try_from(digits.chars().next()?.to_digit(10)?).ok()?, 0, 0),
        2 => (two(0)?, 0, 0),
        4 => (two(0)?, two(2)?, 0),
        5 => (two(0)?, colon(2).and(two(3))?, 0),
        6 => (two(0)?, two(2)?, two(4)?),
        8 => (two(0)?, colon(2).and(two(3))?, colon(5).and(two(6))?),
        _ => return None,
    };
    (minutes < 60 && seconds < 60).then_some(())?;
    let seconds = sign * (hours * 3600 + minutes * 60 + seconds);
    (seconds.abs() <= 18 * 3600).then(|| Offset::from_seconds(seconds).ok())?
}
