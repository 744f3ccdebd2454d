#!/bin/bash
# e2e/quickstart.sh - "quickstart run" with the programs of this build: every line that it prints is
# pasted, every way to end it is tried. As root once as nobody and once as root (in a copy of /etc, where
# that is possible), otherwise as who we are.
# shellcheck disable=SC2016,SC2317  # $1 and so on are for the shells that are started here; lib.sh calls on_exit
# shellcheck source=tests/lib.sh
. "${top_srcdir:?}/tests/lib.sh"

src=${top_builddir:?}/src
mkdir -p "$tmp/clone" "$tmp/inst/bin" "$tmp/inst/sbin" "$tmp/inst/libexec/postern" "$tmp/log"
cp "$top_srcdir/quickstart" "$tmp/clone/"
cp "$src/postern" "$tmp/inst/bin/"
cp "$src/posternd" "$tmp/inst/sbin/"
cp "$src/postern-auth" "$src/postern-control" "$src/postern-store" "$tmp/inst/libexec/postern/"
# all of quickstart but the building
cat >"$tmp/run" <<'END'
inst=$1
. "$2/quickstart"
need_packages() { :; }
build_run() { postern=$inst/bin/postern posternd=$inst/sbin/posternd; }
cmd_run "${@:3}"
END
chmod 755 "$tmp"

