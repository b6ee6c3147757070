"""Starts real engines and escache, for tests of clients and for examples."""

import collections
import contextlib
import os
import pathlib
import queue
import re
import subprocess
import tempfile
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


class Missing(Exception):
    """What is needed cannot be had here."""


class Broken(Exception):
    """escache does not do what it must."""


class Process:
    """A program that is ended with us."""

    def __init__(self, words, ready, limit, error=Missing, **options):
        self.said = collections.deque(maxlen=5)
        self.run = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
        )
        lines = queue.Queue()
        threading.Thread(target=self._read, args=(lines,), daemon=True).start()
        self.ready = None
        until = time.monotonic() + limit
        while self.ready is None:
            try:
                line = lines.get(timeout=max(0.1, until - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                self.close()
                said = self.said[-1].strip()[:200] if self.said else "it said nothing"
                raise error("%s: %s" % (pathlib.Path(words[0]).name, said))
            self.ready = re.search(ready, line)

    def _read(self, lines):
        for line in self.run.stdout:
            line = re.sub(r"\x1b\[[0-9;]*m", "", line)
            self.said.append(line)
            lines.put(line)
        lines.put(None)

    def close(self):
        """Ends it."""
        if self.run.poll() is None:
            self.run.terminate()
            try:
                self.run.wait(15)
            except subprocess.TimeoutExpired:
                self.run.kill()
                self.run.wait()


def environment():
    """Ours, without what escache would take for settings of its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ESCACHE_")}


def wait_ready(admin):
    """Waits until escache says that it is."""
    until = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(admin + "/ready") as answer:
                if answer.status == 200:
                    return
        except OSError:
            pass
        if time.monotonic() > until:
            raise Broken("escache is not ready after 60 s")
        time.sleep(0.05)


@contextlib.contextmanager
def engine_running(engine):
    """A node of an engine, with nothing in it; gives its URL."""
    run = str(ROOT / "tests" / "nodes" / "run")
    built = subprocess.run([run, "--build", engine], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if built.returncode != 0:
        raise Missing((built.stderr.strip().splitlines() or ["it cannot be built"])[-1])
    # in memory where that is possible, since engines write much and nothing is kept
    shm = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(prefix="escache-", dir=shm, ignore_cleanup_errors=True) as data:
        small = {"HEAP": "384m", "TIER": "1", **os.environ}
        node = Process([run, engine, "0", data, "--die-with-stdin"], r"READY (\S+)", 180, env=small)
        try:
            yield node.ready[1]
        finally:
            node.close()


@contextlib.contextmanager
def escache_running(program, upstream, *flags):
    """escache before an engine; gives the URLs of its data and its admin listener."""
    words = [program, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--upstream", upstream, *flags]
    # no check depends on speed: where a reading takes long, a cheap search would be forwarded
    settings = {**environment(), "ESCACHE_FRESHNESS_READING_DEARER": "wait"}
    proxy = Process(words, r'listens .*listen="([^"]+)" admin="([^"]+)"', 60, Broken, env=settings)
    try:
        wait_ready("http://" + proxy.ready[2])
        yield "http://" + proxy.ready[1], "http://" + proxy.ready[2]
    finally:
        proxy.close()
