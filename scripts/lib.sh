# shellcheck shell=sh
# What the project's scripts share. Source it: it defines functions and sets nothing else.
# It is plain POSIX sh, so that it works on a machine that has no bash.
#
#   say TEXT...               one line to stderr
#   give_up TEXT...           says what is missing and exits 69 (EX_UNAVAILABLE)
#   need_java MIN             exports JAVA_HOME: a JDK of MIN or newer, installed if there is none
#   need_mvn, need_openssl    the command is there, installed if it was not
#   want_chromium             whether there is a Chromium and its driver, installed if there was none
#   need_cargo                the same for cargo, and the C compiler that some crates want
#   mvn_quiet MIB ARG...      Maven, silent but for its progress; tried again once when the network fails
#   progress DIR MIB CMD...   runs CMD and tells meanwhile how much DIR has grown
#   with_lock FILE CMD...     runs CMD while no other process runs one under the same FILE
#   checksum FILE...          one word for the content of the files
#
# INSTALL_PACKAGES=no: install no packages, give up instead.

say() {
  printf '%s\n' "$*" >&2
}

give_up() {
  say "cannot go on: $*"
  exit 69
}

# --- packages of the system ---

# Runs a command as root, or fails if that needs a password.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

package_manager() {
  for manager in apt-get dnf apk brew; do
    if command -v "$manager" >/dev/null 2>&1; then
      echo "$manager"
      return
    fi
  done
}

# Installs the first of the named packages that there is.
install_first() {
  [ "${INSTALL_PACKAGES:-yes}" != no ] || return 1
  manager=$(package_manager)
  [ -n "$manager" ] || return 1
  if [ "$manager" != brew ] && [ "$(id -u)" != 0 ] && ! sudo -n true 2>/dev/null; then return 1; fi
  if [ "$manager" = apt-get ]; then as_root apt-get update -qq >&2 || :; fi # its lists may be missing or old
  for package in "$@"; do
    case $manager in
      apt-get) apt-cache show "$package" >/dev/null 2>&1 || continue ;;
      dnf) dnf -q info "$package" >/dev/null 2>&1 || continue ;;
      apk) [ -n "$(apk search -x "$package" 2>/dev/null)" ] || continue ;;
      brew) brew info "$package" >/dev/null 2>&1 || continue ;;
    esac
    say "installing $package with $manager"
    log=$(mktemp)
    if install_one "$manager" "$package" </dev/null >"$log" 2>&1; then
      rm -f "$log"
      return
    fi
    tail -n 5 "$log" >&2
    rm -f "$log"
  done
  return 1
}

install_one() {
  case $1 in
    apt-get) as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$2" ;;
    dnf) as_root dnf install -y "$2" ;;
    apk) as_root apk add "$2" ;;
    brew) brew install "$2" ;;
  esac
}

# need_command COMMAND PACKAGE...
need_command() {
  command=$1
  shift
  command -v "$command" >/dev/null 2>&1 && return
  install_first "$@" || :
  command -v "$command" >/dev/null 2>&1 ||
    give_up "'$command' is missing and could not be installed; please install it (the package is called $*)"
}

need_mvn() {
  need_command mvn maven
}

need_openssl() {
  need_command openssl openssl
}

# Whether there is a Chromium with its driver, installed if it was not. Ubuntu's packages of that name are empty.
want_chromium() {
  has_chromium && return
  install_first chromium chromium-browser || return 1
  install_first chromium-driver chromedriver chromium-chromedriver || return 1
  has_chromium
}

has_chromium() {
  chromedriver --version >/dev/null 2>&1
}

need_cargo() {
  if ! command -v cargo >/dev/null 2>&1 && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
    PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
    export PATH
  fi
  if ! command -v cargo >/dev/null 2>&1 && install_first rustup; then
    # Debian's rustup has no toolchain yet; Fedora's and Alpine's package is the installer
    if command -v rustup >/dev/null 2>&1; then
      rustup default stable >&2 || :
    else
      rustup-init -y --no-modify-path >&2 || :
    fi
    PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
    export PATH
  fi
  command -v cargo >/dev/null 2>&1 || give_up "'cargo' is missing and could not be installed; please install Rust with rustup"
  need_command cc build-essential build-base gcc
}

# --- Java ---

# The homes of all JDKs that can be found, one a line.
jdk_homes() {
  java=$(command -v java 2>/dev/null) && java=$(readlink -f "$java" 2>/dev/null) && echo "${java%/bin/java}"
  update-alternatives --list java 2>/dev/null | sed 's,/bin/java$,,' || :
  for home in /usr/lib/jvm/* /opt/java/* /opt/jdk* "$HOME"/.sdkman/candidates/java/* "$HOME"/.jdks/* \
    /Library/Java/JavaVirtualMachines/*/Contents/Home \
    /opt/homebrew/opt/openjdk*/libexec/openjdk.jdk/Contents/Home /usr/local/opt/openjdk*/libexec/openjdk.jdk/Contents/Home; do
    echo "$home"
  done
}

# The major version of the JDK in a folder; nothing if it is not one (a JRE has no compiler).
jdk_version() {
  [ -x "$1/bin/java" ] && [ -x "$1/bin/javac" ] || return 0
  if [ -r "$1/release" ]; then
    sed -n 's/^JAVA_VERSION="\([0-9]*\).*/\1/p' "$1/release"
  else
    "$1/bin/java" -version 2>&1 | sed -n '1s/[^"]*"\([0-9]*\).*/\1/p'
  fi
}

