#!/bin/sh
# Sees to what the tests need beside Python: a browser, PostgreSQL's server programs, msgfmt.
# Installs what is missing where it may (root, with apt-get); else says what to install.
set -eu

have() { command -v "$1" >/dev/null 2>&1; }
have_initdb() { have initdb || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; }

missing=
have chromium-headless-shell || have chromium || missing="$missing chromium-headless-shell"
have_initdb || missing="$missing postgresql"
have msgfmt || missing="$missing gettext"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! have apt-get; then
    echo "The tests need what is not installed here. As root: apt-get install$missing" >&2
    exit 1
fi
echo "Installing for the tests:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq </dev/null
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing </dev/null >/dev/null
