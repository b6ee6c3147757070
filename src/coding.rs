//! Content codings (RFC 9110 8.4): which of them a client accepts, gzip both ways.

use std::io::Write as _;

use bytes::Bytes;
use flate2::write::GzEncoder;
use flate2::{Compression, Crc, Decompress, FlushDecompress, Status};
use http::header::ACCEPT_ENCODING;
use http::{HeaderMap, HeaderValue};

/// The smallest body that is compressed, in bytes: what is shorter goes in one packet either way.
pub const SMALLEST: usize = 1_024;

/// docs/performance.md has what the levels take and save. What depends on it is in [`Coding::suffix`], too.
const LEVEL: u32 = 2;

/// How a representation is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// As the engine made it.
    Identity,
    /// RFC 1952
    Gzip,
}

impl Coding {
    /// What tells the entity tags of one body's codings apart. A strong tag promises the same bytes, so another way of
    /// compressing has another suffix.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Coding::Identity => "",
            Coding::Gzip => "-gzip2",
        }
    }
}

/// The codings that a client accepts, of those that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// It accepts gzip, and does not like identity better.
    pub gzip: bool,
    /// It accepts what is not coded.
    pub identity: bool,
}

impl Accepted {
    /// As `Accept-Encoding` says (RFC 9110 12.5.3). Who says nothing gets what is not coded, as from the engines. A
    /// member that cannot be read counts as if it were not there.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Accepted {
        let (mut gzip, mut identity, mut any) = (None, None, None);
        let values = headers.get_all(ACCEPT_ENCODING).iter();
        for member in values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')) {
            let (name, parameter) = member.split_once(';').unwrap_or((member, ""));
            let Some(weight) = weight(parameter) else { continue };
            let name = name.trim();
            let known = if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
                &mut gzip
            } else if name.eq_ignore_ascii_case("identity") {
                &mut identity
            } else if name == "*" {
                &mut any
            } else {
                continue;
            };
            *known = Some(known.map_or(weight, |other: u16| other.max(weight)));
        }
        let wanted = gzip.or(any).unwrap_or(0);
        Accepted {
            gzip: wanted > 0 && identity.is_none_or(|identity| wanted >= identity),
            identity: identity.or(any).is_none_or(|weight| weight > 0),
        }
    }
}

/// The weight of a member, in thousandths; 1000 if none is given. `None` if it is none.
fn weight(parameter: &str) -> Option<u16> {
    let parameter = parameter.trim();
    if parameter.is_empty() {
        return Some(1_000);
    }
    let (name, value) = parameter.split_once('=')?;
    let (whole, decimals) = value.trim().split_once('.').unwrap_or((value.trim(), ""));
    let fits = name.trim().eq_ignore_ascii_case("q")
        && matches!(whole, "0" | "1")
        && decimals.len() <= 3
        && decimals.bytes().all(|b| b.is_ascii_digit());
    let thousandths: u16 = format!("{whole}{decimals:0<3}").parse().ok().filter(|_| fits)?;
    (thousandths <= 1_000).then_some(thousandths)
}

/// A body compressed. The same bytes for the same body.
#[must_use]
pub fn gzip(body: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4 + 64), Compression::new(LEVEL));
    let written = encoder.write_all(body).and_then(|()| encoder.finish());
    let mut bytes = written.expect("memory takes what is written to it");
    bytes.shrink_to_fit();
    bytes.into()
}

/// Why a body is not what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotInflated {
    /// It is longer than the limit.
    TooLong,
    /// It is not one whole member of gzip, or has something that clients do not send.
    Odd,
}

/// A body of at most `limit` bytes from its compressed form. One member without name, comment or anything behind it:
/// readers differ in what they make of the rest.
///
/// # Errors
/// Why not.
pub fn gunzip(coded: &[u8], limit: usize) -> Result<Bytes, NotInflated> {
    const HEAD: usize = 10;
    const TRAILER: usize = 8;
    let [0x1f, 0x8b, 8, 0, ..] = coded else { return Err(NotInflated::Odd) };
    let deflated = coded.get(HEAD..).ok_or(NotInflated::Odd)?;
    let mut inflater = Decompress::new(false);
    let mut body = Vec::with_capacity(coded.len().saturating_mul(4).min(limit) + 1);
    loop {
        let rest = usize::try_from(inflater.total_in()).ok().and_then(|read| deflated.get(read..));
        let before = (inflater.total_in(), inflater.total_out());
        let status = inflater.decompress_vec(rest.unwrap_or_default(), &mut body, FlushDecompress::None);
        if body.len() > limit {
            return Err(NotInflated::TooLong);
        }
        match status.map_err(|_| NotInflated::Odd)? {
            Status::StreamEnd => break,
            Status::Ok | Status::BufError if body.len() == body.capacity() => {
                body.reserve(body.len().min(limit + 1 - body.len()));
            }
            _ if before == (inflater.total_in(), inflater.total_out()) => return Err(NotInflated::Odd),
            _ => {}
        }
    }
    let read = usize::try_from(inflater.total_in()).map_err(|_| NotInflated::Odd)?;
    let trailer: [u8; TRAILER] = deflated[read..].try_into().map_err(|_| NotInflated::Odd)?;
    let mut sum = Crc::new();
    sum.update(&body);
    let mut expected = [0; TRAILER];
    expected[..4].copy_from_slice(&sum.sum().to_le_bytes());
    expected[4..].copy_from_slice(&sum.amount().to_le_bytes());
    if trailer == expected { Ok(body.into()) } else { Err(NotInflated::Odd) }
}

