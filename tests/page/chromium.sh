#!/usr/bin/env bash
# Runs a command where there is a Chromium with its driver: tests/page/chromium.sh COMMAND...
# Installs both where they are missing, as root on Debian.
set -euo pipefail

if ! { command -v chromium && command -v chromedriver; } >/dev/null; then
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		echo "tests/page: needs chromium and chromedriver in PATH, or root on Debian (apt-get)" >&2
		exit 1
	fi
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -yqq --no-install-recommends \
		chromium chromium-driver >/dev/null
fi
exec "$@"
