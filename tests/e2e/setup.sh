#!/bin/sh
# e2e/setup.sh - from nothing to a server that answers: "postern setup", the server, and the line that
# setup printed, as a plain user (as nobody, where we are root).
# shellcheck disable=SC2016  # $1 and so on are for the shells that are started here
# shellcheck source=tests/lib.sh
. "${top_srcdir:?}/tests/lib.sh"

src=${top_builddir:?}/src
mkdir -p "$tmp/inst/bin" "$tmp/inst/sbin" "$tmp/inst/libexec/postern"
cp "$src/postern" "$tmp/inst/bin/"
cp "$src/posternd" "$tmp/inst/sbin/"
cp "$src/postern-auth" "$src/postern-control" "$src/postern-store" "$tmp/inst/libexec/postern/"
as=''
if [ "$(id -u)" = 0 ]; then
	as='setpriv --reuid=65534 --regid=65534 --clear-groups'
	chown 65534:65534 "$tmp"
fi
conf="$tmp/my site/postern.conf"
postern() {
	# shellcheck disable=SC2086  # a list of words
	$as "$tmp/inst/bin/postern" -f "$conf" "$@"
}
server=''
on_exit() { [ -z "$server" ] || kill "$server" 2>/dev/null || :; }

check 'setup' exits 0 postern setup
line=$(postern setup --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["next"]["talk"])')
check 'before the start' exits 3 postern status
# shellcheck disable=SC2086  # a list of words
$as "$tmp/inst/sbin/posternd" -d -f "$conf" >"$tmp/log" 2>&1 &
server=$!
n=0
until postern status >/dev/null 2>&1 || [ "$n" = 100 ]; do
	sleep 0.1
	n=$((n + 1))
done
check 'status' exits 0 postern status
check 'it serves' says 'is serving' postern status
check "the line that was printed: $line" says 'OK "Goodbye' sh -c 'cd / && { sleep 0.3; echo QUIT; } | timeout 20 sh -c "$1"' - "$line"
check 'status knows of it' json 'j["services"][0]["handshakes"] == 1 and j["services"][0]["name"] == "line"' postern status --json
check 'setup beside a running server changes nothing' says 'Nothing was changed' postern setup
check 'reload' exits 0 postern reload
cp "$conf" "$tmp/kept"
echo 'frob' >>"$conf"
check 'reload with a mistake' exits 5 postern reload
check 'is told by the parser' says "$conf:" postern reload
check 'an edit under way does not hide the server' says 'is serving' postern status
check 'and the server goes on' says 'is serving' postern status -s "$tmp/my site/run/control"
cat "$tmp/kept" >"$conf"
kill "$server"
stopped=0
wait "$server" || stopped=$?
check 'it stops' [ "$stopped" = 0 ]
check 'and is gone' exits 3 postern status
server=''
done_testing
