#!/bin/sh
# Makes the fixtures of this directory with ssh-keygen (OpenSSH 8.9 or later),
# with keys that are thrown away: sh make.sh
set -eu
cd "$(dirname "$0")"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
rm -f ./*.sig ./*.pub

key() { # NAME OPTIONS…: a key without passphrase
	name=$1
	shift
	ssh-keygen -q -N '' -C "$name@example.com" -f "$tmp/$name" "$@"
	cp "$tmp/$name.pub" .
}

sign() { # OUTPUT KEY NAMESPACE HASH FILE
	cp "$5" "$tmp/file"
	ssh-keygen -q -Y sign -n "$3" -O hashalg="$4" -f "$tmp/$2" "$tmp/file" 2>/dev/null
	mv "$tmp/file.sig" "$1"
}

key ed25519 -t ed25519
key rsa -t rsa -b 3072
key ecdsa256 -t ecdsa -b 256
key ecdsa384 -t ecdsa -b 384
key ecdsa521 -t ecdsa -b 521
key stranger -t ed25519
key short -t rsa -b 1024
for name in ed25519 rsa ecdsa256 ecdsa384 ecdsa521 stranger; do
	sign "$name-sha256.sig" "$name" hermetic sha256 hermetic.yaml
	sign "$name-sha512.sig" "$name" hermetic sha512 hermetic.yaml
done
sign namespace.sig ed25519 file sha512 hermetic.yaml
printf 'strict: true\n' >"$tmp/other.yaml"
sign otherfile.sig ed25519 hermetic sha512 "$tmp/other.yaml"
ssh-keygen -q -s "$tmp/ed25519" -I authority -n someone "$tmp/stranger.pub"
cp "$tmp/stranger-cert.pub" certificate.pub
