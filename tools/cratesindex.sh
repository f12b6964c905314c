#!/bin/sh
# Prints the index of the registry that this machine's cargo uses for crates,
# as "sparse+URL"; nothing if there is no cargo, or if it has another kind. No
# setting of cargo prints it, so cargo is asked for a crate through a proxy that
# refuses, and its complaint names the URL. Nothing leaves the machine.
set -u

command -v cargo >/dev/null || exit 0
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src" "$dir/home"
printf '[package]\nname = "ask"\nversion = "0.0.0"\n[dependencies]\nlibc = "0.2"\n' >"$dir/Cargo.toml"
: >"$dir/src/lib.rs"
home=${CARGO_HOME:-$HOME/.cargo}
for f in config config.toml; do
	[ -r "$home/$f" ] && cp "$home/$f" "$dir/home/"
done
cd "$dir" && CARGO_HOME=$dir/home CARGO_HTTP_PROXY=http://127.0.0.1:9 CARGO_NET_RETRY=0 \
	timeout 30 cargo fetch 2>&1 </dev/null | sed -n 's|^.*`\(https\{0,1\}://.*/\)config\.json`.*$|sparse+\1|p' | head -n 1
