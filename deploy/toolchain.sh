# shellcheck shell=bash
# Doorstep's set-up functions. Source this file; it defines functions and runs nothing.
#
#   need_cargo               nothing but a look whether Rust is there
#   need_npm                 node_modules; exports WORKERD_BIN, ESBUILD_BIN, WASM_OPT_BIN
#   need_wasm_target         the wasm32-unknown-unknown standard library of the rustc in use
#   need_wasm_bindgen        the wasm-bindgen of Cargo.lock; exports WASM_BINDGEN_BIN
#   need_worker_build        worker-build; exports WORKER_BUILD_BIN
#   need_edge_tools          the four above
#   need_cargo_fuzz          cargo-fuzz, which only fuzz/run wants; exports CARGO_FUZZ_BIN
#   need_uv                  uv; exports UV and puts its folder first on PATH
#   need_git_http_backend    git's HTTP server half; exports GIT_HTTP_BACKEND
#   need_netns               network namespaces with a packet filter (root, iproute2, nftables)
#   need_chromium            Chromium for the stories of the dashboard; exports DOORSTEP_CHROMIUM
#   need_docker              dockerd and docker with Compose 2; exports DOCKER_CONFIG where Compose is ours
#   build_edge               edge/build/index.js and edge/build/index_bg.wasm
#   build_executor [release|dev]   the executor; exports DOORSTEP_BIN
#   build_demo               the program behind ./demo; exports DEMO_BIN
#
# Every function may be called again at any time and is quick when there is nothing to do. It prints
# one line on stderr when it really does something, and one sentence when it fails (then it returns 1).
# What is slow to make is kept in ${XDG_CACHE_HOME:-$HOME/.cache}/doorstep, keyed by version. That
# folder may be deleted at any time.

DOORSTEP_ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
DOORSTEP_CACHE=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/doorstep
DOORSTEP_WORKER_BUILD_VERSION=0.8.7
DOORSTEP_CARGO_FUZZ_VERSION=0.13.2
DOORSTEP_UV_VERSION=0.13.9
export DOORSTEP_ROOT

# ---------------------------------------------------------------------------------------------- helpers

_ds_say() { printf 'set-up: %s\n' "$*" >&2; }

_ds_fail() {
  printf 'set-up failed: %s\n' "$*" >&2
  return 1
}

_ds_has() { command -v "$1" >/dev/null 2>&1; }

# The path of a fresh log file called $1.
_ds_log() {
  mkdir -p "$DOORSTEP_CACHE/logs" || return 1
  : >"$DOORSTEP_CACHE/logs/$1.log" || return 1
  printf '%s\n' "$DOORSTEP_CACHE/logs/$1.log"
}

# _ds_limit SECONDS COMMAND...: with a time limit where the machine has timeout(1).
_ds_limit() {
  local seconds=$1
  shift
  if _ds_has timeout; then timeout -k 5 "$seconds" "$@"; else "$@"; fi
}

# _ds_locked NAME FUNCTION ARGS...: runs the function while no other process runs it under that name.
_ds_locked() {
  local name=$1
  shift
  mkdir -p "$DOORSTEP_CACHE/locks" || {
    _ds_fail "the folder $DOORSTEP_CACHE cannot be written; make it writable or set XDG_CACHE_HOME to another one"
    return 1
  }
  if _ds_has flock; then
    (
      if ! flock -n 9; then
        _ds_say "waiting for another process that prepares $name"
        flock 9
      fi
      "$@" 9>&-
    ) 9>"$DOORSTEP_CACHE/locks/$name"
  else
    ("$@")
  fi
}

_ds_sha256() {
  if _ds_has sha256sum; then sha256sum "$@"; else shasum -a 256 "$@"; fi
}

# The version of package $1 in Cargo.lock (of the first one, should there be several).
_ds_locked_version() {
  awk -v want="$1" '
    /^\[\[package\]\]/ { name = "" }
    $1 == "name"    { gsub(/"/, "", $3); name = $3 }
    $1 == "version" && name == want { gsub(/"/, "", $3); print $3; exit }
  ' "$DOORSTEP_ROOT/Cargo.lock"
}

# Whether program $1 runs and says, as the last word of its first line, that it is version $2.
_ds_is_version() {
  local said
  [ -n "$1" ] || return 1
  said=$("$1" --version 2>/dev/null </dev/null | head -n 1) || return 1
  [ "${said##* }" = "$2" ]
}

# The path of a program found on PATH, or nothing.
_ds_which() { type -P "$1" 2>/dev/null || true; }

need_cargo() {
  if ! _ds_has cargo || ! _ds_has rustc; then
    _ds_fail "Rust (cargo and rustc) is not on PATH; install it with rustup or your distribution, then run this again"
    return 1
  fi
  if ! (cd "$DOORSTEP_ROOT" && rustc --version) >/dev/null 2>&1; then
    _ds_fail "rustc does not run in $DOORSTEP_ROOT; run 'rustc --version' there to see why (often a toolchain that rustup still has to install)"
    return 1
  fi
}

# --------------------------------------------------------------------------------------------------- npm

# "linux-64", "darwin-arm64": how workerd's packages name this machine.
_ds_workerd_platform() {
  local os cpu
  case $(uname -s) in Linux) os=linux ;; Darwin) os=darwin ;; *) return 1 ;; esac
  case $(uname -m) in x86_64 | amd64) cpu=64 ;; aarch64 | arm64) cpu=arm64 ;; *) return 1 ;; esac
  printf '%s-%s\n' "$os" "$cpu"
}

