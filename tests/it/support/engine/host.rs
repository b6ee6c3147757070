//! One listening host: accepts, reads, passes the gates, evaluates, and sends the answer as it was told to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use escache::coding::gunzip;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::answer::{Answer, Outgoing, Payload, Step, slowly};
use super::api::{Api, Params, place};
use super::filter_path::filter_path;
use super::gate::At;
use super::mischief::{Mischief, Twist};
use super::model::Cluster;
use super::observe::{InFlight, Log, Seen};
use super::route::evaluate;

/// Bodies are kept for the log up to this size; what comes after it is counted only.
const KEPT: usize = 8 * 1024 * 1024;

/// What one host knows; it outlives an outage.
pub(crate) struct Host {
    pub(crate) log: Arc<Log>,
    pub(crate) mischief: Mischief,
    cluster: Arc<Mutex<Cluster>>,
    addr: SocketAddr,
    /// Bound and never listening: it keeps the port ours while the engine is stopped.
    _reserved: TcpSocket,
}

impl Host {
    /// Takes a free port.
    pub(crate) fn bind(cluster: Arc<Mutex<Cluster>>) -> Self {
        let reserved = socket(SocketAddr::from(([127, 0, 0, 1], 0)));
        let addr = reserved.local_addr().unwrap();
        Self { log: Arc::default(), mischief: Mischief::default(), cluster, addr, _reserved: reserved }
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

fn socket(addr: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(addr).unwrap();
    socket
}

/// A host that listens.
pub(crate) struct Server {
    order: watch::Sender<Order>,
    /// Whether it listens no more.
    deaf: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

/// What it is to do with connections.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Take them.
    Accept,
    /// Refuse new ones, and go on with those that there are.
    Refuse,
    /// Cut them.
    Stop,
}

impl Server {
    /// Listens, and serves in the background.
    pub(crate) fn start(host: &Arc<Host>, runtime: &Handle) -> Self {
        let _context = runtime.enter();
        let listener = socket(host.addr).listen(1024).unwrap();
        let (order, mut ordered) = watch::channel(Order::Accept);
        let (now_deaf, deaf) = watch::channel(false);
        let host = host.clone();
        let task = runtime.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let Ok((stream, _)) = accepted else { continue };
                        host.log.connected();
                        connections.spawn(serve(host.clone(), stream));
                    }
                    _ = ordered.changed() => break,
                }
            }
            drop(listener);
            now_deaf.send_replace(true);
            let _ = ordered.wait_for(|order| *order == Order::Stop).await;
            connections.shutdown().await;
        });
        Self { order, deaf, task }
    }

    /// Listens no more, and goes on with the connections that there are.
    pub(crate) fn refuse(&self) -> impl Future<Output = ()> + 'static {
        self.order.send_replace(Order::Refuse);
        let mut deaf = self.deaf.clone();
        async move {
            deaf.wait_for(|deaf| *deaf).await.unwrap();
        }
    }

    /// Cuts all connections and listens no more.
    pub(crate) async fn stop(self) {
        self.order.send_replace(Order::Stop);
        self.task.await.unwrap();
    }
}

/// Why a connection ends without an answer.
#[derive(Debug)]
struct Dropped;

impl std::fmt::Display for Dropped {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("dropped on command")
    }
}

impl std::error::Error for Dropped {}

async fn serve(host: Arc<Host>, stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let service = service_fn(move |request| handle(host.clone(), request));
    // A client that hangs up is no error here: it is counted.
    let _ =
        http1::Builder::new().auto_date_header(false).serve_connection(TokioIo::new(stream), service).await;
}

async fn handle(host: Arc<Host>, request: Request<Incoming>) -> Result<Response<Outgoing>, Dropped> {
    let (head, body) = request.into_parts();
    let in_flight = host.log.arrived(seen(&head));
    let Some(request) = receive(body, &in_flight).await else { return Err(Dropped) };
    let twists = host.mischief.twists(&request);
    for door in host.mischief.doors(At::Before, &request) {
        door.pass().await;
    }
    for twist in &twists {
        match twist {
            Twist::Delay(pause) => tokio::time::sleep(*pause).await,
            Twist::Hang => std::future::pending().await,
            Twist::Drop => {
                in_flight.cut();
                return Err(Dropped);
            }
            _ => {}
        }
    }
    let answer = make(&host, &request, &twists);
    for door in host.mischief.doors(At::After, &request) {
        door.pass().await;
    }
    if twists.iter().any(|twist| matches!(twist, Twist::DropAfter)) {
        in_flight.cut();
        return Err(Dropped);
    }
    Ok(send(&host, &request, answer, &twists, in_flight))
}

fn seen(head: &http::request::Parts) -> Seen {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Seen {
        api: place(head.uri.path()).api,
        method: head.method.to_string(),
        path: head.uri.path().into(),
        query: head.uri.query().map(Into::into),
        version: format!("{:?}", head.version),
        headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: Bytes::new(),
    }
}

/// Reads the body. None if the client broke off.
async fn receive(mut body: Incoming, in_flight: &Arc<InFlight>) -> Option<Seen> {
    let mut kept = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame.ok()?.into_data() else { continue };
        in_flight.more(bytes.len());
        let room = if in_flight.api() == Api::Bulk { 0 } else { KEPT - kept.len() };
        kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
    Some(in_flight.whole(kept.freeze()))
}

