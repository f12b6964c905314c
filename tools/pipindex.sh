#!/bin/sh
# Prints the package index this machine's pip asks: the one that it is set to,
# else the one that it was made with. Nothing where there is no pip, or where
# the URL has a credential in it.
set -eu

url=${PIP_INDEX_URL:-$(pip config get global.index-url 2>/dev/null || :)}
if [ -z "$url" ]; then
	url=$(python3 -c 'from pip._internal.models.index import PyPI; print(PyPI.simple_url)' 2>/dev/null || :)
fi
case $url in
*@*) ;;
*) echo "$url" ;;
esac