as=() running=()
on_exit() { [ ${#running[@]} = 0 ] || kill -TERM "${running[@]}" 2>/dev/null || :; }

# start NAME ARGUMENT... - in a process group of its own, as a terminal would; waits until it serves or
# ends. Sets pid; what it says is in $tmp/log/NAME.
start() {
	local name=$1
	shift
	: >"$tmp/log/$name"
	setsid env --default-signal=INT "${as[@]}" bash "$tmp/run" "$tmp/inst" "$tmp/clone" "$@" \
		>"$tmp/log/$name" 2>&1 </dev/null &
	pid=$!
	running+=("$pid")
	while kill -0 "$pid" 2>/dev/null && ! grep -q '^Ctrl-C stops' "$tmp/log/$name"; do sleep 0.05; done
}
# gone PID - waits; true when the process ends within half a minute
gone() {
	local n=0
	while [ -d "/proc/$1" ] && [ "$n" -lt 300 ]; do
		sleep 0.1
		n=$((n + 1))
	done
	[ "$n" -lt 300 ] || {
		echo 'it does not end'
		return 1
	}
}
# ended NAME CODE PID TEXT - it ends by itself, with this code, and says this
ended() {
	gone "$3" || kill -KILL "$3"
	ended_code=0
	wait "$3" 2>/dev/null || ended_code=$?
	check "$1: exit code $2" [ "$ended_code" = "$2" ]
	[ -z "${4-}" ] || check "$1: says why" grep -q "$4" "$tmp/log/$1"
}
# pasted LINE TEXT... - the line, pasted into a shell in another folder, then WHOAMI and QUIT typed
pasted() {
	local line=$1 out text
	shift
	out=$(cd / && { sleep 0.3; echo WHOAMI; sleep 0.3; echo QUIT; } | timeout 20 "${as[@]}" sh -c "$line" 2>&1) || {
		echo "$line: failed: $out"
		return 1
	}
	for text in "$@"; do
		case $out in
		*"$text"*) ;;
		*)
			echo "$line: no $text in: $out"
			return 1
			;;
		esac
	done
}
lines() { sed -n "s/^  \($2 .*\)/\1/p" "$tmp/log/$1"; } # NAME PROGRAM
# mail NAME - each line that sends a message, and after them the line that shows it
mail() {
	local line
	for name in SMTP_PORT SUBMISSION_PORT LMTP_PORT; do
		check "$1: $name answers" says '220 localhost' bash -c 'exec 7<>"/dev/tcp/127.0.0.1/$1" && head -n 1 <&7' - "${!name}"
	done
	while IFS= read -r line; do
		check "$1: $line" "${as[@]}" sh -c "cd / && $line"
	done < <(lines "$1" swaks && lines "$1" printf | grep Subject)
	check "$1: three messages of bob" arrived "$MAIL_DIR/$USER_B" 3
	check "$1: one of alice" arrived "$MAIL_DIR/$USER_A" 1
	while IFS= read -r line; do
		check "$1: $line" says 'Received: from ' "${as[@]}" sh -c "$line"
	done < <(lines "$1" cat)
}
arrived() { # MAILBOX COUNT
	local n=0
	until [ "$(find "$1/Maildir/new" -type f 2>/dev/null | wc -l)" -ge "$2" ] || [ "$n" = 200 ]; do
		sleep 0.1
		n=$((n + 1))
	done
	[ "$(find "$1/Maildir/new" -type f | wc -l)" = "$2" ]
}
nothing_left() { # FOLDER - no server, no env, no socket
	[ ! -e "$1/env" ] && [ ! -e "$1/run/control" ] && [ ! -e "$1/run/posternd.pid" ]
}

one_user() {
	local who=$1 dir="$tmp/$1 it's" one two base line
	as=("${@:2}")

	start "$who" --dir "$dir"
	one=$pid
	check "$who: it serves" [ -f "$dir/env" ]
	check "$who: everything lies below the folder" [ -d "$dir/state" ]
	# shellcheck disable=SC1091
	. "$dir/env"
	check "$who: POSTERN_PID is the server" [ "$(cat "/proc/$POSTERN_PID/comm")" = posternd ]
	for name in POSTERN_CONF POSTERN POSTERND MAIL_DIR CA_CERT CA_DIR/ca.key CLIENT_CERT CLIENT_KEY STATE_DIR; do
		line=${name%%/*}
		check "$who: $name is there" [ -e "${!line}${name#"$line"}" ]
	done
	check "$who: lines to paste" [ "$(lines "$who" openssl | wc -l)" = 5 ]
	while IFS= read -r line; do
		case $line in
		*alice*) check "$who: $line" pasted "$line" '"IDENTITY" "alice@example.test"' Goodbye ;;
		*bob*) check "$who: $line" pasted "$line" '"IDENTITY" "bob@example.test"' Goodbye ;;
		*) check "$who: $line" pasted "$line" '"VERDICT" "none"' Goodbye ;;
		esac
	done < <(lines "$who" openssl)
	while IFS= read -r line; do
		check "$who: $line" pasted "$line" '"IDENTITY" "alice@example.test"' Goodbye
	done < <(lines "$who" gnutls-cli)
	mail "$who"
	line=$(lines "$who" printf | grep -v Subject)
	check "$who: $line" says 18446744073709551616 sh -c "$line"
	line=$(sed -n 's/^  \(.*postern -f .* status\)$/\1/p' "$tmp/log/$who")
	check "$who: $line" says "127.0.0.1:$LINE_PORT starttls-required" "${as[@]}" sh -c "cd / && $line"
	check "$who: reload" says 'generation 2 serves' "${as[@]}" "$POSTERN" -f "$POSTERN_CONF" reload
	# octets that s_client without -quiet would take for commands of its own
	check "$who: lines that begin with Q, R, K and B arrive" sh -c '
		out=$({ sleep 0.3; for l in Q R K B k; do echo "$l"; sleep 0.05; done; echo QUIT; } | timeout 20 openssl s_client \
			-connect 127.0.0.1:"$1" -starttls sieve -crlf -quiet -CAfile "$2" -verify_return_error 2>/dev/null)
		[ "$(echo "$out" | grep -c "^BAD ")" = 5 ] || { echo "$out"; exit 1; }' - "$LINE_PORT" "$CA_CERT"

	start "$who-again" --dir "$dir"
	ended "$who-again" 1 "$pid" "already: process $POSTERN_PID"
	check "$who: the first is not harmed" [ -f "$dir/env" ]

	start "$who-two" --dir "$tmp/$who.two"
	two=$pid
	check "$who: two at once, with ports of their own" sh -c '. "$1/env" && a=$LINE_PORT && . "$2/env" && [ "$a" != "$LINE_PORT" ]' \
		- "$dir" "$tmp/$who.two"
	base=$LINE_PORT
	start "$who-port" --dir "$tmp/$who.three" --port-base "$base"
	ended "$who-port" 1 "$pid" "port $base is taken"
	check "$who: no server was left there" nothing_left "$tmp/$who.three"

	kill -INT -- "-$two" # Ctrl-C goes to the whole group
	ended "$who-two" 0 "$two" '^stopped$'
	check "$who: Ctrl-C leaves nothing" nothing_left "$tmp/$who.two"
	check "$who: and stops no other server" [ -d "/proc/$POSTERN_PID" ]
	start "$who-base" --dir "$tmp/$who.two" --port-base "$((base + 15))"
	check "$who: the site is used again, with the ports asked for" grep -q "^LINE_PORT='$((base + 15))'" "$tmp/$who.two/env"
	kill -KILL "$(sed -n "s/^POSTERN_PID='\(.*\)'/\1/p" "$tmp/$who.two/env")"
	ended "$who-base" 1 "$pid" 'posternd ended by itself, with status 137'
	check "$who: no env without a server" [ ! -e "$tmp/$who.two/env" ]

	kill -TERM "$one"
	ended "$who" 0 "$one" '^stopped$'
	check "$who: SIGTERM leaves nothing" nothing_left "$dir"
	"${as[@]}" mv "$dir" "$tmp/$who.moved"
	start "$who-moved" --dir "$tmp/$who.moved"
	check "$who: a folder that moved" pasted "$(lines "$who-moved" openssl | head -n 1)" '"IDENTITY" "alice@example.test"'
	# quickstart itself killed: the server must not stay behind
	server=$(sed -n "s/^POSTERN_PID='\(.*\)'/\1/p" "$tmp/$who.moved/env")
	kill -KILL "$pid"
	ended "$who-moved" 137 "$pid"
	check "$who: the server does not outlive a quickstart that is killed" gone "$server"
}

# In a copy of /etc without the accounts, so that root's demo makes them there.
as_root() {
	cp -a /etc "$tmp/etc"
	sed -i '/^_postern/d; /^postern-admin/d' "$tmp/etc/passwd" "$tmp/etc/group" "$tmp/etc/shadow" "$tmp/etc/gshadow"
	one_user root unshare -m sh -euc 'etc=$1; shift; mount --bind "$etc" /etc; exec "$@"' - "$tmp/etc"
	check 'root: the accounts are said' grep -q '^made the system accounts .* _postern ' "$tmp/log/root"
	check 'root: once' [ "$(grep -l '^made the system accounts' "$tmp"/log/root* | wc -l)" = 1 ]
	check 'root: and made' grep -q '^_posternk:' "$tmp/etc/passwd"
}

if [ "$(id -u)" != 0 ]; then
	one_user plain
else
	chown 65534:65534 "$tmp"
	one_user plain setpriv --reuid=65534 --regid=65534 --clear-groups
	chown 0:0 "$tmp"
	if unshare -m true 2>/dev/null; then as_root; else one_user root; fi
fi
done_testing
