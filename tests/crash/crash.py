#!/usr/bin/env python3
"""tests/crash/crash.py - the store is killed, and the disk loses what no flush has covered.

    crash.py BUILD [ROUNDS [SEED]]

Each round: users in several processes change their mailboxes (crash_client), and another program changes some of them behind the
store's back (outsider.py); at a random moment the store, or store and users, get SIGKILL, in most rounds the disk then loses
what it may (powerloss.py), the store starts again, and every user finds what was acknowledged, once, octet for octet,
and of what was not acknowledged all or nothing. Some rounds kill it again while it replays. BUILD is the folder that
holds crash_server, crash_client and powerloss.so. The folders are in $TMPDIR. In four of ten lives of the store a flush takes some
milliseconds, so that several of the journal's are under way at once when it is killed.

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
import outsider  # noqa: E402
import powerloss  # noqa: E402

START_S = 60
CLIENTS = 3
USERS = 8  # of each client


class Failed(Exception):
    pass


class Site:
    """A store's folders, its recording, and the processes."""

    def __init__(self, build, base, rng):
        self.build, self.base, self.rng = build, base, rng
        self.dir = os.path.join(base, 'site')
        self.roots = [os.path.join(self.dir, name) for name in ('journal', 'kv', 'mail')]
        for root in self.roots:
            os.makedirs(root)
        self.recording = powerloss.Recording(os.path.join(base, 'powerloss'))
        self.outside = outsider.Outsider(os.path.join(self.dir, 'mail', 'outside@crash.example', 'Maildir'),
                                         os.path.join(base, 'outside'), rng)
        self.server, self.clients = None, []
        self.acked = self.repeated = self.repeated_before = self.since = 0

    def start_server(self):
        self.since = self.recording.count()
        env = dict(os.environ, LD_PRELOAD=os.path.join(self.build, 'powerloss.so'),
                   POWERLOSS=self.recording.folder)
        if self.rng.random() < 0.4:
            env['POWERLOSS_FLUSH_US'] = str(self.rng.choice((1000, 3000, 8000)))
        self.server = subprocess.Popen([os.path.join(self.build, 'crash_server'), self.dir],
                                       env=env, stdout=subprocess.PIPE)

    def wait_server(self):
        if not select.select([self.server.stdout], [], [], START_S)[0]:
            raise Failed('the store does not come to accept')
        if self.server.stdout.readline() != b'ready\n':
            raise Failed('the store does not start: status %s' % self.server.wait())

    def start_clients(self):
        self.repeated_before = self.repeated
        self.outside.tell()
        for n in range(CLIENTS):
            args = [os.path.join(self.build, 'crash_client'), self.dir, os.path.join(self.base, 'memory%d' % n),
                    str(self.rng.randrange(1 << 30)), str(n * USERS), str(USERS)]
            self.clients.append(subprocess.Popen(args + ([self.outside.path] if n == 0 else []),
                                                 stdout=subprocess.PIPE))

    def ask_clients(self):
        self.outside.tell()
        for client in self.clients:
            client.send_signal(signal.SIGUSR1)

    def verified(self):
        """The users' word that all is there."""
        acked = repeated = 0
        for client in self.clients:
            if not select.select([client.stdout], [], [], START_S)[0]:
                raise Failed('the users wait for an answer that does not come')
            line = client.stdout.readline().decode()
            if not line.startswith('ok '):
                rest = line + client.stdout.read().decode()
                raise Failed(rest or 'the users ended with status %s' % client.wait())
            words = line.split()
            acked += int(words[1])
            repeated += int(words[2])
        self.acked, self.repeated = acked, self.repeated_before + repeated

    def kill(self, *processes):
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
            process.stdout.close()

    def act_outside(self, seconds):
        """Time passes."""
        until = time.monotonic() + seconds
        while self.outside.is_there() and self.rng.random() < 0.7:
            try:
                self.outside.act()
            except AssertionError as e:
                raise Failed(str(e))
            time.sleep(max(0.0, min(until - time.monotonic(), self.rng.uniform(0.0, 0.03))))
        time.sleep(max(0.0, until - time.monotonic()))

    def strike(self):
        self.recording.strike(self.roots, self.rng)
        self.recording.reset()

    def round(self):
        rng = self.rng
        self.act_outside(rng.uniform(0.0, 0.12))
        if self.server.poll() is not None:
            raise Failed('the store ended by itself: status %d' % self.server.returncode)
        struck = rng.random() < 0.65 and 'NOSTRIKE' not in os.environ
        everyone = rng.random() < 0.5 or struck  # a loss of power ends the users, too: they read the index's file
        if everyone and rng.random() < 0.5:
            self.kill(*self.clients)
            time.sleep(rng.uniform(0.0, 0.01))
            self.kill(self.server)
        else:
            self.kill(self.server)
            if everyone:
                self.kill(*self.clients)
        if everyone:
            self.clients = []
        flights = self.recording.waiting(self.roots[0], self.since)
        if struck:
            self.strike()
        if rng.random() < 0.3:
            self.act_outside(0.0)
        again = rng.random() < 0.2
        if again:  # and once more, while it replays
            self.start_server()
            time.sleep(rng.uniform(0.0, 0.03))
            self.kill(self.server)
            if struck:
                self.strike()
        self.start_server()
        self.wait_server()
        if everyone:
            self.start_clients()
        else:
            self.ask_clients()
        self.verified()
        return {'struck': struck, 'everyone': everyone, 'again': again, 'flights': flights > 1}

    def stop(self):
        self.kill(*(p for p in self.clients + [self.server] if p is not None and p.poll() is None))


def on_term(_number, _frame):
    raise Failed('ended from outside')


def run(site, rounds, seed):
    sums = {'struck': 0, 'everyone': 0, 'again': 0, 'flights': 0}
    done = 0
    try:
        site.start_server()
        site.wait_server()
        site.start_clients()
        site.verified()
        for done in range(1, rounds + 1):
            for key, value in site.round().items():
                sums[key] += value
            if done % 20 == 0:
                print('%d rounds, %d requests acknowledged' % (done, site.acked), flush=True)
        print('seed %d: %d rounds (%d with loss of what was not flushed, %d with users killed too, %d with several '
              'flushes of the journal under way, %d killed again in the replay): %d requests acknowledged, %d repeated, '
              '%d changes by another program, 0 lost, 0 doubled, 0 half done'
              % (seed, done, sums['struck'], sums['everyone'], sums['flights'], sums['again'], site.acked,
                 site.repeated, site.outside.done))
        return 0
    except Failed as e:
        print('seed %d, round %d: %s' % (seed, done, e))
        print('left in %s' % site.base if os.environ.get('KEEP') else 'KEEP=1 leaves the files')
        return 1
    finally:
        site.stop()
        if not os.environ.get('KEEP'):
            shutil.rmtree(site.base, ignore_errors=True)


def main():
    signal.signal(signal.SIGTERM, on_term)
    build = os.path.abspath(sys.argv[1])
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(1 << 30)
    base = tempfile.mkdtemp(prefix='postern-crash-')
    return run(Site(build, base, random.Random(seed)), rounds, seed)


if __name__ == '__main__':
    sys.exit(main())
