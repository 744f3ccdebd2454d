#!/bin/sh
# e2e/setup.sh - from nothing to a server that has mail: "postern setup", the server, and the lines that
# setup printed, as a plain user (as nobody, where we are root); then, as root, the machine's own server on ports 25, 465
# and 587, in namespaces of its own.
# shellcheck disable=SC2016  # $1 and so on are for the shells that are started here
# shellcheck disable=SC2086  # $as is a list of words
# shellcheck source=tests/lib.sh
. "${top_srcdir:?}/tests/lib.sh"

exec </dev/null # no terminal: nothing is asked

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
	$as "$tmp/inst/bin/postern" -f "$conf" "$@"
}
server=''
on_exit() { [ -z "$server" ] || kill "$server" 2>/dev/null || :; }

# a CA for people, and alice's certificate
issue() { # FILE SUBJECT EXTENSIONS [SIGNER OPTIONS...]
	issue_file=$1 issue_subject=$2 issue_ext=$3
	shift 3
	printf '[req]\nprompt = no\ndistinguished_name = dn\n[dn]\nCN = %s\n[ext]\n%b' "$issue_subject" "$issue_ext" \
		>"$issue_file.cnf"
	openssl req -x509 -config "$issue_file.cnf" -extensions ext -days 2 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
		-keyout "$issue_file.key" -out "$issue_file.pem" "$@" 2>"$issue_file.log" || cat "$issue_file.log"
}
mkdir "$tmp/ca"
issue "$tmp/ca/people" 'People' 'basicConstraints = critical, CA:TRUE\nkeyUsage = keyCertSign, cRLSign\n'
issue "$tmp/ca/alice" 'alice' 'basicConstraints = CA:FALSE\nextendedKeyUsage = clientAuth\nsubjectAltName = email:alice@example.org\n' \
	-CA "$tmp/ca/people.pem" -CAkey "$tmp/ca/people.key"
chmod -R go+rX "$tmp/ca"
chmod go+r "$tmp/ca/alice.key"
value() { # PATH-IN-JSON FILE
	python3 -c 'import functools, json, sys
print(functools.reduce(lambda j, k: j[k], sys.argv[1].split("."), json.load(open(sys.argv[2]))))' "$@"
}
soon() { # COMMAND... - what was accepted is durable, and a file a moment later
	soon_n=0
	until "$@"; do
		soon_n=$((soon_n + 1))
		[ "$soon_n" -lt 300 ] || return 1
		sleep 0.1
	done
}
holds() { # TEXT FOLDER - one message with that text
	[ "$(cat "$2"/* | tr -d '\r' | grep -cxF "$1")" = 1 ]
}

check 'setup' exits 0 postern setup --json --domain example.org --postmaster alice@example.org --client-ca "$tmp/ca/people.pem"
cp "$tmp/out" "$tmp/answer"
line=$(value next.talk "$tmp/answer")
send=$(value next.send "$tmp/answer")
read=$(value next.read "$tmp/answer")
password=$(value user.password "$tmp/answer")
check 'what it wrote is good' exits 0 $as "$tmp/inst/sbin/posternd" -n -f "$conf"
check 'before the start' exits 3 postern status
$as "$tmp/inst/sbin/posternd" -d -f "$conf" >"$tmp/log" 2>&1 &
server=$!
n=0
until postern status 2>&1 | grep -q 'is serving' || [ "$n" = 300 ]; do
	sleep 0.1
	n=$((n + 1))
done
check 'status' exits 0 postern status
check 'it serves' says 'is serving' postern status
check "the line that was printed: $line" says 'OK "Goodbye' sh -c 'cd / && { sleep 0.3; echo QUIT; } | timeout 20 sh -c "$1"' - "$line"
# curl would ask for the password; with a certificate there is no --user
check "by password: $send" sh -c "$(printf %s "$send" | sed "s|--user alice@example.org|--user alice@example.org:$password|")"
check "there it is: $read" soon says 'It works.' $as sh -c "$read"
check 'a wrong password is refused' exits 67 sh -c "$(printf %s "$send" | sed 's|--user alice@example.org|--user alice@example.org:no|')"
check 'by certificate' sh -c "$(printf %s "$send" | sed "s|It works|By certificate|;
	s|--user alice@example.org|--cert $tmp/ca/alice.pem --key $tmp/ca/alice.key|")"
check 'there it is, too' soon says 'By certificate.' $as sh -c "$read"
check 'mail from other servers' python3 -c 'import smtplib, sys
smtplib.SMTP("127.0.0.1", int(sys.argv[1])).sendmail("bob@example.com", ["postmaster@example.org"], b"Subject: x\r\n\r\nFrom afar.\r\n")' \
	"$(sed -n 's/.*127.0.0.1:\([0-9]*\) starttls$/\1/p' "$conf")"
check 'mail by LMTP' python3 -c 'import smtplib, sys
smtplib.LMTP(sys.argv[1]).sendmail("bob@example.com", ["alice@example.org"], b"Subject: x\r\n\r\nFrom beside.\r\n")' \
	"$tmp/my site/run/lmtp"
