#!/bin/sh
# check-ipc-doc.sh [SRC DOC] - doc/IPC.md against the code: every message of src/ipc/msg.h stands there
# once, with its number, fields and descriptor, under a heading with its name, and nothing else does; the
# receivers it names are those whose code takes the message.
src=${1:-${top_srcdir:-..}/src}
doc=${2:-${top_srcdir:-..}/doc/IPC.md}
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

# "7 CRED_FILE(u64 generation, ...) + fd" for each row of MSG_LIST
from_header() { # MSG.H
	sed -e ':again' -e '/^#define MSG_[A-Z_]*(F).*\\$/{' -e N -e 's/\\\n//' -e 'b again' -e '}' "$1" | awk '
		/^#define MSG_LIST\(X\)/ { list = 1; next }
		list && /^[ \t]*X\(/ {
			split(substr($0, index($0, "(") + 1), part, /[,)] */)
			number[part[2]] = part[1]; fd[part[2]] = part[4]; order[++n] = part[2]
		}
		list && !/\\$/ { list = 0 }
		/^#define MSG_[A-Z_]+\(F\)/ {
			name = $2; sub(/^MSG_/, "", name); sub(/\(F\)$/, "", name)
			rest = $0; text = ""
			while (match(rest, /F\([a-z0-9]+, [a-z_]+\)/)) {
				field = substr(rest, RSTART + 2, RLENGTH - 3)
				rest = substr(rest, RSTART + RLENGTH)
				sub(/,/, "", field)
				text = text (text == "" ? "" : ", ") field
			}
			fields[name] = text
		}
		END {
			for (i = 1; i <= n; i++)
				print number[order[i]] " " order[i] "(" fields[order[i]] ")" \
					(fd[order[i]] == 1 ? " + fd" : "")
		}'
}

# The page: a heading "### NAME" and below it the line "    NUMBER NAME(...)...: SENDERS -> RECEIVERS".
# Writes what must equal the header's list to $2, "NAME receivers" to $3.
from_page() { # IPC.MD SIGNATURES RECEIVERS
	awk -v signatures="$2" -v receivers="$3" '
		/^### / {
			if (heading != "") print "no line for " heading
			heading = $2
		}
		/^    [0-9]+ [A-Z_]+\(/ {
			name = $2; sub(/\(.*/, "", name)
			if (name != heading) print "the line of " name " stands under " heading
			heading = ""
			signature = substr($0, 5); sub(/: [a-z, ]+ -> [a-z, ]+$/, "", signature)
			print signature >signatures
			to = $0; sub(/.* -> /, "", to); gsub(/, /, " ", to)
			print name " " to >receivers
		}
		END { if (heading != "") print "no line for " heading }' "$1"
}

# A role takes a message when its files have a rule for it or decode it.
takes() { # NAME FILE...
	takes_lower=$(printf '%s' "$1" | tr '[:upper:]' '[:lower:]')
	takes_upper=$1
	shift
	cat "$@" 2>/dev/null | grep -Eq "\{ MSG_T_$takes_upper,|[^a-z_]msg_${takes_lower}_decode\("
}
from_code() { # SRC <signatures
	sed 's/^[0-9]* \([A-Z_]*\)(.*/\1/' | while read -r name; do
		to=
		takes "$name" "$1"/proc/parent*.c "$1"/proc/supervise.c "$1"/proc/transition.c && to="$to parent"
		takes "$name" "$1"/proc/keyholder.c && to="$to keyholder"
		takes "$name" "$1"/proc/worker*.c "$1"/proc/auth_client.c "$1"/store/client.c && to="$to worker"
		takes "$name" "$1"/proc/control*.c && to="$to control"
		takes "$name" "$1"/proc/auth.c "$1"/proc/auth_realm.c "$1"/proc/auth_worker.c && to="$to auth"
		takes "$name" "$1"/proc/spawn*.c && to="$to spawn"
		takes "$name" "$1"/proc/store.c "$1"/store/server_rules.c && to="$to store"
		takes "$name" "$1"/store/client_queue.c && to="$to relay"
		echo "$name$to"
	done
}

compare() { # SRC DOC -> differences
	: >"$tmp/page" && : >"$tmp/page-to"
	from_header "$1/ipc/msg.h" >"$tmp/header"
	from_page "$2" "$tmp/page" "$tmp/page-to"
	diff "$tmp/header" "$tmp/page" | grep '^[<>]'
	from_code "$1" <"$tmp/header" >"$tmp/code-to"
	diff "$tmp/code-to" "$tmp/page-to" | grep '^[<>]'
}

# the check itself: it sees one message that is missing, one too many, a wrong field, descriptor, heading
# and receiver
mkdir -p "$tmp/t/ipc" "$tmp/t/proc"
cat >"$tmp/t/ipc/msg.h" <<'END'
#define MSG_LIST(X)                          \
	/* parent to any child */            \
	X(1, CONFIG, config, 1)              \
	X(2, CRED_FILE, cred_file, 1)        \
	X(3, START, start, 0)                \
	X(4, STOP, stop, 0)

#define MSG_CONFIG(F) F(u64, generation)
#define MSG_CRED_FILE(F) F(u64, generation) F(str, path)
#define MSG_START(F)                         \
	F(u8, unused)
#define MSG_STOP(F) F(u32, timeout_ms)
END
printf '\t{ MSG_T_CONFIG, FROM_PARENT, X, on_config },\n\t{ MSG_T_START, X },\n{ MSG_T_CRED_FILE, X },' >"$tmp/t/proc/worker.c"
printf '\t\tmsg_stop_decode(f, &m);\n' >"$tmp/t/proc/keyholder.c"
: >"$tmp/t/proc/parent.c" && : >"$tmp/t/proc/supervise.c" && : >"$tmp/t/proc/transition.c"
: >"$tmp/t/proc/control.c" && : >"$tmp/t/proc/spawn.c"
cat >"$tmp/t/good.md" <<'END'
### CONFIG

    1 CONFIG(u64 generation) + fd: parent -> worker

### CRED_FILE

    2 CRED_FILE(u64 generation, str path) + fd: parent -> worker

### START

    3 START(u8 unused): parent -> worker

### STOP

    4 STOP(u32 timeout_ms): parent -> keyholder
END
fails_itself() {
	echo "check-ipc-doc.sh: $1"
	exit 1
}
[ -z "$(compare "$tmp/t" "$tmp/t/good.md")" ] || fails_itself 'calls a good page bad'
# shellcheck disable=SC2016  # $ is sed's
for edit in '/^### STOP/,$d' 's/u64 generation, str path/u64 generation/' 's/ START(u8 unused)/& + fd/' \
	's/^    3 /    5 /' 's/^### STOP/### HALT/' 's/-> keyholder/-> worker/' \
	'$a\    5 EXTRA(u8 x): parent -> worker'; do
	sed "$edit" "$tmp/t/good.md" >"$tmp/t/bad.md"
	[ -n "$(compare "$tmp/t" "$tmp/t/bad.md")" ] || fails_itself "does not see: $edit"
done

found=$(compare "$src" "$doc")
[ "$(wc -l <"$tmp/header")" -gt 10 ] || fails_itself "$src/ipc/msg.h: no messages found"
[ -z "$found" ] && exit 0
printf '%s\n' "$found"
echo "check-ipc-doc.sh: '<' is the code, '>' is $doc"
exit 1
