"""Runs the official clients through escache against real engines. scripts/clients starts it and says how."""

import argparse
import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import launch
import tap
from launch import Broken, Missing, environment

HERE = pathlib.Path(__file__).resolve().parent
CHECKS = "product bulk cache compat gzip scroll pit msearch errors retries opaque-id".split()


@dataclasses.dataclass(frozen=True)
class Client:
    """A client, the version that is tried, and the engine that it is made for."""

    name: str
    kind: str
    package: str
    engine: str


CLIENTS = [
    Client("py-elasticsearch-7", "python", "elasticsearch==7.17.13", "elasticsearch-7"),
    Client("py-elasticsearch-8", "python", "elasticsearch==8.19.3", "elasticsearch-8"),
    Client("py-elasticsearch-9", "python", "elasticsearch==9.5.1", "elasticsearch-9"),
    Client("py-opensearch", "python", "opensearch-py==3.2.0", "opensearch-2"),
    Client("js-elasticsearch-7", "node", "@elastic/elasticsearch@7.17.14", "elasticsearch-7"),
    Client("js-elasticsearch-8", "node", "@elastic/elasticsearch@8.19.2", "elasticsearch-8"),
    Client("js-elasticsearch-9", "node", "@elastic/elasticsearch@9.4.3", "elasticsearch-9"),
    Client("js-opensearch", "node", "@opensearch-project/opensearch@3.9.0", "opensearch-2"),
    Client("go-elasticsearch-7", "go", "go-elasticsearch/v7@v7.17.10", "elasticsearch-7"),
    Client("go-elasticsearch-8", "go", "go-elasticsearch/v8@v8.19.7", "elasticsearch-8"),
    Client("go-elasticsearch-9", "go", "go-elasticsearch/v9@v9.5.2", "elasticsearch-9"),
    Client("go-opensearch", "go", "opensearch-go/v4@v4.8.1", "opensearch-2"),
    Client("java-elasticsearch-7", "java", "elasticsearch-rest-high-level-client:7.17.29", "elasticsearch-7"),
    Client("java-elasticsearch-8", "java", "elasticsearch-java:8.19.12", "elasticsearch-8"),
    Client("java-elasticsearch-9", "java", "elasticsearch-java:9.5.2", "elasticsearch-9"),
    Client("java-opensearch", "java", "opensearch-java:3.9.0", "opensearch-2"),
    Client("rs-elasticsearch-8", "rust", "elasticsearch@8.19.0-alpha.1", "elasticsearch-8"),
    Client("rs-elasticsearch-9", "rust", "elasticsearch@9.1.0-alpha.1", "elasticsearch-9"),
    Client("rs-opensearch", "rust", "opensearch@2.4.0", "opensearch-2"),
]
#: What CI runs: two engines that its tests have downloaded, two small packages.
BOUNDED = ["py-elasticsearch-7", "py-opensearch"]


# --- what a client needs, installed once in a folder of its own ---


class Unbuilt(Exception):
    """The checks themselves do not compile: their fault, not that something is missing."""


#: What the compilers of Go, Java and Rust say of the checks.
OWN_FAULT = re.compile(r"^\./\w+\.go:\d+|/tests/clients/java/\S+\.java:\d+: error|could not compile `rs-")


def call(words, **options):
    """Runs an installer or a compiler; what it says at last is the reason if it fails."""
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, **options)
    if done.returncode != 0:
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        own = [line for line in said if OWN_FAULT.search(line)]
        if own:
            sys.stderr.write("\n".join(said)[-4000:] + "\n")
            raise Unbuilt(own[0].strip()[:200])
        raise Missing("%s: %s" % (pathlib.Path(words[0]).name, (said or ["no reason given"])[-1].strip()[:200]))


def need(command):
    """The command's path."""
    path = shutil.which(command)
    if not path:
        raise Missing("'%s' is not installed" % command)
    return path


