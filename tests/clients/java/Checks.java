import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeSet;
import java.util.concurrent.Callable;

import jakarta.json.JsonObject;

/** What each Java client must be able to do through escache; ../python/checks.py says which settings and lines there are. */
public final class Checks {
    private static final int COUNT = 250;
    private static final String URL = System.getenv("CLIENT_URL");
    private static final String NAME = System.getenv("CLIENT_ENGINE");
    private static final String INDEX = "clients-java-" + Client.NAME;
    private static final String ON_INDEX = INDEX + "/_search";
    private static final HttpClient HTTP = HttpClient.newHttpClient();

    private static final class Skip extends Exception {
        Skip(String reason) {
            super(reason);
        }
    }

    private final Engine engine;

    private Checks(Engine engine) {
        this.engine = engine;
    }

    private static Engine engine(String url) throws Exception {
        return Client.of(new Engine.Setup(List.of(url), false));
    }

    private static void same(String what, Object found, Object expected) {
        if (!Objects.equals(found, expected)) {
            throw new AssertionError(what + ": found " + found + ", not " + expected);
        }
    }

    private static String n(int from, int to) {
        return "{\"query\":{\"range\":{\"n\":{\"gte\":" + from + ",\"lte\":" + to + "}}}}";
    }

    private static String verdict(Engine engine) {
        return engine.headers().get("x-cache");
    }

    private Engine.Found search(String body) throws Exception {
        return engine.search(INDEX, body, null);
    }

    /** Repeats a search until it is a hit, since an index may still be settling. */
    private static Engine.Found untilHit(Engine engine, String body, String opaqueId) throws Exception {
        for (int tries = 0; tries < 10; tries++) {
            var found = engine.search(INDEX, body, opaqueId);
            if ("HIT".equals(verdict(engine))) {
                return found;
            }
        }
        throw new AssertionError("no HIT in 10 tries: " + engine.headers().get("cache-status"));
    }

    /** What arrived at the engine's side, oldest first. */
    private static List<JsonObject> arrived(String part) throws Exception {
        var path = "/requests?path=" + URLEncoder.encode(part, StandardCharsets.UTF_8);
        var request = HttpRequest.newBuilder(URI.create(System.getenv("CLIENT_TAP") + path)).build();
        var answer = HTTP.send(request, HttpResponse.BodyHandlers.ofInputStream());
        try (var reader = jakarta.json.Json.createReader(answer.body())) {
            return reader.readArray().getValuesAs(JsonObject.class);
        }
    }

    private static String sent(String header) throws Exception {
        var all = arrived(ON_INDEX);
        return all.get(all.size() - 1).getJsonObject("headers").getString(header, null);
    }

    private static void fail(String path, int status, int times) throws Exception {
        var rule = "{\"path\":\"" + path + "\",\"status\":" + status + ",\"times\":" + times + "}";
        var request = HttpRequest.newBuilder(URI.create(System.getenv("CLIENT_TAP") + "/fail"));
        var body = HttpRequest.BodyPublishers.ofString(rule);
        same("rule", HTTP.send(request.POST(body).build(), HttpResponse.BodyHandlers.discarding()).statusCode(), 200);
    }

    private static Throwable thrown(Callable<?> call) {
        try {
            call.call();
        } catch (Exception error) {
            return error;
        }
        throw new AssertionError("nothing was raised");
    }

    private void raises(int status, String type, Callable<?> call) {
        var error = thrown(call);
        var raised = engine.raised(error);
        if (raised == null) {
            throw new AssertionError("not the client's own exception: " + error);
        }
        same("error", raised, new Engine.Raised(status, type));
    }

    String product() throws Exception {
        if (NAME.equals("elasticsearch-8")) {
            // without GET /; this client looks at the header of each answer
            search("{}");
            same("product", engine.headers().get("x-elastic-product"), "Elasticsearch");
            return "by X-Elastic-Product; the engine that is tried has no GET /";
        }
        var number = engine.number();
        var major = NAME.substring(NAME.indexOf('-') + 1);
        same("engine", number.startsWith(major + "."), true);
        return "engine " + number;
    }

