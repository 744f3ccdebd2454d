#!/bin/sh
# survives.sh - 20 rounds of crash.py: what was acknowledged is there. CRASH_ROUNDS and CRASH_SEED choose others.
command -v python3 >/dev/null || { echo "python3 is not here: no crash test can run"; exit 77; }
exec python3 -B "$top_srcdir/tests/crash/crash.py" "$top_builddir/tests/crash" "${CRASH_ROUNDS:-20}" "${CRASH_SEED:-1}"
