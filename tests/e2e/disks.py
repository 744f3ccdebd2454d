"""Disks that are full, of octets or of files, or read only, and a mailbox that cannot be written: what was accepted is there, the rest is
refused for now, and nobody else is."""
import contextlib
import os
import pwd
import subprocess
import time

import harness as h
import maildrop as m

SERVICES = '''
service lmtp {
    protocol lmtp
    listen 127.0.0.1:@lmtp plain
}
'''
MARGIN_OCTETS, MARGIN_FILES = 64 << 20, 1000  # that the store leaves alone


def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=h.TIMEOUT)


@contextlib.contextmanager
def on_a_disk(site, options, **more):
    """A server whose mailboxes are a small file system of their own."""
    if not h.ROOT:
        raise h.Skip('only root mounts a file system')
    server = m.server(site, SERVICES, **more)
    server.mail.mkdir()
    owner = pwd.getpwnam('_posternq')
    mounted = run('mount', '-t', 'tmpfs', '-o', f'uid={owner.pw_uid},gid={owner.pw_gid},mode=0700,{options}', 'tmpfs',
                  str(server.mail))
    if mounted.returncode != 0:
        raise h.Skip(f'no file system can be mounted here: {mounted.stdout.strip()}')
    try:
        with server:
            yield server
    finally:
        run('umount', '-l', str(server.mail))


def client_of(server):
    client = m.connect(server, 'lmtp')
    client.hello('LHLO')
    return client


def deliver(client, name, octets, user='bob@example.test'):
    sent = m.letter(name, octets=octets)
    return client.message(sent, to=(user,))[0], sent


def fill(server, octets, most):
    """Until it is refused. Returns what was accepted."""
    accepted = []
    with client_of(server) as client:
        while len(accepted) < most:
            code, sent = deliver(client, f'fill {len(accepted)}', octets)
            if code != 250:
                h.equal(code, 452, f'message {len(accepted)}')
                break
            accepted.append(sent)
    h.check(0 < len(accepted) < most, f'{len(accepted)} messages fit')
    return accepted


def all_there(server, accepted, user='bob@example.test'):
    h.within(h.TIMEOUT, lambda: len(m.box(server, user)) >= len(accepted), f'{len(accepted)} messages')
    h.equal(sorted(m.split(x)[2] for x in m.box(server, user)), sorted(accepted), 'what was accepted')


def more_room(server, options, accepted):
    h.equal(run('mount', '-o', f'remount,{options}', str(server.mail)).returncode, 0, 'the remount')
    with client_of(server) as client:
        code, sent = deliver(client, 'afterwards', 1000)
        h.equal(code, 250, 'the reply when there is room')
    all_there(server, accepted + [sent])


