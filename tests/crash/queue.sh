#!/bin/sh
# queue.sh - 20 rounds of queue.py: what was acknowledged is there; and with flushes that do nothing it must see the loss.
command -v python3 >/dev/null || { echo "python3 is not here: no crash test can run"; exit 77; }
run() { python3 -B "$top_srcdir/tests/crash/queue.py" "$top_builddir/tests/crash" "$@"; }
run "${CRASH_ROUNDS:-20}" "${CRASH_SEED:-1}" || exit 1
for seed in 1 2 3; do
	said=$(POWERLOSS_NOFLUSH=1 run 20 $seed 2>/dev/null)
	case $said in
	*'WRONG '*)
		printf 'without flushes: %s\n' "$(printf '%s\n' "$said" | grep 'WRONG ')"
		exit 0
		;;
	esac
done
echo "a store that never flushes lost nothing: the crash test shows nothing"
exit 1
