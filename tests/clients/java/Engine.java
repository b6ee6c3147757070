import java.util.List;
import java.util.Map;

/** What the checks want of a client, by the client's own means. */
interface Engine extends AutoCloseable {
    /** An answer to a search: what of it is looked at. */
    record Found(List<String> ids, List<Object> sort, long total, String scrollId) {}

    /** An error that the client has raised. */
    record Raised(int status, String type) {}

    /** How a client is set up. */
    record Setup(List<String> urls, boolean compress) {}

    /** Headers of the last answer, names in lower case, as they came over the wire. */
    Map<String, String> headers();

    String number() throws Exception;

    void recreate(String index, String settings) throws Exception;

    /** With the client's bulk helper, some at a time; the status of each document that was refused. */
    List<Integer> bulk(String index, Map<String, String> documents) throws Exception;

    void put(String index, String id, String document) throws Exception;

    void create(String index, String id, String document) throws Exception;

    void delete(String index, String id) throws Exception;

    /** With an X-Opaque-Id unless it is null. */
    Found search(String index, String body, String opaqueId) throws Exception;

    Found scroll(String index, String body) throws Exception;

    Found scrollOn(String id) throws Exception;

    String openPit(String index) throws Exception;

    /** Pages of a point in time: after this, unless it is null. */
    Found searchPit(String id, int size, Object after) throws Exception;

    void closePit(String id) throws Exception;

    /** Searches of a multi search: the total of each, or minus the status of its error. */
    List<Long> msearch(List<Map.Entry<String, String>> searches) throws Exception;

    /** What an exception of the client says; null if it is none of those for errors of the engine. */
    Raised raised(Throwable error);
}
