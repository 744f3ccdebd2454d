# tests/lib.sh - what the script tests share. Read by: . "$top_srcdir/tests/lib.sh"
#
# A test is a name and a command that succeeds; it is counted, a failure is shown with what the command
# said, and the script goes on. done_testing prints the line that summary.sh adds up.
# shellcheck shell=sh
set -eu
LC_ALL=C
export LC_ALL

tests_passed=0 tests_failed=0
# a short path: unix sockets live below it
tmp=$(mktemp -d "${TMPDIR:-/tmp}/postern-test.XXXXXX")
on_exit() { :; }
trap 'on_exit; rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM HUP

# check NAME COMMAND... - the output goes to $tmp/out and $tmp/err
check() {
	check_name=$1
	shift
	if ("$@") >"$tmp/out" 2>"$tmp/err"; then
		tests_passed=$((tests_passed + 1))
		echo "ok: $check_name"
	else
		tests_failed=$((tests_failed + 1))
		echo "FAILED: $check_name: $*"
		sed 's/^/    | /' "$tmp/out" "$tmp/err"
	fi
}

# exits CODE COMMAND... - true when the command's exit code is exactly this
exits() {
	exits_code=$1
	shift
	exits_got=0
	("$@") || exits_got=$?
	[ "$exits_got" = "$exits_code" ] || {
		echo "exit code $exits_got, not $exits_code"
		return 1
	}
}

# says TEXT COMMAND... - true when the command's output (both kinds) has the text; its code is ignored
says() {
	says_text=$1
	shift
	says_got=$("$@" 2>&1) || :
	case $says_got in
	*"$says_text"*) ;;
	*)
		echo "it did not say \"$says_text\" but: $says_got"
		return 1
		;;
	esac
}

# json EXPRESSION COMMAND... - true when python's expression over the answer j is
json() {
	json_expression=$1
	shift
	json_answer=$("$@") || :
	python3 -c 'import json, sys
j = json.loads(sys.argv[1])
sys.exit(0 if eval(sys.argv[2]) else "not so: %s in %r" % (sys.argv[2], j))' "$json_answer" "$json_expression"
}

mode_is() { # MODE FILE
	[ "$(stat -c %a "$2")" = "$1" ] || {
		echo "mode of $2: $(stat -c %a "$2"), not $1"
		return 1
	}
}

done_testing() {
	echo "# $tests_passed passed, $tests_failed failed, 0 skipped"
	[ "$tests_failed" = 0 ] && [ "$tests_passed" -gt 0 ]
}
