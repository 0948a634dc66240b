#!/usr/bin/env bash
# Runs a command in a view of the machine in which crun works: by itself it refuses a hybrid machine (cgroups(7)) whose
# cgroup2 tree has a controller left. podshim gives its pods such a view; what runs crun without podshim needs it, too.
set -euo pipefail
controllers=/sys/fs/cgroup/unified/cgroup.controllers
if [ "$(id -u)" = 0 ] && [ -n "$(cat $controllers 2> /dev/null || true)" ]; then
  exec unshare --mount --propagation slave sh -c "mount --bind /dev/null $controllers && exec \"\$@\"" sh "$@"
fi
exec "$@"
