#!/usr/bin/env bash
# Makes the files beside it anew: a server and a client certificate of each kind that users have, and some that nobody may
# accept. Elliptic curves, because RSA keys take long to make and much room; two RSA ones, for their signatures.
set -euo pipefail
cd "$(dirname "$0")"
rm -f ./*.crt ./*.key
days=36500
p256=(-newkey ec -pkeyopt ec_paramgen_curve:P-256)
tmp=$(mktemp -d)
selfsigned() { # name, common name, more
  local name=$1 cn=$2; shift 2
  openssl req -x509 -sha256 -nodes "${p256[@]}" -days $days -keyout "$name.key" -out "$name.crt" -subj "/CN=$cn" "$@"
}
issue() { # authority, name, common name, extensions, key arguments
  local authority=$1 name=$2 cn=$3 extensions=$4; shift 4
  openssl req -nodes "$@" -keyout "$name.key" -out "$tmp/csr" -subj "/CN=$cn"
  if [ -n "$extensions" ]; then
    printf '%b' "$extensions" > "$tmp/ext"
    set -- -extfile "$tmp/ext"
  else
    set --
  fi
  openssl x509 -req -sha256 -days $days -in "$tmp/csr" -CA "$authority.crt" -CAkey "$authority.key" -set_serial "$RANDOM" \
    -out "$name.crt" "$@"
}
dated() { # authority or -, name, common name, extensions, first and last day
  local authority=$1 name=$2 cn=$3 extensions=$4 first=$5 last=$6
  openssl req -new -nodes "${p256[@]}" -keyout "$name.key" -out "$tmp/csr" -subj "/CN=$cn"
  printf '%b' "$extensions" > "$tmp/ext"
  printf '[ca]\ndefault_ca=c\n[c]\ndatabase=%s/index\nnew_certs_dir=%s\ndefault_md=sha256\nunique_subject=no\nrand_serial=yes\npolicy=p\n[p]\ncommonName=supplied\n' \
    "$tmp" "$tmp" > "$tmp/conf"
  : > "$tmp/index"
  local signer=(-selfsign -keyfile "$name.key")
  [ "$authority" = - ] || signer=(-cert "$authority.crt" -keyfile "$authority.key")
  openssl ca -batch -config "$tmp/conf" -in "$tmp/csr" "${signer[@]}" -extfile "$tmp/ext" \
    -startdate "${first}000000Z" -enddate "${last}235959Z" -notext -out "$name.crt"
}
selfsigned ca "An authority"
selfsigned namesake "An authority"
both='basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\n'
for side in server client; do
  host=$side.example.com
  selfsigned "self-cn-$side" "$host"
  selfsigned "self-san-$side" "$host" -addext "subjectAltName = DNS:$host"
  issue ca "ca-san-$side" "$host" "${both}subjectAltName=DNS:$host\n" "${p256[@]}"
  issue ca "ca-cn-$side" "$host" "$both" "${p256[@]}"
  issue ca "ca-v1-$side" "$host" "" "${p256[@]}"
  issue ca "ca-p521-$side" "$host" "${both}subjectAltName=DNS:$host\n" -newkey ec -pkeyopt ec_paramgen_curve:P-521
  issue ca "ca-ed25519-$side" "$host" "${both}subjectAltName=DNS:$host\n" -newkey ed25519
  issue ca "ca-rsa-$side" "$host" "${both}subjectAltName=DNS:$host\n" -newkey rsa:2048
  issue namesake "other-v1-$side" "$host" "" "${p256[@]}"
  issue namesake "other-san-$side" "$host" "${both}subjectAltName=DNS:$host\n" "${p256[@]}"
done
selfsigned self-serveronly client.example.com -addext "extendedKeyUsage = serverAuth"
# signed by what is no authority, and the authority's key under another name
issue ca-san-server byleaf-v1-client client.example.com "" "${p256[@]}"
openssl req -x509 -new -sha256 -days $days -key ca.key -out renamed.crt -subj "/CN=Another name"
issue ca ca-ip-server 10.23.42.1 "${both}subjectAltName=IP:10.23.42.1\n" "${p256[@]}"
issue ca ca-othersan-server server.example.com "${both}subjectAltName=DNS:other.example.com\n" "${p256[@]}"
issue ca ca-clientonly server.example.com 'basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\nsubjectAltName=DNS:server.example.com\n' "${p256[@]}"
issue ca ca-serveronly client.example.com 'basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n' "${p256[@]}"
selfsigned self-cn-stranger stranger.example.com
# of the past and of the future
for side in server client; do
  host=$side.example.com
  dated ca "ca-expired-$side" "$host" "${both}subjectAltName=DNS:$host\n" 20200101 20200131
  dated ca "ca-early-$side" "$host" "${both}subjectAltName=DNS:$host\n" 21200101 21261231
done
dated - self-early client.example.com 'basicConstraints=critical,CA:TRUE\nsubjectAltName=DNS:server.example.com\n' 21200101 21261231
rm -r "$tmp"
