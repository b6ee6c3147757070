import java.io.StringReader;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;

import co.elastic.clients.elasticsearch.ElasticsearchClient;
import co.elastic.clients.elasticsearch._helpers.bulk.BulkIngester;
import co.elastic.clients.elasticsearch._helpers.bulk.BulkListener;
import co.elastic.clients.elasticsearch._types.ElasticsearchException;
import co.elastic.clients.elasticsearch._types.FieldValue;
import co.elastic.clients.elasticsearch._types.Refresh;
import co.elastic.clients.elasticsearch.core.BulkRequest;
import co.elastic.clients.elasticsearch.core.BulkResponse;
import co.elastic.clients.elasticsearch.core.search.ResponseBody;
import co.elastic.clients.json.JsonData;
import co.elastic.clients.transport.ElasticsearchTransport;

/** Elastic's Java client, versions 8 and 9; their ways over the wire differ ({@link Wire}). */
final class Client implements Engine {
    static final String NAME = System.getenv("CLIENT_ENGINE");

    private final Map<String, String> headers;
    private final ElasticsearchTransport transport;
    private final ElasticsearchClient es;

    private Client(Setup setup) throws Exception {
        headers = Collections.synchronizedMap(new java.util.HashMap<>());
        transport = Wire.to(setup, headers);
        es = new ElasticsearchClient(transport);
    }

    static Engine of(Setup setup) throws Exception {
        return new Client(setup);
    }

    @Override
    public Map<String, String> headers() {
        return headers;
    }

    @Override
    public String number() throws Exception {
        return es.info().version().number();
    }

    @Override
    public void recreate(String index, String settings) throws Exception {
        es.indices().delete(d -> d.index(index).ignoreUnavailable(true));
        es.indices().create(c -> c.index(index).withJson(new StringReader(settings)));
    }

    @Override
    public List<Integer> bulk(String index, Map<String, String> documents) throws Exception {
        var refused = Collections.synchronizedList(new ArrayList<Integer>());
        var listener = new BulkListener<Void>() {
            @Override
            public void beforeBulk(long id, BulkRequest request, List<Void> contexts) {}

            @Override
            public void afterBulk(long id, BulkRequest request, List<Void> contexts, BulkResponse response) {
                response.items().stream().filter(item -> item.error() != null).forEach(item -> refused.add(item.status()));
            }

            @Override
            public void afterBulk(long id, BulkRequest request, List<Void> contexts, Throwable failure) {
                refused.add(-1);
            }
        };
        try (var ingester = BulkIngester.<Void>of(b -> b.client(es).maxOperations(100).listener(listener)
                .globalSettings(s -> s.index(index).refresh(Refresh.True)))) {
            documents.forEach((id, text) ->
                ingester.add(op -> op.index(i -> i.id(id).document(JsonData.fromJson(text)))));
        }
        return refused;
    }

    @Override
    public void put(String index, String id, String document) throws Exception {
        es.index(i -> i.index(index).id(id).document(JsonData.fromJson(document)).refresh(Refresh.True));
    }

    @Override
    public void create(String index, String id, String document) throws Exception {
        es.create(c -> c.index(index).id(id).document(JsonData.fromJson(document)));
    }

    @Override
    public void delete(String index, String id) throws Exception {
        es.delete(d -> d.index(index).id(id).refresh(Refresh.True));
    }

    private static Found found(ResponseBody<JsonData> answer) {
        var hits = answer.hits();
        return new Found(
            hits.hits().stream().map(hit -> hit.id()).toList(),
            hits.hits().stream().<Object>map(hit -> hit.sort().isEmpty() ? "" : hit.sort().get(0).longValue()).toList(),
            hits.total() == null ? -1 : hits.total().value(),
            answer.scrollId());
    }

    @Override
    public Found search(String index, String body, String opaqueId) throws Exception {
        var options = es._transportOptions().with(b -> {
            if (opaqueId != null) {
                b.addHeader("X-Opaque-Id", opaqueId);
            }
        });
        var client = es.withTransportOptions(options);
        return found(client.search(s -> s.index(index).withJson(new StringReader(body)), JsonData.class));
    }

    @Override
    public Found scroll(String index, String body) throws Exception {
        return found(es.search(
            s -> s.index(index).scroll(t -> t.time("1m")).withJson(new StringReader(body)), JsonData.class));
    }

    @Override
    public Found scrollOn(String id) throws Exception {
        return found(es.scroll(s -> s.scrollId(id).scroll(t -> t.time("1m")), JsonData.class));
    }

    @Override
    public String openPit(String index) throws Exception {
        return es.openPointInTime(o -> o.index(index).keepAlive(t -> t.time("1m"))).id();
    }

    @Override
    public Found searchPit(String id, int size, Object after) throws Exception {
        return found(es.search(s -> {
            s.pit(p -> p.id(id).keepAlive(t -> t.time("1m"))).size(size).sort(o -> o.field(f -> f.field("n")));
            return after == null ? s : s.searchAfter(FieldValue.of((Long) after));
        }, JsonData.class));
    }

    @Override
    public void closePit(String id) throws Exception {
        es.closePointInTime(c -> c.id(id));
    }

    @Override
    public List<Long> msearch(List<Map.Entry<String, String>> searches) throws Exception {
        var found = es.msearch(m -> {
            for (var search : searches) {
                m.searches(r -> r.header(h -> h.index(search.getKey()))
                    .body(b -> b.withJson(new StringReader(search.getValue()))));
            }
            return m;
        }, JsonData.class);
        return found.responses().stream()
            .map(item -> item.isFailure() ? -(long) item.failure().status() : item.result().hits().total().value())
            .toList();
    }

    @Override
    public Raised raised(Throwable error) {
        return error instanceof ElasticsearchException e ? new Raised(e.status(), e.error().type()) : Wire.raised(error);
    }

    @Override
    public void close() throws Exception {
        transport.close();
    }
}
