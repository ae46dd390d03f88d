#!/usr/bin/env bash
# install-npm.sh DIR: `npm ci` in DIR, only if its package-lock.json changed since the last time.
set -euo pipefail
cd "$1"
lock=$(sha256sum package-lock.json | cut -d' ' -f1)
stamp=node_modules/.installed-from
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$lock" ] && exit 0
echo "== installing npm packages in ${PWD##*/} (once)"
npm ci --no-audit --no-fund --loglevel=error
echo "$lock" > "$stamp"
