"""A relay between escache and the engine, for tests of clients: it tells what arrived and can make an answer fail.

Nothing is changed on the way. A second listener is for the tests:

    GET  /requests?path=PART     what arrived there, oldest first: method, path, headers (names in lower case)
    POST /fail {"path": PART, "status": 503, "times": 2}
                                 the next two requests whose path contains PART are answered with 503
"""

import collections
import http.client
import json
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}


class Tap:
    """The relay in front of one engine, and its control listener."""

    def __init__(self, engine):
        self.engine = urllib.parse.urlsplit(engine)
        self.requests = collections.deque(maxlen=5000)
        self.failures = []
        self.lock = threading.Lock()
        self.relay = self._serve(_relay(self))
        self.control = self._serve(_control(self))

    def _serve(self, handler):
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    @property
    def url(self):
        """Where escache connects."""
        return "http://127.0.0.1:%d" % self.relay.server_address[1]

    @property
    def control_url(self):
        """Where the tests ask."""
        return "http://127.0.0.1:%d" % self.control.server_address[1]

    def close(self):
        """Stops both listeners."""
        for server in (self.relay, self.control):
            server.shutdown()
            server.server_close()

    def failure(self, path):
        """The status to answer with instead of asking the engine, if there is one."""
        with self.lock:
            for rule in self.failures:
                if rule["times"] > 0 and rule["path"] in path:
                    rule["times"] -= 1
                    return rule["status"]
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # one write for head and body: otherwise each answer waits for the acknowledgement of its head
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            parts = []
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                if size == 0:
                    while self.rfile.readline().strip():
                        pass
                    return b"".join(parts)
                parts.append(self.rfile.read(size))
                self.rfile.readline()
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, status, headers, body):
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def answer_json(self, status, value):
        body = json.dumps(value).encode()
        self.answer(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))], body)


def _relay(tap):
    class Relay(_Handler):
        def handle_any(self):
            body = self.body()
            headers = {name.lower(): value for name, value in self.headers.items()}
            with tap.lock:
                tap.requests.append({"method": self.command, "path": self.path, "headers": headers})
            status = tap.failure(self.path)
            if status:
                error = {"error": {"type": "tap", "reason": "made to fail by the test"}, "status": status}
                self.answer_json(status, error)
                return
            connection = getattr(self, "upstream", None)
            if connection is None:
                connection = http.client.HTTPConnection(tap.engine.hostname, tap.engine.port, timeout=120)
                self.upstream = connection
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            chunked = "transfer-encoding" in headers
            for name, value in self.headers.items():
                if name.lower() not in HOP_BY_HOP:
                    connection.putheader(name, value)
            if chunked:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body if body else None)
            answer = connection.getresponse()
            content = answer.read()
            kept = [(n, v) for n, v in answer.getheaders() if n.lower() not in HOP_BY_HOP]
            if self.command != "HEAD" and not any(n.lower() == "content-length" for n, _ in kept):
                kept.append(("Content-Length", str(len(content))))
            self.answer(answer.status, kept, content)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any

    return Relay


def _control(tap):
    class Control(_Handler):
        def do_GET(self):
            part = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query).get("path", [""])[0]
            with tap.lock:
                found = [request for request in tap.requests if part in request["path"]]
            self.answer_json(200, found)

        def do_POST(self):
            rule = json.loads(self.body())
            with tap.lock:
                tap.failures.append(rule)
            self.answer_json(200, rule)

    return Control
