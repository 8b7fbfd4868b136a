#!/usr/bin/env bash
# makes the files beside it anew
set -euo pipefail
cd "$(dirname "$0")"
days=36500
p256=(-newkey ec -pkeyopt ec_paramgen_curve:P-256)
openssl req -x509 -nodes "${p256[@]}" -days $days -keyout cn_only.key -out cn_only.crt -subj "/CN=cn-only.example.com"
openssl ec -in cn_only.key -out cn_only.sec1.key
openssl pkcs8 -topk8 -in cn_only.key -out encrypted.key -passout pass:secret
openssl req -x509 -nodes "${p256[@]}" -days $days -keyout san.key -out san.crt \
  -subj "/CN=first.example.com/O=zrepl/CN=san.example.com" -addext "subjectAltName = DNS:san.example.com"
openssl req -nodes -newkey rsa:2048 -keyout v1.key -out v1.csr -subj "/CN=v1.example.com"
openssl x509 -req -days $days -in v1.csr -CA cn_only.crt -CAkey cn_only.key -set_serial 1 -out v1.crt
openssl rsa -traditional -in v1.key -out v1.pkcs1.key
openssl req -x509 -nodes -newkey ed25519 -days $days -keyout ed25519.key -out ed25519.crt -subj "/O=no common name"
openssl req -new -nodes "${p256[@]}" -keyout expired.key -out expired.csr -subj "/CN=expired.example.com"
tmp=$(mktemp -d)
touch "$tmp/index"
printf '[ca]\ndefault_ca=c\n[c]\ndatabase=%s/index\nnew_certs_dir=%s\nserial=%s/serial\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n' \
  "$tmp" "$tmp" "$tmp" > "$tmp/conf"
openssl ca -batch -selfsign -create_serial -config "$tmp/conf" -in expired.csr -keyfile expired.key \
  -startdate 20200101000000Z -enddate 20200131235959Z -notext -out expired.crt
rm -r "$tmp" v1.csr expired.csr
