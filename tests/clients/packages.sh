#!/bin/sh
# Install the Debian packages that `make interop` drives; what is there already stays as it is.
set -eu
programs="lego:lego dehydrated:dehydrated uacme:uacme acme-tiny:acme-tiny node:nodejs npm:npm unshare:util-linux"
if [ "${CERTEASY_TEST_SERVER:-}" = pebble ]; then programs="$programs pebble:pebble"; fi
missing=
for pair in $programs; do
  command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair#*:}"
done
if [ -z "$missing" ]; then exit 0; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "make interop needs:$missing (as root on Debian it installs them itself)" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # one word per package
apt-get install -y -qq --no-install-recommends $missing
