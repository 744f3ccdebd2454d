#!/usr/bin/env python3
"""tests/crash/queue.py - what is queued, and keys: a store is killed while they change, and the disk loses what no flush has covered.

    queue.py BUILD [ROUNDS [SEED]]

Each round: crash_queue (see there) changes both, gets SIGKILL at a random moment, in most rounds the disk then loses what it may
(powerloss.py); some are killed again while they read. The next one compares. Exits with 0 when nothing was lost,
doubled or half done. With POWERLOSS_NOFLUSH=1 in the environment no flush is done, and this must fail."""

import os
import random
import select
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import powerloss  # noqa: E402

START_S = 60
FOLDERS = ('journal', 'kv', 'queue', 'mail')


class Site:
    def __init__(self, build, base, rng):
        self.build, self.base, self.rng = build, base, rng
        self.folders = [os.path.join(base, 'site', name) for name in FOLDERS]
        for folder in self.folders:
            os.makedirs(folder)
        self.recording = powerloss.Recording(os.path.join(base, 'powerloss'))
        self.process = None

    def start(self):
        env = dict(os.environ, LD_PRELOAD=os.path.join(self.build, 'powerloss.so'), POWERLOSS=self.recording.folder)
        self.process = subprocess.Popen(
            [os.path.join(self.build, 'crash_queue'), os.path.join(self.base, 'site'), os.path.join(self.base, 'memory'),
             str(self.rng.randrange(1 << 30))], env=env, stdout=subprocess.PIPE)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def said(self):
        """What it says of what it found: how many changes were acknowledged; None when it is wrong."""
        if not select.select([self.process.stdout], [], [], START_S)[0]:
            print('WRONG it does not come to an end')
            return None
        line = self.process.stdout.readline().decode()
        if line.startswith('ok '):
            return int(line[3:])
        print(line.strip() or 'WRONG it ended with status %s' % self.process.wait())
        return None

    def strike(self):
        struck = self.rng.random() < 0.65
        if struck:
            self.recording.strike(self.folders, self.rng)
            self.recording.reset()
        return struck


def rounds(site, n):
    struck = again = acked = 0
    site.start()
    if site.said() is None:
        return False
    for number in range(1, n + 1):
        time.sleep(site.rng.uniform(0.0, 0.5))
        if site.process.poll() is not None:
            print('round %d: %s' % (number, site.process.stdout.read().decode().strip() or 'WRONG it ended by itself'))
            return False
        site.kill()
        struck += site.strike()
        while site.rng.random() < 0.2:  # and once more, while it reads
            again += 1
            site.start()
            time.sleep(site.rng.uniform(0.0, 0.03))
            site.kill()
            struck += site.strike()
        site.start()
        acked = site.said()
        if acked is None:
            print('round %d' % number)
            return False
    print('%d rounds (%d with loss of what was not flushed, %d killed again in the replay): %d changes acknowledged, 0 lost, '
          '0 doubled, 0 half done' % (n, struck, again, acked))
    return True


def main():
    build = os.path.abspath(sys.argv[1])
    n = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(1 << 30)
    base = tempfile.mkdtemp(prefix='postern-crash-queue-')
    site = Site(build, base, random.Random(seed))
    print('seed %d' % seed, flush=True)
    try:
        return 0 if rounds(site, n) else 1
    finally:
        if site.process is not None and site.process.poll() is None:
            site.kill()
        if os.environ.get('KEEP'):
            print('left in %s' % base)
        else:
            shutil.rmtree(base, ignore_errors=True)


if __name__ == '__main__':
    sys.exit(main())
