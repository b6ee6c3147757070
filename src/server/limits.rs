//! What clients may take of a listener: connections, and times and sizes of what they send.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The limits of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `limits.max_connections`
    pub max_connections: usize,
    /// `limits.max_connections_per_address`; of IPv6 a /64 counts as one address.
    pub max_connections_per_address: usize,
    /// `http.max_initial_line_length`, in bytes.
    pub max_line: usize,
    /// `http.max_header_size`, in bytes: all names and values together.
    pub max_header_size: usize,
    /// `http.max_header_count`
    pub max_header_count: usize,
    /// `http.header_timeout`: for a head from its first byte, for the first byte of a connection, for a TLS handshake.
    pub header_timeout: Duration,
    /// `http.body_timeout`
    pub body_timeout: Duration,
    /// `http.write_timeout`
    pub write_timeout: Duration,
    /// `http.request_timeout`: from the head of a request to the end of its answer.
    pub request_timeout: Duration,
    /// `http.idle_timeout`
    pub idle_timeout: Duration,
    /// `http.http2.max_concurrent_streams`
    pub max_concurrent_streams: u32,
    /// `http.http2.unencrypted`
    pub unencrypted_http2: bool,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_connections: 20_000,
            max_connections_per_address: 10_000,
            max_line: 16 << 10,
            max_header_size: 32 << 10,
            max_header_count: 100,
            header_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            request_timeout: Duration::from_secs(30 * 60),
            idle_timeout: Duration::from_secs(15 * 60),
            max_concurrent_streams: 128,
            unencrypted_http2: false,
        }
    }
}

impl Limits {
    /// Those of the admin listener, which has room of its own: operators must see what goes on when clients have
    /// taken all of theirs.
    #[must_use]
    pub fn of_admin(&self) -> Limits {
        Limits {
            max_connections: 256,
            max_connections_per_address: 256,
            unencrypted_http2: false,
            ..self.clone()
        }
    }

    /// How much of a head is read at most before HTTP/1 gives up. What is between the limits and this has an answer
    /// with words in it.
    pub(super) fn most_of_a_head(&self) -> usize {
        (2 * self.max_line.saturating_add(self.max_header_size)).max(64 << 10)
    }
}

/// Which limit a connection met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    Connections,
    Address,
}

/// The connections of a listener, counted.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A connection that is counted until this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    connections: Arc<Connections>,
    address: IpAddr,
}

impl Connections {
    /// A seat for a connection from this address, if there is one.
    pub(super) fn seat(self: &Arc<Self>, address: IpAddr, limits: &Limits) -> Result<Seat, Full> {
        let address = counted_as(address);
        let mut counts = self.counts();
        if counts.all >= limits.max_connections {
            return Err(Full::Connections);
        }
        let of_address = counts.by_address.entry(address).or_default();
        if *of_address >= limits.max_connections_per_address {
            return Err(Full::Address);
        }
        *of_address += 1;
        counts.all += 1;
        drop(counts);
        Ok(Seat { connections: Arc::clone(self), address })
    }

    pub(super) fn len(&self) -> usize {
        self.counts().all
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.connections.counts();
        counts.all -= 1;
        if let Some(of_address) = counts.by_address.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                counts.by_address.remove(&self.address);
            }
        }
    }
}

/// Who has one address of IPv6 has 2^64 of them.
fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_counted_in_all_and_by_address() {
        let limits = Limits { max_connections: 3, max_connections_per_address: 2, ..Limits::default() };
        let connections = Arc::new(Connections::default());
        let seat = |address: &str| connections.seat(address.parse().unwrap(), &limits);
        let one = seat("10.0.0.1").unwrap();
        let two = seat("10.0.0.1").unwrap();
        assert_eq!(seat("10.0.0.1").unwrap_err(), Full::Address);
        assert_eq!(seat("::ffff:10.0.0.1").unwrap_err(), Full::Address);
        let three = seat("2001:db8::1").unwrap();
        assert_eq!(seat("10.0.0.2").unwrap_err(), Full::Connections);
        drop(one);
        let four = seat("2001:db8::2").unwrap();
        drop(two);
        assert_eq!(seat("2001:db8:0:0:ffff::").unwrap_err(), Full::Address);
        assert_eq!(connections.len(), 2);
        drop((three, four));
        assert_eq!(connections.len(), 0);
        assert!(connections.counts().by_address.is_empty());
    }
}
