#!/usr/bin/env bash
# install-python.sh REQUIREMENTS: makes .cache/venv and installs the pinned packages, only if the list changed.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.cache/venv
wanted=$1
stamp=$venv/.installed-$(basename "$(dirname "$wanted")")
now=$(sha256sum "$wanted" | cut -d' ' -f1)
[ -x "$venv/bin/python" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$now" ] && exit 0
echo "== installing the Python packages of $wanted into $venv (once)"
mkdir -p .cache
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$wanted"
echo "$now" > "$stamp"
