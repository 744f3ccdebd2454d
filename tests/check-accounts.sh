#!/bin/sh
# check-accounts.sh - "postern setup" makes the accounts of etc/sysusers.d/postern.conf, no more and no
# fewer: which of the two did it must not matter.
# shellcheck source=tests/lib.sh
. "${top_srcdir:?}/tests/lib.sh"

file=$top_srcdir/etc/sysusers.d/postern.conf
sed -n 's/^\([ug]\) *\([a-z_-]*\).*/\1 \2/p' "$file" | sort >"$tmp/sysusers"
sed -n 's/^	{ "\(_\{0,1\}postern[a-z-]*\)", NULL },$/g \1/p
	s/^	{ "\(_\{0,1\}postern[a-z-]*\)", ".*" },$/u \1/p' "$top_srcdir/src/cli/setup_accounts.c" | sort >"$tmp/setup"
check 'there are accounts' [ -s "$tmp/setup" ]
check 'the same in both' diff "$tmp/sysusers" "$tmp/setup"
comments() {
	sed -n 's/.*"\(Postern [a-z]*\)".*/\1/p' "$1" | sort
}
check 'with the same comments' [ "$(comments "$file")" = "$(comments "$top_srcdir/src/cli/setup_accounts.c")" ]
check 'with no home' [ "$(grep -c '/nonexistent$' "$file")" = "$(grep -c '^u' "$file")" ]
if command -v systemd-sysusers >/dev/null; then
	mkdir -p "$tmp/root/etc"
	check 'systemd-sysusers reads it' systemd-sysusers --root="$tmp/root" - <"$file"
	check 'and makes them' [ "$(grep -c '^_postern' "$tmp/root/etc/passwd")" = "$(grep -c '^u' "$file")" ]
fi

done_testing
