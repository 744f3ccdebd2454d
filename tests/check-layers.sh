#!/bin/sh
# check-layers.sh [SRC] - each folder below SRC includes only what SRC/LAYERS lets it, and the headers of
# GnuTLS and libevent stay in the folders that wrap them.
src=${1:-${top_srcdir:-..}/src}
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

# "file:line: what is wrong" for each include that is not allowed; "files N" at the end
includes() {
	(cd "$1" && find . -name '*.[chly]' | sed 's|^\./||' | LC_ALL=C sort) >"$tmp/files"
	(cd "$1" && xargs awk '
		FILENAME == "LAYERS" {
			if ($0 !~ /^[a-z]+:/)
				next
			folder = substr($1, 1, length($1) - 1)
			known[folder] = 1
			may[folder, folder] = 1
			for (i = 2; i <= NF; i++)
				may[folder, $i] = 1
			next
		}
		FNR == 1 {
			files++
			split(FILENAME, path, "/")
			own = path[1]
			if (!(own in known))
				say("the folder " own " has no line in LAYERS")
		}
		function say(what) { print FILENAME ":" FNR ": " what; bad = 1 }
		/^[ \t]*#[ \t]*include[ \t]*["<]/ {
			what = $0
			sub(/^[^"<]*["<]/, "", what)
			sub(/[">].*/, "", what)
			if (what ~ /^gnutls\// && own != "tls")
				say("includes <" what ">; GnuTLS belongs in tls")
			else if (what ~ /^event2\// && own != "ev")
				say("includes <" what ">; libevent belongs in ev")
			else if ($0 ~ /include[ \t]*"/ && split(what, to, "/") > 1 &&
				 what !~ /^(gnutls|event2)\// && !((own, to[1]) in may))
				say("includes \"" what "\"; LAYERS does not let " own " use " to[1])
		}
		END { print "files " files + 0 }' LAYERS) <"$tmp/files"
}

# the check itself: a tree with one of each mistake
mkdir -p "$tmp/t/util" "$tmp/t/tls" "$tmp/t/proto/line" "$tmp/t/new"
printf '# util may include nothing\nutil:\ntls: util\nproto: util\n' >"$tmp/t/LAYERS"
printf '#include "util/a.h"\n#include "tls/b.h"\n' >"$tmp/t/util/a.c"
printf '#include <gnutls/gnutls.h>\n#include "util/a.h"\n#include "tls/b.h"\n' >"$tmp/t/tls/b.h"
printf '#include "util/a.h"\n\n#\tinclude "net/c.h"\n#include <gnutls/x509.h>\n' >"$tmp/t/proto/line/c.c"
printf '#include <event2/event.h>\n#include <string.h>\n' >"$tmp/t/proto/d.h"
printf 'int x;\n' >"$tmp/t/new/e.c"
cat >"$tmp/want" <<'END'
new/e.c:1: the folder new has no line in LAYERS
proto/d.h:1: includes <event2/event.h>; libevent belongs in ev
proto/line/c.c:3: includes "net/c.h"; LAYERS does not let proto use net
proto/line/c.c:4: includes <gnutls/x509.h>; GnuTLS belongs in tls
util/a.c:2: includes "tls/b.h"; LAYERS does not let util use tls
files 5
END
includes "$tmp/t" >"$tmp/got"
cmp -s "$tmp/want" "$tmp/got" || {
	echo "check-layers.sh: does not see what it must see:"
	diff "$tmp/want" "$tmp/got"
	exit 1
}

includes "$src" >"$tmp/got" || exit 1
grep -v '^files ' "$tmp/got" | sed "s|^|$src/|"
[ "$(sed -n 's/^files //p' "$tmp/got")" -gt 10 ] && ! grep -qv '^files ' "$tmp/got"
