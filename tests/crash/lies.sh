#!/bin/sh
# lies.sh - the test of the test: a store whose flushes do nothing must lose mail, and crash.py must see it.
command -v python3 >/dev/null || { echo "python3 is not here: no crash test can run"; exit 77; }
for seed in 1 2 3; do
	said=$(POWERLOSS_NOFLUSH=1 python3 -B "$top_srcdir/tests/crash/crash.py" \
		"$top_builddir/tests/crash" 20 $seed 2>/dev/null)
	case $said in
	*'WRONG '*)
		printf '%s\n' "$said" | grep 'WRONG '
		exit 0
		;;
	esac
done
echo "a store that never flushes lost nothing: the crash test shows nothing"
printf '%s\n' "$said"
exit 1