@contextlib.contextmanager
def fresh(folder):
    """A folder that is there only when what makes it has ended well."""
    if not folder.exists():
        new = folder.with_name(folder.name + ".new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        yield new
        new.rename(folder)
    else:
        yield None


def python(client, cache):
    folder = cache / re.sub(r"[^a-z0-9.]+", "-", client.package)
    with fresh(folder) as new:
        if new:
            # packages beside each other in a folder, since an environment cannot be moved
            pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-input"]
            call(pip + ["--target", str(new), client.package])
    return [sys.executable, "-B", "-W", "ignore::DeprecationWarning", str(HERE / "python" / "checks.py")], {"PYTHONPATH": str(folder)}


def node(client, cache):
    npm = need("npm")
    folder = cache / re.sub(r"[^a-z0-9.]+", "-", client.package.lstrip("@"))
    with fresh(folder) as new:
        if new:
            call([npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(new), client.package])
    return [need("node"), str(HERE / "node" / "checks.js")], {"NODE_PATH": str(folder / "node_modules")}


def go(client, cache):
    tool, major = need("go"), re.search(r"/v(\d+)@", client.package)[1]
    source, program = cache / client.name, cache / (client.name + "-checks")
    source.mkdir(exist_ok=True)
    # what the module needs is pinned in a go.mod for each version; the checks are the same but for the path
    checks = "opensearch" if "opensearch" in client.package else "elasticsearch"
    for name in ("go.mod", "go.sum"):
        shutil.copy(HERE / "go" / (major if checks == "elasticsearch" else checks) / name, source)
    shutil.copy(HERE / "go" / "shared.go", source)
    text = (HERE / "go" / (checks + ".go")).read_text()
    (source / (checks + ".go")).write_text(text.replace("go-elasticsearch/v7", "go-elasticsearch/v" + major))
    # a Go that is too old is a reason, not something to download
    call([tool, "build", "-o", str(program), "."], cwd=source, env={**os.environ, "GOTOOLCHAIN": "local"})
    return [str(program)], {"CLIENT_VERSION": client.package.rsplit("@v", 1)[1]}


def java(client, cache):
    compiler, maven = need("javac"), need("mvn")
    name = client.name.partition("-")[2]
    folder, classes = cache / re.sub(r"[^a-z0-9.]+", "-", client.package), cache / (client.name + "-classes")
    with fresh(folder) as new:
        if new:
            call([maven, "-B", "-q", "-ntp", "-f", str(HERE / "java" / name / "pom.xml"), "dependency:copy-dependencies",
                  "-DincludeScope=runtime", "-DoutputDirectory=" + str(new)])
    sources = list((HERE / "java").glob("*.java")) + list((HERE / "java" / name).glob("*.java"))
    if not any(source.name == "Client.java" for source in sources):
        # versions of one client that differ in the way over the wire alone
        sources += (HERE / "java" / "elasticsearch").glob("*.java")
    shutil.rmtree(classes, ignore_errors=True)
    path = str(folder / "*")
    call([compiler, "-nowarn", "-proc:none", "-cp", path, "-d", str(classes)] + [str(source) for source in sources])
    words = [need("java"), "-cp", os.pathsep.join([str(classes), path]), "Checks"]
    return words, {"CLIENT_VERSION": client.package.partition(":")[2]}


def rust(client, cache):
    tool, name = need("cargo"), client.name
    manifest, target = HERE / "rust" / "Cargo.toml", cache / "rust"
    build = [tool, "build", "-q", "--locked", "--manifest-path", str(manifest), "--target-dir", str(target), "-p", name]
    call(build)
    return [str(target / "debug" / name)], {"CLIENT_VERSION": client.package.partition("@")[2]}


KINDS = {"python": python, "node": node, "go": go, "java": java, "rust": rust}


# --- an engine with a tap and escache before it ---


@contextlib.contextmanager
def engine_behind_escache(engine, escache):
    """Gives what the checks are told of where to go."""
    with contextlib.ExitStack() as stack:
        relay = tap.Tap(stack.enter_context(launch.engine_running(engine)))
        stack.callback(relay.close)
        url, _ = stack.enter_context(launch.escache_running(escache, relay.url))
        yield {"CLIENT_URL": url, "CLIENT_DIRECT": relay.url, "CLIENT_TAP": relay.control_url, "CLIENT_ENGINE": engine}


# --- running them ---


@dataclasses.dataclass
class Result:
    """What became of a client."""

    client: Client
    verdict: str
    note: str = ""
    version: str = ""
    checks: dict = dataclasses.field(default_factory=dict)
    seconds: float = 0.0

    def line(self):
        """A line for people."""
        return "%-8s %s%s" % (self.verdict, self.client.name, ": " + self.note if self.note else "")


def run_client(client, prepared, settings, verbose):
    """Runs the checks of one client; what is printed is what counts, its exit status only confirms it."""
    words, extra = prepared
    began = time.monotonic()
    try:
        done = subprocess.run(
            words, env={**environment(), **settings, **extra}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=600,
        )
    except subprocess.TimeoutExpired:
        return Result(client, "FAIL", "no end after 600 s")
    result = Result(client, "PASS", seconds=time.monotonic() - began)
    for line in done.stdout.splitlines():
        if verbose:
            print("         " + line)
        if line.startswith("version "):
            result.version = line[8:]
        found = re.match(r"(ok|not ok|skip) (\S+)(?: - (.*))?$", line)
        if found:
            result.checks[found[2]] = (found[1], found[3] or "")
    failed = ["%s (%s)" % (name, note) for name, (verdict, note) in result.checks.items() if verdict == "not ok"]
    absent = [name for name in CHECKS if name not in result.checks]
    if failed or absent or done.returncode != 0:
        result.verdict = "FAIL"
        missing = ["did not run: " + ", ".join(absent)] if absent else []
        result.note = "; ".join(failed + missing) or "exit status %d" % done.returncode
        sys.stderr.write(done.stderr[-4000:])
    else:
        passed = sum(verdict == "ok" for verdict, _ in result.checks.values())
        result.note = "%s, %d checks, %.1f s" % (result.version, passed, result.seconds)
    return result


def run_engine(engine, clients, cache, escache, verbose):
    """Runs all clients of one engine."""
    results, prepared, told = [], [], set()
    for client in clients:
        try:
            prepared.append((client, KINDS[client.kind](client, cache)))
        except Missing as reason:
            results.append(Result(client, "SKIPPED", str(reason)))
        except Unbuilt as reason:
            results.append(Result(client, "FAIL", str(reason)))
    if prepared:
        try:
            with engine_behind_escache(engine, escache) as settings:
                for client, how in prepared:
                    results.append(run_client(client, how, settings, verbose))
                    print(results[-1].line(), flush=True)
                    told.add(client)
        except (Missing, Broken) as reason:
            verdict = "FAIL" if isinstance(reason, Broken) else "SKIPPED"
            done = {result.client for result in results}
            results += [Result(c, verdict, "%s: %s" % (engine, reason)) for c, _ in prepared if c not in done]
    for result in results:
        if result.client not in told:
            print(result.line(), flush=True)
    return results


def table(results):
    """The results as Markdown."""
    words = {"ok": "yes", "not ok": "**no**", "skip": "-"}
    rows = ["| client | engine | " + " | ".join(CHECKS) + " |", "| --- " * (len(CHECKS) + 2) + "|"]
    for result in results:
        if not result.checks:
            cells = ["did not run: " + result.note] + [""] * (len(CHECKS) - 1)
        else:
            cells = [words[result.checks.get(name, ("not ok", ""))[0]] for name in CHECKS]
        rows.append("| `%s` | %s | %s |" % (result.client.package, result.client.engine, " | ".join(cells)))
    return "\n".join(rows)


def main():
    parser = argparse.ArgumentParser(prog="scripts/clients", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="all unless told: " + ", ".join(c.name for c in CLIENTS))
    parser.add_argument("--bounded", action="store_true", help="only " + " and ".join(BOUNDED))
    parser.add_argument("--verbose", action="store_true", help="a line per check")
    parser.add_argument("--escache", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--cache", required=True, type=pathlib.Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    wanted = options.names or (BOUNDED if options.bounded else [client.name for client in CLIENTS])
    unknown = set(wanted) - {client.name for client in CLIENTS}
    if unknown:
        parser.error("no client %s; there are: %s" % (", ".join(unknown), ", ".join(c.name for c in CLIENTS)))
    began, results = time.monotonic(), []
    chosen = [client for client in CLIENTS if client.name in wanted]
    for engine in dict.fromkeys(client.engine for client in chosen):
        of_engine = [client for client in chosen if client.engine == engine]
        results += run_engine(engine, of_engine, options.cache, options.escache, options.verbose)
    results.sort(key=lambda result: chosen.index(result.client))
    print("\n%s\n" % table(results))
    count = {word: sum(result.verdict == word for result in results) for word in ("PASS", "FAIL", "SKIPPED")}
    print("%d passed, %d failed, %d skipped" % tuple(count.values()), "in %d s" % (time.monotonic() - began))
    sys.exit(1 if count["FAIL"] else 0)


if __name__ == "__main__":
    main()
