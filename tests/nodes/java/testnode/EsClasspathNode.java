package testnode;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.Plugin;

/** Elasticsearch 7: the server and its modules are on the class path. */
public final class EsClasspathNode extends Node {

    /** Each is used if it is there. */
    private static final String[] MODULES = {
        "org.elasticsearch.transport.Netty4Plugin",
        "org.elasticsearch.reindex.ReindexPlugin",
        "org.elasticsearch.script.mustache.MustachePlugin",
        "org.elasticsearch.join.ParentJoinPlugin",
        "org.elasticsearch.percolator.PercolatorPlugin",
        "org.elasticsearch.index.rankeval.RankEvalPlugin",
        "org.elasticsearch.search.aggregations.matrix.MatrixAggregationPlugin",
        "org.elasticsearch.index.mapper.MapperExtrasPlugin",
        "org.elasticsearch.painless.PainlessPlugin",
        "org.elasticsearch.analysis.common.CommonAnalysisPlugin",
    };

    private EsClasspathNode(Environment environment, List<Class<? extends Plugin>> plugins) {
        super(environment, plugins, true);
    }

    public static void main(String[] args) throws Exception {
        Launcher.run(args, EsClasspathNode::start);
    }

    private static AutoCloseable start(Map<String, String> with, Path config) throws Exception {
        Settings.Builder settings = Settings.builder().put("transport.type", "netty4").put("http.type", "netty4");
        with.forEach(settings::put);
        List<Class<? extends Plugin>> plugins = new ArrayList<>();
        for (String module : MODULES) {
            try {
                plugins.add(Class.forName(module).asSubclass(Plugin.class));
            } catch (ClassNotFoundException absent) {
                System.err.println("module not on the class path: " + module);
            }
        }
        Node node = new EsClasspathNode(InternalSettingsPreparer.prepareEnvironment(
            settings.build(), Map.of(), config, () -> with.get("node.name")), plugins);
        return node.start();
    }
}