/// Evaluates the request, unless a twist answers for it, and twists the answer.
fn make(host: &Host, request: &Seen, twists: &[Twist]) -> Answer {
    let instead = twists.iter().find_map(|twist| match twist {
        Twist::Status(status, body) => {
            let payload = Payload::Raw(body.clone());
            Some(Answer { status: *status, headers: Vec::new(), payload })
        }
        _ => None,
    });
    let cluster = &mut host.cluster.lock().unwrap();
    let mut answer = instead.unwrap_or_else(|| evaluate_unseen(cluster, request, twists));
    twists.iter().for_each(|twist| twist.apply(&mut answer));
    for (name, value) in common_headers(cluster, request) {
        if !answer.headers.iter().any(|(set, _)| *set == name) {
            answer.headers.push((name, value));
        }
    }
    answer
}

/// Evaluates as if the hidden indices were not there, and puts them back.
fn evaluate_unseen(cluster: &mut Cluster, request: &Seen, twists: &[Twist]) -> Answer {
    let names =
        twists.iter().filter_map(|twist| if let Twist::HideIndex(name) = twist { Some(name) } else { None });
    let expression = place(&request.path).expression;
    if names.clone().any(|name| expression.split(',').any(|part| part == name)) {
        let reason = "action [indices] is unauthorized for user [reader]";
        return Answer::error(403, "security_exception", reason, &serde_json::json!({}));
    }
    let hidden: Vec<_> = names.filter_map(|name| cluster.indices.remove_entry(name)).collect();
    let answer = match request.header("content-encoding") {
        None => evaluate(cluster, request),
        // the log has it as it came
        Some(_) => match gunzip(&request.body, KEPT) {
            Ok(body) => evaluate(cluster, &Seen { body, ..request.clone() }),
            Err(_) => Answer::illegal("not in GZIP format"),
        },
    };
    cluster.indices.extend(hidden);
    answer
}

fn common_headers(cluster: &Cluster, request: &Seen) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    let mut add = |name: &str, value: &str| headers.push((String::from(name), String::from(value)));
    if let Some(id) = request.header("x-opaque-id") {
        add("x-opaque-id", id);
    }
    if cluster.flavour.is_elasticsearch() {
        add("x-elastic-product", "Elasticsearch");
    }
    let compatible =
        request.header("accept").filter(|accept| accept.starts_with("application/vnd.elasticsearch+"));
    match (cluster.flavour, compatible) {
        (super::Flavour::Es8, Some(accept)) => add("content-type", accept),
        (super::Flavour::Es8, None) => add("content-type", "application/json"),
        _ => add("content-type", "application/json; charset=UTF-8"),
    }
    headers
}

fn send(
    host: &Host,
    request: &Seen,
    answer: Answer,
    twists: &[Twist],
    in_flight: Arc<InFlight>,
) -> Response<Outgoing> {
    let params = Params::parse(request.query.as_deref().unwrap_or(""));
    let (mut steps, mut length) = match answer.payload {
        Payload::Json(value) => whole(render(value, &params)),
        Payload::Raw(bytes) => whole(bytes),
        Payload::Zeros { bytes, chunked } => (vec![Step::Zeros(bytes)], (!chunked).then_some(bytes)),
    };
    for twist in twists {
        match (twist, steps.as_slice()) {
            (Twist::Truncate(after), [Step::Bytes(bytes)]) => {
                steps = vec![Step::Bytes(bytes.slice(..bytes.len().min(*after))), Step::Break];
            }
            (Twist::Truncate(after), [Step::Zeros(_)]) => {
                steps = vec![Step::Zeros(*after as u64), Step::Break];
            }
            (Twist::Slow(piece, pause), [Step::Bytes(bytes)]) => steps = slowly(bytes, *piece, *pause),
            (Twist::Chunked, _) => length = None,
            _ => {}
        }
    }
    for door in host.mischief.doors(At::Body, request) {
        halve(&mut steps);
        steps.insert(1, Step::Wait(Box::pin(async move { door.pass().await })));
    }
    if request.method == "HEAD" {
        steps.clear();
    }
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    response.body(Outgoing::new(steps, length, in_flight)).unwrap()
}

fn whole(bytes: Bytes) -> (Vec<Step>, Option<u64>) {
    let length = bytes.len() as u64;
    (vec![Step::Bytes(bytes)], Some(length))
}

/// Makes two steps of the first one.
fn halve(steps: &mut Vec<Step>) {
    match steps.remove(0) {
        Step::Bytes(mut bytes) => {
            let first = bytes.split_to(bytes.len().div_ceil(2));
            steps.splice(0..0, [Step::Bytes(first), Step::Bytes(bytes)]);
        }
        Step::Zeros(all) => drop(steps.splice(0..0, [Step::Zeros(all / 2), Step::Zeros(all - all / 2)])),
        other => steps.insert(0, other),
    }
}

fn render(value: serde_json::Value, params: &Params) -> Bytes {
    let value = match params.get("filter_path") {
        Some(paths) => filter_path(value, paths),
        None => value,
    };
    let text = if params.flag("pretty", false) {
        serde_json::to_string_pretty(&value).map(|text| text + "\n")
    } else {
        serde_json::to_string(&value)
    };
    text.unwrap().into()
}
