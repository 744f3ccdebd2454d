#!/bin/sh
# cli/setup.sh - "postern setup" on an empty disk, again, and over somebody's work: what it makes, with
# what modes, and what it never touches. As root the first part runs as nobody, and the second one
# makes the accounts in a mount namespace of its own, where /etc is a copy.
# shellcheck disable=SC2016  # $1 and so on are for the shells that are started here
# shellcheck source=tests/lib.sh
. "${top_srcdir:?}/tests/lib.sh"

cp "${top_builddir:?}/src/postern" "$tmp/postern"
as=''
if [ "$(id -u)" = 0 ]; then
	as='setpriv --reuid=65534 --regid=65534 --clear-groups'
	chown 65534:65534 "$tmp"
fi
as_plain() {
	# shellcheck disable=SC2086  # a list of words
	$as "$@"
}
postern() { as_plain "$tmp/postern" "$@"; }
# every file with mode, size, time and sum
state_of() { (cd "$1" && find . ! -type s -printf '%p %m %s %T@\n' | sort && find . -type f -exec cksum {} + | sort); }
unchanged_by() { # FOLDER COMMAND...
	unchanged_in=$1
	shift
	before=$(state_of "$unchanged_in")
	"$@" || :
	[ "$before" = "$(state_of "$unchanged_in")" ] || {
		echo 'something changed'
		return 1
	}
}

site="$tmp/a 'site'"
conf="$site/postern.conf"

check 'a plain user names a file' exits 4 postern setup
check 'and is told so' says 'postern -f ~/postern/postern.conf setup' postern setup
check 'a folder is no file' says 'names a folder' postern -f "$tmp/" setup
check 'setup takes no argument' exits 2 postern -f "$conf" setup now

check 'from nothing' exits 0 postern -f "$conf" setup
check 'the key' mode_is 600 "$site/tls/server.key"
check 'the certificate' mode_is 644 "$site/tls/server.pem"
check 'the configuration' mode_is 644 "$conf"
check 'the state folder' mode_is 700 "$site/state"
check 'the run folder' mode_is 700 "$site/run"
check 'nothing else' [ "$(find "$site" -type f | wc -l)" = 3 ]
check 'key and certificate belong together' sh -c '[ "$(openssl x509 -in "$1/server.pem" -noout -pubkey)" = \
	"$(openssl pkey -in "$1/server.key" -pubout)" ]' - "$site/tls"
check 'the certificate verifies as its own CA' openssl verify -CAfile "$site/tls/server.pem" \
	-purpose sslserver -verify_hostname localhost "$site/tls/server.pem"
check 'the configuration passes' exits 0 postern -f "$conf" config show
check 'the second run changes nothing' unchanged_by "$site" postern -f "$conf" setup
check 'and says so' says 'Nothing was changed' postern -f "$conf" setup
check 'the same in JSON' json 'j["ok"] and not j["changed"] and all(i["did"] == "there" for i in j["items"])' \
	postern -f "$conf" setup --json
check 'the printed status line works' says 'posternd is not running' \
	sh -c "$(postern -f "$conf" setup | sed -n "s|^ *[^ ]*/postern -f|$as '$tmp/postern' -f|p")"

check 'relative names are made absolute' sh -c 'cd "$1" && shift && "$@"' - "$site" \
	"$tmp/postern" -f postern.conf config show

# somebody's work
edited=$tmp/edited
check 'a site to edit' exits 0 postern -f "$edited/postern.conf" setup
echo '# mine' >>"$edited/postern.conf"
rm -r "$edited/state"
check 'what an edited file lacks is made' exits 0 postern -f "$edited/postern.conf" setup
check 'there it is' [ -d "$edited/state" ]
check 'and the file is kept' grep -q '^# mine$' "$edited/postern.conf"
rm "$edited/tls/server.pem"
check 'a key without its certificate is for a person to decide' exits 1 postern -f "$edited/postern.conf" setup
check 'and says what to do' says 'move the first away' postern -f "$edited/postern.conf" setup
echo 'no-such-directive 1' >>"$edited/postern.conf"
check 'mistakes are told' exits 5 postern -f "$edited/postern.conf" setup
check 'by the parser' says 'no-such-directive' postern -f "$edited/postern.conf" setup
check 'before anything is made' unchanged_by "$edited" postern -f "$edited/postern.conf" setup
sed -i '/no-such/d; s|tls/server.pem|tls/other.pem|' "$edited/postern.conf"
check 'a certificate that is named and missing' says 'other.pem, which does not exist' \
	postern -f "$edited/postern.conf" setup