    String bulk() throws Exception {
        var documents = new LinkedHashMap<String, String>();
        for (int i = 0; i < COUNT; i++) {
            documents.put(String.valueOf(i), "{\"n\":" + i + ",\"title\":\"document " + i + "\"}");
        }
        documents.put("bad", "{\"n\":\"no number\"}");
        same("refused", engine.bulk(INDEX, documents), List.of(400));
        same("documents", search("{\"size\":0,\"track_total_hits\":true}").total(), (long) COUNT);
        return COUNT + " documents";
    }

    void setUp() throws Exception {
        engine.recreate(INDEX, "{\"settings\":{\"number_of_shards\":1,\"number_of_replicas\":0},\"mappings\":{\"properties\":"
            + "{\"n\":{\"type\":\"integer\"},\"title\":{\"type\":\"text\"}}}}");
    }

    String cache() throws Exception {
        var body = "{\"query\":{\"match\":{\"title\":{\"query\":\"document\"}}},\"size\":3,\"sort\":[{\"n\":{\"order\":\"asc\"}}]}";
        var first = search(body);
        same("first search", List.of(verdict(engine), first.total()), List.of("MISS", (long) COUNT));
        same("hit", untilHit(engine, body, null), first);
        engine.put(INDEX, "late", "{\"n\":-1,\"title\":\"late document\"}");
        var after = search(body);
        same("after a write", List.of(verdict(engine), after.total(), after.ids().get(0)), List.of("MISS", COUNT + 1L, "late"));
        same("hit after the write", untilHit(engine, body, null).total(), COUNT + 1L);
        try (var direct = engine(System.getenv("CLIENT_DIRECT"))) {
            // behind escache's back
            direct.delete(INDEX, "late");
        }
        same("after the delete", search(body).total(), (long) COUNT);
        return "HIT, after a write MISS";
    }

    String compat() throws Exception {
        var body = n(11, 11);
        search(body);
        var missed = engine.headers().get("content-type");
        var accept = sent("accept");
        if (accept == null || !accept.contains("compatible-with")) {
            throw new Skip("the client sends no compatibility headers");
        }
        var major = NAME.substring(NAME.length() - 1);
        same("at the engine", accept.contains("compatible-with=" + major), true);
        untilHit(engine, body, null);
        var kept = engine.headers().get("content-type");
        try (var direct = engine(System.getenv("CLIENT_DIRECT"))) {
            direct.search(INDEX, body, null);
            var kind = direct.headers().get("content-type");
            same("type of the answers", List.of(missed, kept), List.of(kind, kind));
            return kind;
        }
    }

    String gzip() throws Exception {
        try (var zipped = Client.of(new Engine.Setup(List.of(URL), true))) {
            var body = "{\"query\":{\"match_all\":{}},\"size\":100,\"sort\":[{\"n\":{\"order\":\"desc\"}}]}";
            var plain = search(body);
            same("compressed", untilHit(zipped, body, null), plain);
            same("coding of the answer", zipped.headers().get("content-encoding"), "gzip");
            var missed = n(22, 22);
            zipped.search(INDEX, missed, null);
            same("compressed", verdict(zipped), "MISS");
            same("coding of the request", sent("content-encoding"), "gzip");
            search(missed);
            same("the same as it stands", verdict(engine), "HIT");
        }
        return "requests and answers";
    }

    String scroll() throws Exception {
        var found = new TreeSet<String>();
        var page = engine.scroll(INDEX, "{\"size\":60}");
        while (!page.ids().isEmpty()) {
            found.addAll(page.ids());
            page = engine.scrollOn(page.scrollId());
        }
        same("documents", found.size(), COUNT);
        return found.size() + " documents in pages of 60";
    }

    String pit() throws Exception {
        var id = engine.openPit(INDEX);
        engine.put(INDEX, "later", "{\"n\":1000000,\"title\":\"later\"}");
        var found = new ArrayList<String>();
        var page = engine.searchPit(id, 100, null);
        while (!page.ids().isEmpty()) {
            found.addAll(page.ids());
            page = engine.searchPit(id, 100, page.sort().get(page.sort().size() - 1));
        }
        engine.closePit(id);
        engine.delete(INDEX, "later");
        for (int i = 0; i < found.size(); i++) {
            same("document", found.get(i), String.valueOf(i));
        }
        same("documents", found.size(), COUNT);
        return found.size() + " documents, a later write unseen";
    }