# Sets WORKERD_BIN, ESBUILD_BIN and WASM_OPT_BIN: the native program inside the package where there is
# one, else the package's own launcher.
_ds_npm_paths() {
  local modules=$DOORSTEP_ROOT/node_modules platform
  platform=$(_ds_workerd_platform) || platform=unknown
  WORKERD_BIN=$modules/@cloudflare/workerd-$platform/bin/workerd
  [ -x "$WORKERD_BIN" ] || WORKERD_BIN=$modules/workerd/bin/workerd
  ESBUILD_BIN=$modules/@esbuild/${platform/%-64/-x64}/bin/esbuild
  [ -x "$ESBUILD_BIN" ] || ESBUILD_BIN=$modules/esbuild/bin/esbuild
  WASM_OPT_BIN=$modules/binaryen/bin/wasm-opt
  export WORKERD_BIN ESBUILD_BIN WASM_OPT_BIN
}

_ds_npm_mark() { _ds_sha256 "$DOORSTEP_ROOT/package-lock.json" 2>/dev/null | cut -c 1-64; }

_ds_npm_ready() {
  local mark=$DOORSTEP_ROOT/node_modules/.doorstep
  [ -f "$mark" ] && [ "$(cat "$mark")" = "$(_ds_npm_mark)" ] || return 1
  _ds_npm_paths
  [ -x "$WORKERD_BIN" ] && [ -x "$ESBUILD_BIN" ] && [ -x "$WASM_OPT_BIN" ]
}

_ds_npm_install() {
  local log wanted said program
  ! _ds_npm_ready || return 0
  log=$(_ds_log npm) || return 1
  _ds_say "installing the npm packages of package-lock.json (about 10 s)"
  # No package needs its install script: the programs come inside the packages.
  if ! (cd "$DOORSTEP_ROOT" && npm ci --ignore-scripts --no-audit --no-fund) >"$log" 2>&1 </dev/null; then
    _ds_fail "npm could not install the packages of package-lock.json (log: $log); see that the npm registry can be reached and that the disk has 1 GB free, then run this again"
    return 1
  fi
  _ds_npm_paths
  for program in "$WORKERD_BIN" "$ESBUILD_BIN" "$WASM_OPT_BIN"; do
    if ! "$program" --version >>"$log" 2>&1 </dev/null; then
      _ds_fail "$program was installed but does not run here (log: $log); this kind of machine may have no build of it (Linux or macOS on x86_64 or arm64 is needed)"
      return 1
    fi
  done
  wanted=$(node -p 'require(process.argv[1]).devDependencies.workerd' "$DOORSTEP_ROOT/package.json")
  said=$(node -p 'require(process.argv[1]).version' "$DOORSTEP_ROOT/node_modules/workerd/package.json")
  if [ "$wanted" != "$said" ]; then
    _ds_fail "npm installed workerd $said where package.json wants $wanted (log: $log); remove node_modules and run this again"
    return 1
  fi
  _ds_npm_mark >"$DOORSTEP_ROOT/node_modules/.doorstep"
}

need_npm() {
  local major
  if ! _ds_npm_ready; then
    if ! _ds_has npm || ! _ds_has node; then
      _ds_fail "Node with npm is not on PATH; install Node 20 or newer, then run this again"
      return 1
    fi
    major=$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null) || major=0
    if [ "$major" -lt 20 ]; then
      _ds_fail "Node 20 or newer is needed and 'node --version' says $(node --version 2>/dev/null || echo nothing); install a newer one, then run this again"
      return 1
    fi
    _ds_locked npm _ds_npm_install || return 1
  fi
  _ds_npm_paths
}

# ------------------------------------------------------------------------- the wasm32 standard library

_ds_wasm_libdir() { (cd "$DOORSTEP_ROOT" && rustc --target wasm32-unknown-unknown --print target-libdir); }

