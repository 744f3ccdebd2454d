#!/bin/sh
# run.sh TOPIC.py - runs one end-to-end test; where what it needs is missing, a skip that says so.
for word in python3:python3 openssl:openssl; do
	command -v "${word%:*}" >/dev/null || {
		echo "${word%:*} is not here (Debian package ${word#*:}): no end-to-end test can run"
		exit 77
	}
done
exec python3 -B "$@"
