# shellcheck shell=sh disable=SC2034 # read by ../run
label="OpenSearch 3.5.0" # 3.6.0 is incomplete on Central
java_min=21
mib=87
. "$nodes/opensearch.sh"
