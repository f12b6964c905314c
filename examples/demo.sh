#!/bin/sh
# Builds examples/go with the network shut, runs what comes out, and shows what
# happens when something is missing from the cache. "make demo" runs it in the
# lab, which sets HERMETIC_LAB_FRONTEND and HERMETIC_LAB_GOLANG.
set -eu

: "${HERMETIC_LAB_FRONTEND:?run make demo}" "${HERMETIC_LAB_GOLANG:?run make demo}"
cd "$(dirname "$0")/go"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# show prints a command and runs it.
show() {
	printf '\n$ %s\n' "$*"
	"$@"
}

# The lab has buildx; a user's machine has it as a plugin of docker.
buildx=buildx
if docker buildx version >/dev/null 2>&1; then
	buildx='docker buildx'
fi

fail() {
	echo "demo: $*" >&2
	exit 1
}

cat <<END
1. A Go program with 48 modules, from an ordinary Dockerfile. hermetic fetches
   what go.sum names and starts the build; no RUN step has a network.
END
show hermetic build --frontend "$HERMETIC_LAB_FRONTEND" --build-arg GO_IMAGE="$HERMETIC_LAB_GOLANG" \
	--progress plain --output "type=local,dest=$work/out" .

printf '\n2. It runs.\n'
show "$work/out/inventory" list "left hinge" "right hinge" | tee "$work/said"
grep -q 'name: Left Hinge' "$work/said" || fail "the program does not say its list"

printf '\n3. Three modules are lost from the cache: the build says which, before any step runs.\n'
show hermetic prefetch --progress quiet . | tee "$work/deps"
cp -R "$(tail -n 1 "$work/deps")" "$work/damaged"
for module in github.com/go-chi/chi/v5 github.com/spf13/cobra go.uber.org/zap; do
	blob=$(awk -v m="$module" '$1 == "input" && $3 == m && $5 == "zip" { sub("sha256:", "", $8); print $8 }' \
		"$work/damaged/hermetic.manifest")
	[ -n "$blob" ] || fail "$module is not in the manifest"
	rm -f "$work/damaged/gomod/blobs/sha256/$blob"
done
status=0
show $buildx build --build-arg BUILDKIT_SYNTAX="$HERMETIC_LAB_FRONTEND" --build-context hermetic="$work/damaged" \
	--build-arg GO_IMAGE="$HERMETIC_LAB_GOLANG" --progress plain . >"$work/log" 2>&1 || status=$?
cat "$work/log"
[ "$status" -ne 0 ] || fail "a build with a damaged cache went well"
grep -q 'MissingInput: 3 inputs are not in the cache' "$work/log" || fail "the error does not name three inputs"
printf '\nThat build failed, as it should.\n'
