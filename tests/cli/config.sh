#!/bin/sh
# cli/config.sh - the command line of "postern", and "config show".
# shellcheck disable=SC2016  # $1 and so on are for the shells that are started here
# shellcheck source=tests/lib.sh
. "${top_srcdir:?}/tests/lib.sh"

postern=${top_builddir:?}/src/postern

check 'no command' exits 2 "$postern"
check 'an unknown command' says 'there is no command "stat"' "$postern" stat
check 'its exit code' exits 2 "$postern" stat
check 'store without a word' says 'store does two things' "$postern" store
check 'store stat of what is no address' says '"alice" is not an address' "$postern" store stat alice
check 'its exit code' exits 2 "$postern" store stat alice
check 'store stat of two' says 'takes one address, no more' "$postern" store stat a@example.org b@example.org
check 'its exit code' exits 2 "$postern" store stat a@example.org b@example.org
check 'store stat repairs nothing' says 'changes nothing' "$postern" store stat --repair
check 'its exit code' exits 2 "$postern" store stat --repair
check 'store stat in JSON' json 'j["ok"] is False and "no more" in j["error"]' "$postern" store stat a@example.org b@example.org --json
check 'an unknown long option' says 'there is no option --frob' "$postern" --frob status
check 'an unknown short option' says 'there is no option -q' "$postern" status -q
check 'an option without its value' says 'option -f needs a value' "$postern" status -f
check 'in JSON, wherever --json stands' json 'j["ok"] is False and "--frob" in j["error"]' "$postern" --frob status --json
check 'help' exits 0 "$postern" help
check 'help lists what there is' says 'config show' "$postern" help
check 'help in JSON' json '{"setup", "status", "why", "trace", "metrics", "config", "reload", "user", "reindex", "help"} <= {c["name"] for c in j["commands"]}' \
	"$postern" help --json
check 'the version' says "postern 0." "$postern" --version
check 'the version in JSON' json 'j["ok"] and j["version"][0] == "0"' "$postern" --version --json
check 'a full disk is an error' sh -c '! "$1" help >/dev/full' - "$postern"

conf=$tmp/postern.conf
cat >"$conf" <<END
state $tmp/state
drain 3s
tls main {
    certificate $tmp/c.pem key $tmp/c.key
}
service line {
    protocol line
    listen 127.0.0.1:7777 starttls-required
    tls main
}
END
check 'config needs show' exits 2 "$postern" -f "$conf" config
check 'config show' exits 0 "$postern" -f "$conf" config show
check 'a value with its origin' sh -c '"$1" -f "$2" config show | grep -Eq "^[[:blank:]]*drain .*3s.*# $2:2"' - "$postern" "$conf"
check 'a default says so' sh -c '"$1" -f "$2" config show | grep -Eq "^[[:blank:]]*stop-timeout .*# default"' - "$postern" "$conf"
"$postern" -f "$conf" config show >"$tmp/shown.conf"
check 'what it shows is a configuration' exits 0 "$postern" -f "$tmp/shown.conf" config show
check 'config show in JSON' json 'j["ok"] and j["file"].endswith("/postern.conf")' "$postern" -f "$conf" config show --json
check 'a value in JSON' json \
	'[v["origin"]["line"] for v in j["values"] if v["name"] == "drain"] == [2]' "$postern" -f "$conf" config show --json
check 'a default in JSON' json \
	'[v["origin"] for v in j["values"] if v["name"] == "stop-timeout"] == [None]' "$postern" -f "$conf" config show --json

echo 'drian 1h' >>"$conf"
echo 'frob' >>"$conf"
check 'mistakes' exits 5 "$postern" -f "$conf" config show
check 'all of them' says 'has 2 mistakes' "$postern" -f "$conf" config show
check 'as the parser words them' says "$conf:11:1:" "$postern" -f "$conf" config show
check 'with a hint' says "did you mean" "$postern" -f "$conf" config show
check 'mistakes in JSON' json 'j["ok"] is False and ":11:1:" in j["error"]' "$postern" -f "$conf" config show --json
check 'no file' exits 5 "$postern" -f "$tmp/none.conf" config show
check 'what to do then' says 'make one with: postern -f' "$postern" -f "$tmp/none.conf" config show

done_testing
