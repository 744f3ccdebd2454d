#!/bin/sh
# cli/client.sh - "postern status" and "reload" against a control socket that answers what the test
# says: every way in which a server can be away, deaf or of another mind.
# shellcheck disable=SC2016  # $1 and so on are for the shells that are started here
# shellcheck source=tests/lib.sh
. "${top_srcdir:?}/tests/lib.sh"

postern=${top_builddir:?}/src/postern
cat >"$tmp/server.py" <<'END'
import socket, sys
path, answer = sys.argv[1:3]
s = socket.socket(socket.AF_UNIX)
s.bind(path)
s.listen()
print("ready", flush=True)
c = s.accept()[0]
question = c.makefile("rb").readline()
open(path + ".question", "wb").write(question)
c.sendall(answer.encode())
END
server=''
on_exit() { [ -z "$server" ] || kill "$server" 2>/dev/null || :; }
# ask ANSWER ARGUMENT... - runs postern against a server that gives this answer once
ask() {
	rm -f "$tmp/sock" "$tmp/ready"
	python3 "$tmp/server.py" "$tmp/sock" "$1" >"$tmp/ready" &
	server=$!
	shift
	while kill -0 "$server" && ! grep -q ready "$tmp/ready"; do sleep 0.02; done
	ask_code=0
	"$postern" -s "$tmp/sock" "$@" || ask_code=$?
	wait "$server"
	return "$ask_code"
}

status='{"ok":true,"version":"0.1.0","pid":4711,"started":1700000000,"uptime":93784,"generation":3,
"state":"serving","config":"/etc/postern/postern.conf","limitations":["landlock is missing: kernel too old","no root"],
"processes":[{"role":"worker","slot":0,"pid":12,"generation":3,"state":"serving","connections":5,"accepted":100,"restarts":0},
{"role":"keyholder","slot":0,"pid":13,"generation":1,"state":"serving","restarts":1}],
"services":[{"name":"line","listen":["127.0.0.1:7777 starttls-required","[::1]:7777 tls"],"connections":5,"accepted":100,
"refused":7,"tls_sessions":4,"handshakes":90,"handshakes_failed":1,"injections":2,"octets_in":9999,"octets_out":1234567}],
"log_dropped":17,
"credentials":{"generation":7,"since":1700000060,"refused":1700000120,"error":"cannot open /x: none"}}'
status=$(printf '%s' "$status" | tr -d '\n')

cat >"$tmp/expected" <<'END'
posternd 0.1.0 is serving, process 4711
running        1d 02:03:04 since 2023-11-14 22:13:20 UTC
configuration  /etc/postern/postern.conf, generation 3
certificates   generation 7 since 2023-11-14 22:14:20 UTC
               changed files were refused at 2023-11-14 22:15:20 UTC: cannot open /x: none
limitations    landlock is missing: kernel too old
               no root
log            17 messages were dropped: too many at once

SERVICE  LISTENS AT                        OPEN  ACCEPTED  REFUSED  IN TLS  HANDSHAKES  FAILED  INJECTIONS    IN   OUT  CERTIFICATE  CRL
line     127.0.0.1:7777 starttls-required     5       100        7       4          90       1           2  9999  1.2M            -    -
         [::1]:7777 tls

PROCESS    SLOT  PID  GENERATION  STATE    OPEN  ACCEPTED  RESTARTS
worker        0   12           3  serving     5       100         0
keyholder     0   13           1  serving     -         -         1
END
TZ=UTC
export TZ
shows() {
	ask "$status" status >"$tmp/got"
	diff -u "$tmp/expected" "$tmp/got"
}
check 'status' shows
check 'the question is one line of JSON' [ "$(cat "$tmp/sock.question")" = '{"command":"status"}' ]
check 'status in JSON is the answer' sh -c 'python3 -c "import json, sys
assert json.loads(sys.argv[1]) == json.loads(sys.argv[2])" "$1" "$2"' - "$status" "$(ask "$status" status --json)"
for left in '- 60:ended' '+ 90:1m' '+ 7200:2h' '+ 864000:10d'; do # and a little, for the time until it is shown
	next=$(($(date +%s) ${left%:*} + 20))
	check "a list until now ${left%:*} s" says "  ${left#*:}" ask \
		"$(printf '%s' "$status" | sed "s/\"refused\"/\"crl_next_update\":$next,&/")" status
done
check 'no service' says 'postern setup makes one' ask '{"ok":true,"state":"serving","services":[],"processes":[]}' status
check 'an answer that says nothing' exits 0 ask '{"ok":true}' status
check 'control characters do not reach the terminal' says 'is ?[31m' ask '{"ok":true,"state":"\u001b[31m"}' status

check 'reload' says 'generation 4 serves' ask '{"ok":true,"generation":4}' reload
check 'its question' [ "$(cat "$tmp/sock.question")" = '{"command":"reload"}' ]
check 'a refusal' exits 1 ask '{"ok":false,"error":"line one\nline two"}' reload
check 'with all its lines' says 'line one
line two' ask '{"ok":false,"error":"line one\nline two"}' reload
check 'a refusal in JSON' says '{"ok": false, "error": "not yours"}' ask '{"ok":false,"error":"not yours"}' reload --json
check 'a refusal without a reason' says 'without a reason' ask '{"ok":false}' reload
check 'no JSON' says 'does not speak JSON' ask 'SSH-2.0-OpenSSH
' status
check 'no answer' says 'closed the connection without an answer' ask '' status
check 'no answer: the code' exits 1 ask '' status

rm -f "$tmp/sock"
check 'not running: no socket' exits 3 "$postern" -s "$tmp/sock" status
check 'it says so' says "posternd is not running (there is no socket $tmp/sock): start it with: " "$postern" -s "$tmp/sock" status
python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$tmp/sock"
check 'not running: a socket that is left over' exits 3 "$postern" -s "$tmp/sock" status
check 'it says that, too' says "(nobody listens at $tmp/sock)" "$postern" -s "$tmp/sock" status
check 'the same for a configuration' exits 0 "$postern" -f "$tmp/site/postern.conf" setup
check 'not running, by configuration' says "start it with: " "$postern" -f "$tmp/site/postern.conf" status
check 'with the line that starts it' says "posternd -f $tmp/site/postern.conf" "$postern" -f "$tmp/site/postern.conf" status
check 'not running, in JSON' says '{"ok": false, "error": "posternd is not running' "$postern" --json -s "$tmp/sock" status
check 'a path too long for a socket' says 'takes 107' "$postern" -s "/$(printf '%0107d' 0)" status
check 'status takes no argument' exits 2 "$postern" status all
if [ "$(id -u)" = 0 ]; then
	cp "$postern" "$tmp/postern"
	chmod 755 "$tmp"
	chmod 600 "$tmp/sock"
	check 'not allowed' exits 4 setpriv --reuid=65534 --regid=65534 --clear-groups "$tmp/postern" -s "$tmp/sock" status
	check 'it names the group' says 'nor in group postern-admin' \
		setpriv --reuid=65534 --regid=65534 --clear-groups "$tmp/postern" -s "$tmp/sock" status
else
	chmod 0 "$tmp/sock"
	check 'not allowed' exits 4 "$postern" -s "$tmp/sock" status
	check 'it names the group' says 'nor in group postern-admin' "$postern" -s "$tmp/sock" status
fi

done_testing
