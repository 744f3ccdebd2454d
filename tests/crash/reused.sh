#!/bin/sh
# reused.sh - a folder whose number another one has by now keeps what is its own (reused.py).
command -v python3 >/dev/null || { echo "python3 is not here: no crash test can run"; exit 77; }
exec python3 -B "$top_srcdir/tests/crash/reused.py"