for text in 'From afar.' 'From beside.'; do
	check "there: $text" soon holds "$text" "$tmp/my site/mail/alice@example.org/Maildir/new"
done
check 'status knows of it' json '{"line": 1}.items() <= {s["name"]: s["handshakes"] for s in j["services"]}.items()' postern status --json
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

# the machine's own: a prefix, /etc and a network that nobody else sees
prefix=$(sed -n 's/^prefix = //p' "$top_builddir/Makefile")
if [ "$(id -u)" = 0 ] && unshare -mn true 2>/dev/null; then
	cp -a /etc "$tmp/etc"
	cat >"$tmp/machine.sh" <<'END'
set -eu
tmp=$1 prefix=$2
mount --bind "$tmp/etc" /etc
rm -f /etc/mailname
ip link set lo up
mkdir -p "$prefix"
mount -t tmpfs -o mode=755 tmpfs "$prefix"
mkdir -p "$prefix/bin" "$prefix/sbin" "$prefix/libexec/postern"
cp "$tmp/inst/bin/postern" "$prefix/bin/"
cp "$tmp/inst/sbin/posternd" "$prefix/sbin/"
cp "$tmp"/inst/libexec/postern/* "$prefix/libexec/postern/"
# the folders as this build has them
conf=$("$prefix/bin/postern" config show 2>&1 | sed -n 's/.*no configuration \([^:]*\):.*/\1/p')
case $conf in
"$prefix"/*) ;;
*) mkdir -p "${conf%/*}" && mount -t tmpfs -o mode=755 tmpfs "${conf%/*}" ;;
esac
run=$(strings -a "$prefix/sbin/posternd" | sed -n 's|^\(/.*\)/posternd.pid$|\1|p' | head -n 1)
case $run in
"$prefix"/*) ;;
*) mkdir -p "$run" && mount -t tmpfs -o mode=755 tmpfs "$run" ;;
esac
python3 -c 'import socket, time
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("0.0.0.0", 587))
s.listen()
print("bound", flush=True)
time.sleep(60)' >"$tmp/taken" &
holder=$!
while kill -0 "$holder" && [ ! -s "$tmp/taken" ]; do sleep 0.05; done
! "$prefix/bin/postern" setup --domain example.org --postmaster alice@example.org 2>"$tmp/machine.taken" ||
	{ echo 'it did not see that port 587 is taken'; exit 1; }
grep -q 'port 587 is taken' "$tmp/machine.taken"
[ ! -e "$conf" ] || { echo 'it made something all the same'; exit 1; }
kill "$holder"
wait "$holder" || :
"$prefix/bin/postern" setup --json --hostname mail.example.org --domain example.org --postmaster alice@example.org \
	--client-ca "$tmp/ca/people.pem" >"$tmp/machine.json"
"$prefix/sbin/posternd" -n
"$prefix/sbin/posternd" -d 2>"$tmp/machine.log" &
server=$!
trap 'kill "$server" 2>/dev/null || :; wait "$server" || :' EXIT
n=0
until "$prefix/bin/postern" status 2>&1 | tee "$tmp/machine.status" | grep -q 'is serving' || [ "$n" = 300 ]; do
	sleep 0.1
	n=$((n + 1))
done
grep -q 'is serving' "$tmp/machine.status" || { cat "$tmp/machine.status" "$tmp/machine.log"; exit 1; }
field() { python3 -c 'import functools, json, sys
print(functools.reduce(lambda j, k: j[k], sys.argv[1].split("."), json.load(open(sys.argv[2]))))' "$1" "$tmp/machine.json"; }
send=$(field next.send)
sh -c "$(printf %s "$send" | sed "s|--user alice@example.org|--user alice@example.org:$(field user.password)|")"
sh -c "$(printf %s "$send" | sed "s|It works|By certificate|; s|smtp://localhost:587|smtps://localhost:465|
	s|--user alice@example.org|--cert $tmp/ca/alice.pem --key $tmp/ca/alice.key|")"
python3 -c 'import smtplib, socket
s = smtplib.SMTP("127.0.0.1", 25)
s.starttls()
s.sendmail("bob@example.com", ["postmaster@example.org"], b"Subject: x\r\n\r\nFrom afar.\r\n")'
n=0
until [ "$(sh -c "$(field next.read)" 2>&1 | tr -d '\r' | tee "$tmp/machine.mail" |
	grep -cxF -e 'It works.' -e 'By certificate.' -e 'From afar.')" = 3 ] || [ "$n" = 300 ]; do
	sleep 0.1
	n=$((n + 1))
done
for text in 'It works.' 'By certificate.' 'From afar.'; do
	[ "$(grep -cxF "$text" "$tmp/machine.mail")" = 1 ] || { echo "not there: $text"; cat "$tmp/machine.mail"; exit 1; }
done
END
	check "root: the machine's own server takes mail" unshare -mn sh "$tmp/machine.sh" "$tmp" "$prefix"
fi
done_testing
