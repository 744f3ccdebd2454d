#!/bin/sh
# cli/trace.sh - "postern trace" and "why" against a control socket that answers what the test says.
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
c.sendall(answer.encode() + b"\n")
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
asked() { [ "$(cat "$tmp/sock.question")" = "$1" ]; }

connection='{"id":"0-7","time":"2023-11-14T22:13:20.123456Z","open":false,"phase":"closing","us":2500000,
"peer":"192.0.2.1:4711","local":"192.0.2.9:587","service":"submission","mode":"starttls-required","client_certificate":"request",
"pid":12,"generation":3,"octets_in":100,"octets_out":2000,"repeats":2,"first_time":"2023-11-14T22:00:00.000000Z",
"tls":{"version":"TLS 1.3","cipher":"AES-128-GCM","group":"X25519","signature":"ECDSA-SHA256","server_name":"mail.example.org",
"established":true,"resumed":false,"tickets":2},
"certificate":{"subject":"CN=alice","issuer":"CN=ca","names":"email:alice@example.org","serial":"0A","not_before":"2020-01-01T00:00:00Z",
"not_after":"2020-02-01T00:00:00Z","chain":1,"self_signed":false,"known":false},"verdict":"expired","user":"",
"why":{"code":"certificate-expired","side":"client","kind":"login","sentence":"It expired; renew it.","what":"It expired","next":"renew it"},
"partial":false,"steps":[{"us":0,"way":"none","kind":"accepted","text":"connection accepted"},
{"us":1234,"way":"in","kind":"handshake","text":"ClientHello","number":1,"size":198},
{"us":1500,"way":"out","kind":"handshake","text":"ServerHello","number":2,"size":118},
{"us":2500000,"way":"out","kind":"alert","text":"alert close_notify (0)","number":0}]}'
connection=$(printf '%s' "$connection" | tr -d '\n')

cat >"$tmp/connection" <<'END'
connection 0-7, 14 November 2023 22:13:20 UTC, closed
  from 192.0.2.1:4711 to 192.0.2.9:587, service submission (starttls-required), worker 12, 100 octets in, 2000 out
  TLS 1.3, AES-128-GCM, X25519, signed with ECDSA-SHA256, server name mail.example.org, 2 tickets given
  certificate CN=alice by CN=ca (email:alice@example.org), valid 2020-01-01 to 2020-02-01, 1 in the chain
  verdict: expired
  and 2 like it before, since 2023-11-14T22:00:00.000000Z

           ms                                                            octets
        0.000                         connection accepted
        1.234  client ------> server  ClientHello                           198
        1.500  client <------ server  ServerHello                           118
     2500.000  client <------ server  alert close_notify (0)
END
{ cat "$tmp/connection"; printf '\n  why: It expired; renew it.\n'; } >"$tmp/trace"
{
	printf 'It expired; renew it.\n\n(certificate-expired, client; see postern-why(7))\n\n'
	cat "$tmp/connection"
	printf '\nand besides:\n  14 November 2023 22:13:20 UTC, connection 0-7: It expired; renew it.\n'
} >"$tmp/why"
traced="{\"ok\":true,\"recorder\":\"on\",\"connections\":[$connection]}"
told="{\"ok\":true,\"recorder\":\"on\",\"found\":2,\"code\":\"certificate-expired\",\"side\":\"client\",\"kind\":\"login\",
\"sentence\":\"It expired; renew it.\",\"what\":\"\",\"next\":\"\",\"connection\":$connection,\"others\":[$connection]}"
told=$(printf '%s' "$told" | tr -d '\n')

shows() { # EXPECTED ANSWER ARGUMENT...
	expected=$1
	shift
	ask "$@" >"$tmp/got" && diff -u "$expected" "$tmp/got"
}
check 'trace' shows "$tmp/trace" "$traced" trace
check 'it asks for the last' asked '{"command":"trace","which":"last","follow":false}'
check 'trace of an address' shows "$tmp/trace" "$traced" trace 192.0.2.1
check 'it asks for the address' asked '{"command":"trace","which":"192.0.2.1","follow":false}'
check 'trace in JSON is the answer' sh -c 'python3 -c "import json, sys
assert json.loads(sys.argv[1]) == json.loads(sys.argv[2])" "$1" "$2"' - "$traced" "$(ask "$traced" trace --json)"
check 'why' shows "$tmp/why" "$told" why
check 'it asks why' asked '{"command":"why","which":"last"}'
check 'why of somebody' shows "$tmp/why" "$told" why 'al"ice'
check 'a quote in a name' asked '{"command":"why","which":"al\"ice"}'
check 'why in JSON is the answer' sh -c 'python3 -c "import json, sys
assert json.loads(sys.argv[1]) == json.loads(sys.argv[2])" "$1" "$2"' - "$told" "$(ask "$told" why --json)"

none='{"ok":true,"recorder":"on","found":0,"connections":[],"others":[]}'
check 'nothing to trace' says 'No such connection is known' ask "$none" trace 1-2
check 'nothing has failed' says 'No connection has failed' ask "$none" why
check 'nothing of theirs has failed' says 'No connection of bob has failed' ask "$none" why bob
check 'where refusals are found' says 'refused in one that went on is in the log' ask "$none" why
off='{"ok":true,"recorder":"off","found":0,"connections":[],"others":[]}'
check 'off, for trace' says 'recorder on' ask "$off" trace
check 'off, for why' says 'recorder on' ask "$off" why
check 'an error' exits 1 ask '{"ok":false,"error":"no"}' trace x
check 'an answer that says nothing' exits 0 ask '{"ok":true}' trace
check 'an answer that says nothing of why' exits 0 ask '{"ok":true}' why
check 'of the wrong types' exits 0 ask '{"ok":true,"found":1,"connection":[1],"others":{"a":1}}' why
check 'control characters' says 'a?b' ask '{"ok":true,"found":1,"sentence":"a\u001bb"}' why
check 'two arguments for trace' exits 2 "$postern" -s "$tmp/sock" trace a b
check 'two arguments for why' exits 2 "$postern" -s "$tmp/sock" why a b

followed="{\"ok\":true,\"connection\":$connection}
{\"ok\":true,\"connection\":$connection}"
check 'follow' says '0-7             1.234  client ------> server  ClientHello' ask "$followed" trace --follow
check 'it asks to follow' asked '{"command":"trace","which":"last","follow":true}'
check 'each once with its head' sh -c '[ "$(grep -c "^connection 0-7" "$1")" = 1 ] && [ "$(grep -c ClientHello "$1")" = 2 ]' - \
	"$tmp/followed-$(ask "$followed" trace -F >"$tmp/followed-"; :)"
check 'follow says why' grep -q '^0-7      why: It expired; renew it.$' "$tmp/followed-"
check 'follow in JSON, a line each' sh -c '[ "$(printf "%s\n" "$1" | wc -l)" = 2 ]' - "$(ask "$followed" trace --follow --json)"
check 'follow ends with an error' exits 1 ask '{"ok":false,"error":"too many"}' trace --follow
check 'follow is for trace' exits 2 "$postern" -s "$tmp/sock" status --follow

done_testing
