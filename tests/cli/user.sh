#!/bin/sh
# cli/user.sh - "postern user": what it writes, what it leaves alone, and what it says.
# shellcheck disable=SC2016  # $1 and so on are for the shells that are started here
# shellcheck source=tests/lib.sh
. "${top_srcdir:?}/tests/lib.sh"

postern=${top_builddir:?}/src/postern
conf=$tmp/postern.conf
users=$tmp/users
cat >"$conf" <<END
domain example.org
users file users
service line {
    protocol line
    listen 127.0.0.1:7777 plain
}
END
user() { "$postern" -f "$conf" user "$@"; }
lines() { # N
	[ "$(wc -l <"$users")" = "$1" ]
}

# the command line
check 'nothing to do' exits 2 user
check 'an unknown act' says 'there is no "user frob"' user frob
check 'no address' exits 2 user add
check 'two addresses' exits 2 user add a@example.org b@example.org
check 'not an address' says 'should be NAME@DOMAIN' user add alice --no-password
check 'not even a quoted one' exits 2 user add '"a b"@example.org' --no-password
check 'two sources' says 'one of them' user add a@example.org --stdin --generate
check 'no quota' says '"10X" is no quota' user add a@example.org --no-password --quota 10X
check 'list takes nothing' exits 2 user list a@example.org
check 'its options are its own' says 'is for "postern user"' "$postern" status --generate
check 'set needs something' exits 2 user set a@example.org
check 'set takes no password' exits 2 user set a@example.org --stdin
check 'passwd takes no quota' exits 2 user passwd a@example.org --stdin --quota 1G
check 'and nothing was written' [ ! -e "$users" ]
check 'no terminal to ask at' sh -c 'setsid "$1" -f "$2" user add a@example.org </dev/null 2>&1 | grep -q "no terminal"' - "$postern" "$conf"

# add
check 'add' sh -c 'echo "correct horse" | "$1" -f "$2" user add Alice@EXAMPLE.org --stdin --quota 10G --alias Sales@example.org' - "$postern" "$conf"
check 'the file is for its owner' mode_is 600 "$users"
check 'both forms are there' grep -Eq '^alice@example.org \{SCRAM-SHA-256\}[^ {]*\{yescrypt\}\$y\$[^ ]* 10G sales@example.org$' "$users"
check 'and not the password' sh -c '! grep -q horse "$1"' - "$users"
check 'once only' says 'is a user already' user add alice@example.org --no-password
check 'without a password' exits 0 user add bob@example.org --no-password
check 'as such' grep -q '^bob@example.org - - -$' "$users"
check 'an address that is an alias' exits 5 user add sales@example.org --no-password
check 'says so' says 'alias sales@example.org is the address of the user' user add sales@example.org --no-password
check 'generated, and shown' says 'shown this once: ' user add carol@example.org --generate
check 'generated in JSON' json 'j["ok"] and len(j["password"]) == 23 and j["user"] == "dave@example.org"' \
	user add dave@example.org --generate --json
check 'of another domain: a word about it' says 'is not taken yet' user add eve@example.net --no-password
check 'and in JSON' json 'j["domain_is_ours"] is False' user del eve@example.net --json
check 'an empty password' sh -c '! echo | "$1" -f "$2" user add zoe@example.org --stdin' - "$postern" "$conf"
check 'says what is one' sh -c 'echo | "$1" -f "$2" user add zoe@example.org --stdin 2>&1 | grep -q "1 to 511 octets"' - "$postern" "$conf"
check 'one with a control character' sh -c '! printf "a\001b\n" | "$1" -f "$2" user add zoe@example.org --stdin' - "$postern" "$conf"
long=$(printf '%0511d' 0)
check 'the longest' sh -c 'echo "$3" | "$1" -f "$2" user add zoe@example.org --stdin' - "$postern" "$conf" "$long"
check 'one octet longer' sh -c '! echo "${3}0" | "$1" -f "$2" user passwd zoe@example.org --stdin' - "$postern" "$conf" "$long"
check 'del' exits 0 user del zoe@example.org
check 'header and four users' lines 5

# list
check 'list' says 'alice@example.org  yes' user list
check 'list in JSON' json '[u["user"] for u in j["users"]] == ["alice@example.org", "bob@example.org", "carol@example.org", "dave@example.org"]' user list --json
check 'with what there is' json 'j["users"][0]["password"] == ["SCRAM-SHA-256", "yescrypt"] and j["users"][0]["quota"] == 10 << 30 and j["users"][0]["aliases"] == ["sales@example.org"]' user list --json
check 'and without' json 'j["users"][1] == {"user": "bob@example.org", "password": [], "quota": None, "aliases": []}' user list --json
check 'no hash is shown' sh -c '! "$1" -f "$2" user list --json | grep -q yescrypt}' - "$postern" "$conf"

