# shellcheck shell=sh disable=SC2034 # what Elasticsearch 8 and 9 share; read by their engine.sh
main_class=EsModulesNode

es_home() {
  find "$PWD/dist" -maxdepth 2 -type d -name elasticsearch
}

compile_path() {
  echo "$(es_home)/lib/*"
}

# Where a distribution keeps its native libraries for this machine.
native_folder() {
  system=$(uname -s | tr '[:upper:]' '[:lower:]')
  case $(uname -m) in
    x86_64 | amd64) machine=x64 ;;
    *) machine=aarch64 ;;
  esac
  echo "$1/lib/platform/$system-$machine"
}

# run_elasticsearch JAVA_OPTION... -- CLASS ARG...
run_elasticsearch() {
  home=$(es_home)
  native=$(native_folder "$home")
  while [ "$1" != -- ]; do
    JAVA_OPTS="${JAVA_OPTS:-} $1"
    shift
  done
  shift
  run_java -Des.path.home="$home" -Djava.library.path="$native" -Des.nativelibs.path="$native" \
    --module-path "$home/lib" --add-modules=jdk.net --add-modules=ALL-MODULE-PATH -cp "$classes" "$@"
}
