#!/usr/bin/env bash
# Makes the base images available that the Dockerfiles and docker-compose.yaml name, also where no
# image registry can be reached.
#
#   tools/base-images.sh                     all of them
#   tools/base-images.sh python postgres     only those: debian, python, postgres, rust
#
# An image that is here is left alone; one that can be pulled is pulled; for any other a stand-in
# is built from Debian's packages, and the one of Rust from this machine's toolchain. A stand-in
# does what the image of that name does for this project, no more, and carries a label:
#
#   docker images --filter label=hostler.stand-in
#
# Environment: FORCE=1 builds the stand-in even where the image is here; MIRROR and SECURITY are
# Debian's archives, by default those that this machine's apt uses.
# Stand-ins need root, a Docker engine, debootstrap (installed if missing) and Debian's archive.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
suite=bookworm
rust_version=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$here/../Cargo.toml")
label=hostler.stand-in=1
# The stand-ins are written for the classic builder, which needs no plugin.
export DOCKER_BUILDKIT=0

main() {
  docker info >/dev/null 2>&1 || die "no Docker engine answers"
  [ $# -gt 0 ] || set -- debian python postgres rust
  local name
  for name; do
    case $name in
      debian)   want "debian:$suite-slim" build_debian ;;
      python)   want "python:3.11-slim-$suite" build_python ;;
      postgres) want "postgres:15-$suite" build_postgres ;;
      rust)     want "rust:$rust_version-slim-$suite" build_rust ;;
      *)        die "unknown image '$name': debian, python, postgres or rust" ;;
    esac
  done
}

# want IMAGE BUILDER: makes IMAGE available in the cheapest way that works.
want() {
  if [ -z "${FORCE:-}" ]; then
    if have "$1"; then say "$1: here"; return; fi
    if pull "$1"; then say "$1: pulled"; return; fi
  fi
  say "$1: building a stand-in"
  local log started=$SECONDS
  log=$(mktemp)
  # In the background, because bash ignores `set -e` in a function whose failure is asked for.
  "$2" "$1" >"$log" 2>&1 &
  wait $! || { tail -40 "$log" >&2; die "$1: failed, the whole log is in $log"; }
  rm "$log"
  local bytes
  bytes=$(docker image inspect --format '{{.Size}}' "$1")
  say "$1: stand-in of $((bytes / 1000000)) MB in $((SECONDS - started)) s"
}

have() { docker image inspect "$1" >/dev/null 2>&1; }

# One failure is enough: a registry that can't be reached isn't waited for again.
registry=yes
pull() {
  [ "$registry" = yes ] || return 1
  timeout 120 docker pull --quiet "$1" >/dev/null 2>&1 || { registry=no; return 1; }
}

build_debian() {
  local scratch root
  scratch=$(mktemp -d); root=$scratch/root
  trap 'rm -rf "$scratch"' EXIT
  command -v debootstrap >/dev/null || {
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends debootstrap
  }
  local mirror=${MIRROR:-$(archive $suite)} security=${SECURITY:-$(archive $suite-security)}
  debootstrap --variant=minbase "$suite" "$root" "$mirror"
  printf 'deb %s main\n' "$mirror $suite" "$mirror $suite-updates" "$security $suite-security" \
    >"$root/etc/apt/sources.list"

  # No service starts while an image is built, and nothing stays that an image does not need.
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
  chmod 755 "$root/usr/sbin/policy-rc.d"
  printf 'force-unsafe-io\n' >"$root/etc/dpkg/dpkg.cfg.d/image"
  printf 'path-exclude /usr/share/%s/*\n' doc man groff info lintian linda locale \
    >>"$root/etc/dpkg/dpkg.cfg.d/image"
  printf 'path-include /usr/share/doc/*/copyright\n' >>"$root/etc/dpkg/dpkg.cfg.d/image"
  cat >"$root/etc/apt/apt.conf.d/image" <<'END'
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; };
Acquire::Languages "none";
Acquire::GzipIndexes "true";
END
  find "$root/usr/share/doc" -mindepth 2 ! -type d ! -name copyright -delete
  rm -rf "$root"/usr/share/{man,groff,info,lintian,linda,locale}/* \
    "$root"/var/{lib/apt/lists,cache/apt,log}/* "$root"/{dev,run,tmp}/* \
    "$root"/etc/{resolv.conf,hostname}
  mkdir -p "$root"/var/{lib/apt/lists,cache/apt/archives}/partial
  : >"$root/etc/machine-id"

  # It trusts whom this machine trusts, so that pip and cargo work behind a proxy that signs.
  mkdir -p "$root/etc/ssl/certs" "$root/usr/local/share/ca-certificates"
  cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  cp -rL /usr/local/share/ca-certificates/. "$root/usr/local/share/ca-certificates/"

  tar -C "$root" --numeric-owner -c . |
    docker import --change 'CMD ["bash"]' --change "LABEL $label" \
      --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' - "$1"
}

# archive SUITE: the address from which this machine's apt takes SUITE.
archive() {
  apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' |
    awk -v suite="$1" '$2 == suite { sub(/\/$/, "", $1); print $1; exit }' | grep . ||
    die "apt knows no archive of $1: set MIRROR and SECURITY"
}

build_python()   { want_debian; build "$1" "$here/base-images/python"; }
build_postgres() { want_debian; build "$1" "$here/base-images/postgres"; }

build_rust() {
  local scratch sysroot version
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  # Asked from the project's directory, so that rustup answers with the project's toolchain.
  cd "$here/.."
  version=$(rustc --version)
  [[ $version == "rustc $rust_version."* ]] || die "this machine has $version, not $rust_version"
  sysroot=$(rustc --print sysroot)
  want_debian
  # What rustup's minimal profile has: the compiler, cargo and this machine's standard library.
  mkdir -p "$scratch"/toolchain/{bin,lib}
  cp -a "$sysroot"/bin/{cargo,rustc,rustdoc} "$scratch/toolchain/bin/"
  cp -a "$sysroot"/lib/*.so* "$scratch/toolchain/lib/"
  tar -C "$sysroot/lib" -c --exclude='rustlib/src' --exclude='rustlib/*wasm*' --exclude='*-rt.*san.a' rustlib |
    tar -C "$scratch/toolchain/lib" -x
  cp "$here/base-images/rust/Dockerfile" "$scratch/"
  build "$1" "$scratch"
}

want_debian() { FORCE='' want "debian:$suite-slim" build_debian; }
build()       { docker build --quiet --force-rm --label "$label" --tag "$1" "$2"; }
say()         { printf 'base-images: %s\n' "$*" >&2; }
die()         { say "$*"; exit 1; }

main "$@"