/// Whether the value of `Content-Encoding` is gzip alone.
#[must_use]
pub fn is_gzip(value: &HeaderValue) -> bool {
    value.as_bytes().eq_ignore_ascii_case(b"gzip")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(values: &[&str], gzip: bool, identity: bool) {
        let headers = values.iter().map(|v| (ACCEPT_ENCODING, HeaderValue::from_str(v).unwrap())).collect();
        assert_eq!(Accepted::of(&headers), Accepted { gzip, identity }, "{values:?}");
    }

    #[test]
    fn codings_are_negotiated_as_rfc_9110_says() {
        check(&[], false, true);
        check(&[""], false, true);
        check(&["identity"], false, true);
        for all in
            ["gzip", "GZip", "x-gzip", "gzip, deflate", "deflate,gzip;q=1.0", "br, zstd, gzip ; q=0.1", "*"]
        {
            check(&[all], true, true);
        }
        check(&["deflate", "gzip"], true, true);
        check(&["gzip;q=0"], false, true);
        check(&["gzip;q=0, *"], false, true);
        check(&["gzip;q=0.5, identity"], false, true);
        check(&["gzip;q=0.5, identity;q=0.5"], true, true);
        check(&["gzip, identity;q=0"], true, false);
        check(&["gzip, *;q=0"], true, false);
        check(&["*;q=0"], false, false);
        check(&["*;q=0, identity"], false, true);
        for odd in
            ["gzip;q=2", "gzip;q=1.5", "gzip;q=x", "gzip;level=9", "gzip;q=0.0001", "gzip;q=-1", "gzipped"]
        {
            check(&[odd], false, true);
        }
    }

    /// The suffix of the tag stands for these bytes. If this fails, choose another suffix.
    #[test]
    fn the_same_body_is_compressed_to_the_same_bytes() {
        let body: String =
            (0..2_000).map(|n| format!(r#"{{"_id":"{n}","_score":{}}},"#, n * 7919 % 1_000)).collect();
        let coded = gzip(body.as_bytes());
        assert_eq!(coded, gzip(body.as_bytes()));
        assert_eq!((LEVEL, Coding::Gzip.suffix()), (2, "-gzip2"));
        let digest = blake3::hash(&coded).to_hex();
        assert_eq!((coded.len(), &digest[..16]), (7_960, "ff69ef8c0d16788a"));
    }

    proptest! {
        #[test]
        fn what_is_compressed_comes_back(body in prop::collection::vec(any::<u8>(), 0..5_000), repeat in 1..50_usize) {
            let body = body.repeat(repeat);
            prop_assert_eq!(gunzip(&gzip(&body), body.len()).unwrap(), &body[..]);
            if !body.is_empty() {
                prop_assert_eq!(gunzip(&gzip(&body), body.len() - 1), Err(NotInflated::TooLong));
            }
        }

        #[test]
        fn a_byte_that_is_wrong_or_missing_is_noticed(at in 0..1_000_usize, bit in 0..8_u8) {
            let body = br#"{"query":{"match":{"title":"a"}}}"#;
            let coded = gzip(body);
            let at = at % coded.len();
            let mut wrong = coded.to_vec();
            wrong[at] ^= 1 << bit;
            // time, level and system are not looked at
            if let Ok(found) = gunzip(&wrong, 1_000) {
                prop_assert!((4..10).contains(&at) && found == body[..]);
            }
            prop_assert_eq!(gunzip(&coded[..at], 1_000), Err(NotInflated::Odd));
        }
    }

    #[test]
    fn what_readers_may_understand_in_two_ways_is_odd() {
        let one = gzip(b"{}");
        let odd = |bytes: Vec<u8>| assert_eq!(gunzip(&bytes, 1_000), Err(NotInflated::Odd));
        odd([&one[..], &one[..]].concat());
        odd([&one[..], b"\0"].concat());
        odd(Vec::new());
        odd(b"{}".to_vec());
        let mut named = one.to_vec();
        named[3] = 8;
        named.splice(10..10, *b"name\0");
        odd(named);
    }

    #[test]
    fn a_bomb_is_not_inflated() {
        let bomb = gzip(&vec![b' '; 50 << 20]);
        assert!(bomb.len() < 1 << 20, "{}", bomb.len());
        assert_eq!(gunzip(&bomb, 1 << 20), Err(NotInflated::TooLong));
    }
}
