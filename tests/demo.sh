#!/usr/bin/env bash
# A pod on this machine, from nothing to nothing: nginx and a sidecar that writes its page into a shared volume, behind a
# published port. The image is made here, of this machine's own nginx and busybox; everything is kept in a temporary
# directory and removed at the end.
set -euo pipefail

podctl=$(realpath "$1")
[ "$(id -u)" = 0 ] || { echo 'make demo: pods need root for their namespaces, mounts and network' >&2; exit 1; }
work=$(mktemp -d /tmp/podctl-demo.XXXXXX)
podctl() { "$podctl" --root "$work/state" --runroot "$work/run" "$@"; }
# Processes that were told of the temporary directory.
running() { grep -lsF -- "$work/run" /proc/[0-9]*/cmdline || true; }
clean() {
  # Whatever is left when something failed; quick when nothing is.
  {
    podctl pod rm -f -t 0 demo
    podctl volume rm -f html
    podctl network rm -f demo
  } > /dev/null 2>&1 || true
  # A shim takes down its firewall table a moment after its pod has gone, and reads that directory for it.
  for ((tenths = 0; tenths < 50; tenths++)); do
    [ -n "$(running)" ] || break
    sleep 0.1
  done
  rm -rf "$work"
}
trap clean EXIT

# Says what is typed, then types it.
type() {
  printf '\n\033[1m$ %s\033[0m\n' "$*"
  "$@"
}

# A docker-archive with one layer: busybox, nginx and the libraries it names.
image() {
  local root=$work/image/root busybox library
  busybox=$(command -v busybox)
  mkdir -p "$root"/{bin,dev,etc/nginx,proc,run,sys,tmp,usr/sbin,usr/share/nginx/html,var/lib/nginx,var/log/nginx}
  cp "$busybox" "$root/bin/busybox"
  for name in $("$busybox" --list | grep -vx busybox); do ln -s busybox "$root/bin/$name"; done
  cp /usr/sbin/nginx "$root/usr/sbin/nginx"
  ldd /usr/sbin/nginx | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
  done
  echo 'root:x:0:0:root:/root:/bin/sh
www:x:33:33:www:/:/bin/false' > "$root/etc/passwd"
  echo 'root:x:0:
www:x:33:' > "$root/etc/group"
  echo 'user www; worker_processes 1; error_log /dev/stderr; pid /run/nginx.pid;
events {}
http { access_log /dev/stdout; server { listen 80; default_type text/plain; root /usr/share/nginx/html; index index.html; } }' > "$root/etc/nginx/nginx.conf"
  tar -C "$root" --sort=name --owner=0 --group=0 -cf "$work/image/layer.tar" .
  local layer
  layer=$(sha256sum "$work/image/layer.tar" | cut -d ' ' -f 1)
  printf '{"architecture":"%s","os":"linux","config":{"Env":["PATH=/usr/sbin:/bin"],"Cmd":["nginx","-g","daemon off;"],"StopSignal":"SIGQUIT"},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$(dpkg --print-architecture)" "$layer" > "$work/image/config.json"
  echo '[{"Config":"config.json","RepoTags":["localhost/demo:latest"],"Layers":["layer.tar"]}]' > "$work/image/manifest.json"
  tar -C "$work/image" -cf "$work/demo.tar" manifest.json config.json layer.tar
  rm -rf "$work/image"
}

# The first port from 8080 on that nobody listens on.
port=8080
while (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; do port=$((port + 1)); done

echo 'An image of this machine'\''s nginx and busybox …'
image
type podctl load -q -i "$work/demo.tar"
# A network of its own: the default one's subnet may be another engine's here.
type podctl network create demo
type podctl pod create --name demo --network demo -p "$port:80" -v html:/usr/share/nginx/html
type podctl run -d --pod demo --name web localhost/demo
type podctl run -d --pod demo --name sidecar localhost/demo \
  sh -c 'trap exit QUIT; while true; do date >> /usr/share/nginx/html/index.html; sleep 1; done'
type podctl pod ps
type podctl ps --pod

# Until the sidecar has written and nginx answers.
for attempt in $(seq 100); do
  if curl -fsS "http://localhost:$port" > /dev/null 2>&1; then break; fi
  [ "$attempt" -lt 100 ] || { echo 'the page does not come' >&2; podctl pod logs demo >&2; exit 1; }
  sleep 0.1
done
type curl -sS "http://localhost:$port"
sleep 1.1
type curl -sS "http://localhost:$port"
type podctl pod top demo
type podctl pod stop -t 3 demo
type podctl pod rm demo
type podctl volume rm html
type podctl network rm demo
trap - EXIT
clean
if [ -n "$(running)" ] || grep -qF "$work" /proc/self/mounts || [ -e "$work" ]; then
  echo "something of $work is left" >&2
  exit 1
fi
printf '\nThat was a pod: one address, one port, one volume, two containers. Nothing of it is left.\n'