_ds_wasm_ready() {
  local dir
  dir=$(_ds_wasm_libdir 2>/dev/null) || return 1
  compgen -G "$dir/libstd-*.rlib" >/dev/null && compgen -G "$dir/libcore-*.rlib" >/dev/null
}

# _ds_wasm_put FOLDER: puts the .rlib files of FOLDER where rustc looks for them, in one step.
_ds_wasm_put() {
  local dir
  dir=$(_ds_wasm_libdir) || return 1
  mkdir -p "$(dirname "$dir")" || return 1
  rm -rf "$dir.doorstep" || return 1
  mkdir "$dir.doorstep" && cp "$1"/*.rlib "$dir.doorstep/" || return 1
  rm -rf "$dir" && mv "$dir.doorstep" "$dir"
}

# _ds_debian_unpack PACKAGE VERSION FOLDER SUITE...: Debian's package of that version (any one that begins
# so; any at all when it is empty), from the first of the suites that has it, with apt's own mirror and
# keys, without changing anything of the system. Its files are put below FOLDER.
_ds_debian_unpack() {
  local package=$1 version=$2 out=$3 work uri suite opts found
  shift 3
  if ! _ds_has apt-get || ! _ds_has dpkg-deb; then
    echo "no apt-get here"
    return 1
  fi
  # shellcheck disable=SC2016
  # One mirror line is enough: the archive's main one has every suite. (A read to the end, so that
  # apt-get is not cut short under pipefail.)
  uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' |
    awk '/\/debian\/?$/ && !seen { print; seen = 1 }')
  [ -n "$uri" ] || {
    echo "apt has no Debian mirror"
    return 1
  }
  work=$(mktemp -d) || return 1
  for suite in "$@"; do
    echo "--- looking for $package $version in $suite"
    rm -rf "${work:?}/apt"
    mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial" || break
    printf 'deb %s %s main\n' "$uri" "$suite" >"$work/apt/sources.list"
    opts="-o Dir::Etc::sourcelist=$work/apt/sources.list -o Dir::Etc::sourceparts=/dev/null
      -o Dir::State::lists=$work/apt/lists -o Dir::Cache=$work/apt/cache -o APT::Sandbox::User=root
      -o Acquire::Languages=none -o Acquire::Retries=1"
    # shellcheck disable=SC2086
    _ds_limit 120 apt-get $opts update || continue
    # shellcheck disable=SC2086
    found=$(apt-cache $opts madison "$package" | awk -F' *[|] *' -v v="$version" \
      '!seen && (v == "" || index($2, v "+") == 1 || index($2, v "-") == 1 || $2 == v) { print $2; seen = 1 }')
    [ -n "$found" ] || continue
    # shellcheck disable=SC2086
    (cd "$work" && _ds_limit 240 apt-get $opts download "$package=$found") || continue
    mkdir -p "$out" && dpkg-deb -x "$work/${package}"_*.deb "$out"
    found=$?
    rm -rf "$work"
    return "$found"
  done
  rm -rf "$work"
  echo "no $package $version found"
  return 1
}

# _ds_rust_src VERSION FOLDER: the standard library's source, from Debian's package of that version. Fills
# FOLDER (which then has library/). The suites are tried in turn: the machine's own first.
_ds_rust_src() {
  local version=$1 out=$2 work own done
  work=$(mktemp -d) || return 1
  # shellcheck disable=SC2016
  own=$(apt-get indextargets --format '$(CODENAME)' 'Created-By: Packages' | awk '!seen { print; seen = 1 }')
  _ds_debian_unpack rust-src "$version" "$work/deb" "$own" "$own-backports" trixie-backports trixie forky sid &&
    [ -d "$work/deb/usr/src/rustc-$version/library" ] &&
    rm -rf "$out.new" && mkdir -p "$out.new" &&
    cp -R "$work/deb/usr/src/rustc-$version/library" "$out.new/" &&
    cp "$work/deb/usr/src/rustc-$version"/Cargo.* "$out.new/" &&
    rm -rf "$out" && mv "$out.new" "$out"
  done=$?
  rm -rf "$work"
  return "$done"
}

# Whether $1 is a link to a source of ours (one that an interrupted build left behind).
_ds_lent() {
  [ -L "$1" ] || return 1
  case $(readlink "$1") in */doorstep/rust-src/*) return 0 ;; *) return 1 ;; esac
}

# _ds_wasm_build SOURCE OUT: builds the standard library of SOURCE (a folder with library/, or nothing
# when the toolchain has its own) and puts the .rlib files into OUT.
_ds_wasm_build() {
  local source=$1 out=$2 sysroot link='' work result=1
  sysroot=$(cd "$DOORSTEP_ROOT" && rustc --print sysroot) || return 1
  work=$(mktemp -d) || return 1
  if [ -n "$source" ]; then
    # cargo looks for the source in one place only; it is lent to it for the time of the build.
    link=$sysroot/lib/rustlib/src/rust
    if _ds_lent "$link"; then rm -f "$link"; fi
    if ! mkdir -p "$(dirname "$link")" || ! ln -s "$source" "$link"; then
      rm -rf "$work"
      return 1
    fi
  fi
  mkdir -p "$work/src"
  printf '[package]\nname = "std-for-wasm"\nversion = "0.0.0"\nedition = "2021"\n\n[workspace]\n' >"$work/Cargo.toml"
  printf '#![no_std]\n' >"$work/src/lib.rs"
  # The toolchain of the checkout, not that of the temporary folder. Bitcode, or `lto = true` fails later.
  if (
    cd "$DOORSTEP_ROOT" && unset CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET &&
      RUSTFLAGS=-Cembed-bitcode=yes RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$work/target \
        cargo build --release --manifest-path "$work/Cargo.toml" --target wasm32-unknown-unknown \
        -Z build-std=std,panic_abort,proc_macro
  ); then
    rm -rf "$out.new" && mkdir -p "$out.new" &&
      cp "$work"/target/wasm32-unknown-unknown/release/deps/*.rlib "$out.new/" &&
      rm -f "$out.new"/libstd_for_wasm-*.rlib &&
      rm -rf "$out" && mv "$out.new" "$out" && result=0
  fi
  if [ -n "$link" ]; then
    rm -f "$link"
    rmdir "$(dirname "$link")" 2>/dev/null || true
  fi
  rm -rf "$work"
  return "$result"
}

_ds_wasm_install() {
  local log version key kept source='' sysroot
  ! _ds_wasm_ready || return 0
  version=$(cd "$DOORSTEP_ROOT" && rustc --version | awk '{ print $2 }')
  key=$(cd "$DOORSTEP_ROOT" && rustc -vV | awk '$1 == "commit-hash:" { print substr($2, 1, 12) }')
  kept=$DOORSTEP_CACHE/wasm32-std/$version-${key:-unknown}
  log=$(_ds_log wasm32-std) || return 1

  if compgen -G "$kept/libstd-*.rlib" >/dev/null && _ds_wasm_put "$kept" >>"$log" 2>&1 && _ds_wasm_ready; then
    _ds_say "put back the wasm32 standard library that was built before"
    return 0
  fi

  if _ds_has rustup; then
    _ds_say "adding the wasm32-unknown-unknown target with rustup"
    if (cd "$DOORSTEP_ROOT" && RUSTUP_MAX_RETRIES=1 _ds_limit 60 rustup target add wasm32-unknown-unknown) \
      >>"$log" 2>&1 </dev/null && _ds_wasm_ready; then
      return 0
    fi
  fi

  sysroot=$(cd "$DOORSTEP_ROOT" && rustc --print sysroot)
  if [ ! -w "$sysroot/lib/rustlib" ]; then
    _ds_fail "the wasm32-unknown-unknown target is missing and $sysroot cannot be written (log: $log); install it with 'rustup target add wasm32-unknown-unknown' or your distribution's package (Debian: libstd-rust-dev-wasm32)"
    return 1
  fi
  if _ds_lent "$sysroot/lib/rustlib/src/rust" || [ ! -d "$sysroot/lib/rustlib/src/rust/library" ]; then
    source=$DOORSTEP_CACHE/rust-src/$version
    if [ ! -d "$source/library" ]; then
      _ds_say "rustup cannot be reached: fetching the source of Rust $version's standard library with apt (about 10 s)"
      mkdir -p "$DOORSTEP_CACHE/rust-src"
      if ! _ds_rust_src "$version" "$source" >>"$log" 2>&1 </dev/null; then
        _ds_fail "the wasm32-unknown-unknown target could not be installed, neither with rustup nor from Debian's rust-src of version $version (log: $log); on a machine with a network run 'rustup target add wasm32-unknown-unknown', then run this again"
        return 1
      fi
    fi
  fi
  _ds_say "building the wasm32 standard library (about 30 s)"
  mkdir -p "$DOORSTEP_CACHE/wasm32-std"
  if ! _ds_wasm_build "$source" "$kept" >>"$log" 2>&1 </dev/null || ! _ds_wasm_put "$kept" >>"$log" 2>&1 || ! _ds_wasm_ready; then
    _ds_fail "the wasm32 standard library of Rust $version could not be built (log: $log); on a machine with a network run 'rustup target add wasm32-unknown-unknown', then run this again"
    return 1
  fi
}

need_wasm_target() {
  ! _ds_wasm_ready || return 0
  need_cargo || return 1
  _ds_locked wasm32-std _ds_wasm_install
}

# ------------------------------------------------------------------------------------ tools from Cargo

# _ds_cargo_tool CRATE PROGRAM VERSION HOW-LONG: installs it into the cache.
_ds_cargo_tool() {
  local crate=$1 program=$2 version=$3 long=$4 root log
  root=$DOORSTEP_CACHE/tools/$program-$version
  ! _ds_is_version "$root/bin/$program" "$version" || return 0
  log=$(_ds_log "$program") || return 1
  _ds_say "installing $program $version with cargo ($long)"
  # shellcheck disable=SC2094
  # The settings of this project's own builds must not reach the tool's. A registry mirror may lack a
  # version that the tool's own lock file names: then cargo chooses the dependencies itself.
  if ! (
    cd "$DOORSTEP_ROOT" || exit 1
    unset CARGO_TARGET_DIR CARGO_BUILD_TARGET CARGO_BUILD_TARGET_DIR RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
    cargo install "$crate" --version "=$version" --locked --force --root "$root" ||
      ! grep -q 'failed to select a version' "$log" ||
      cargo install "$crate" --version "=$version" --force --root "$root"
  ) >"$log" 2>&1 </dev/null || ! _ds_is_version "$root/bin/$program" "$version"; then
    _ds_fail "cargo could not install $crate $version (log: $log); see that the crate registry can be reached and that the disk has 1 GB free, or put $program $version on PATH yourself, then run this again"
    return 1
  fi
}

# _ds_tool CRATE PROGRAM VERSION HOW-LONG: sets DS_TOOL to the program's path.
_ds_tool() {
  DS_TOOL=$(_ds_which "$2")
  ! _ds_is_version "$DS_TOOL" "$3" || return 0
  DS_TOOL=$DOORSTEP_CACHE/tools/$2-$3/bin/$2
  ! _ds_is_version "$DS_TOOL" "$3" || return 0
  need_cargo || return 1
  _ds_locked "$2" _ds_cargo_tool "$@"
}

need_wasm_bindgen() {
  local version
  version=$(_ds_locked_version wasm-bindgen 2>/dev/null) || version=
  if [ -z "$version" ]; then
    _ds_fail "$DOORSTEP_ROOT/Cargo.lock names no wasm-bindgen; restore the file with 'git checkout Cargo.lock', then run this again"
    return 1
  fi
  _ds_tool wasm-bindgen-cli wasm-bindgen "$version" "about 2 min" || return 1
  export WASM_BINDGEN_BIN=$DS_TOOL
}

need_worker_build() {
  _ds_tool worker-build worker-build "$DOORSTEP_WORKER_BUILD_VERSION" "about 3 min" || return 1
  export WORKER_BUILD_BIN=$DS_TOOL
}

# The fuzzer itself is C++, built with the targets.
need_cargo_fuzz() {
  if ! _ds_has "${CXX:-c++}"; then
    _ds_fail "a C++ compiler (${CXX:-c++}) is not on PATH; install one (Debian: g++), then run this again"
    return 1
  fi
  _ds_tool cargo-fuzz cargo-fuzz "$DOORSTEP_CARGO_FUZZ_VERSION" "about 30 s" || return 1
  export CARGO_FUZZ_BIN=$DS_TOOL
}

need_edge_tools() { need_npm && need_wasm_target && need_wasm_bindgen && need_worker_build; }

# ---------------------------------------------------------------------------------------------------- uv

# Prints the path of a uv that runs and is a program of its own. A version manager's shim is a script
# that depends on the folder it is called from: it is resolved to what it stands for.
_ds_find_uv() {
  local found
  while IFS= read -r found; do
    if [ "$(head -c 2 "$found" 2>/dev/null | tr -d '\0')" = '#!' ]; then
      _ds_has pyenv || continue
      found=$(pyenv which uv 2>/dev/null </dev/null) || continue
      [ "$(head -c 2 "$found" 2>/dev/null | tr -d '\0')" != '#!' ] || continue
    fi
    if "$found" --version >/dev/null 2>&1 </dev/null; then
      case $found in /*) ;; *) found=$(cd "$(dirname "$found")" && pwd)/$(basename "$found") ;; esac
      printf '%s\n' "$found"
      return 0
    fi
  done < <(type -aP uv 2>/dev/null)
  return 1
}

_ds_uv_install() {
  local venv=$1 log
  ! "$venv/bin/uv" --version >/dev/null 2>&1 </dev/null || return 0
  log=$(_ds_log uv) || return 1
  _ds_say "installing uv $DOORSTEP_UV_VERSION with pip (about 10 s)"
  rm -rf "$venv"
  if ! python3 -m venv "$venv" >"$log" 2>&1 </dev/null ||
    ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$DOORSTEP_UV_VERSION" >>"$log" 2>&1 </dev/null ||
    ! "$venv/bin/uv" --version >>"$log" 2>&1 </dev/null; then
    _ds_fail "uv could not be installed with pip (log: $log); install uv yourself so that 'uv --version' runs (on Debian, python3-venv may be what is missing), then run this again"
    return 1
  fi
}

need_uv() {
  local venv=$DOORSTEP_CACHE/tools/uv-$DOORSTEP_UV_VERSION
  if [ -z "${UV:-}" ] || [ "${UV#/}" = "$UV" ] || ! "$UV" --version >/dev/null 2>&1 </dev/null; then
    if ! UV=$(_ds_find_uv); then
      UV=$venv/bin/uv
      if ! "$UV" --version >/dev/null 2>&1 </dev/null; then
        if ! _ds_has python3; then
          UV=
          _ds_fail "neither uv nor python3 is on PATH; install uv (or Python 3 with venv and pip), then run this again"
          return 1
        fi
        _ds_locked uv _ds_uv_install "$venv" || {
          UV=
          return 1
        }
      fi
    fi
  fi
  export UV
  case $PATH: in
    "${UV%/*}":*) ;;
    *) export PATH="${UV%/*}:$PATH" ;;
  esac
}

# --------------------------------------------------------------------------------------------------- git

need_git_http_backend() {
  local dir
  if ! _ds_has git || ! dir=$(git --exec-path 2>/dev/null); then
    _ds_fail "git is not on PATH; install it with your distribution's package manager (Debian: apt-get install git), then run this again"
    return 1
  fi
  if [ ! -x "$dir/git-http-backend" ]; then
    _ds_fail "git has no git-http-backend in $dir; it is part of Debian's and Homebrew's git, and of the package git-daemon on Alpine and git-core on Fedora: install that, then run this again"
    return 1
  fi
  export GIT_HTTP_BACKEND=$dir/git-http-backend
}

# ---------------------------------------------------------------------------------------------- networks

# Whether a network of its own can be made here, with a cable and a filter in it.
_ds_netns_ready() {
  unshare --net sh -c 'ip link add cable0 type veth peer name cable1 && nft add table ip street' >/dev/null 2>&1 </dev/null
}

_ds_netns_install() {
  local log packages='iproute2 nftables'
  ! _ds_netns_ready || return 0
  log=$(_ds_log netns) || return 1
  _ds_say "installing $packages with apt-get (about 10 s)"
  # The lists of packages may be missing or old.
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive _ds_limit 240 sh -c '
    install() { apt-get install -y --no-install-recommends "$@"; }
    install "$@" || { apt-get update && install "$@"; }' sh $packages >"$log" 2>&1 </dev/null
  if ! _ds_netns_ready; then
    _ds_fail "no network namespace with a packet filter can be made here (log: $log); install $packages, and run this where 'unshare --net nft list tables' works (a container needs --privileged)"
    return 1
  fi
}

need_netns() {
  ! _ds_netns_ready || return 0
  if [ "$(id -u)" != 0 ]; then
    _ds_fail "network namespaces need root; run this as root to have them"
    return 1
  fi
  if ! _ds_has apt-get; then
    _ds_fail "no network namespace with a packet filter can be made here; install unshare (util-linux), ip (iproute2) and nft (nftables) with your distribution's package manager, then run this again"
    return 1
  fi
  _ds_locked netns _ds_netns_install
}

# ----------------------------------------------------------------------------------------------- browser

# The path of a Chromium that runs: the one that is named, else one on PATH.
_ds_find_chromium() {
  local name found
  for name in "${DOORSTEP_CHROMIUM:-}" chromium chromium-browser google-chrome; do
    [ -n "$name" ] && found=$(_ds_which "$name") && [ -n "$found" ] || continue
    if "$found" --version >/dev/null 2>&1 </dev/null; then
      printf '%s\n' "$found"
      return 0
    fi
  done
  return 1
}

_ds_chromium_install() {
  local log
  ! _ds_find_chromium >/dev/null || return 0
  log=$(_ds_log chromium) || return 1
  _ds_say "installing chromium with apt-get (about 20 s)"
  # The lists of packages may be missing or old.
  DEBIAN_FRONTEND=noninteractive _ds_limit 300 sh -c '
    install() { apt-get install -y --no-install-recommends "$@"; }
    install chromium || { apt-get update && install chromium; }' >"$log" 2>&1 </dev/null
}

need_chromium() {
  if ! DOORSTEP_CHROMIUM=$(_ds_find_chromium) && [ "$(id -u)" = 0 ] && _ds_has apt-get; then
    _ds_locked chromium _ds_chromium_install || true
    DOORSTEP_CHROMIUM=$(_ds_find_chromium) || true
  fi
  export DOORSTEP_CHROMIUM
  if [ -z "$DOORSTEP_CHROMIUM" ]; then
    _ds_fail "Chromium is not on PATH and could not be installed, so the stories of the dashboard are LEFT OUT; install it with your distribution's package manager (Debian: apt-get install chromium), or name it in DOORSTEP_CHROMIUM, then run this again"
    return 1
  fi
}

# ------------------------------------------------------------------------------------------------ docker

# Whether this user can start a Docker engine of its own, and has Compose 2.
_ds_docker_ready() {
  [ "$(id -u)" = 0 ] && _ds_has dockerd && _ds_has docker && _ds_has iptables && [ -x /bin/busybox ] &&
    docker compose version --short 2>/dev/null </dev/null | grep -q '^v\?[2-9]'
}

# Debian 12 has Compose 1 only; the next one has the plugin.
_ds_compose_install() {
  local plugin=$DOORSTEP_CACHE/docker/cli-plugins/docker-compose work
  [ ! -x "$plugin" ] || return 0
  work=$(mktemp -d) || return 1
  _ds_debian_unpack docker-compose "" "$work" trixie forky sid &&
    mkdir -p "${plugin%/*}" &&
    cp "$work/usr/libexec/docker/cli-plugins/docker-compose" "$plugin.new" &&
    mv "$plugin.new" "$plugin"
  local done=$?
  rm -rf "$work"
  return "$done"
}

_ds_docker_install() {
  local log packages='docker.io iptables busybox-static iproute2'
  log=$(_ds_log docker) || return 1
  if ! _ds_has dockerd || ! _ds_has docker || ! _ds_has iptables || [ ! -x /bin/busybox ]; then
    _ds_say "installing $packages with apt-get (about 20 s)"
    # Nothing of it is started here: the stories start engines of their own.
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive _ds_limit 300 sh -c '
      install() { apt-get install -y --no-install-recommends "$@"; }
      install "$@" || { apt-get update && install "$@"; }' sh $packages >"$log" 2>&1 </dev/null
  fi
  if ! docker compose version >/dev/null 2>&1 </dev/null; then
    _ds_say "unpacking Compose 2 from Debian's package (about 5 s)"
    _ds_compose_install >>"$log" 2>&1 </dev/null
  fi
}

need_docker() {
  if ! docker compose version >/dev/null 2>&1 </dev/null && [ -x "$DOORSTEP_CACHE/docker/cli-plugins/docker-compose" ]; then
    export DOCKER_CONFIG=$DOORSTEP_CACHE/docker
  fi
  ! _ds_docker_ready || return 0
  if [ "$(id -u)" != 0 ] || ! _ds_has apt-get; then
    _ds_fail "the stories with Docker start engines of their own: they need root, dockerd, docker with Compose 2, iptables and a static busybox in /bin; install what is missing and run this as root"
    return 1
  fi
  _ds_locked docker _ds_docker_install
  if ! docker compose version >/dev/null 2>&1 </dev/null; then
    export DOCKER_CONFIG=$DOORSTEP_CACHE/docker
  fi
  if ! _ds_docker_ready; then
    _ds_fail "Docker with Compose 2 could not be put in place (log: $DOORSTEP_CACHE/logs/docker.log)"
    return 1
  fi
}

# ------------------------------------------------------------------------------------------------ builds

# The absolute path of the build folder.
_ds_target_dir() {
  local dir=${CARGO_TARGET_DIR:-$DOORSTEP_ROOT/target}
  case $dir in /*) ;; *) dir=$PWD/$dir ;; esac
  printf '%s\n' "$dir"
}

# One hash over everything the Worker is made of: its sources and the tools that make it.
_ds_edge_inputs() {
  (
    cd "$DOORSTEP_ROOT" || exit 1
    {
      find edge shared \( -path edge/build -o -path edge/target -o -path shared/target -o -name node_modules \
        -o -name .wrangler \) -prune -o -type f -print0
      for file in Cargo.toml Cargo.lock rust-toolchain.toml rust-toolchain .cargo/config.toml package-lock.json; do
        [ ! -f "$file" ] || printf '%s\0' "$file"
      done
    } | LC_ALL=C sort -z | xargs -0 sh -c 'if command -v sha256sum >/dev/null; then sha256sum "$@"; else shasum -a 256 "$@"; fi' hash
    rustc --version
    printf 'worker-build %s\nRUSTFLAGS %s\n' "$DOORSTEP_WORKER_BUILD_VERSION" "${RUSTFLAGS:-}"
  ) | _ds_sha256 | cut -c 1-64
}

_ds_edge_ready() {
  local build=$DOORSTEP_ROOT/edge/build
  [ -s "$build/index.js" ] && [ -s "$build/index_bg.wasm" ] && [ -f "$build/.inputs" ] &&
    [ "$(cat "$build/.inputs")" = "$1" ]
}

_ds_size() { wc -c | tr -d ' '; }

_ds_edge_build() {
  local build=$DOORSTEP_ROOT/edge/build inputs log
  inputs=$(_ds_edge_inputs) || return 1
  ! _ds_edge_ready "$inputs" || return 0
  log=$(_ds_log edge) || return 1
  _ds_say "building the Worker"
  rm -f "$build/.inputs"
  if ! (
    CARGO_TARGET_DIR=$(_ds_target_dir) && export CARGO_TARGET_DIR &&
      cd "$DOORSTEP_ROOT/edge" &&
      RUST_BACKTRACE=0 RUST_LIB_BACKTRACE=0 "$WORKER_BUILD_BIN" --release
  ) >"$log" 2>&1 </dev/null || [ ! -s "$build/index.js" ] || [ ! -s "$build/index_bg.wasm" ]; then
    tail -n 40 "$log" >&2
    _ds_fail "the Worker in edge/ could not be built (log: $log); its last lines stand above: put right what they name, then run this again"
    return 1
  fi
  printf '%s\n' "$inputs" >"$build/.inputs"
  _ds_say "built edge/build: index_bg.wasm $(_ds_size <"$build/index_bg.wasm") bytes ($(gzip -9c "$build/index_bg.wasm" | _ds_size) gzipped), index.js $(_ds_size <"$build/index.js") bytes ($(gzip -9c "$build/index.js" | _ds_size) gzipped)"
}

build_edge() {
  local inputs key
  if inputs=$(_ds_edge_inputs 2>/dev/null) && _ds_edge_ready "$inputs"; then return 0; fi
  need_edge_tools || return 1
  key=$(printf '%s' "$DOORSTEP_ROOT" | _ds_sha256 | cut -c 1-12)
  _ds_locked "edge-$key" _ds_edge_build
}

build_executor() {
  local profile=${1:-release} target folder log
  case $profile in
    release) folder=release ;;
    dev) folder=debug ;;
    *)
      _ds_fail "build_executor knows the profiles release and dev, not '$profile'"
      return 1
      ;;
  esac
  need_cargo || return 1
  target=$(_ds_target_dir)
  log=$(_ds_log "executor-$profile") || return 1
  # cargo itself knows best whether there is something to do, and is quick to say so; the line is
  # printed when it takes longer than that.
  if ! _ds_with_notice "building the executor ($profile)" "$log" \
    env CARGO_TARGET_DIR="$target" cargo build --manifest-path "$DOORSTEP_ROOT/Cargo.toml" -p doorstep --profile "$profile"; then
    tail -n 40 "$log" >&2
    _ds_fail "the executor could not be built (log: $log); its last lines stand above: put right what they name, then run this again"
    return 1
  fi
  export DOORSTEP_BIN=$target/$folder/doorstep
  if [ ! -x "$DOORSTEP_BIN" ]; then
    _ds_fail "cargo built the executor but $DOORSTEP_BIN is not there (log: $log); see whether a Cargo configuration of yours names another target"
    return 1
  fi
}

build_demo() {
  local target log
  need_cargo || return 1
  target=$(_ds_target_dir)
  log=$(_ds_log demo) || return 1
  if ! _ds_with_notice "building the demo" "$log" \
    env CARGO_TARGET_DIR="$target" cargo build --manifest-path "$DOORSTEP_ROOT/Cargo.toml" -p doorstep-tests --bin demo; then
    tail -n 40 "$log" >&2
    _ds_fail "the demo could not be built (log: $log); its last lines stand above: put right what they name, then run this again"
    return 1
  fi
  export DEMO_BIN=$target/debug/demo
}

# _ds_with_notice LINE LOG COMMAND...: runs the command into LOG and prints LINE if it has not ended
# within two seconds.
_ds_with_notice() {
  local line=$1 log=$2 result=0 notice
  shift 2
  { sleep 2 >/dev/null 2>&1 && _ds_say "$line"; } </dev/null &
  notice=$!
  (cd "$DOORSTEP_ROOT" && "$@") >"$log" 2>&1 </dev/null || result=$?
  kill "$notice" 2>/dev/null || true
  wait "$notice" 2>/dev/null || true
  return "$result"
}
