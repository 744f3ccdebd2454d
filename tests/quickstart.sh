#!/bin/bash
# quickstart.sh - the parts of quickstart that need no server: quoting, packages, ports, the demo
# site's certificates, what is said about a wrong command line.
# shellcheck disable=SC2016  # $1 and so on are for the shells that are started here
# shellcheck source=tests/lib.sh
. "${top_srcdir:?}/tests/lib.sh"
# shellcheck source=quickstart
. "$top_srcdir/quickstart"
set +o pipefail

words=(plain 'a b' "it's" '' '$HOME' '*' '~' $'a\nb' 'a\b' '"' '-x' '#' ';' 'ä')
quoting() {
	local got
	eval "got=($(quote_all "${words[@]}"))"
	[ "$(printf '%s|' "${got[@]}")" = "$(printf '%s|' "${words[@]}")" ]
}
check 'pasted words arrive as they were' quoting
env_round_trip() { # read by the plainest shell there is
	local pairs=() i
	for i in "${!words[@]}"; do pairs+=("WORD$i=${words[i]}"); done
	env_lines "${pairs[@]}" >"$tmp/env"
	for i in "${!words[@]}"; do
		[ "$(sh -euc '. "$1"; eval "printf %s. \"\$WORD$2\""' - "$tmp/env" "$i")" = "$(printf '%s.' "${words[i]}")" ] || return
		[ "$(sh -euc '. "$1"; sh -c "printf %s. \"\$WORD$2\""' - "$tmp/env" "$i")" = "$(printf '%s.' "${words[i]}")" ] || return
	done
}
check 'the env file brings every value, exported' env_round_trip
check 'a string of the configuration' [ "$(conf_quote 'a "b" c\d')" = '"a \"b\" c\\d"' ]

if command -v dpkg-query >/dev/null; then
	check 'packages that are missing' [ "$(missing_packages libc6 no-such-package base-files)" = no-such-package ]
	check 'no package is missing' [ -z "$(missing_packages libc6 base-files)" ]
	check 'nothing is missing: apt is not called' sh -c 'PATH=$1:$PATH; export PATH; shift; exec "$@"' - "$tmp/no-apt" \
		bash -euc '. "$1"; apt-get() { exit 9; }; need_packages libc6' - "$top_srcdir/quickstart"
fi

python3 -c 'import socket, time
s = socket.socket()
s.bind(("127.0.0.1", 0))
s.listen()
print(s.getsockname()[1], flush=True)
time.sleep(60)' >"$tmp/port" &
holder=$!
on_exit() { kill "$holder" 2>/dev/null || :; }
while kill -0 "$holder" && [ ! -s "$tmp/port" ]; do sleep 0.05; done
taken=$(cat "$tmp/port")
check 'a port that is taken' [ "$(taken_port "$taken")" = "$taken" ]
check 'found among others' [ "$(taken_port 1 "$taken")" = "$taken" ]
check 'an explicit base that is taken' says "port $taken is taken" choose_ports "$taken" 0
check 'is an error' exits 1 choose_ports "$taken" 0
next_block() { # a block whose first port is taken is passed over
	# shellcheck disable=SC2034  # choose_ports reads it
	port_base_default=$taken
	choose_ports '' 0
	[ "$LINE_PORT" = $((taken + port_block)) ] && [ "$LINES_PORT" = $((taken + port_block + 1)) ]
}
check 'without a base the next block' next_block
kill "$holder"
wait "$holder" 2>/dev/null || :
check 'a port that is free again' [ -z "$(taken_port "$taken")" ]

dir="$tmp/a 'site'"
mkdir "$dir"
check 'the certificates of a site' site_certificates
check 'the server: its name' openssl verify -CAfile "$dir/ca/ca.pem" -purpose sslserver -verify_hostname localhost "$dir/tls/server.pem"
check 'the server: its other name' openssl verify -CAfile "$dir/ca/ca.pem" -verify_hostname mail.example.test "$dir/tls/server.pem"
check 'the server: its address' openssl verify -CAfile "$dir/ca/ca.pem" -verify_ip 127.0.0.1 "$dir/tls/server.pem"
check 'alice' openssl verify -CAfile "$dir/ca/ca.pem" -purpose sslclient -verify_email alice@example.test "$dir/clients/alice.pem"
check 'bob' openssl verify -CAfile "$dir/ca/ca.pem" -purpose sslclient -verify_email bob@example.test "$dir/clients/bob.pem"
check "alice's device" sh -c 'openssl x509 -in "$1" -noout -subject -nameopt RFC2253 | grep -q "CN=alice@example.test/laptop$"' - "$dir/clients/alice.pem"
check 'a client is no server' exits 2 openssl verify -CAfile "$dir/ca/ca.pem" -purpose sslserver "$dir/clients/alice.pem"
for key in ca/ca tls/server clients/alice clients/bob; do
	check "the key $key" mode_is 600 "$dir/$key.key"
done
sums() { (cd "$dir" && find . -type f ! -name openssl.cnf -exec cksum {} + | sort); }
before=$(sums)
site_certificates
check 'a second start keeps them' [ "$before" = "$(sums)" ]
(umask 077 && openssl req -x509 -config "$dir/ca/openssl.cnf" -section alice -days 1 -newkey ec -pkeyopt ec_paramgen_curve:P-256 \
	-nodes -CA "$dir/ca/ca.pem" -CAkey "$dir/ca/ca.key" -keyout "$dir/clients/alice.key" -out "$dir/clients/alice.pem") 2>/dev/null
short=$(cksum <"$dir/clients/alice.pem")
bobs=$(cksum <"$dir/clients/bob.pem")
site_certificates
check 'one that ends within a day is renewed' [ "$short" != "$(cksum <"$dir/clients/alice.pem")" ]
check 'the others are not' [ "$bobs" = "$(cksum <"$dir/clients/bob.pem")" ]
rm "$dir/ca/ca.key"
site_certificates
check 'with a new CA all are new' openssl verify -CAfile "$dir/ca/ca.pem" "$dir/tls/server.pem" "$dir/clients/alice.pem" "$dir/clients/bob.pem"

# shellcheck disable=SC2034  # site_conf reads them
LINE_PORT=24700 LINES_PORT=24701 EXEC_PORT=24702 SMTP_PORT=24703 SUBMISSION_PORT=24704
SUBMISSIONS_PORT=24705 LMTP_PORT=24706
site_conf >"$dir/postern.conf"
check 'the configuration of a site passes' "${top_builddir:?}/src/postern" -f "$dir/postern.conf" config show

for wrong in 'walk' '' 'run --frob' 'run --dir' 'run --port-base 0' 'run --port-base 70000' 'run --port-base x' 'test --fast'; do
	# shellcheck disable=SC2086  # a list of words
	check "a wrong command line: $wrong" exits 2 "$top_srcdir/quickstart" $wrong
done
check 'a folder that cannot be' exits 1 prepare_site /dev/null/x

done_testing
