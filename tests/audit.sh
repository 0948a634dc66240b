#!/usr/bin/env bash
# Dependencies: licences, bans and sources are held by tests/architecture.rs wherever the tests run. What only cargo-deny
# can tell, advisories, is asked where it is installed and can reach its database; else that is said aloud.
set -euo pipefail

if ! version=$(cargo deny --version 2> /dev/null); then
  echo 'NOT CHECKED: advisories (cargo-deny is not installed: cargo install cargo-deny --locked). Licences, bans and sources are checked by the suite.'
  exit 0
fi
minor=${version#cargo-deny 0.}
if [ "${minor%%.*}" -lt 16 ]; then
  echo "NOT CHECKED: advisories ($version is too old for this cargo: cargo install cargo-deny --locked). Licences, bans and sources are checked by the suite."
  exit 0
fi
config=$PWD/.deny.toml
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! cargo deny --log-level error check --config "$config" bans licenses sources > "$log" 2>&1; then
  cat "$log" >&2
  exit 1
fi
if ! timeout 120 cargo deny fetch db > "$log" 2>&1; then
  echo 'NOT CHECKED: advisories (their database cannot be reached from here). Licences, bans and sources are fine.'
  exit 0
fi
cargo deny --log-level error check --config "$config" --disable-fetch advisories
echo 'advisories, licences, bans and sources are fine'
