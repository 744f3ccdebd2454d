#!/bin/sh
# summary.sh DIR - one sum over every test result below DIR: CUnit's own rows where a log has them,
# one per script otherwise. Exits non-zero when nothing passed or anything failed.
cd "${1:-.}" || exit 2
p=0 f=0 s=0 a=0
for t in $(find . -name '*.trs' | sort); do
	l=${t%.trs}.log
	r=$(sed -n 's/^:test-result: *//p' "$t" | tail -n 1)
	if grep -Eq '^ +asserts +[0-9]' "$l"; then
		set -- $(awk '/^ +tests +[0-9]/ { p += $4; f += $5 }
			/^ +asserts +[0-9]/ { a += $3 }
			END { print p + 0, f + 0, a + 0 }' "$l")
		p=$((p + $1)) f=$((f + $2)) a=$((a + $3))
		[ "$r" = PASS ] || [ "$2" -gt 0 ] || f=$((f + 1))
	elif grep -Eq '^# [0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$l"; then
		set -- $(sed -nE 's/^# ([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped$/\1 \2 \3/p' "$l" |
			tail -n 1)
		p=$((p + $1)) f=$((f + $2)) s=$((s + $3))
		[ "$r" = PASS ] || [ "$2" -gt 0 ] || f=$((f + 1))
	else
		case $r in
		PASS) p=$((p + 1)) ;;
		SKIP) s=$((s + 1)) ;;
		*) f=$((f + 1)) ;;
		esac
	fi
	case $r in
	PASS) ;;
	*) echo "--- $r: ${t%.trs}" ;;
	esac
done
printf '%d asserts\n%d passed, %d failed, %d skipped\n' "$a" "$p" "$f" "$s"
[ "$p" -gt 0 ] && [ "$f" -eq 0 ]
