//! What a client of HTTP/2 may hold: a stream that it does not read costs that stream alone, and not for long.

use std::time::Duration;

use bytes::Bytes;
use escache::server::Limits;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::engine::{Api, Engine, engine};
use crate::support::escache::{Escache, verdict};
use crate::support::patience::{ends, until};
use crate::support::still::Still;
use crate::support::wire::Wire;

/// Short enough for a test to wait for.
const SHORT: Duration = Duration::from_millis(300);

async fn within(change: impl FnOnce(&mut Limits)) -> (Engine, Escache) {
    let engine = engine();
    let mut limits = Limits { unencrypted_http2: true, ..Limits::default() };
    change(&mut limits);
    let escache = Escache::start_within(&engine.url(), limits, |_| {}).await;
    (engine, escache)
}

/// A client that lets each stream send so many bytes before it has read them.
async fn client(escache: &Escache, window: u32) -> SendRequest<Full<Bytes>> {
    let stream = Wire::to(&escache.url).await.0;
    let mut builder = Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(window).initial_connection_window_size(1 << 30);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn get(sender: &mut SendRequest<Full<Bytes>>, path: &str) -> http::Response<Incoming> {
    let request = http::Request::get(format!("http://a{path}")).body(Full::new(Bytes::new())).unwrap();
    ends("a request can be sent", sender.ready()).await.unwrap();
    ends("the head of an answer", sender.send_request(request)).await.unwrap()
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_reset_and_the_others_go_on() {
    let (engine, escache) = within(|limits| limits.write_timeout = SHORT).await;
    let slow = || escache.proxy.stats.plain.limited_slow_readers.get();
    // some of it can be taken, or nothing at all
    for (number, window) in [(1, 40_000), (2, 0)] {
        let mut sender = client(&escache, window).await;
        let deaf = get(&mut sender, "/_big?bytes=100000000").await;
        assert_eq!(deaf.status(), 200);
        ends("the engine's connection is given back", engine.until_aborted(Api::Big, number)).await;
        until("counted", async || slow() == number as u64).await;
        let error = ends("the stream", deaf.into_body().collect()).await.unwrap_err();
        assert!(error.to_string().contains("body"), "{error}");
        // the connection and its other streams are as they were
        let head = http::Request::head("http://a/_echo").body(Full::new(Bytes::new())).unwrap();
        ends("ready", sender.ready()).await.unwrap();
        assert_eq!(ends("another stream", sender.send_request(head)).await.unwrap().status(), 200);
    }
    // so it is with what comes from the cache
    let large = json!({"text": "x".repeat(100_000)});
    engine.index("logs", "2", large);
    engine.refresh("logs");
    let first = escache.send("GET", "/logs/_search", &[], "").await;
    assert!(first.body.len() > 100_000);
    let mut sender = client(&escache, 0).await;
    let hit = get(&mut sender, "/logs/_search").await;
    assert_eq!(verdict(hit.headers()).0, "HIT");
    until("counted", async || slow() == 3).await;
    ends("the stream", hit.into_body().collect()).await.unwrap_err();
}

/// A client may be slow, as long as it takes something, and the engine may be: that is not the client's fault.
#[tokio::test]
async fn a_stream_that_is_read_is_not_reset() {
    let engine = engine();
    let limits = Limits { unencrypted_http2: true, write_timeout: SHORT, ..Limits::default() };
    let escache = Escache::start_within(&engine.url(), limits, |settings| {
        settings.upstream.response_timeout = Duration::from_secs(3_600);
    })
    .await;
    let slow = || escache.proxy.stats.plain.limited_slow_readers.get();
    let still = Still::stand();
    let mut sender = client(&escache, 20_000).await;
    let mut body = get(&mut sender, "/_big?bytes=1000000").await.into_body();
    let (mut read, mut passed) = (0, Duration::ZERO);
    while let Some(frame) = ends("a part", body.frame()).await {
        let frame = frame.unwrap_or_else(|error| panic!("{error} after {read} bytes and {passed:?}"));
        let before = read / 10_000;
        read += frame.into_data().unwrap().len();
        // a part has gone when a window and that part were read at the latest: in half of the time that it has
        if read / 10_000 > before {
            still.pass(SHORT / 8).await;
            passed += SHORT / 8;
        }
    }
    assert_eq!((read, slow()), (1_000_000, 0));
    assert!(passed > SHORT, "{passed:?}");

    let gate = engine.gate_body(Api::Doc);
    let waits = get(&mut sender, "/logs/_doc/1").await;
    // another one, which is not read, shows that the time is over
    let deaf = get(&mut client(&escache, 0).await, "/_big?bytes=100000").await;
    until("counted", async || {
        still.pass(SHORT).await;
        slow() == 1
    })
    .await;
    gate.release();
    ends("the engine's answer", waits.into_body().collect()).await.unwrap();
    assert_eq!(slow(), 1);
    drop(deaf);
}

/// Parts of an answer in frames of HTTP/2 are the answer, whatever the window is.
#[tokio::test]
async fn answers_are_whole_through_any_window() {
    let (engine, escache) = within(|_| {}).await;
    engine.index("logs", "2", json!({"text": "y".repeat(70_000)}));
    engine.refresh("logs");
    let direct = escache.send("GET", "/logs/_search", &[], "").await;
    for window in [100, 1_000, 16_384, 16_385, 1 << 20] {
        let mut sender = client(&escache, window).await;
        let hit = get(&mut sender, "/logs/_search").await;
        assert_eq!(verdict(hit.headers()).0, "HIT");
        assert_eq!(hit.headers()["content-length"], direct.body.len().to_string().as_str());
        let body = ends("the body", hit.into_body().collect()).await.unwrap().to_bytes();
        assert_eq!(body, direct.body, "{window}");
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The preface, and no settings.
fn begin() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[])].concat()
}

/// A head may come in several frames. Until it is whole there is no request, so its time is that of an idle connection,
/// whatever else comes.
#[tokio::test]
async fn a_head_that_never_ends_has_the_time_of_a_pause() {
    let (_engine, escache) = within(|limits| limits.idle_timeout = SHORT).await;
    let mut wire = Wire::to(&escache.url).await;
    // GET http:/, and no END_HEADERS
    wire.send([begin(), frame(1, 0x1, 1, &[0x82, 0x84, 0x86])].concat()).await;
    let (mut read, mut write) = wire.0.into_split();
    let dripping = tokio::spawn(async move {
        // x: y, again and again, and so rarely that it is not the number of frames that ends it
        while write.write_all(&frame(9, 0, 1, &[0, 1, b'x', 1, b'y'])).await.is_ok() {
            tokio::time::sleep(SHORT / 3).await;
        }
    });
    let mut told = Vec::new();
    let _ = ends("the connection", read.read_to_end(&mut told)).await;
    assert_eq!(escache.proxy.stats.plain.limited_idle.get(), 1);
    dripping.abort();
}

/// Requests that are taken back before they were taken up ("rapid reset") end the connection.
#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let (_engine, escache) = within(|_| {}).await;
    // GET http://a/ by the static table of HPACK, and its end; then CANCEL
    let request = |stream: u32| {
        let headers = frame(1, 0x5, stream, &[0x82, 0x84, 0x86, 0x41, 1, b'a']);
        [headers, frame(3, 0, stream, &8_u32.to_be_bytes())].concat()
    };
    for (resets, ends_it) in [(5, false), (40, true)] {
        let mut wire = Wire::to(&escache.url).await;
        let all: Vec<u8> = (0..resets).flat_map(|i| request(2 * i + 1)).collect();
        // a ping after them: its echo shows that the connection is there
        let ping = frame(6, 0, 0, &[7; 8]);
        wire.send([begin(), all, ping].concat()).await;
        let mut told = Vec::new();
        let over = ends("GOAWAY, or the echo", async {
            loop {
                let mut head = [0; 9];
                wire.0.read_exact(&mut head).await.unwrap();
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                let mut payload = vec![0; length as usize];
                wire.0.read_exact(&mut payload).await.unwrap();
                told.push(head[3]);
                match head[3] {
                    7 => break Some(payload[7]),
                    6 if head[4] == 1 && payload == [7; 8] => break None,
                    _ => {}
                }
            }
        })
        .await;
        // ENHANCE_YOUR_CALM
        assert_eq!(over, ends_it.then_some(11), "{resets}: {told:?}");
    }
    assert_eq!(escache.proxy.stats.plain.panics.get(), 0);
}