    String msearch() throws Exception {
        var one = "{\"query\":{\"range\":{\"n\":{\"lt\":10}}},\"size\":0}";
        var bad = "{\"sort\":[{\"no_such_field\":{\"order\":\"asc\"}}]}";
        var searches = List.of(Map.entry(INDEX, one), Map.entry(INDEX, one), Map.entry(INDEX, bad), Map.entry("clients-none", one));
        for (int i = 0; i < 3; i++) {
            same("items", engine.msearch(searches), List.of(10L, 10L, -400L, -404L));
        }
        engine.put(INDEX, "more", "{\"n\":5,\"title\":\"more\"}");
        same("after a write", engine.msearch(searches).get(0), 11L);
        engine.delete(INDEX, "more");
        return "4 items, 2 of them errors";
    }

    String errors() {
        for (int i = 0; i < 2; i++) {
            raises(404, "index_not_found_exception", () -> engine.search("clients-none", "{}", null));
            // it passes the client's own parser, and not the engine's
            raises(400, "search_phase_execution_exception", () -> search("{\"sort\":[{\"no_such_field\":{\"order\":\"asc\"}}]}"));
        }
        raises(409, "version_conflict_engine_exception", () -> {
            engine.create(INDEX, "1", "{\"n\":1}");
            return null;
        });
        return "404, 400, 409 with their types";
    }

    /** These clients try another host, not the same one again. */
    String retries() throws Exception {
        fail(ON_INDEX, 503, 1);
        thrown(() -> search(n(78, 78)));
        same("after the failure", search(n(78, 78)).total(), 1L);
        same("after the failure", verdict(engine), "MISS");
        try (var two = Client.of(new Engine.Setup(List.of(URL, URL.replace("127.0.0.1", "localhost")), false))) {
            var before = arrived(ON_INDEX).size();
            fail(ON_INDEX, 503, 1);
            same("search", two.search(INDEX, n(77, 77), null).total(), 1L);
            same("requests", arrived(ON_INDEX).size() - before, 2);
        }
        return "answered by the second host";
    }

    String opaqueId() throws Exception {
        var body = n(33, 33);
        engine.search(INDEX, body, "first-one");
        same("miss", List.of(verdict(engine), engine.headers().get("x-opaque-id")), List.of("MISS", "first-one"));
        same("at the engine", sent("x-opaque-id"), "first-one");
        untilHit(engine, body, null);
        untilHit(engine, body, "second-one");
        same("hit", engine.headers().get("x-opaque-id"), "second-one");
        return "echoed on MISS and HIT, each its own";
    }

    private static boolean run(String name, Callable<String> check) {
        try {
            System.out.println("ok " + name + " - " + check.call());
        } catch (Skip reason) {
            System.out.println("skip " + name + " - " + reason.getMessage());
        } catch (Throwable error) {
            error.printStackTrace();
            System.out.println("not ok " + name + " - " + String.valueOf(error).replaceAll("\\s+", " "));
            return false;
        }
        return true;
    }

    public static void main(String[] args) throws Exception {
        System.out.println("version " + System.getenv("CLIENT_VERSION"));
        boolean passed = true;
        try (var engine = engine(URL)) {
            var checks = new Checks(engine);
            checks.setUp();
            passed &= run("product", checks::product);
            passed &= run("bulk", checks::bulk);
            passed &= run("cache", checks::cache);
            passed &= run("compat", checks::compat);
            passed &= run("gzip", checks::gzip);
            passed &= run("scroll", checks::scroll);
            passed &= run("pit", checks::pit);
            passed &= run("msearch", checks::msearch);
            passed &= run("errors", checks::errors);
            passed &= run("retries", checks::retries);
            passed &= run("opaque-id", checks::opaqueId);
        }
        System.exit(passed ? 0 : 1);
    }
}
