#!/usr/bin/env python3
"""bench/crash.py - the crash tests in their long form: parts of 50 rounds, each with a store or server of its own.

    crash.py store|queue|server BUILD [--rounds N] [--seed N] [--first PART] [--jobs N]

`store` runs tests/crash/crash.py, `queue` tests/crash/queue.py, `server` tests/e2e/mailkills.py. Part n has the seed SEED + n, so that --first goes on
where a run was ended, and runs with other parts may be on their way beside it. Each part says what it did; the last line is
the sum, with the command that does the same again. Exit status: 0 when nothing was lost, doubled or half done."""

import argparse
import concurrent.futures
import os
import pathlib
import random
import re
import subprocess
import sys
import time

PART = 50
TESTS = pathlib.Path(__file__).resolve().parent.parent / 'tests'
COUNTS = {
    'store': (r'(\d+) with loss', r'(\d+) with several flushes', r'(\d+) requests acknowledged', r'(\d+) repeated', r'(\d+) changes by another program'),
    'queue': (r'(\d+) with loss', r'(\d+) changes acknowledged'),
    'server': (r'(\d+) of them with loss', r'(\d+) replies 250', r'(\d+) deliveries acknowledged'),
}
WORDS = {
    'store': ('with loss of what was not flushed', 'with several flushes under way', 'requests acknowledged', 'repeated', 'changes by another program'),
    'queue': ('with loss of what was not flushed', 'changes acknowledged'),
    'server': ('with loss of what was not flushed', 'replies 250', 'deliveries acknowledged'),
}


def run(what, build, rounds, seed):
    """The line of one part, and whether it passed."""
    if what != 'server':
        argv, env = [TESTS / 'crash' / {'store': 'crash.py', 'queue': 'queue.py'}[what], build / 'tests' / 'crash', str(rounds), str(seed)], {}
    else:
        argv = [TESTS / 'e2e' / 'mailkills.py']
        env = {'top_builddir': str(build), 'ROUNDS': str(rounds), 'SEED': str(seed)}
    done = subprocess.run([sys.executable, '-B'] + [str(a) for a in argv], env={**os.environ, **env}, text=True,
                          errors='replace', stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    lines = [line.strip() for line in done.stdout.splitlines()]
    good = [line for line in lines if line.endswith(('0 half done', ' 0 half'))]
    if done.returncode == 0 and good:
        return good[-1], True
    return f'seed {seed}: FAILED\n{done.stdout}{done.stderr[-2000:]}', False


def main():
    p = argparse.ArgumentParser()
    p.add_argument('what', choices=sorted(COUNTS))
    p.add_argument('build', type=pathlib.Path)
    p.add_argument('--rounds', type=int, default=1000)
    p.add_argument('--seed', type=int, default=random.randrange(1 << 29))
    p.add_argument('--first', type=int, default=0)
    p.add_argument('--jobs', type=int, default=1)
    o = p.parse_args()
    began = time.monotonic()
    parts = [(n, min(PART, o.rounds - n * PART)) for n in range((o.rounds + PART - 1) // PART)][o.first:]
    sums, failed, rounds = [0] * len(COUNTS[o.what]), 0, 0
    with concurrent.futures.ThreadPoolExecutor(o.jobs) as pool:
        jobs = [pool.submit(run, o.what, o.build.resolve(), count, o.seed + n) for n, count in parts]
        for (n, count), job in zip(parts, jobs):
            line, good = job.result()
            print(f'part {n}: {line}', flush=True)
            failed += not good
            if good:
                rounds += count
                sums = [a + int(re.search(x, line).group(1)) for a, x in zip(sums, COUNTS[o.what])]
    print(f'{rounds} rounds in {time.monotonic() - began:.0f} s: '
          + ', '.join(f'{a} {word}' for a, word in zip(sums, WORDS[o.what]))
          + (f'; {failed} PARTS FAILED' if failed else ', 0 lost, 0 doubled, 0 half done')
          + f' (seed {o.seed}, parts {o.first} to {o.first + len(parts) - 1})')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
