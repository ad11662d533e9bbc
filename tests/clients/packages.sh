#!/bin/sh
# Install the Debian packages that `make interop` drives; what is there already stays as it is.
set -eu
packages="acme-tiny acmetool apache2-bin caddy certbot curl dehydrated gcc gcc-mingw-w64-x86-64
  golang-go golang-golang-x-crypto-dev haproxy iproute2 krb5-user lacme lacme-accountd lego
  libcrypt-openssl-rsa-perl libkrb5-dev liblwp-protocol-https-perl libnginx-mod-stream
  nginx-light openssl pebble prometheus python3-dev python3-samba ruby-acme-client samba
  samba-ad-dc samba-ad-provision samba-dsdb-modules samba-vfs-modules uacme util-linux winbind wine wine64"
missing=
for package in $packages; do
  dpkg-query --show --showformat='${db:Status-Status}\n' "$package" 2>/dev/null |
    grep -qx installed || missing="$missing $package"
done
# These two may come from elsewhere than Debian.
command -v node >/dev/null || missing="$missing nodejs"
command -v npm >/dev/null || missing="$missing npm"
if [ -z "$missing" ]; then exit 0; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "make interop needs:$missing (as root on Debian it installs them itself)" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # one word per package
apt-get install -y -qq --no-install-recommends $missing
