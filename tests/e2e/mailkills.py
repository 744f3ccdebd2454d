"""mailkills.py - processes are killed while messages come in, and the disk loses what no flush covers: each message that was
answered with 250 stands in the mailbox of each of its recipients once and whole, and any other at most once and whole.

Clients hand over small and large messages for one to three recipients: to the MX in plaintext and in STARTTLS, to
submission with STARTTLS and a certificate, to submissions with a certificate or a password, and by LMTP, where
each recipient has a reply of its own. One process after the other gets SIGKILL: a worker, the store, auth, the parent; every other
time all of them at once, and then the disk loses what a loss of power may take (tests/crash/powerloss.py). The
store is the installed one with the recording linked to it (tests/crash/Makefile.inc), confined as ever; in a build with
sanitizers there is none, and the disk loses nothing.

ROUNDS in the environment: how often something is killed, 20 without it. SEED: of the choices, not of the moments. LIES=1: the
store's flushes do nothing, and this must fail."""
import collections
import os
import pathlib
import random
import re
import shutil
import signal
import sys
import threading
import time

import harness as h
import maildrop as m

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'crash'))
import powerloss  # noqa: E402

ROUNDS = int(os.environ.get('ROUNDS', '20'))
SEED = int(os.environ.get('SEED', str(random.randrange(1 << 30))))
LIES = os.environ.get('LIES') == '1'
SEGMENT = 50  # of one server; what it has taken is looked at behind them
SIZES = (0, 0, 3000, 3000, 3000, 30000, 32768, 40000, 100000)
SERVICES = m.SERVICES.replace('    protocol', '    max-per-address 1000\n    protocol')
STORE = h.BUILD / 'tests' / 'crash' / 'postern-store'


def by_mx(server):
    client = m.connect(server, 'mx')
    client.hello()
    return client, 'x@elsewhere.example'


def by_mx_tls(server):
    client = m.secure(server, cert=None, name='mx')
    return client, 'x@elsewhere.example'


def by_certificate(server):
    return m.secure(server, 'alice'), 'alice@example.test'


def within_tls(server, cert):
    client = m.Client(server.address('submissions'))
    client.wrap(server.site.certs.context(client=cert))
    h.equal(client.reply()[0], 220, 'the greeting')
    client.hello()
    return client


def by_password(server):
    client = within_tls(server, None)
    client.expect('AUTH PLAIN ' + m.plain('bob@example.test'), 235)
    return client, 'bob@example.test'


def by_external(server):
    client = within_tls(server, 'alice')
    client.expect('AUTH EXTERNAL =', 235)
    return client, 'alice@example.test'


def by_lmtp(server):
    client = m.connect(server, 'lmtp')
    client.hello('LHLO')
    return client, 'x@elsewhere.example'


WAYS = (by_mx, by_mx_tls, by_certificate, by_certificate, by_password, by_external, by_lmtp, by_lmtp)


class Load:
    """Clients that send messages, each with a number of its own, as fast as they are taken."""

    def __init__(self, server):
        self.server = server
        self.going = True
        self.lock = threading.Lock()
        self.number = 0
        self.accepted = {user: set() for user in m.USERS}
        self.taken = collections.Counter()
        self.sent = {}
        self.threads = [threading.Thread(target=self.run, args=(way, n), daemon=True) for n, way in enumerate(WAYS)]
        for thread in self.threads:
            thread.start()

    def count(self):
        return sum(self.taken.values())

    def next(self, sender, octets):
        with self.lock:
            self.number += 1
            body = m.letter(f'number {self.number}', sender, octets)
            self.sent[self.number] = body
            return self.number, body

    def note(self, way, number, users):
        with self.lock:
            self.taken[way.__name__] += 1
            for user in users:
                self.accepted[user].add(number)

    def session(self, way, rand):
        client, sender = way(self.server)
        with client:
            while self.going:
                number, body = self.next(sender, rand.choice(SIZES))
                to = rand.sample(m.USERS, rand.choice((1, 2, 3)))
                if client.command(f'MAIL FROM:<{sender}>')[0] != 250:
                    return
                for user in to:
                    if client.command(f'RCPT TO:<{user}>')[0] != 250:
                        return
                if client.command('DATA')[0] != 354:
                    return
                client.send(m.stuffed(body))
                if way is not by_lmtp:
                    if client.reply()[0] == 250:
                        self.note(way, number, to)
                    continue
                for user in to:
                    if client.reply()[0] == 250:
                        self.note(way, number, [user])

    def run(self, way, n):
        rand = random.Random(SEED * 100 + n)
        while self.going:
            try:
                self.session(way, rand)
            except (OSError, h.Failure):
                pass  # whatever a killed server looks like from outside
            time.sleep(0.01)

    def stop(self):
        self.going = False
        for thread in self.threads:
            thread.join(h.TIMEOUT * 2)
            h.check(not thread.is_alive(), 'a client hangs')


def check_mailbox(server, user, load):
    """Which messages stand there: each at most once, and as it was sent."""
    found = collections.Counter()
    for message in m.box(server, user):
        body = m.split(message)[2]
        match = re.search(rb'Subject: number (\d+)\r\n', body)
        h.check(match, f'no message of ours: {body[:80]!r}')
        number = int(match.group(1))
        found[number] += 1
        h.check(body == load.sent[number], f'message {number} of {user} is not as it was sent')
    twice = [number for number, count in found.items() if count > 1]
    h.equal(twice, [], f'messages that {user} has twice')
    return set(found)


