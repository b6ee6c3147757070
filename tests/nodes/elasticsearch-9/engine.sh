# shellcheck shell=sh disable=SC2034 # read by ../run
label="Elasticsearch 9.4.3"
java_min=21
main_class=EsModulesNode
mib=925

es_home() {
  find "$PWD/dist" -maxdepth 2 -type d -name elasticsearch
}

compile_path() {
  echo "$(es_home)/lib/*"
}

launch() {
  home=$(es_home)
  run_java -Des.path.home="$home" \
    -Djava.library.path="$(native_folder "$home")" -Des.nativelibs.path="$(native_folder "$home")" \
    --enable-native-access=org.elasticsearch.nativeaccess,org.apache.lucene.core --add-modules=jdk.incubator.vector \
    --module-path "$home/lib" --add-modules=jdk.net --add-modules=ALL-MODULE-PATH -cp "$classes" "$@"
}
