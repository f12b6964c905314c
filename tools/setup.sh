#!/bin/sh
# Installs the system packages that the tests need beside Go, git and make:
#   runc             runs the containers of buildkitd
#   busybox-static   the base image of the tests
#   mmdebstrap       makes images with packages of this machine's Debian
#   openssh-client   the agent that BuildKit's own tests start and ask
#   openssh-server   the server that private git repositories are fetched from
#   e2fsprogs        the file system that they make
#   buildah          builds as Konflux does
#   python3-pip      gets the packages that sealed builds install
# On Debian, as root; elsewhere it says what is missing.
set -eu

missing=
command -v runc >/dev/null || [ -x /usr/sbin/runc ] || missing="$missing runc"
# The package busybox installs the same file, linked to libraries that an empty
# image does not have.
if ! [ -x /bin/busybox ] || ldd /bin/busybox >/dev/null 2>&1; then
	missing="$missing busybox-static"
fi
command -v mmdebstrap >/dev/null || missing="$missing mmdebstrap"
command -v ssh-agent >/dev/null || missing="$missing openssh-client"
[ -x /usr/sbin/sshd ] || missing="$missing openssh-server"
command -v mkfs.ext4 >/dev/null || [ -x /usr/sbin/mkfs.ext4 ] || [ -x /sbin/mkfs.ext4 ] || missing="$missing e2fsprogs"
command -v buildah >/dev/null || missing="$missing buildah"
command -v pip >/dev/null || missing="$missing python3-pip"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "setup: missing:$missing; as root: apt-get install$missing" >&2
	exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a list of names
apt-get install -qq -y --no-install-recommends $missing >/dev/null
