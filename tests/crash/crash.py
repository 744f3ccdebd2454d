#!/usr/bin/env python3
"""tests/crash/crash.py - the store is killed, and the disk loses what no flush has covered.

    crash.py BUILD [ROUNDS [SEED]]

Each round: users change their mailboxes (crash_client), at a random moment the store, or store and users, get SIGKILL, in most
rounds the disk then loses what it may (powerloss.py), the store starts again, and every user finds what was
acknowledged, once, octet for octet, and of what was not acknowledged all or nothing. Some rounds kill it again
while it replays. BUILD is the folder that holds crash_server, crash_client and powerloss.so.

Prints a line every 20 rounds, the sum, and exits with 0 when nothing was lost. The same SEED makes the same choices, but
not the same moments. With POWERLOSS_NOFLUSH=1 in the environment no flush is done, and this must fail."""

import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import powerloss  # noqa: E402

START_S = 60


class Failed(Exception):
    pass


class Site:
    """A store's folders, its recording, and the processes."""

    def __init__(self, build, base, rng):
        self.build, self.rng = build, rng
        self.dir = os.path.join(base, 'site')
        for name in ('journal', 'kv', 'mail'):
            os.makedirs(os.path.join(self.dir, name))
        self.recording = powerloss.Recording(os.path.join(base, 'powerloss'))
        self.memory = os.path.join(base, 'memory')
        self.server = self.client = None
        self.acked = 0

    def start_server(self):
        env = dict(os.environ, LD_PRELOAD=os.path.join(self.build, 'powerloss.so'),
                   POWERLOSS=self.recording.folder)
        self.server = subprocess.Popen([os.path.join(self.build, 'crash_server'), self.dir],
                                       env=env, stdout=subprocess.PIPE)

    def wait_server(self):
        if not select.select([self.server.stdout], [], [], START_S)[0]:
            raise Failed('the store does not come to accept')
        if self.server.stdout.readline() != b'ready\n':
            raise Failed('the store does not start: status %s' % self.server.wait())

    def start_client(self):
        self.client = subprocess.Popen(
            [os.path.join(self.build, 'crash_client'), self.dir, self.memory, str(self.rng.randrange(1 << 30))],
            stdout=subprocess.PIPE)

    def verified(self):
        """The users' word that all is there."""
        if not select.select([self.client.stdout], [], [], START_S)[0]:
            raise Failed('the users wait for an answer that does not come')
        line = self.client.stdout.readline().decode()
        if line.startswith('ok '):
            self.acked = int(line[3:])
            return
        rest = line + self.client.stdout.read().decode()
        raise Failed(rest or 'the users ended with status %s' % self.client.wait())

    def kill(self, process):
        process.kill()
        process.wait()
        process.stdout.close()

    def round(self, number):
        rng = self.rng
        time.sleep(rng.uniform(0.0, 0.12))
        if self.server.poll() is not None:
            raise Failed('the store ended by itself: status %d' % self.server.returncode)
        self.kill(self.server)
        struck = rng.random() < 0.65 and 'NOSTRIKE' not in os.environ
        everyone = rng.random() < 0.5 or struck  # a loss of power ends the users, too: they read the index's file
        if everyone:
            self.kill(self.client)
        if struck:
            self.recording.strike([os.path.join(self.dir, name) for name in ('journal', 'kv', 'mail')], rng)
            self.recording.reset()
        again = rng.random() < 0.2
        if again:  # and once more, while it replays
            self.start_server()
            time.sleep(rng.uniform(0.0, 0.03))
            self.kill(self.server)
            if struck:
                self.recording.strike([os.path.join(self.dir, n) for n in ('journal', 'kv', 'mail')], rng)
                self.recording.reset()
        self.start_server()
        self.wait_server()
        if everyone:
            self.start_client()
        else:
            self.client.send_signal(signal.SIGUSR1)
        self.verified()
        return {'struck': struck, 'everyone': everyone, 'again': again}

    def stop(self):
        for process in (self.client, self.server):
            if process is not None and process.poll() is None:
                self.kill(process)


def on_term(_number, _frame):
    raise Failed('ended from outside')


def main():
    signal.signal(signal.SIGTERM, on_term)
    build = os.path.abspath(sys.argv[1])
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(1 << 30)
    rng = random.Random(seed)
    base = tempfile.mkdtemp(prefix='postern-crash-')
    site = Site(build, base, rng)
    done = 0
    sums = {'struck': 0, 'everyone': 0, 'again': 0}
    try:
        site.start_server()
        site.wait_server()
        site.start_client()
        site.verified()
        for done in range(1, rounds + 1):
            for key, value in site.round(done).items():
                sums[key] += value
            if done % 20 == 0:
                print('%d rounds, %d requests acknowledged' % (done, site.acked), flush=True)
        print('seed %d: %d rounds (%d with loss of what was not flushed, %d with users killed too, %d killed '
              'again in the replay): %d requests acknowledged, 0 lost, 0 doubled, 0 half done'
              % (seed, done, sums['struck'], sums['everyone'], sums['again'], site.acked))
        return 0
    except Failed as e:
        print('seed %d, round %d: %s' % (seed, done, e))
        print('left in %s' % base if os.environ.get('KEEP') else 'KEEP=1 leaves the files')
        return 1
    finally:
        site.stop()
        if not os.environ.get('KEEP'):
            shutil.rmtree(base, ignore_errors=True)


if __name__ == '__main__':
    sys.exit(main())