# Whether the JDK in folder $1 is of version $2 or newer.
jdk_fits() {
  jdk=$(jdk_version "$1")
  [ -n "$jdk" ] && [ "$jdk" -ge "$2" ]
}

# The JDK of the lowest version that fits, as the engines are tested by their makers with those of their time.
find_jdk() {
  jdk_homes | while IFS= read -r home; do
    if jdk_fits "$home" "$1"; then echo "$jdk $home"; fi
  done | sort -n | sed -n '1s/^[0-9]* //p'
}

need_java() {
  if [ -n "${JAVA_HOME:-}" ] && jdk_fits "$JAVA_HOME" "$1"; then
    export JAVA_HOME
    return
  fi
  java_min=$1
  JAVA_HOME=$(find_jdk "$java_min")
  if [ -z "$JAVA_HOME" ]; then
    set --
    for java_version in 17 21 25; do
      [ "$java_version" -ge "$java_min" ] || continue
      case $(package_manager) in
        apt-get) set -- "$@" "openjdk-$java_version-jdk-headless" "temurin-$java_version-jdk" ;;
        dnf) set -- "$@" "java-$java_version-openjdk-devel" ;;
        apk) set -- "$@" "openjdk$java_version" ;;
        brew) set -- "$@" "openjdk@$java_version" ;;
      esac
    done
    install_first "$@" || :
    JAVA_HOME=$(find_jdk "$java_min")
  fi
  [ -n "$JAVA_HOME" ] ||
    give_up "a JDK $java_min or newer is missing and could not be installed; please install one or set JAVA_HOME"
  export JAVA_HOME
}

# --- long work ---

folder_mib() {
  if [ -d "$1" ]; then du -sk "$1" 2>/dev/null | awk '{ print int($1 / 1024) }'; else echo 0; fi
}

progress() (
  folder=$1 mib=$2
  shift 2
  from=$(folder_mib "$folder")
  # the ticker is what runs in the background, so that Ctrl-C reaches the command; it ends with this shell
  (
    seconds=0
    while sleep 1 && kill -0 $$ 2>/dev/null; do
      seconds=$((seconds + 1))
      now=$(($(folder_mib "$folder") - from))
      if [ -t 2 ]; then
        printf '\r\033[K  %s of about %s MiB, %s s ' "$now" "$mib" "$seconds" >&2
      elif [ $((seconds % 20)) = 0 ]; then
        say "  $now of about $mib MiB, $seconds s"
      fi
    done
  ) &
  ticker=$!
  status=0
  "$@" || status=$?
  kill "$ticker" 2>/dev/null || :
  wait "$ticker" 2>/dev/null || :
  [ ! -t 2 ] || printf '\r\033[K' >&2
  exit "$status"
)

# Where Maven keeps what it downloads.
maven_repository() {
  for arg in ${MAVEN_ARGS:-}; do
    case $arg in -Dmaven.repo.local=*)
      echo "${arg#*=}"
      return
      ;;
    esac
  done
  echo "$HOME/.m2/repository"
}

# logged_to FILE COMMAND...
logged_to() {
  file=$1
  shift
  "$@" </dev/null >"$file" 2>&1
}

# Maven 3.9 reads MAVEN_ARGS itself, older ones do not: it is given to both in the same way.
mvn_quiet() (
  mib=$1
  shift
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  args=${MAVEN_ARGS:-}
  unset MAVEN_ARGS
  tries=0
  repository=$(MAVEN_ARGS=$args maven_repository)
  # shellcheck disable=SC2086 # they are several words
  until progress "$repository" "$mib" logged_to "$log" mvn -B -ntp -q -Dstyle.color=never $args "$@"; do
    tries=$((tries + 1))
    tr -d '\033' <"$log" | sed 's/\[[0-9;]*m//g' |
      grep -Ev '^ *$|^\[ERROR\] *($|->|To see|Re-run|For more|\[Help)' | cut -c 1-400 | tail -n 12 >&2
    if ! grep -Eqi 'could not (transfer|resolve|find)|connect|timed? ?out|unknown host|reset|offline|unavailable|network' "$log"; then
      exit 70
    fi
    [ "$tries" -lt 2 ] || give_up "Maven could not download what is needed; is its repository reachable?"
    say "the download failed; trying once more"
    sleep 3
    set -- -U "$@" # Maven remembers a failure for a day otherwise
  done
)

with_lock() (
  file=$1
  shift
  mkdir -p "$(dirname "$file")"
  if command -v flock >/dev/null 2>&1; then
    exec 9>"$file"
    flock 9
    "$@" 9>&-
    exit
  fi
  # without flock: a folder is made by one process only; one whose maker has died is nobody's
  until mkdir "$file.d" 2>/dev/null; do
    owner=$(cat "$file.d/pid" 2>/dev/null || :)
    if [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null; then rm -rf "$file.d"; else sleep 1; fi
  done
  trap 'rm -rf "$file.d"' EXIT
  trap 'exit 130' INT TERM
  sh -c 'echo $PPID' >"$file.d/pid"
  "$@"
)

checksum() {
  cat "$@" | cksum | cut -d" " -f1
}
