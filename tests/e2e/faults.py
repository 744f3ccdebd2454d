"""faults.py - the disk errs while mail comes in: each message that was answered with 250 stands in the mailbox of each of its
recipients once and octet for octet, who is refused is told to come again, and when the disk is well so is the server.

Clients hand over small and large messages by SMTP and LMTP, to one to three recipients. The store is the installed one with
faults.c linked to it, because its parent gives nothing of its environment on; it is confined as ever. Each case makes one kind
of call fail for a while; a case whose fault has not been met fails.

SEED in the environment: of the choices, not of the moments."""
import ctypes
import errno
import mmap
import os
import pwd
import re
import shutil
import signal
import time

import harness as h
import maildrop as m
import mailkills as k

SERVICES = m.SERVICES.replace('    protocol', '    max-per-address 1000\n    protocol')
STORE = h.BUILD / 'tests' / 'e2e' / 'postern-store'
ALWAYS = 1 << 16
NO_END = (1 << 32) - 1  # of its times
CALLS = ('open', 'read', 'write', 'fdatasync', 'fsync', 'syncfs', 'rename', 'link', 'mkdir', 'truncate')
ANYWHERE, JOURNAL, ELSEWHERE = range(3)
TELLS = (r'Input/output error|input or output failed|No space left|no room left|Too many open files|the disk failed|'
         r'signal 9|ended with code 75|cannot read mailbox INBOX of \S+: temporary failure')


class Rule(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ('error', 'odds', 'left', 'where')] + \
        [(name, ctypes.c_uint64) for name in ('seen', 'met')]


class Control(ctypes.Structure):
    """As faults.c has it."""
    _fields_ = [(name, ctypes.c_uint64) for name in ('magic', 'seed', 'turn', 'journal')] + [('rules', Rule * len(CALLS))]


class Faults:
    """What fails in the server's store, from the next call on."""

    def __init__(self, folder):
        folder.mkdir()
        folder.chmod(0o755)
        with open(folder / 'control', 'w+b') as f:
            os.fchmod(f.fileno(), 0o666)
            f.truncate(ctypes.sizeof(Control))
            self.memory = mmap.mmap(f.fileno(), ctypes.sizeof(Control))
        self.control = Control.from_buffer(self.memory)
        self.control.seed = k.SEED
        self.control.magic = 0x31534c5541465450

    def met(self, call):
        return self.control.rules[CALLS.index(call)].met

    def begin(self, call, error, odds=ALWAYS, left=NO_END, where=ANYWHERE):
        rule = self.control.rules[CALLS.index(call)]
        rule.odds, rule.left, rule.where = odds, left, where
        rule.error = error  # last: it switches the rule on

    def end(self):
        for rule in self.control.rules:
            rule.error = 0


class Load(k.Load):
    """Its clients, that look at each reply: what is not taken is refused for now."""

    def __init__(self, server):
        self.refused = 0
        self.wrong = []
        super().__init__(server)

    def took(self, reply):
        if reply[0] == 250:
            return True
        with self.lock:
            self.refused += 1
            if reply[0] not in (421, 451, 452):
                self.wrong.append(reply)
        return False

    def transaction(self, way, client, number, body, sender, to):
        """False: another connection may do better."""
        if not self.took(client.command(f'MAIL FROM:<{sender}>')):
            return False
        taken = [user for user in to if self.took(client.command(f'RCPT TO:<{user}>'))]
        if not taken:
            return False
        reply = client.command('DATA')
        if reply[0] != 354:
            return self.took(reply)
        client.send(m.stuffed(body))
        replies = [client.reply() for _ in (taken if way is k.by_lmtp else '1')]
        for user, reply in zip(taken, replies * len(taken)):
            if self.took(reply):
                self.note(way, number, [user])
        return True

    def session(self, way, rand):
        client, sender = way(self.server)
        with client:
            while self.going:
                number, body = self.next(sender, rand.choice(k.SIZES))
                to = rand.sample(m.USERS, rand.choice((1, 2, 3)))
                if not self.transaction(way, client, number, body, sender, to):
                    time.sleep(0.05)  # a refusal costs nothing, and all the others need the machine
                    return


