import java.io.StringReader;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;

import jakarta.json.Json;
import org.apache.hc.core5.http.HttpHost;
import org.apache.hc.core5.http.HttpResponseInterceptor;
import org.opensearch.client.json.JsonData;
import org.opensearch.client.json.JsonpDeserializer;
import org.opensearch.client.json.JsonpMapper;
import org.opensearch.client.opensearch.OpenSearchClient;
import org.opensearch.client.opensearch._helpers.bulk.BulkIngester;
import org.opensearch.client.opensearch._helpers.bulk.BulkListener;
import org.opensearch.client.opensearch._types.FieldValue;
import org.opensearch.client.opensearch._types.OpenSearchException;
import org.opensearch.client.opensearch._types.Refresh;
import org.opensearch.client.opensearch._types.mapping.TypeMapping;
import org.opensearch.client.opensearch.core.BulkRequest;
import org.opensearch.client.opensearch.core.BulkResponse;
import org.opensearch.client.opensearch.core.SearchRequest;
import org.opensearch.client.opensearch.core.SearchResponse;
import org.opensearch.client.opensearch.core.msearch.MultisearchBody;
import org.opensearch.client.opensearch.core.search.HitsMetadata;
import org.opensearch.client.opensearch.core.search.Pit;
import org.opensearch.client.opensearch.indices.IndexSettings;
import org.opensearch.client.transport.OpenSearchTransport;
import org.opensearch.client.transport.httpclient5.ApacheHttpClient5TransportBuilder;
import org.opensearch.client.transport.httpclient5.ResponseException;

/** OpenSearch's Java client. */
final class Client implements Engine {
    static final String NAME = "opensearch";

    private final Map<String, String> headers = Collections.synchronizedMap(new HashMap<>());
    private final OpenSearchTransport transport;
    private final OpenSearchClient os;

    private Client(Setup setup) throws Exception {
        // before anybody inflates it
        HttpResponseInterceptor remember = (response, entity, context) -> {
            headers.clear();
            for (var header : response.getHeaders()) {
                headers.put(header.getName().toLowerCase(), header.getValue());
            }
        };
        var hosts = new ArrayList<HttpHost>();
        for (var url : setup.urls()) {
            hosts.add(HttpHost.create(url));
        }
        transport = ApacheHttpClient5TransportBuilder.builder(hosts.toArray(HttpHost[]::new))
            .setCompressionEnabled(setup.compress())
            .setHttpClientConfigCallback(b -> b.addResponseInterceptorFirst(remember)).build();
        os = new OpenSearchClient(transport);
    }

    static Engine of(Setup setup) throws Exception {
        return new Client(setup);
    }

    private <T> T read(String text, JsonpDeserializer<T> as) {
        JsonpMapper mapper = transport.jsonpMapper();
        return as.deserialize(mapper.jsonProvider().createParser(new StringReader(text)), mapper);
    }

    @Override
    public Map<String, String> headers() {
        return headers;
    }

    @Override
    public String number() throws Exception {
        return os.info().version().number();
    }

    @Override
    public void recreate(String index, String settings) throws Exception {
        os.indices().delete(d -> d.index(index).ignoreUnavailable(true));
        var parts = Json.createReader(new StringReader(settings)).readObject();
        var made = read(parts.get("settings").toString(), IndexSettings._DESERIALIZER);
        var mapped = read(parts.get("mappings").toString(), TypeMapping._DESERIALIZER);
        os.indices().create(c -> c.index(index).settings(made).mappings(mapped));
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
        try (var ingester = BulkIngester.<Void>of(b -> b.client(os).maxOperations(100).listener(listener)
                .globalSettings(s -> s.index(index).refresh(Refresh.True)))) {
            documents.forEach((id, text) ->
                ingester.add(op -> op.index(i -> i.id(id).document(read(text, JsonData._DESERIALIZER)))));
        }
        return refused;
    }

    @Override
    public void put(String index, String id, String document) throws Exception {
        os.index(i -> i.index(index).id(id).document(read(document, JsonData._DESERIALIZER)).refresh(Refresh.True));
    }

    @Override
    public void create(String index, String id, String document) throws Exception {
        os.create(c -> c.index(index).id(id).document(read(document, JsonData._DESERIALIZER)));
    }

    @Override
    public void delete(String index, String id) throws Exception {
        os.delete(d -> d.index(index).id(id).refresh(Refresh.True));
    }

    private static Found found(HitsMetadata<JsonData> hits, String scrollId) {
        return new Found(
            hits.hits().stream().map(hit -> hit.id()).toList(),
            hits.hits().stream().<Object>map(hit -> hit.sort().isEmpty() ? "" : hit.sort().get(0).longValue()).toList(),
            hits.total() == null ? -1 : hits.total().value(),
            scrollId);
    }

    private static Found found(SearchResponse<JsonData> answer) {
        return found(answer.hits(), answer.scrollId());
    }

    private SearchRequest.Builder request(String index, String body) {
        return read(body, SearchRequest._DESERIALIZER).toBuilder().index(index);
    }

    @Override
    public Found search(String index, String body, String opaqueId) throws Exception {
        // the client's own are null unless given
        var options = transport.options().with(b -> {
            if (opaqueId != null) {
                b.addHeader("X-Opaque-Id", opaqueId);
            }
        });
        return found(os.withTransportOptions(options).search(request(index, body).build(), JsonData.class));
    }

    @Override
    public Found scroll(String index, String body) throws Exception {
        return found(os.search(request(index, body).scroll(t -> t.time("1m")).build(), JsonData.class));
    }

    @Override
    public Found scrollOn(String id) throws Exception {
        var answer = os.scroll(s -> s.scrollId(id).scroll(t -> t.time("1m")), JsonData.class);
        return found(answer.hits(), answer.scrollId());
    }

    @Override
    public String openPit(String index) throws Exception {
        return os.createPit(c -> c.index(index).keepAlive(t -> t.time("1m"))).pitId();
    }

    @Override
    public Found searchPit(String id, int size, Object after) throws Exception {
        return found(os.search(s -> {
            s.pit(Pit.of(p -> p.id(id).keepAlive("1m"))).size(size).sort(o -> o.field(f -> f.field("n")));
            return after == null ? s : s.searchAfter(FieldValue.of((Long) after));
        }, JsonData.class));
    }

    @Override
    public void closePit(String id) throws Exception {
        os.deletePit(d -> d.pitId(id));
    }

    @Override
    public List<Long> msearch(List<Map.Entry<String, String>> searches) throws Exception {
        var found = os.msearch(m -> {
            for (var search : searches) {
                var body = read(search.getValue(), MultisearchBody._DESERIALIZER);
                m.searches(r -> r.header(h -> h.index(search.getKey())).body(body));
            }
            return m;
        }, JsonData.class);
        return found.responses().stream()
            .map(item -> item.isFailure() ? -(long) item.failure().status() : item.result().hits().total().value())
            .toList();
    }

    @Override
    public Raised raised(Throwable error) {
        if (error instanceof OpenSearchException e) {
            return new Raised(e.status(), e.error().type());
        }
        // of a 409 the client makes the exception of its transport, whoever answers
        if (!(error instanceof ResponseException e)) {
            return null;
        }
        var type = Pattern.compile("\"type\":\"([a-z_]+)").matcher(e.getMessage());
        return new Raised(e.status(), type.find() ? type.group(1) : "");
    }

    @Override
    public void close() throws Exception {
        transport.close();
    }
}
