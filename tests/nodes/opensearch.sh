# shellcheck shell=sh disable=SC2034 # what the OpenSearch engines share; read by their engine.sh
main_class=OpenSearchNode

compile_path() {
  echo "lib/*"
}

launch() {
  run_opensearch "$@"
}

run_opensearch() {
  run_java -Dio.netty.noKeySetOptimization=true -Dio.netty.recycler.maxCapacityPerThread=0 \
    -Djdk.io.permissionsUseCanonicalPath=true -Djava.net.preferIPv4Stack=true -cp "$classes:lib/*:security/*" "$@"
}
