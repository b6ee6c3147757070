"""Runs the shop at the engine and through escache, and shows how long its pages take. `run` starts it and says how."""

import argparse
import contextlib
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "tests" / "clients"))

import launch  # noqa: E402

PAGES = ["/", "/category/shoes/", "/find/?q=red+leather+winter", "/statistics/"]


def manage(words, url, database, packages):
    """What runs `manage.py WORDS` with the engine at a URL: the one thing that differs."""
    env = {**os.environ, "ELASTICSEARCH_URL": url, "SHOP_DB": str(database), "PYTHONPATH": str(packages)}
    return {"args": [sys.executable, "-B", "-W", "ignore", str(HERE / "manage.py"), *words], "env": env, "cwd": HERE}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def shop(url, database, packages):
    """The shop with its engine at a URL; gives a function that fetches a page."""
    port = free_port()
    words = ["runserver", "--noreload", "--nothreading", "127.0.0.1:%d" % port]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(**manage(words, url, database, packages), **quiet)

    def page(path):
        began = time.perf_counter()
        with urllib.request.urlopen("http://127.0.0.1:%d%s" % (port, path), timeout=120) as answer:
            return answer.read().decode(), (time.perf_counter() - began) * 1000

    try:
        until = time.monotonic() + 120
        while True:
            try:
                page(PAGES[0])
                break
            except urllib.error.HTTPError:
                raise
            except OSError:
                if server.poll() is not None or time.monotonic() > until:
                    raise launch.Missing("the shop does not start") from None
                time.sleep(0.1)
        yield page
    finally:
        server.terminate()
        server.wait()


def compare(path, pages, runs):
    """A page's first times and the medians of the runs after it, for each shop; in turn, so that what else the machine
    does meets all of them. The page must be the same text everywhere, each time."""
    expected = None
    times = [[] for _ in pages]
    for _ in range(runs + 1):
        for page, taken in zip(pages, times):
            text, took = page(path)
            expected = expected or text
            if text != expected:
                raise SystemExit("%s is not always the same" % path)
            taken.append(took)
    return [taken[0] for taken in times], [statistics.median(taken[1:]) for taken in times]


def counters(admin):
    """Hits and misses of searches."""
    with urllib.request.urlopen(admin + "/metrics") as answer:
        text = answer.read().decode()
    found = {}
    for outcome in ("hit", "miss", "bypass"):
        pattern = r'escache_requests_total\{api="search",outcome="%s"\} (\d+)' % outcome
        found[outcome] = int(re.search(pattern, text)[1])
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--products", type=int, default=20000)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--escache", required=True)
    parser.add_argument("--packages", required=True, type=pathlib.Path)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = folder / "shop.sqlite3"
        engine = os.environ.get("ELASTICSEARCH_URL") or stack.enter_context(launch.engine_running("elasticsearch-7"))
        filled = subprocess.run(**manage(["fill", str(options.products)], engine, database, options.packages))
        if filled.returncode != 0:
            raise SystemExit("the shop could not be filled")
        strict, admin = stack.enter_context(launch.escache_running(options.escache, engine))
        bounded, _ = stack.enter_context(launch.escache_running(options.escache, engine, "--max-staleness", "1s"))
        direct = stack.enter_context(shop(engine, database, options.packages))
        through = stack.enter_context(shop(strict, database, options.packages))
        relaxed = stack.enter_context(shop(bounded, database, options.packages))

        print("\n%-30s %12s %12s %12s %12s" % ("page, ms", "engine", "first", "repeated", "1s bound"))
        for path in PAGES:
            (_, cold, _), (before, after, loose) = compare(path, [direct, through, relaxed], options.runs)
            print("%-30s %12.1f %12.1f %12.1f %12.1f" % (path, before, cold, after, loose), flush=True)
        print("searches through escache: %s" % counters(admin))

        # a product is saved by another program, which does not go through escache
        code = (
            "from shop.models import Product; p = Product.objects.filter(category='shoes').first();"
            "p.name = 'just arrived'; p.price = '0.01'; p.save()"
        )
        saved = manage(["shell", "-c", code], engine, database, options.packages)
        subprocess.run(**saved, check=True)
        text, took = through("/category/shoes/")
        if "just arrived" not in text or text != direct("/category/shoes/")[0]:
            raise SystemExit("the page does not show the product that was saved")
        print("after a product was saved the page shows it at once (%.1f ms)" % took)
    shutil.rmtree(HERE / "__pycache__", ignore_errors=True)


if __name__ == "__main__":
    try:
        main()
    except launch.Missing as reason:
        print("SKIPPED: %s" % reason, file=sys.stderr)
        sys.exit(69)