# passwd and set
before=$(grep ^alice "$users")
check 'passwd' sh -c 'echo other | "$1" -f "$2" user passwd ALICE@example.org --stdin' - "$postern" "$conf"
check 'another one' [ "$before" != "$(grep ^alice "$users")" ]
check 'the rest of the line stays' grep -q '^alice@example.org .* 10G sales@example.org$' "$users"
check 'of nobody' says 'nobody is zoe@example.org' user passwd zoe@example.org --generate
check 'taken away' says 'has no password any more' user passwd carol@example.org --no-password
check 'it is' grep -q '^carol@example.org - - -$' "$users"
before=$(grep ^alice "$users" | cut -d' ' -f2)
check 'set' exits 0 user set alice@example.org --quota 512M --alias team@example.org --alias TEAM@example.org --no-alias sales@example.org
check 'what was set' grep -q '^alice@example.org .* 512M team@example.org$' "$users"
check 'the password stays' [ "$before" = "$(grep ^alice "$users" | cut -d' ' -f2)" ]
check 'an alias that is not there' exits 1 user set alice@example.org --no-alias sales@example.org
check 'an alias of two' exits 0 user set bob@example.org --alias team@example.org
check 'no quota any more' exits 0 user set alice@example.org --quota -
check 'is written so' grep -q '^alice@example.org .* - team@example.org$' "$users"

# what people have written stays
printf '# mine\n\n  frank@example.org\t-\t1G\n# the end, without an end of line' >>"$users"
check 'del in the middle' exits 0 user del bob@example.org
check 'add behind it all' exits 0 user add gina@example.org --no-password
printf '# mine\n\n  frank@example.org\t-\t1G\n# the end, without an end of line\ngina@example.org - - -\n' >"$tmp/want"
check 'every octet' sh -c 'tail -n 5 "$1" | cmp - "$2"' - "$users" "$tmp/want"
check 'del the last' exits 0 user del gina@example.org

# a file with mistakes is not touched
cp "$users" "$tmp/good"
echo 'alice' >>"$users"
cp "$users" "$tmp/bad"
check 'mistakes' exits 5 user add zoe@example.org --no-password
check 'are told with their lines' says "users:9: no credentials" user list
check 'and the file is as it was' cmp "$users" "$tmp/bad"
cp "$tmp/good" "$users"

# a link is followed, not replaced
mkdir "$tmp/elsewhere"
mv "$users" "$tmp/elsewhere/users"
ln -s elsewhere/users "$users"
check 'through a link' exits 0 user add hugo@example.org --no-password
check 'which stays one' [ -L "$users" ]
check 'its file has it' grep -q ^hugo "$tmp/elsewhere/users"

# many at once: none is lost
for n in 1 2 3 4 5 6 7 8; do
	"$postern" -f "$conf" user add "many$n@example.org" --no-password >/dev/null &
done
wait
check 'eight at once' [ "$(grep -c ^many "$users")" = 8 ]
check 'and no file is left over' sh -c '! ls "$1" "$1/elsewhere" | grep -q "\.new\."' - "$tmp"

# the owner is kept
if [ "$(id -u)" = 0 ]; then
	chown 1:1 "$tmp/elsewhere/users"
	check 'root: another owner' exits 0 user add ines@example.org --no-password
	check 'who stays' [ "$(stat -c %u:%g "$tmp/elsewhere/users")" = 1:1 ]
fi

# at a terminal
cat >"$tmp/ask.py" <<'END'
import os, pty, sys
answers, argv = sys.argv[1].split(','), sys.argv[2:]
pid, fd = pty.fork()
if pid == 0:
    os.execv(argv[0], argv)
seen = b''
for answer in answers:
    start = len(seen)
    while not seen[start:].rstrip().endswith(b':'):
        seen += os.read(fd, 4096)
    os.write(fd, answer.encode() + b'\n')
try:
    while True:
        got = os.read(fd, 4096)
        if not got:
            break
        seen += got
except OSError:
    pass
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.stdout.write(seen.decode())
sys.exit(code)
END
check 'asked twice' python3 "$tmp/ask.py" pa55word,pa55word "$postern" -f "$conf" user add jack@example.org
check 'it is there' grep -q '^jack@example.org {SCRAM' "$users"
check 'two different ones' exits 1 python3 "$tmp/ask.py" one,other "$postern" -f "$conf" user add kim@example.org
check 'and nobody was added' sh -c '! grep -q ^kim "$1"' - "$users"
check 'nothing is echoed' sh -c '! python3 "$1" s3cret,s3cret "$2" -f "$3" user passwd jack@example.org | grep s3cret' - \
	"$tmp/ask.py" "$postern" "$conf"

# no users file
sed -i '/^users/d' "$conf"
check 'no users file' exits 5 user list
check 'what to add' says 'add a line such as "users file' user list

done_testing