def everything_is_there(server, load):
    for user in m.USERS:
        h.within(h.TIMEOUT * 2, lambda: len(m.box(server, user)) >= len(load.accepted[user]), f'the messages of {user}')
        lost = load.accepted[user] - check_mailbox(server, user, load)
        h.equal(sorted(lost), [], f'messages that {user} has lost')


def children(pid):
    found = []
    for stat in pathlib.Path('/proc').glob('[0-9]*/stat'):
        try:
            if int(stat.read_text().rpartition(')')[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
        except OSError:
            pass  # it has ended
    return found


class Power:
    """The recording of what the store does, and the loss of it."""

    def __init__(self, server, rand):
        self.server, self.rand = server, rand
        self.roots = [server.mail] + [server.folder / 'state' / name for name in ('journal', 'kv', 'queue')]
        # the store may reach what is below its folders only; no user's folder begins with a dot
        self.recording = None if h.SANITIZED else powerloss.Recording(str(server.mail / '.powerloss'))
        self.strikes = self.records = 0
        if LIES:
            (server.mail / '.powerloss' / 'noflush').touch()

    def lose(self):
        """All processes end at once, and the disk with them."""
        pids = children(self.server.pid)
        for pid in [self.server.pid] + pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.server.wait()
        h.within(h.TIMEOUT, lambda: not any(os.path.exists(f'/proc/{pid}') for pid in pids), 'the end of all processes')
        if self.recording is None:
            return
        records = self.recording.strike([str(root) for root in self.roots if root.exists()], self.rand)['records']
        h.check(records > 0, 'the store has recorded nothing')
        self.records += records
        self.recording.reset()
        self.strikes += 1


def with_recording(site, name):
    """A tree of installed programs, in which the store records."""
    tree = site.folder / f'tree-{name}'
    shutil.copytree(site.posternd.parent.parent, tree)
    if not h.SANITIZED:
        h.check(STORE.exists(), f'{STORE} is not built')
        shutil.copy2(STORE, tree / 'libexec' / 'postern' / 'postern-store')
    return tree


def kills(site, rounds, part):
    rand = random.Random(SEED + part)
    tree = with_recording(site, part)
    users = m.users_text().replace(' 100M ', ' - ')
    server = m.server(site, SERVICES, users=users, posternd=tree / 'sbin' / 'posternd',
                      allowed='signal 9|is away|was ended|Killed|the store says|the store is')
    with server:  # makes its folders
        pass
    os.symlink(server.mail / '.powerloss', tree / 'libexec' / 'postern' / 'powerloss')
    power = Power(server, rand)
    with server:
        load = Load(server)
        for n in range(rounds):
            time.sleep(rand.uniform(0.05, 0.4))
            kill_one(server, power, ('power', 'worker', 'power', 'store', 'power', 'auth', 'power', 'parent')[n % 8])
            goal = load.count() + 3
            h.within(h.TIMEOUT * 3, lambda: load.count() >= goal, 'messages are taken again')
        h.within(h.TIMEOUT * 3, lambda: all(load.taken[way.__name__] > 0 for way in WAYS), 'something is taken by every way')
        load.stop()
        everything_is_there(server, load)
        ways = ', '.join(f'{count} {way[3:]}' for way, count in sorted(load.taken.items()))
        print(f'    seed {SEED + part}: {rounds} kills, {power.strikes} of them with loss of what was not flushed '
              f'({power.records} changes of the disk seen): '
              f'{load.count()} replies 250 for {load.number} messages ({ways}), '
              f'{sum(map(len, load.accepted.values()))} deliveries acknowledged, 0 lost, 0 doubled, 0 half')


def kill_one(server, power, what):
    if what == 'power':
        power.lose()
        server.start()
    elif what == 'parent':
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
        server.start()
    else:
        pids = server.pids(what)
        if pids:
            os.kill(power.rand.choice(pids), signal.SIGKILL)


def ends_late(site):
    """The parent is killed and its store still has the journal: the next one waits for it, whoever is connected meanwhile."""
    with m.server(site, SERVICES, allowed='signal 9|Killed') as server:
        store, = server.pids('store')
        os.kill(store, signal.SIGSTOP)
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
        end = threading.Timer(1.5, os.kill, (store, signal.SIGKILL))
        end.start()
        server.start()
        end.join()
        client, sender = by_mx(server)
        with client:
            h.equal(client.message(m.letter('late'), sender)[0], 250, 'the reply')
        m.delivered(server, 'bob@example.test')


def main():
    topic = h.Topic()
    site = h.Site(topic)
    signal.alarm(h.TOPIC_TIMEOUT + 10 * ROUNDS)
    topic.case('a store that ends late', ends_late, site)
    for done in range(0, ROUNDS, SEGMENT):
        rounds = min(SEGMENT, ROUNDS - done)
        topic.case(f'{rounds} kills under load' + (f', after {done}' if done else ''), kills, site, rounds, done // SEGMENT)
        for folder in (site.folder / str(site.count), site.folder / f'tree-{done // SEGMENT}'):
            shutil.rmtree(folder, ignore_errors=True)
    topic.done()


if __name__ == '__main__':
    main()
