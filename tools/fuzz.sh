#!/usr/bin/env bash
# Runs one fuzz test for FUZZTIME and says in one line what came of it; `make
# fuzz` runs this for each. What a failed one says follows its line; the input
# that did it is then a new file in the test's corpus.
set -uo pipefail
dir=$1 name=$2
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Shrinking an interesting input is bounded, or decoders spend their time on it.
go test -run '^$' -fuzz "^$name\$" -fuzztime "$FUZZTIME" -fuzzminimizetime 20x -parallel 1 "$dir" >"$log" 2>&1
status=$?
# The last line of progress; one that ends before the corpus is through has none
# but of that.
last=$(sed -n \
	-e 's/^fuzz: elapsed: \([^,]*\), execs: \([0-9]*\) .*(total: \([0-9]*\))$/\1, \2 runs, \3 inputs/p' \
	-e 's/^fuzz: elapsed: \([^,]*\), gathering baseline coverage: \([0-9/]*\) completed$/\1, \2 of the known inputs and no others/p' \
	"$log" | tail -n 1)
# The end of FUZZTIME in the middle of a run is reported as if the run had failed
# (go.dev/issue/75804, fixed in Go 1.27): nothing else is said then, and no input
# is kept.
if [ "$status" != 0 ] && ! grep -q 'Failing input' "$log" &&
	[ "$(grep -A1 -e '--- FAIL' "$log" | sed 's/(.*//')" = "--- FAIL: $name 
    context deadline exceeded" ]; then
	status=0
fi
if [ "$status" = 0 ] && [ -n "$last" ]; then
	echo "fuzz ok   $dir $name: $last"
	exit
fi
{
	echo "fuzz FAIL $dir $name: ${last:-it did not run}"
	cat "$log"
}
exit 1
