package testnode;

import java.lang.reflect.Method;
import java.nio.file.Path;
import java.util.Map;
import java.util.Set;

import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.PluginBundle;
import org.elasticsearch.plugins.PluginsLoader;

/** Elasticsearch 8 and 9: the server is on the module path, its modules are under es.path.home/modules. */
public final class EsModulesNode {

    private EsModulesNode() {}

    public static void main(String[] args) throws Exception {
        Launcher.run(args, EsModulesNode::start);
    }

    private static AutoCloseable start(Map<String, String> with, Path config) throws Exception {
        Path home = Path.of(System.getProperty("es.path.home")).toAbsolutePath();
        Settings.Builder settings = Settings.builder().put("transport.type", "netty4").put("http.type", "netty4");
        with.forEach(settings::put);
        settings.put("path.home", home);
        LogConfigurator.configureESLogging();
        Node node = new Node(
            InternalSettingsPreparer.prepareEnvironment(settings.build(), Map.of(), config, () -> with.get("node.name")),
            PluginsLoader.createPluginsLoader(bundles(home.resolve("modules")), Set.of(), Map.of()));
        node.start();
        return node;
    }

    /** PluginsLoader.loadModulesBundles, which has a second argument since 9. */
    @SuppressWarnings("unchecked")
    private static Set<PluginBundle> bundles(Path modules) throws Exception {
        for (Method method : PluginsLoader.class.getMethods()) {
            if (method.getName().equals("loadModulesBundles")) {
                Object bundles = method.getParameterCount() == 1 ? method.invoke(null, modules) : method.invoke(null, modules, false);
                return (Set<PluginBundle>) bundles;
            }
        }
        throw new NoSuchMethodException("PluginsLoader.loadModulesBundles");
    }
}