class Case:
    """A server under load whose disk errs in one way; what must be true at the end of each."""

    def __init__(self, site):
        self.site = site
        users = m.users_text().replace(' 100M ', ' - ')
        self.tree = site.folder / f'tree-{site.count}'
        shutil.copytree(site.posternd.parent.parent, self.tree)
        shutil.copy2(STORE, self.tree / 'libexec' / 'postern' / 'postern-store')
        self.server = m.server(site, SERVICES, users=users, posternd=self.tree / 'sbin' / 'posternd', allowed=TELLS)
        journal = self.server.folder / 'state' / 'journal'
        for folder in (self.server.mail, journal):
            folder.mkdir(mode=0o700)
            if h.ROOT:
                owner = pwd.getpwnam('_posternq')
                os.chown(folder, owner.pw_uid, owner.pw_gid)
        # the store may reach what is below its folders only; no user's folder begins with a dot
        self.faults = Faults(self.server.mail / '.faults')
        os.symlink(self.server.mail / '.faults', self.tree / 'libexec' / 'postern' / 'faults')
        self.faults.control.journal = journal.stat().st_ino
        self.load = None

    def __enter__(self):
        self.server.__enter__()
        return self

    def __exit__(self, kind, *more):
        self.faults.end()
        if self.load is not None:
            self.load.going = False
        self.server.__exit__(kind, *more)
        shutil.rmtree(self.tree)

    def begin(self):
        self.load = Load(self.server)

    def taken_again(self, count=5):
        goal = self.load.count() + count
        h.within(h.TIMEOUT * 2, lambda: self.load.count() >= goal, 'messages are taken')

    def finish(self, what):
        """The disk is well: all is there, whoever was refused was told to come again, and no process broke off."""
        self.faults.end()
        self.taken_again()
        self.load.stop()
        k.everything_is_there(self.server, self.load)
        h.equal(self.load.wrong, [], 'replies that do not say "later"')
        crashes = re.findall(r'ended by signal (?!9\b).*', self.server.log())
        h.equal(crashes, [], 'processes that broke off')
        print(f'    seed {k.SEED}: {what}; {self.load.count()} deliveries acknowledged, none lost, doubled or changed; '
              f'{self.load.refused} refusals')

    def serving(self):
        return [p['pid'] for p in self.server.processes('store', 'serving')]

    def store(self):
        return h.within(h.TIMEOUT, self.serving, 'a store')[0]

    def spoil(self, call, error, times=1, **rule):
        """Until that many calls have failed."""
        met = self.faults.met(call) + times
        self.faults.begin(call, error, **rule)
        h.within(h.TIMEOUT * 2, lambda: self.faults.met(call) >= met, f'{os.strerror(error)} by {call}')

    def successor(self, before):
        h.within(h.TIMEOUT * 2, lambda: self.serving() not in ([], [before]), 'another store')

    def end_of(self, pid, call, error, **rule):
        """Each of a few calls may have failed for something that can wait, as a segment that is made ahead."""
        for _ in range(10):
            self.spoil(call, error, left=1, **rule)
            end = time.monotonic() + 2
            while time.monotonic() < end:
                if not h.process_exists(pid):
                    return
                time.sleep(0.02)
        raise h.Failure(f'store {pid} goes on without its journal')


def without_journal(case, call, error, where):
    """The call fails until the store ends, and another one serves."""
    case.taken_again()
    before = case.store()
    case.end_of(before, call, error, where=where)
    case.successor(before)
    case.faults.end()


def refuses(case, before):
    """Within a moment more have been refused than before."""
    end = time.monotonic() + 5
    while case.load.refused == before and time.monotonic() < end:
        time.sleep(0.02)
    return case.load.refused > before


def journal(site):
    """What waits for the journal is refused, the process ends, and its successor replays."""
    with Case(site) as case:
        case.begin()
        for call, error in (('fdatasync', errno.EIO), ('write', errno.ENOSPC)):
            # a flush may have had nothing but the store's own record of a checkpoint
            for _ in range(5):
                refused = case.load.refused
                without_journal(case, call, error, JOURNAL)
                if refuses(case, refused):
                    break
            else:
                raise h.Failure(f'nobody was refused when {call} failed')
        without_journal(case, 'syncfs', errno.EIO, ANYWHERE)  # that one is not waited for
        h.check('nothing of this batch is acknowledged' in case.server.log(), 'the log does not say what happened')
        case.finish('flushes failed')


APPLYING = (('mkdir', errno.EIO), ('rename', errno.EIO), ('link', errno.EIO), ('open', errno.EIO), ('open', errno.EMFILE),
            ('open', errno.ENFILE), ('write', errno.EIO), ('write', errno.ENOSPC), ('fsync', errno.EIO), ('fdatasync', errno.EIO))


def applying(site):
    """Files of mailboxes cannot be written, one kind of call after the other; the journal can."""
    with Case(site) as case:
        case.faults.begin('mkdir', errno.EIO, where=ELSEWHERE)  # there is no mailbox yet
        case.begin()
        for call, error in APPLYING:
            case.spoil(call, error, times=3, odds=ALWAYS if call == 'mkdir' else ALWAYS // 3, where=ELSEWHERE)
            case.faults.end()
            case.taken_again()
        total = sum(rule.met for rule in case.faults.control.rules)
        case.finish(f'{total} calls failed')


def killed(case, call, **rule):
    """The store is killed, and its successor meets the errors."""
    case.taken_again(50)
    before = case.store()
    os.kill(before, signal.SIGSTOP)  # so that it is not this one that meets them
    case.faults.begin(call, errno.EIO, **rule)
    os.kill(before, signal.SIGKILL)
    h.within(h.TIMEOUT, lambda: case.faults.met(call), f'a failure of {call}')
    case.successor(before)
    case.faults.end()


def unreadable(site):
    """What was accepted cannot be read at first: a store that does not know all of it must not begin."""
    with Case(site) as case:
        case.begin()
        for n, call in enumerate(('open', 'read'), 1):
            killed(case, call, left=1, where=JOURNAL)
            h.equal(len(re.findall('the store cannot load again what it had', case.server.log())), n, 'starts that were given up')
        case.finish('2 starts could not read the journal')


def replaying(site):
    """What was accepted cannot be carried out again at first."""
    for call in ('read', 'open', 'write'):
        with Case(site) as case:  # of its own: a store that ends six times in a row is started slowly
            case.begin()
            killed(case, call, left=3, odds=ALWAYS // 3, where=ELSEWHERE)
            case.finish(f'a replay met errors of {call}')


def main():
    topic = h.Topic()
    site = h.Site(topic)
    h.check(STORE.exists(), f'{STORE} is not built')
    topic.case('the journal cannot be flushed', journal, site)
    topic.case('mailboxes cannot be written', applying, site)
    topic.case('the journal cannot be read', unreadable, site)
    topic.case('a replay meets errors', replaying, site)
    topic.done()


main()
