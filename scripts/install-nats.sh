#!/usr/bin/env bash
# A NATS server that can be told to sync before it answers (from 2.10 on), of the newest Debian release, into .cache/nats: Debian 12 has 2.9.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$PWD/.cache/nats
[ -x "$folder/usr/sbin/nats-server" ] && exit 0
echo "== fetching nats-server of Debian 13 (once)"
mkdir -p "$folder/apt/lists/partial" "$folder/apt/cache/archives/partial"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main" > "$folder/apt/sources.list"
# Lists of its own: nothing of the newer release gets to the system.
apt() {
    apt-get -qq -o "Dir::Etc::SourceList=$folder/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$folder/apt/lists" \
        -o "Dir::Cache=$folder/apt/cache" -o "APT::Sandbox::User=$(id -un)" "$@"
}
apt update
(cd "$folder" && apt download nats-server)
dpkg-deb -x "$folder"/nats-server_*.deb "$folder"
rm -r "$folder/apt" "$folder"/nats-server_*.deb
