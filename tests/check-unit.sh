#!/bin/sh
# check-unit.sh - systemd's unit: its paths are filled in, systemd understands it, and it leaves the
# parent every capability that the parent means to keep.
# shellcheck disable=SC2016  # $1 is for the shell that is started here
# shellcheck source=tests/lib.sh
. "${top_srcdir:?}/tests/lib.sh"

unit=${top_builddir:?}/etc/postern.service
check 'no path is left open' sh -c '! grep @ "$1"' - "$unit"
check 'nor in tmpfiles.d' sh -c '! grep @ "$1"' - "$top_builddir/etc/tmpfiles.d/postern.conf"
if command -v systemd-analyze >/dev/null; then # where there is systemd: the programs stand in for ours
	sed 's|^\(Exec[A-Za-z]*=\).*|\1/bin/true|' "$unit" >"$tmp/postern.service"
	check 'systemd understands it' systemd-analyze verify --man=no "$tmp/postern.service"
	check 'without a word' [ ! -s "$tmp/err" ]
fi
sed -n '/caps_parent\[\] = {/,/};/p' "$top_srcdir/src/proc/confine.c" | grep -o 'CAP_[A-Z_]*' | sort >"$tmp/kept"
sed -n 's/^CapabilityBoundingSet=//p' "$unit" | tr ' ' '\n' | grep -vx CAP_SETPCAP | sort >"$tmp/left"
check 'the parent keeps something' [ -s "$tmp/kept" ]
check 'and the unit leaves it exactly that' diff "$tmp/kept" "$tmp/left"
grep -o 'LOCALSTATEDIR "[^"]*"' "$top_srcdir/src/cli/setup_conf.c" | sed 's/.*"\(.*\)"/\1/' >"$tmp/folders"
check 'setup has folders' [ -s "$tmp/folders" ]
while read -r folder; do
	check "what setup makes can be written to: $folder" grep -q "^ReadWritePaths=.*$folder\( \|\$\)" "$unit"
done <"$tmp/folders"

done_testing
