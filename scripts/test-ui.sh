#!/usr/bin/env bash
# The pages' own tests: types, then units.
set -euo pipefail
cd "$(dirname "$0")/../crates/console/ui"
../../../scripts/install-npm.sh .
echo '== checking the types of the pages'
npm run check --silent
echo '== unit tests of the pages'
npm test --silent
