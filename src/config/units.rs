//! Times and sizes in the units of Elasticsearch.

use std::time::Duration;

use super::value::{Scalar, Unfit};

const TIME_UNITS: &[(&str, u64)] = &[
    ("nanos", 1),
    ("micros", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

const SIZE_UNITS: &[(&str, u64)] =
    &[("b", 1), ("kb", 1 << 10), ("mb", 1 << 20), ("gb", 1 << 30), ("tb", 1 << 40)];

impl Scalar for Duration {
    const WHAT: &'static str =
        "a time: a whole number with the unit nanos, micros, ms, s, m, h or d, such as 500ms";

    fn parse(text: &str) -> Result<Duration, Unfit> {
        if text == "0" {
            return Ok(Duration::ZERO);
        }
        let (number, nanos) = with_unit(text, TIME_UNITS)?;
        let nanos = number
            .checked_mul(nanos)
            .ok_or_else(|| Unfit::Because(format!("[{text}] is longer than 584 years")))?;
        Ok(Duration::from_nanos(nanos))
    }

    fn show(&self) -> String {
        let nanos = u64::try_from(self.as_nanos()).unwrap_or(u64::MAX);
        if nanos == 0 { "0s".to_owned() } else { shortest(nanos, TIME_UNITS) }
    }
}

/// A time longer than none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait(pub(super) Duration);

impl Scalar for Wait {
    const WHAT: &'static str =
        "a time longer than 0s: a whole number with the unit nanos, micros, ms, s, m, h or d, such as 500ms";

    fn parse(text: &str) -> Result<Wait, Unfit> {
        match <Duration as Scalar>::parse(text)? {
            Duration::ZERO => Err(Unfit::Plainly),
            time => Ok(Wait(time)),
        }
    }

    fn show(&self) -> String {
        Scalar::show(&self.0)
    }
}

/// A size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ByteSize(pub(super) u64);

impl Scalar for ByteSize {
    const WHAT: &'static str = "a size: a whole number with the unit b, kb, mb, gb or tb, such as 512mb";

    fn parse(text: &str) -> Result<ByteSize, Unfit> {
        if text == "0" {
            return Ok(ByteSize(0));
        }
        let (number, bytes) = with_unit(&text.to_ascii_lowercase(), SIZE_UNITS)?;
        number
            .checked_mul(bytes)
            .map(ByteSize)
            .ok_or_else(|| Unfit::Because(format!("[{text}] is more than 16 million tb")))
    }

    fn show(&self) -> String {
        if self.0 == 0 { "0b".to_owned() } else { shortest(self.0, SIZE_UNITS) }
    }
}

/// A size, or a share of the memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum MemorySize {
    Bytes(ByteSize),
    Percent(f64),
}

impl MemorySize {
    /// In bytes. A share is at least 64mb, but never more than half of the memory.
    pub(super) fn bytes(self, memory: Option<u64>) -> u64 {
        const LEAST: u64 = 64 << 20;
        match (self, memory) {
            (MemorySize::Bytes(ByteSize(bytes)), _) => bytes,
            (MemorySize::Percent(_), None) => LEAST,
            #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
            (MemorySize::Percent(percent), Some(memory)) => {
                ((memory as f64 * percent / 100.0) as u64).max(LEAST).min(memory / 2)
            }
        }
    }
}

impl Scalar for MemorySize {
    const WHAT: &'static str = "a size (a whole number with the unit b, kb, mb, gb or tb, such as 512mb) or a share of \
                                the memory of at most 50%, such as 2%";

    fn parse(text: &str) -> Result<MemorySize, Unfit> {
        let Some(percent) = text.strip_suffix('%') else {
            let size = <ByteSize as Scalar>::parse(text).map_err(|_| Unfit::Plainly)?;
            return Ok(MemorySize::Bytes(size));
        };
        let plain = percent.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let percent: f64 = percent.parse().map_err(|_| Unfit::Plainly)?;
        if plain && percent > 0.0 && percent <= 50.0 {
            Ok(MemorySize::Percent(percent))
        } else {
            Err(Unfit::Plainly)
        }
    }

    fn show(&self) -> String {
        match self {
            MemorySize::Bytes(size) => Scalar::show(size),
            MemorySize::Percent(percent) => format!("{percent}%"),
        }
    }
}

/// A whole number and what its unit stands for. A number without a unit is refused, as Elasticsearch does.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Result<(u64, u64), Unfit> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(at);
    let unit = units.iter().find(|(name, _)| *name == unit.trim_start()).ok_or(Unfit::Plainly)?.1;
    Ok((digits.parse().map_err(|_| Unfit::Plainly)?, unit))
}

/// In the largest unit that needs no fraction.
fn shortest(amount: u64, units: &[(&str, u64)]) -> String {
    let fits = units.iter().rev().find(|(_, unit)| amount.is_multiple_of(*unit));
    fits.map_or_else(|| amount.to_string(), |(name, unit)| format!("{}{name}", amount / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Scalar>(text: &str, expected: Option<&str>) {
        assert_eq!(T::parse(text).ok().map(|value| value.show()).as_deref(), expected, "{text}");
    }

    #[test]
    fn times() {
        for (text, shown) in [
            ("0", "0s"),
            ("0s", "0s"),
            ("5s", "5s"),
            ("5 s", "5s"),
            ("1000ms", "1s"),
            ("1500ms", "1500ms"),
            ("60s", "1m"),
            ("90m", "90m"),
            ("48h", "2d"),
            ("7d", "7d"),
            ("250micros", "250micros"),
            ("1nanos", "1nanos"),
        ] {
            check::<Duration>(text, Some(shown));
        }
        for text in [
            "",
            "5",
            "s",
            "-1",
            "1.5s",
            "5S",
            "5sec",
            "5 minutes",
            "1h30m",
            "1e3s",
            "+5s",
            "213504d",
            "99999999999999999999s",
        ] {
            check::<Duration>(text, None);
        }
        check::<Wait>("0s", None);
        check::<Wait>("1ms", Some("1ms"));
    }

    #[test]
    fn sizes() {
        for (text, shown) in
            [("0", "0b"), ("512mb", "512mb"), ("1024MB", "1gb"), ("1500b", "1500b"), ("3 kb", "3kb")]
        {
            check::<ByteSize>(text, Some(shown));
            check::<MemorySize>(text, Some(shown));
        }
        for text in ["", "5", "mb", "-1b", "1.5gb", "512mib", "512m", "1kib", "17000000tb", "2%"] {
            check::<ByteSize>(text, None);
        }
        for (text, shown) in [("2%", "2%"), ("0.5%", "0.5%"), ("50%", "50%")] {
            check::<MemorySize>(text, Some(shown));
        }
        for text in ["%", "0%", "-1%", "51%", "NaN%", "inf%", "1e1%", "2 %", "2"] {
            check::<MemorySize>(text, None);
        }
    }

    #[test]
    fn a_share_has_limits() {
        let bytes = |text: &str, memory| MemorySize::parse(text).ok().unwrap().bytes(memory);
        assert_eq!(bytes("2%", Some(16 << 30)), (16 << 30) / 50);
        assert_eq!(bytes("2%", Some(1 << 30)), 64 << 20);
        assert_eq!(bytes("2%", Some(100 << 20)), 50 << 20);
        assert_eq!(bytes("2%", None), 64 << 20);
        assert_eq!(bytes("1kb", Some(1 << 30)), 1 << 10);
    }
}
