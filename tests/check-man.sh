#!/bin/sh
# check-man.sh - postern(1) has every command and option that the program has.
# shellcheck source=tests/lib.sh
. "${top_srcdir:?}/tests/lib.sh"

page=$top_srcdir/doc/postern.1
"${top_builddir:?}/src/postern" help --json >"$tmp/help.json"
python3 -c 'import json, sys
for c in json.load(open(sys.argv[1]))["commands"]:
    print((c["name"] + " " + c["arguments"].split("[")[0]).strip())' "$tmp/help.json" >"$tmp/commands"
check 'postern has commands' [ -s "$tmp/commands" ]
while read -r command; do
	check "postern(1) has $command" grep -Eq "^\.It Cm $command( Op .*)?\$" "$page"
done <"$tmp/commands"
"$top_builddir/src/postern" help | sed -n 's/^  -\([a-zA-Z]\), --\([a-z]*\).*/\1 \2/p' >"$tmp/options"
check 'postern has options' [ -s "$tmp/options" ]
while read -r short long; do
	check "postern(1) has -$short, --$long" grep -q "^\.It Fl $short .*Fl Fl $long" "$page"
done <"$tmp/options"

done_testing
