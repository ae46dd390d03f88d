#!/usr/bin/env bash
# Builds the console's pages (crates/console/ui → dist), only if what they are made of has changed.
set -euo pipefail
cd "$(dirname "$0")/../crates/console/ui"
stamp=dist/.built-from
sources() {
    find . \( -name node_modules -o -name dist -o -name pictures \) -prune -o -type f -print0 | sort -z | xargs -0 sha256sum
}
now=$(sources | sha256sum | cut -d' ' -f1)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$now" ] && [ -f dist/index.html ]; then
    exit 0
fi
../../../scripts/install-npm.sh .
echo '== building the pages (about half a minute)'
npm run build --silent
sources | sha256sum | cut -d' ' -f1 > "$stamp"
