#!/usr/bin/env bash
# Installs Debian's packages that are missing, for the purposes named: build run test compat collectors demo bench.
# Silent and offline when everything is there.
set -euo pipefail

declare -A packages=(
  # ring and the linker need a C compiler; protoc reads the messages.
  [build]='gcc libc6-dev protobuf-compiler'
  # What podctl itself needs to run.
  [run]='crun'
  [test]='busybox-static curl docker-registry iproute2 mmdebstrap nftables runc systemd util-linux zstd'
  [demo]='busybox-static curl nginx-light'
  [compat]='podman skopeo'
  [bench]='aardvark-dns catatonit conmon iptables netavark podman'
  [collectors]='libestr0 libfastjson4 syslog-ng-core'
)
declare -A files=([nginx-light]=/usr/sbin/nginx)

missing=()
for purpose in "$@"; do
  for package in ${packages[$purpose]}; do
    if [ -e "${files[$package]:-}" ]; then continue; fi
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2> /dev/null || true)
    [ "$status" = installed ] || missing+=("$package")
  done
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" != 0 ]; then
  echo "missing: ${missing[*]} — as root: apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi
echo "installing ${missing[*]}"
# docker-registry and nginx would start a service each, which nobody asked for.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f $policy' EXIT
  printf '#!/bin/sh\nexit 101\n' > $policy
  chmod 755 $policy
fi
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! { apt-get -q update && apt-get -qy install --no-install-recommends "${missing[@]}"; } > "$log" 2>&1; then
  cat "$log" >&2
  echo "these could not be installed: ${missing[*]}" >&2
  exit 1
fi
rm -f "$log"