# the configuration as installed
as_plain mkdir "$tmp/new"
as_plain tee "$tmp/new/postern.conf" <"$top_srcdir/etc/postern.conf" >/dev/null
check 'the pristine configuration gives way' json \
	'{"configuration": "replaced"}.items() <= {i["what"]: i["did"] for i in j["items"]}.items()' \
	postern -f "$tmp/new/postern.conf" setup --json
check 'to one that serves' grep -q '^service line' "$tmp/new/postern.conf"

# a port that is taken
python3 -c 'import socket, sys, time
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as setup does, with old connections about
while True:
    try:
        s.bind(("127.0.0.1", 7777))
        break
    except OSError:  # somebody else has it: as good, and ours when they let go
        print("bound", flush=True)
        time.sleep(0.005)
s.listen()
print("bound", flush=True)
time.sleep(60)' >"$tmp/bound" &
holder=$!
on_exit() { kill "$holder" 2>/dev/null || :; }
while kill -0 "$holder" && ! grep -q bound "$tmp/bound"; do sleep 0.05; done
check 'with a port that is taken' exits 0 postern -f "$tmp/port/postern.conf" setup
check 'the next is chosen' sh -c '! grep -q 127.0.0.1:7777 "$1" && grep -q 127.0.0.1:77 "$1"' - "$tmp/port/postern.conf"
kill "$holder"

# paths
long=$tmp/$(printf '%0100d' 0)
check 'a path too long for a socket' exits 1 postern -f "$long/postern.conf" setup
check 'says so' says 'at most 107' postern -f "$long/postern.conf" setup
check 'and nothing is made' [ ! -e "$long" ]
check 'an error in JSON' json 'j["ok"] is False and "107" in j["error"]' postern --json -f "$long/postern.conf" setup
check 'a file in the way' exits 1 postern -f "$conf/postern.conf" setup

# as root, in a copy of /etc
in_namespace() { # COMMAND...
	unshare -m sh -euc '
		tmp=$1
		shift
		mount --bind "$tmp/etc" /etc
		exec "$@"' - "$tmp" "$@"
}
if [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null; then
	cp -a /etc "$tmp/etc"
	sed -i '/^_postern/d; /^postern-admin/d' "$tmp/etc/passwd" "$tmp/etc/group" "$tmp/etc/shadow" "$tmp/etc/gshadow"
	check 'root: accounts and all' in_namespace "$tmp/postern" -f "$tmp/root/postern.conf" setup
	for name in _postern _posternk _posterna _posternq _posternr _posternc; do
		check "account $name" grep -q "^$name:x:[0-9]*:[0-9]*:[^:]*:/nonexistent:.*nologin$" "$tmp/etc/passwd"
		check "group $name" grep -q "^$name:" "$tmp/etc/group"
	done
	check 'group postern-admin' grep -q '^postern-admin:' "$tmp/etc/group"
	check 'the state folder of root' mode_is 711 "$tmp/root/state"
	check "the children's root directory" mode_is 755 "$tmp/root/state/empty"
	check 'and its owner' [ "$(stat -c %u:%g "$tmp/root/state/empty")" = 0:0 ]
	check 'the run folder of root' mode_is 755 "$tmp/root/run"
	check 'the second run of root' json 'j["ok"] and not j["changed"]' \
		in_namespace "$tmp/postern" -f "$tmp/root/postern.conf" setup --json
fi

done_testing
