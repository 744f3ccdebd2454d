"""mailkills.py - processes are killed while messages come in: each message that was answered with 250 stands in its mailbox once
and whole, and any other at most once and whole.

ROUNDS in the environment: how often something is killed; 20 without it. (What a loss of power may take is the store's own test.)"""
import collections
import os
import random
import re
import shutil
import signal
import threading
import time

import harness as h
import maildrop as m

ROUNDS = int(os.environ.get('ROUNDS', '20'))
SEGMENT = 50  # of one server; what it has taken is looked at behind them
CLIENTS = 8
SERVICES = '''
service mx {
    protocol smtp
    listen 127.0.0.1:@mx
    tls main
    max-per-address 1000
}
'''


class Load:
    """Clients that send messages, each with a number of its own, as fast as they are taken."""

    def __init__(self, server):
        self.server = server
        self.going = True
        self.lock = threading.Lock()
        self.number = 0
        self.accepted = set()
        self.sent = {}
        self.threads = [threading.Thread(target=self.run, args=(n,), daemon=True) for n in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def next(self, octets):
        with self.lock:
            self.number += 1
            body = m.letter(f'number {self.number}', 'x@elsewhere.example', octets)
            self.sent[self.number] = body
            return self.number, body

    def session(self, rand):
        with m.connect(self.server, 'mx', timeout=h.TIMEOUT) as client:
            client.hello()
            while self.going:
                number, body = self.next(rand.choice((0, 0, 3000, 3000, 3000, 30000, 100000)))
                if client.command('MAIL FROM:<x@elsewhere.example>')[0] != 250:
                    return
                for user in m.USERS[:2]:
                    if client.command(f'RCPT TO:<{user}>')[0] != 250:
                        return
                if client.command('DATA')[0] != 354:
                    return
                client.send(m.stuffed(body))
                if client.reply()[0] == 250:
                    with self.lock:
                        self.accepted.add(number)

    def run(self, n):
        rand = random.Random(n)
        while self.going:
            try:
                self.session(rand)
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
        sender, _, body = m.split(message)
        number = int(re.search(rb'Subject: number (\d+)\r\n', body).group(1))
        found[number] += 1
        h.check(body == load.sent[number], f'message {number} of {user} is not as it was sent')
    twice = [number for number, count in found.items() if count > 1]
    h.equal(twice, [], f'messages that {user} has twice')
    return set(found)


def everything_is_there(server, load):
    for user in m.USERS[:2]:
        h.within(h.TIMEOUT, lambda: len(m.box(server, user)) >= len(load.accepted), f'the messages of {user}')
        lost = load.accepted - check_mailbox(server, user, load)
        h.equal(sorted(lost), [], f'messages that {user} has lost')


def kill_one(server, role):
    if role == 'parent':
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
        server.start()
        return
    pids = server.pids(role)
    if pids:
        os.kill(random.choice(pids), signal.SIGKILL)


def kills(site, rounds):
    users = m.users_text().replace(' 100M ', ' - ')
    with m.server(site, SERVICES, users=users, allowed='signal 9|is away|was ended|Killed|the store says') as server:
        load = Load(server)
        for n in range(rounds):
            time.sleep(random.uniform(0.1, 0.4))
            kill_one(server, ('worker', 'store', 'auth', 'parent')[n % 4])
            goal = len(load.accepted) + 3
            h.within(h.TIMEOUT * 2, lambda: len(load.accepted) >= goal, 'messages are taken again')
        load.stop()
        everything_is_there(server, load)
        print(f'    {rounds} kills, {len(load.accepted)} messages accepted of {load.number}')


def main():
    topic = h.Topic()
    site = h.Site(topic)
    signal.alarm(h.TOPIC_TIMEOUT + 5 * ROUNDS)
    for done in range(0, ROUNDS, SEGMENT):
        rounds = min(SEGMENT, ROUNDS - done)
        topic.case(f'{rounds} kills under load' + (f', after {done}' if done else ''), kills, site, rounds)
        shutil.rmtree(site.folder / str(site.count), ignore_errors=True)
    topic.done()


if __name__ == '__main__':
    main()
