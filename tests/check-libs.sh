#!/bin/sh
# check-libs.sh - each program's libraries against src/LIBS, which says what each may be linked with and
# so what a bug in one of them can reach. A new library is a line there, with its reason in
# doc/ARCHITECTURE.md.
# shellcheck disable=SC2016  # $1 and $2 are for the shell that is started here
# shellcheck source=tests/lib.sh
. "${top_srcdir:?}/tests/lib.sh"

needed() { # PROGRAM -> its libraries, one line
	objdump -p "$1" | awk '$1 == "NEEDED" { print $2 }' | sort | tr '\n' ' ' | sed 's/ $//'
}
compare() { # PROGRAM LIBRARY...
	program=${top_builddir:?}/src/$1
	[ -x "$program" ] || {
		echo "src/LIBS has a line for $1, which was not built"
		return 1
	}
	shift
	stated=$(printf '%s\n' "$@" | sort | tr '\n' ' ' | sed 's/ $//')
	linked=$(needed "$program")
	[ "$stated" = "$linked" ] || {
		echo "src/LIBS: $stated"
		echo "linked:   $linked"
		return 1
	}
}
# A program that nobody wrote down would escape the comparison.
has_line() { # PROGRAM
	grep -q "^$1:" "$top_srcdir/src/LIBS" || {
		echo "src/LIBS has no line for it; it would be: $1: $(needed "$top_builddir/src/$1")"
		return 1
	}
}

sed 's/#.*//; /^[[:blank:]]*$/d' "$top_srcdir/src/LIBS" >"$tmp/libs"
while IFS=: read -r name libraries; do
	# shellcheck disable=SC2086  # a list of words
	check "$name" compare "$name" $libraries
done <"$tmp/libs"
for file in "$top_builddir"/src/*; do
	name=${file##*/}
	case $name in
	postern* | *-*)
		[ ! -f "$file" ] || [ ! -x "$file" ] || check "$name is in src/LIBS" has_line "$name"
		;;
	esac
done
for forbidden in libjansson libglib libcrypto libssl libgssapi libkrb5; do
	[ ! -x "$top_builddir/src/posternd" ] ||
		check "posternd, which speaks to the network, has no $forbidden" sh -c '! grep -q "$2" <<END
$1
END' - "$(needed "$top_builddir/src/posternd")" "$forbidden"
done

done_testing
