#!/bin/sh
# The hook of every client here that proves by dns-01: a TXT record is a file $TXT/NAME/VALUE.
set -eu
add() { mkdir -p "$TXT/$1" && : >"$TXT/$1/$2"; }
remove() { rm -f "$TXT/$1/$2"; }
case "${1:-}" in
present) add "${2%.}" "$3" ;; # lego: NAME. VALUE
cleanup) remove "${2%.}" "$3" ;;
deploy_challenge) add "_acme-challenge.$2" "$4" ;; # dehydrated: DOMAIN TOKEN VALUE
clean_challenge) remove "_acme-challenge.$2" "$4" ;;
begin) [ "$2" = dns-01 ] && add "_acme-challenge.$3" "$5" ;; # uacme: TYPE DOMAIN TOKEN VALUE
done | failed) remove "_acme-challenge.$3" "$5" ;;
setup) add "_acme-challenge.$2" "$3" ;; # mod_md: DOMAIN VALUE
teardown) rm -rf "$TXT/_acme-challenge.$2" ;;
challenge-dns-start) add "_acme-challenge.$2" "$4" ;; # acmetool: DOMAIN TARGET VALUE
challenge-dns-stop) remove "_acme-challenge.$2" "$4" ;;
certbot-auth) add "_acme-challenge.$CERTBOT_DOMAIN" "$CERTBOT_VALIDATION" ;;
certbot-cleanup) remove "_acme-challenge.$CERTBOT_DOMAIN" "$CERTBOT_VALIDATION" ;;
challenge-*) exit 42 ;; # acmetool: not done by this hook
*) ;;                   # dehydrated tells of much else
esac