def octets(site):
    for size in (20000, 200000):  # through the journal, and in files of their own
        with on_a_disk(site, 'size=72M') as server:
            accepted = fill(server, size, 72 * 1048576 // size)
            all_there(server, accepted)
            free = os.statvfs(server.mail)
            h.check(free.f_bavail * free.f_frsize >= MARGIN_OCTETS - 4 * size, f'{free.f_bavail * free.f_frsize} octets are left')
            more_room(server, 'size=120M', accepted)


def files(site):
    with on_a_disk(site, f'nr_inodes={MARGIN_FILES + 60}') as server:
        accepted = fill(server, 1000, 200)
        all_there(server, accepted)
        h.check(os.statvfs(server.mail).f_favail >= MARGIN_FILES - 10, f'{os.statvfs(server.mail).f_favail} files are left')
        more_room(server, f'nr_inodes={MARGIN_FILES + 2000}', accepted)


def half(site):
    """Large messages of which nobody has seen the end: they do not take what is left alone."""
    with on_a_disk(site, 'size=100M') as server:
        clients, answers = [client_of(server) for _ in range(3)], []
        with client_of(server) as client:
            code, whole = deliver(client, 'whole', 16 << 20)
            h.equal(code, 250, 'the first')
        sent = m.stuffed(m.letter('half', octets=16 << 20))
        for client in clients:
            client.expect('MAIL FROM:<alice@example.test>', 250)
            client.expect('RCPT TO:<bob@example.test>', 250)
            client.expect('DATA', 354)
            client.send(sent[:-3])
        free = lambda: (lambda v: v.f_bavail * v.f_frsize)(os.statvfs(server.mail))
        h.within(h.TIMEOUT, lambda: free() <= MARGIN_OCTETS + (4 << 20), 'the disk to fill')
        h.check(free() >= MARGIN_OCTETS - (1 << 20), f'{free()} octets are left')
        for client in clients:
            client.send(sent[-3:])
            answers.append(client.reply()[0])
            client.close()
        h.check(452 in answers, f'the answers: {answers}')
        all_there(server, [whole] + [m.letter('half', octets=16 << 20)] * answers.count(250))
        h.check(free() >= MARGIN_OCTETS - (1 << 20), f'{free()} octets are left at the end')


def immutable(site):
    """As an administrator makes it: chattr +i. The store's process is ended meanwhile, too."""
    h.need('chattr', 'e2fsprogs')
    if not h.ROOT:
        raise h.Skip('only root makes a folder immutable')
    with m.server(site, SERVICES, allowed=r'cannot write into mailbox INBOX of carol|store\[\d+\] was ended by signal 9') as server:
        with client_of(server) as client:
            code, first = deliver(client, 'first', 1000, 'carol@example.test')
            h.equal(code, 250, 'the first')
            all_there(server, [first], 'carol@example.test')
            folder = server.mail / 'carol@example.test' / 'Maildir' / 'new'
            if run('chattr', '+i', str(folder)).returncode != 0:
                raise h.Skip('no file can be made immutable here')
            try:
                code, second = deliver(client, 'second', 50000, 'carol@example.test')
                h.equal(code, 250, 'the second: it is in the journal')
                h.within(h.TIMEOUT, lambda: deliver(client, 'no', 1000, 'carol@example.test')[0] == 451 or time.sleep(0.2),
                         'the refusal')
                bob = [deliver(client, f'bob {n}', 30000)[1] for n in range(400)]  # three times what the journal holds
                all_there(server, bob)
                [pid] = server.pids('store')
                os.kill(pid, 9)
                h.within(h.TIMEOUT, lambda: [p for p in server.processes('store', 'serving') if p['pid'] != pid], 'another')
                h.within(h.TIMEOUT, lambda: deliver(client, 'no', 1000, 'carol@example.test')[0] == 451 or time.sleep(0.2),
                         'the refusal')
            finally:
                run('chattr', '-i', str(folder))
            h.within(h.TIMEOUT, lambda: deliver(client, 'last', 1000, 'carol@example.test')[0] == 250 or time.sleep(0.2),
                     'the end of the refusal')
        got = [m.split(x)[2] for x in m.box(server, 'carol@example.test')]
        for sent in (first, second):
            h.equal(got.count(sent), 1, 'how often it is there')


def read_only(site):
    """As a kernel makes a disk on which it has met an error: nothing is accepted, and what was is there when it can be written again."""
    with on_a_disk(site, 'size=200M', allowed=r'store\[\d+\] was ended by signal 9|cannot write into|segment') as server:
        with client_of(server) as client:
            accepted = [deliver(client, f'before {n}', 20000)[1] for n in range(20)]
        all_there(server, accepted)

        killed = []

        def turned():
            for pid in server.pids('store'):  # it has files open for writing
                killed.append(pid)
                os.kill(pid, 9)
            return any(run('mount', '-o', 'remount,ro', str(server.mail)).returncode == 0 for _ in range(20))

        h.within(h.TIMEOUT, turned, 'the disk to be read only')
        h.within(h.TIMEOUT, lambda: [p for p in server.processes('store', 'serving') if p['pid'] not in killed], 'another store')
        with client_of(server) as client:
            for size in (1000, 50000):
                h.equal(deliver(client, 'no', size)[0], 451, f'the reply to {size} octets')
        told = run(str(server.site.posternd.parent.parent / 'bin' / 'postern'), '-f', str(server.conf), 'store', 'check')
        h.equal(told.returncode, 0, f'the check of a disk that can be read: {told.stdout}')
        [pid] = server.pids('store')
        h.equal(run('mount', '-o', 'remount,rw', str(server.mail)).returncode, 0, 'the remount')
        with client_of(server) as client:
            for size in (1000, 50000):
                code, sent = deliver(client, f'after {size}', size)
                h.equal(code, 250, 'the reply when it can be written again')
                accepted.append(sent)
        all_there(server, accepted)
        h.equal(server.pids('store'), [pid], 'the process')


def main():
    topic = h.Topic()
    site = h.Site(topic)
    topic.case('a disk without room', octets, site)
    topic.case('half messages', half, site)
    topic.case('a disk without files', files, site)
    topic.case('a mailbox that cannot be written', immutable, site)
    topic.case('a disk that is read only', read_only, site)
    topic.done()


main()
