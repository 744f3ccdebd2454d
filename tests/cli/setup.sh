#!/bin/sh
# cli/setup.sh - "postern setup" on an empty disk, again, and over somebody's work: what it makes, with
# what modes, and what it never touches. As root the first part runs as nobody, and the second one
# makes the accounts in a mount namespace of its own, where /etc is a copy.
# shellcheck disable=SC2016  # $1 and so on are for the shells that are started here
# shellcheck disable=SC2086  # $as is a list of words
# shellcheck source=tests/lib.sh
. "${top_srcdir:?}/tests/lib.sh"

exec </dev/null # no terminal: nothing is asked, but where a test brings one

cp "${top_builddir:?}/src/postern" "$top_builddir/src/postern-auth" "$tmp/"
as=''
if [ "$(id -u)" = 0 ]; then
	as='setpriv --reuid=65534 --regid=65534 --clear-groups'
	chown 65534:65534 "$tmp"
fi
as_plain() {
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
check 'a domain that is none' says 'is no domain' postern -f "$conf" setup --domain 'a..b'
check 'a host name that is none' says 'no full name' postern -f "$conf" setup --hostname mail
check 'a postmaster that is nobody' says 'NAME@DOMAIN' postern -f "$conf" setup --postmaster alice
check 'a postmaster of another domain' says 'in none of the domains' \
	postern -f "$conf" setup --domain example.org --postmaster alice@example.com
check 'a CA that is not there' says 'No such file' postern -f "$conf" setup --client-ca "$tmp/ca.pem"
check 'a CA that is none' says 'no certificate in PEM' postern -f "$conf" setup --client-ca /etc/passwd
check 'one kind of password' exits 2 postern -f "$conf" setup --stdin --generate
check 'options of another command' says '"postern setup"' postern -f "$conf" status --domain example.org
check 'an option that setup does not have' says '"postern user"' postern -f "$conf" setup --quota 1G
check 'nothing has been made by these' [ ! -e "$site" ]

check 'from nothing' exits 0 postern -f "$conf" setup
check 'the key' mode_is 600 "$site/tls/server.key"
check 'the certificate' mode_is 644 "$site/tls/server.pem"
check 'the configuration' mode_is 644 "$conf"
check 'the state folder' mode_is 700 "$site/state"
check 'the run folder' mode_is 700 "$site/run"
check 'the folder of the mailboxes' mode_is 700 "$site/mail"
check 'the users file' mode_is 600 "$site/users"
check 'nothing else' [ "$(find "$site" -type f | wc -l)" = 4 ]
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

# what is asked for
full="$tmp/full"
check 'all that can be said' json 'j["user"] == {"address": "alice@example.org"} and j["changed"]' \
	sh -c 'echo secret-of-alice | "$@"' - $as "$tmp/postern" -f "$full/postern.conf" setup --json --hostname mail.example.org \
	--domain example.org --domain EXAMPLE.net --postmaster Alice@example.org --stdin
check 'stands in the configuration' sh -c 'grep -q "^hostname  *mail.example.org$" "$1" &&
	grep -q "^domain  *example.org example.net$" "$1" && grep -q "^postmaster \"alice@example.org\"$" "$1"' - "$full/postern.conf"
check 'the certificate has the name' openssl verify -CAfile "$full/tls/server.pem" -verify_hostname mail.example.org \
	"$full/tls/server.pem"
check 'and the user a password' json 'j["users"][0]["user"] == "alice@example.org" and len(j["users"][0]["password"]) == 2' \
	postern -f "$full/postern.conf" user list --json
check 'the same again changes nothing' says 'Nothing was changed' postern -f "$full/postern.conf" setup --domain example.net \
	--postmaster alice@example.org
check 'what a kept configuration lacks is told' says 'without the domain example.com' \
	postern -f "$full/postern.conf" setup --domain example.com
check 'and so is another postmaster' says 'another postmaster' \
	postern -f "$full/postern.conf" setup --postmaster bob@example.org
check 'nothing was changed by it' unchanged_by "$full" postern -f "$full/postern.conf" setup --domain example.com
rm "$full/users"
check 'a users file that is gone' json '"password" in j["user"]' postern -f "$full/postern.conf" setup --json
check 'has its first user again' says 'alice@example.org' postern -f "$full/postern.conf" user list
check 'the domain of the postmaster will do' exits 0 postern -f "$tmp/of/postern.conf" setup --no-password \
	--postmaster bob@example.org
check 'it stands there' grep -q '^domain  *example.org$' "$tmp/of/postern.conf"
check 'without a password' json 'j["users"][0]["password"] == []' postern -f "$tmp/of/postern.conf" user list --json

# at a terminal: what is not given and cannot be found out
at_terminal() { # COMMAND... - types the lines of $tmp/typed, each when it is asked
	python3 -c 'import os, pty, select, sys
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
typed = open(sys.argv[1]).read().splitlines()
seen = b""
while select.select([fd], [], [], 60)[0]:
    try:
        piece = os.read(fd, 4096)
    except OSError:
        break
    if not piece:
        break
    seen += piece
    if seen.endswith(b"]: "):
        os.write(fd, (typed.pop(0) + "\n").encode() if typed else b"\x04")
sys.stdout.write(seen.decode(errors="replace"))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))' "$tmp/typed" "$@"
}
printf 'a..b\nexample.org\nalice\n' >"$tmp/typed"
check 'at a terminal it asks' exits 0 at_terminal $as "$tmp/postern" -f "$tmp/asked/postern.conf" setup
check 'it has understood' sh -c 'grep -q "^domain  *example.org$" "$1" && grep -q "^postmaster \"alice@example.org\"$" "$1"' \
	- "$tmp/asked/postern.conf"
printf '\n\n' >"$tmp/typed"
check 'Enter is what it suggests' says '[mail.example.net]: ' at_terminal $as "$tmp/postern" -f "$tmp/enter/postern.conf" setup \
	--hostname mx.mail.example.net
check 'and that is what is written' grep -q '^domain  *mail.example.net$' "$tmp/enter/postern.conf"
: >"$tmp/typed"
check 'no answer' exits 2 at_terminal $as "$tmp/postern" -f "$tmp/mute/postern.conf" setup
check 'makes nothing' [ ! -e "$tmp/mute" ]
check 'nothing is asked for what is given' sh -c '! "$@" | grep -q "]: "' - \
	$as "$tmp/postern" -f "$tmp/given/postern.conf" setup --domain example.org --postmaster alice@example.org

# somebody's work
edited=$tmp/edited
check 'a site to edit' exits 0 postern -f "$edited/postern.conf" setup
echo '# mine' >>"$edited/postern.conf"
rm -r "$edited/state" "$edited/mail"
check 'what an edited file lacks is made' exits 0 postern -f "$edited/postern.conf" setup
check 'there it is' [ -d "$edited/state" ]
check 'and there' [ -d "$edited/mail" ]
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
	check 'the mailboxes are the store'"'"'s' in_namespace sh -c '[ "$(stat -c %U:%a "$1")" = _posternq:700 ]' - "$tmp/root/mail"
	check "the children's root directory" mode_is 755 "$tmp/root/state/empty"
	check 'and its owner' [ "$(stat -c %u:%g "$tmp/root/state/empty")" = 0:0 ]
	check 'the run folder of root' mode_is 755 "$tmp/root/run"
	check 'the second run of root' json 'j["ok"] and not j["changed"]' \
		in_namespace "$tmp/postern" -f "$tmp/root/postern.conf" setup --json
fi

done_testing
