//! A man in the middle, in this process: stands between escache and an engine, speaks TLS if it is told to, and does to
//! searches and their answers what networks do. All else passes.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// What happens to the answers to searches.
#[derive(Clone, Debug, Default)]
pub(crate) enum Fault {
    /// Nothing.
    #[default]
    None,
    /// So many bytes of the answer pass, and then the connection is reset.
    Reset(usize),
    /// So many bytes of the answer pass, and then the connection is closed in order.
    Close(usize),
    /// So many bytes of the answer pass, and then no more is written, though what comes is still read.
    HalfClose(usize),
    /// So many bytes of the answer pass, and then nothing happens any more.
    Silence(usize),
    /// The answer passes one byte at a time.
    Bytewise,
    /// The answer passes in small parts, each after a pause of such a length: latency, and jitter. Which pause each part
    /// has follows from the seed.
    Delay(Range<Duration>, u64),
    /// The answer waits until [`Middleman::open`].
    Wait,
    /// These bytes come instead of the answer, and then the connection is closed in order.
    Instead(Vec<u8>),
    /// The request is cut off after so many bytes, and the connection reset.
    CutRequest(usize),
}

/// The handle; dropped, it is gone.
pub(crate) struct Middleman {
    addr: SocketAddr,
    fault: Arc<Mutex<Fault>>,
    gate: watch::Sender<bool>,
    searches: Arc<std::sync::atomic::AtomicUsize>,
    runtime: Option<Runtime>,
}

impl Middleman {
    /// In front of this address.
    pub(crate) fn before(engine: SocketAddr) -> Middleman {
        Middleman::start(engine, None)
    }

    /// The same, speaking TLS.
    pub(crate) fn with_tls(engine: SocketAddr, tls: rustls::ServerConfig) -> Middleman {
        Middleman::start(engine, Some(TlsAcceptor::from(Arc::new(tls))))
    }

    fn start(engine: SocketAddr, tls: Option<TlsAcceptor>) -> Middleman {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let (fault, gate) = (Arc::<Mutex<Fault>>::default(), watch::channel(false).0);
        let searches = Arc::default();
        let shared =
            Shared { fault: Arc::clone(&fault), gate: gate.clone(), searches: Arc::clone(&searches) };
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((client, _)) = listener.accept().await {
                let (tls, shared) = (tls.clone(), shared.clone());
                tokio::spawn(async move {
                    client.set_nodelay(true).unwrap();
                    // closed by a reset, unless it is shut down before
                    reset_when_dropped(&client);
                    let Ok(engine) = TcpStream::connect(engine).await else { return };
                    match tls {
                        None => stand_between(client, engine, shared).await,
                        Some(tls) => {
                            if let Ok(client) = tls.accept(client).await {
                                stand_between(client, engine, shared).await;
                            }
                        }
                    }
                });
            }
        });
        Middleman { addr, fault, gate, searches, runtime: Some(runtime) }
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// `https://localhost:PORT`.
    pub(crate) fn tls_url(&self) -> String {
        format!("https://localhost:{}", self.addr.port())
    }

    /// From now on, this happens.
    pub(crate) fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    /// What waits, and what will, passes.
    pub(crate) fn open(&self) {
        self.gate.send_replace(true);
    }

    /// How many searches came here.
    pub(crate) fn searches(&self) -> usize {
        self.searches.load(std::sync::atomic::Ordering::SeqCst)
    }
}

impl Drop for Middleman {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[allow(deprecated, reason = "a linger of zero does not block, and is how a reset is made")]
fn reset_when_dropped(stream: &TcpStream) {
    stream.set_linger(Some(Duration::ZERO)).unwrap();
}

#[derive(Clone)]
struct Shared {
    fault: Arc<Mutex<Fault>>,
    gate: watch::Sender<bool>,
    searches: Arc<std::sync::atomic::AtomicUsize>,
}

/// Requests of one connection come one after another, so a search is what came last when an answer passes.
async fn stand_between<C: AsyncRead + AsyncWrite + Unpin>(
    mut client: C,
    mut engine: TcpStream,
    shared: Shared,
) {
    let (mut request, mut answer) = (vec![0; 65_536], vec![0; 65_536]);
    let mut fault = Fault::None;
    let mut passed = 0;
    loop {
        tokio::select! {
            read = client.read(&mut request) => {
                let Ok(read @ 1..) = read else { return };
                let bytes = &request[..read];
                if bytes.windows(8).any(|part| part == b"/_search") {
                    shared.searches.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    (fault, passed) = (shared.fault.lock().unwrap().clone(), 0);
                } else if bytes.starts_with(b"GET ") || bytes.starts_with(b"PUT ") {
                    fault = Fault::None;
                }
                if let Fault::CutRequest(most) = fault {
                    let _ = engine.write_all(&bytes[..most.min(read)]).await;
                    return;
                }
                if engine.write_all(bytes).await.is_err() {
                    return;
                }
            }
            read = engine.read(&mut answer) => {
                let Ok(read @ 1..) = read else {
                    let _ = client.shutdown().await;
                    return;
                };
                if !pass(&mut client, &answer[..read], &fault, &mut passed, &shared.gate).await {
                    return;
                }
            }
        }
    }
}

/// How many bytes pass between two pauses.
const SMALL: usize = 256;

/// A length of this range, always the same for a number (splitmix64).
fn drawn(range: &Range<Duration>, number: u64) -> Duration {
    let mut bits = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    let share = ((bits ^ bits >> 31) >> 11) as f64 / (1_u64 << 53) as f64;
    range.start + (range.end - range.start).mul_f64(share)
}

/// Passes a part of an answer on. Whether the connection goes on.
async fn pass<C: AsyncRead + AsyncWrite + Unpin>(
    client: &mut C,
    bytes: &[u8],
    fault: &Fault,
    passed: &mut usize,
    gate: &watch::Sender<bool>,
) -> bool {
    let most = match fault {
        Fault::Reset(most) | Fault::Close(most) | Fault::HalfClose(most) | Fault::Silence(most) => *most,
        Fault::Instead(other) => {
            let _ = client.write_all(other).await;
            let _ = client.shutdown().await;
            // what is still unread would make a reset of the close
            let _ = client.read(&mut [0; 1024]).await;
            return false;
        }
        Fault::Bytewise => {
            for byte in bytes {
                if client.write_all(&[*byte]).await.is_err() || client.flush().await.is_err() {
                    return false;
                }
            }
            return true;
        }
        Fault::Delay(pauses, seed) => {
            for part in bytes.chunks(SMALL) {
                tokio::time::sleep(drawn(pauses, seed.wrapping_add(*passed as u64))).await;
                *passed += part.len();
                if client.write_all(part).await.is_err() || client.flush().await.is_err() {
                    return false;
                }
            }
            return true;
        }
        Fault::Wait => {
            let _ = gate.subscribe().wait_for(|open| *open).await;
            usize::MAX
        }
        Fault::None | Fault::CutRequest(_) => usize::MAX,
    };
    let now = bytes.len().min(most - *passed);
    *passed += now;
    if client.write_all(&bytes[..now]).await.is_err() || client.flush().await.is_err() {
        return false;
    }
    if *passed < most {
        return true;
    }
    match fault {
        Fault::Close(_) => {
            let _ = client.shutdown().await;
            let _ = client.read(&mut [0; 1024]).await;
            false
        }
        Fault::HalfClose(_) => {
            let _ = client.shutdown().await;
            while matches!(client.read(&mut [0; 1024]).await, Ok(1..)) {}
            false
        }
        Fault::Silence(_) => std::future::pending().await,
        _ => false,
    }
}
