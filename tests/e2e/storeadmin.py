"""storeadmin.py - what an operator does with the store: postern reindex, with the server and without it, while mail comes in, and
killed at any moment; a Maildir that Dovecot made is taken over in place."""
import collections
import json
import mailbox
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import threading
import time

import harness as h
import maildrop as m

ALICE, BOB, CAROL = m.USERS
ROUNDS = int(os.environ.get('ROUNDS', '8'))
LONG = 900  # seconds; for hangs
KILLS = 4  # of one store: after more it comes again only every 30 s


def command(server, *words, code=0, env=None):
    postern = server.site.posternd.parent.parent / 'bin' / 'postern'
    run = subprocess.run([str(postern), '-f', str(server.conf), *words], capture_output=True, text=True,
                         timeout=LONG, check=False, env={**os.environ, **(env or {})})
    h.check(code in (None, run.returncode), f'the exit code of postern {" ".join(words)} is {run.returncode}, not {code}: {run.stdout}{run.stderr}')
    return run


def answer(server, *words, code=0):
    return json.loads(command(server, '--json', *words, code=code).stdout)


def reindexed(server, *words):
    """The rows, by user and mailbox."""
    got = answer(server, 'reindex', *words)
    h.equal(got['failed'], [], 'mailboxes that could not be done')
    return {(row['user'], row['mailbox']): row for row in got['mailboxes']}


def deliver(server, n, to=(ALICE,), first=0):
    with m.connect(server, 'lmtp') as client:
        client.hello('LHLO')
        for i in range(first, first + n):
            client.expect('MAIL FROM:<x@elsewhere.example>', 250)
            for user in to:
                client.expect(f'RCPT TO:<{user}>', 250)
            client.expect('DATA', 354)
            client.send(m.stuffed(m.letter(f'number {i}', 'x@elsewhere.example')))
            for _ in to:
                h.equal(client.reply()[0], 250, f'the reply to message {i}')


def maildir(server, user, box=None):
    folder = server.mail / user / 'Maildir'
    return folder / f'.{box}' if box else folder


def files(folder):
    """Of a mailbox that may not be there yet, and whose files may move meanwhile."""
    return sorted(p for sub in ('new', 'cur') if (folder / sub).is_dir() for p in (folder / sub).iterdir())


def arrived(server, n, user=ALICE):
    h.within(h.TIMEOUT, lambda: len(files(maildir(server, user))) >= n, f'{n} files of {user}')


def subjects(folder):
    return sorted(re.search(rb'(?m)^Subject: (.*?)\r?$', p.read_bytes()).group(1).decode() for p in files(folder))


def crc32c(octets):
    crc = 0xffffffff
    for octet in octets:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 & -(crc & 1))
    return crc ^ 0xffffffff


def index(folder):
    """What the index says: its header's UIDVALIDITY, base name of each UID, keywords. Every line is whole."""
    validity, uids, keywords = None, {}, {}
    for line in (folder / 'postern-index').read_bytes().splitlines():
        text, crc = line[:-10], line[-8:]
        h.equal(int(crc, 16), crc32c(text), f'the CRC of {line!r}')
        words = text.decode().split(' ')
        if words[0] == 'P1':
            validity = int(words[1])
        elif words[0] == '+':
            uids[int(words[2])] = words[7]
        elif words[0] == '-':
            for part in words[2].split(','):
                low, _, high = part.partition(':')
                for uid in range(int(low), int(high or low) + 1):
                    uids.pop(uid, None)
        elif words[0] == 'k':
            keywords[int(words[2])] = words[3]
    return validity, uids, keywords


def agrees(folder):
    """Each file has one line and each line one file."""
    _, uids, _ = index(folder)
    bases = sorted(p.name.split(':2,')[0] for p in files(folder))
    h.equal(sorted(uids.values()), bases, f'names in the index of {folder}')
    return uids


def with_server(site):
    with m.server(site) as server:
        deliver(server, 5, (ALICE, BOB))
        arrived(server, 5)
        arrived(server, 5, BOB)
        before = index(maildir(server, ALICE))
        got = reindexed(server)
        h.equal(sorted(got), [(ALICE, 'INBOX'), (BOB, 'INBOX')], 'mailboxes')
        row = got[ALICE, 'INBOX']
        h.equal((row['messages'], row['kept'], row['header'], row['uidvalidity'], row['uidnext']),
                (5, 5, 'kept', before[0], 6), 'the row')
        h.check(row['modseq'] >> 20 > time.time() - 600, f"MODSEQ {row['modseq']} is not of now")
        h.equal(index(maildir(server, ALICE))[:2], before[:2], 'the index')
        # lost under the running server, which knows what it was
        (maildir(server, ALICE) / 'postern-index').unlink()
        h.equal(reindexed(server, ALICE, 'INBOX')[ALICE, 'INBOX']['uidvalidity'], before[0], 'UIDVALIDITY')
        h.equal(index(maildir(server, ALICE))[:2], before[:2], 'the index')
        deliver(server, 1)
        arrived(server, 6)
        h.within(h.TIMEOUT, lambda: 6 in index(maildir(server, ALICE))[1], 'the next UID')
        text = command(server, 'reindex', ALICE).stdout
        h.check(f'{ALICE} INBOX: 6 messages; UIDVALIDITY {before[0]} kept; UIDs: 6 kept' in text and
                'every message has the UID that it had' in text, text)


def without_server(site):
    server = m.server(site)
    with server:
        deliver(server, 5)
        arrived(server, 5)
    folder = maildir(server, ALICE)
    before = index(folder)
    owner = os.stat(folder / 'postern-index').st_uid
    whole = (folder / 'postern-index').read_bytes()
    for damage in (lambda: (folder / 'postern-index').unlink(),
                   lambda: (folder / 'postern-index').write_bytes(whole[:len(whole) // 2]),
                   lambda: (folder / 'postern-index').write_bytes(b'x' + whole),
                   lambda: (folder / 'postern-index').write_bytes(b'')):
        damage()
        row = reindexed(server, ALICE)[ALICE, 'INBOX']
        h.equal((row['messages'], row['given']), (5, 0), 'messages, and new UIDs')
        h.equal(index(folder)[1], before[1], 'UIDs')
        h.equal(os.stat(folder / 'postern-index').st_uid, owner, 'the owner of the index')
    with server:
        deliver(server, 1)
        arrived(server, 6)
        h.within(h.TIMEOUT, lambda: agrees(folder).get(6), 'the sixth')


def other_programs(site):
    """Python's mailbox, as a mail reader would: what it has put there, flagged and taken away is in the new index."""
    with m.server(site) as server:
        deliver(server, 4)
        arrived(server, 4)
        folder = maildir(server, ALICE)
        before = index(folder)[1]
        box = mailbox.Maildir(folder, create=False)
        keys = {re.search(r'number \d', box[key]['subject']).group(): key for key in box.keys()}
        message = box[keys['number 1']]
        message.set_subdir('cur')
        message.set_flags('SF')
        box[keys['number 1']] = message
        box.remove(keys['number 2'])
        box.add(b'Subject: added\n\nby another program\n')
        if h.ROOT:
            for path in files(folder):
                os.chown(path, os.stat(folder).st_uid, os.stat(folder).st_gid)
        row = reindexed(server, ALICE)[ALICE, 'INBOX']
        h.equal(row['messages'], 4, 'messages')
        uids = agrees(folder)
        h.equal(sorted(uids), [1, 2, 4, 5], 'UIDs')
        h.equal(uids[1], before[1], 'the name of the first')
        h.equal(subjects(folder), ['added', 'number 0', 'number 1', 'number 3'], 'messages')


# What Dovecot 2.3.19 left: six messages saved, two of them expunged, keywords set, one file put there by procmail and indexed.
DOVECOT = {
    'dovecot-uidlist': '3 V1795812431 N8 G3833e7224fec096b1d04000083ecc375\n'
                       '1 :1795812431.M585420P1053.vm,S=36,W=40\n2 :1795812431.M637292P1058.vm,S=36,W=40\n'
                       '4 :1795812431.M709347P1069.vm,S=36,W=40\n5 :1795812431.M733406P1075.vm,S=36,W=40\n'
                       '7 :1795811999.77_0.host\n',
    'dovecot-keywords': '0 $Forwarded\n1 Work\n2 Later\n',
    'dovecot-uidvalidity': '6b09ec51', 'maildirfolder': '',
    'subscriptions': 'Sent\n',
    'new/1795811999.77_0.host': 'Subject: dropped\n\nby procmail\n',
    'new/1795812431.M585420P1053.vm,S=36,W=40': 'From: a@x\nSubject: number 1\n\nbody 1\n',
    'new/1795812431.M637292P1058.vm,S=36,W=40:2,Sab': 'From: a@x\nSubject: number 2\n\nbody 2\n',
    'cur/1795812431.M709347P1069.vm,S=36,W=40:2,': 'From: a@x\nSubject: number 4\n\nbody 4\n',
    'cur/1795812431.M733406P1075.vm,S=36,W=40:2,Fc': 'From: a@x\nSubject: number 5\n\nbody 5\n',
    '.Sent/dovecot-uidlist': '3 V1795812432 N2 G772ca92f4fec096b3a04000083ecc375\n'
                             '1 :1795812431.M842704P1091.vm,S=31,W=35\n',
    '.Sent/maildirfolder': '',
    '.Sent/new/1795812431.M842704P1091.vm,S=31,W=35': 'From: a@x\nSubject: sent one\n\nx\n',
    '.Entw&APw-rfe/dovecot-uidlist': '3 V1795812433 N1 G772ca92f4fec096b3a04000083ecc376\n',
}


def dovecot_maildir(server):
    folder = maildir(server, CAROL)
    for name, text in DOVECOT.items():
        for part in ('cur', 'new', 'tmp'):
            (folder / pathlib.PurePath(name).parts[0] if name.startswith('.') else folder).joinpath(part).mkdir(
                parents=True, exist_ok=True)
        (folder / name).write_text(text)
    if h.ROOT:
        st = os.stat(server.mail)
        for path in [folder.parent, folder, *folder.rglob('*')]:
            os.chown(path, st.st_uid, st.st_gid)
    return folder


def check_dovecot(server, rows):
    folder = maildir(server, CAROL)
    h.equal(sorted(box for _, box in rows), ['Entwürfe', 'INBOX', 'Sent'], 'mailboxes')
    inbox, sent = rows[CAROL, 'INBOX'], rows[CAROL, 'Sent']
    h.equal((inbox['header'], inbox['uidvalidity'], inbox['uidnext'], inbox['imported'], inbox['given']),
            ('imported', 1795812431, 8, 5, 0), 'INBOX')
    h.equal((sent['uidvalidity'], sent['imported']), (1795812432, 1), 'Sent')
    h.equal(rows[CAROL, 'Entwürfe']['uidvalidity'], 1795812433, 'UIDVALIDITY of an empty mailbox')
    uids = agrees(folder)
    h.equal(sorted(uids), [1, 2, 4, 5, 7], 'UIDs')
    h.equal(index(folder)[2], {0: '$Forwarded', 1: 'Work', 2: 'Later'}, 'keywords')
    flags = {p.name.split(':2,')[0]: p.name.partition(':2,')[2] for p in files(folder)}
    h.equal((flags[uids[2]], flags[uids[5]]), ('Sab', 'Fc'), 'flags')
    size = re.search(rb'(?m)^\+ \d+ 1 [0-9a-f]{32} (\d+) ', (folder / 'postern-index').read_bytes()).group(1)
    h.equal(int(size), 40, 'the size with CRLF')


def dovecot_served(site):
    with m.server(site) as server:
        folder = dovecot_maildir(server)
        check_dovecot(server, reindexed(server, CAROL))
        deliver(server, 1, (CAROL,))
        h.within(h.TIMEOUT, lambda: 8 in index(folder)[1], 'the next UID')
        again = reindexed(server, CAROL)[CAROL, 'INBOX']
        h.equal((again['header'], again['kept'], again['uidvalidity']), ('kept', 6, 1795812431), 'once more')


def dovecot_alone(site):
    server = m.server(site)
    with server:
        pass
    dovecot_maildir(server)
    check_dovecot(server, reindexed(server, CAROL))


class Deliveries:
    """Clients that deliver for as long as it takes; what was acknowledged is remembered."""

    def __init__(self, server, clients=4):
        self.server, self.going = server, True
        self.lock = threading.Lock()
        self.number, self.acknowledged = 0, set()
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def next(self):
        with self.lock:
            self.number += 1
            return self.number

    def session(self):
        with m.connect(self.server, 'lmtp', timeout=h.TIMEOUT) as client:
            client.hello('LHLO')
            while self.going:
                number = self.next()
                body = m.letter(f'number {number}', 'x@elsewhere.example', random.choice((0, 0, 2000, 60000)))
                if client.command('MAIL FROM:<x@elsewhere.example>')[0] != 250 or \
                        client.command(f'RCPT TO:<{ALICE}>')[0] != 250 or client.command('DATA')[0] != 354:
                    return
                client.send(m.stuffed(body))
                if client.reply()[0] == 250:
                    with self.lock:
                        self.acknowledged.add(f'number {number}')

    def run(self):
        while self.going:
            try:
                self.session()
            except (OSError, h.Failure):
                pass
            time.sleep(0.01)

    def stop(self):
        self.going = False
        for thread in self.threads:
            thread.join(h.TIMEOUT)
            h.check(not thread.is_alive(), 'a client hangs')

    def settled(self, folder):
        """Everything that was acknowledged stands there, once, and the index knows it."""
        def there():
            counts = collections.Counter(subjects(folder))
            return self.acknowledged <= set(counts) and counts.most_common(1)[0][1] == 1
        h.within(h.TIMEOUT, there, 'what was acknowledged, once')

        def right():
            try:
                return agrees(folder)
            except h.Failure:
                return None  # what is acknowledged is in its file a moment later
        return h.within(h.TIMEOUT, right, 'an index that agrees with the files')


def check_uids(seen, uids):
    """No UID ever means another message."""
    for uid, base in uids.items():
        h.equal(seen.setdefault(uid, base), base, f'the message of UID {uid}')


def while_delivering(site):
    with m.server(site) as server:
        folder = maildir(server, ALICE)
        load = Deliveries(server)
        arrived_any = lambda: folder.is_dir() and len(files(folder)) > 10
        h.within(h.TIMEOUT, arrived_any, 'some mail')
        seen = {}
        for _ in range(ROUNDS * 3):
            row = reindexed(server, ALICE)[ALICE, 'INBOX']
            h.equal((row['header'], row['given'], row['missing'], row['damaged']), ('kept', 0, 0, 0), 'the row')
        load.stop()
        check_uids(seen, load.settled(folder))
        h.check(len(load.acknowledged) > 20, 'hardly any mail came in')


def store_killed(site):
    """The store is killed while it makes an index anew and mail comes in."""
    with m.server(site, allowed=r'was ended by signal 9') as server:
        folder = maildir(server, ALICE)
        load = Deliveries(server)
        h.within(h.TIMEOUT, lambda: folder.is_dir() and len(files(folder)) > 10, 'some mail')
        rand = random.Random(5)
        for _ in range(KILLS):
            [pid] = h.within(h.TIMEOUT, lambda: server.pids('store'), 'a store')
            timer = threading.Timer(rand.random() * 0.05, lambda: os.kill(pid, signal.SIGKILL))
            timer.start()
            postern = server.site.posternd.parent.parent / 'bin' / 'postern'
            subprocess.run([str(postern), '-f', str(server.conf), '--json', 'reindex', ALICE], capture_output=True,
                           timeout=h.TIMEOUT, check=False)
            timer.join()
            h.within(h.TIMEOUT, lambda: [p for p in server.processes('store', 'serving') if p['pid'] != pid],
                     'another store')
        load.stop()
        h.equal(reindexed(server, ALICE)[ALICE, 'INBOX']['given'], 0, 'new UIDs')
        load.settled(folder)


def command_killed(site):
    """Without a server the command has the store, and is killed while it makes it anew."""
    server = m.server(site)
    with server:
        deliver(server, 40)
        arrived(server, 40)
    folder = maildir(server, ALICE)
    before = index(folder)
    postern = server.site.posternd.parent.parent / 'bin' / 'postern'
    rand = random.Random(6)
    for _ in range(ROUNDS):
        run = subprocess.Popen([str(postern), '-f', str(server.conf), 'reindex'], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
        time.sleep(rand.random() * 0.06)
        run.kill()
        run.wait()
        h.equal(index(folder)[:2], before[:2], 'the index')
    h.equal(reindexed(server)[ALICE, 'INBOX']['kept'], 40, 'UIDs that were kept')


def never_two(site):
    """The lock is the journal's: a command without the server's socket does not come beside it."""
    with m.server(site) as server:
        deliver(server, 1)
        arrived(server, 1)
        got = answer(server, '-s', '/nowhere/control', 'reindex', code=1)
        h.check('is in use' in got['error'], got)
        # one of its own configuration, whose server is another
        h.equal(reindexed(server)[ALICE, 'INBOX']['messages'], 1, 'messages')


def authority(site):
    if not h.ROOT:
        raise h.Skip('only root can be somebody else')
    with m.server(site) as server:
        deliver(server, 1)
        arrived(server, 1)
        server.control.chmod(0o666)
        for folder in (server.folder, server.folder / 'run', server.site.folder):
            folder.chmod(0o755)
        postern = server.site.posternd.parent.parent / 'bin' / 'postern'
        run = subprocess.run(['setpriv', '--reuid', 'nobody', '--regid', 'nogroup', '--clear-groups', str(postern), '-s',
                              str(server.control), 'reindex'], capture_output=True, text=True, check=False)
        h.equal(run.returncode, 1, f'{run.stdout}{run.stderr}')
        h.check('are for root or for the user who started posternd' in run.stderr, run.stderr)
        run = subprocess.run(['setpriv', '--reuid', 'nobody', '--regid', 'nogroup', '--clear-groups', str(postern), '--json', '-s',
                              str(server.control), 'store', 'stat'], capture_output=True, text=True, check=False)
        h.equal((run.returncode, [u['messages'] for u in json.loads(run.stdout)['users']]), (0, [1]), 'what may be read')


WRONG = (
    (('reindex', 'alice'), 2, 'is not an address'),
    (('reindex', 'a b@example.test'), 2, 'is not an address'),
    (('reindex', ALICE, 'INBOX', 'more'), 2, 'no more'),
    (('reindex', 'nobody@example.test'), 1, 'this user has no mailbox'),
    (('reindex', ALICE, 'Nowhere'), 1, 'there is no such mailbox'),
    (('reindex', ALICE, '../x'), 1, 'no mailbox can have that name'),
    (('reindex', ALICE, 'x' * 4000), 1, ''),
    (('reindex', '--quota', '1G'), 2, 'is for "postern user"'),
    (('reindex', '--repair'), 2, 'is for "postern store check"'),
    (('store',), 2, 'store does two things'),
    (('store', 'start'), 2, 'store does two things'),
    (('store', 'stat', 'alice'), 2, 'is not an address'),
    (('store', 'stat', ALICE, 'INBOX'), 2, 'no more'),
    (('store', 'stat', '--repair'), 2, 'is for "postern store check"'),
    (('store', 'stat', 'nobody@example.test'), 2, 'this user has no mailbox: nothing was ever delivered to that address'),
    (('store', 'check', 'alice'), 2, 'is not an address'),
    (('store', 'check', ALICE, 'INBOX', 'more'), 2, 'no more'),
    (('store', 'check', 'nobody@example.test'), 2, 'this user has no mailbox'),
    (('store', 'check', ALICE, 'Nowhere'), 2, 'there is no such mailbox'),
)


def checked(server, *words, code=0):
    got = answer(server, 'store', 'check', *words, code=code)
    return got, sorted(finding['kind'] for finding in got['findings'])


def check_served(site):
    with m.server(site) as server:
        deliver(server, 4, (ALICE, BOB))
        arrived(server, 4)
        arrived(server, 4, BOB)
        got, kinds = checked(server)
        h.equal((kinds, got['mailboxes'], got['found'], got['server']), ([], 2, 0, True), 'a check of what is whole')
        h.check('nothing is wrong' in command(server, 'store', 'check').stdout, 'the text says so')
        folder = maildir(server, ALICE)
        before = index(folder)
        by_uid = {re.search(r',U=(\d+)', p.name).group(1): p for p in files(folder)}
        by_uid['2'].unlink()
        with open(by_uid['1'], 'ab') as f:
            f.write(b'more')
        got, kinds = checked(server, ALICE, code=1)
        h.equal(kinds, ['missing', 'size'], 'findings')
        text = command(server, 'store', 'check', code=1).stdout
        h.check('has no file' in text and 'with --repair' in text and '2 things are wrong, 0 of them repaired' in text, text)
        h.equal(index(folder), before, 'the index after a check')
        got, kinds = checked(server, ALICE, '--repair', code=1)
        h.equal((got['found'], got['repaired']), (2, 2), 'found and repaired')
        got, kinds = checked(server, ALICE, code=1)
        h.equal(kinds, ['size-name'], 'what cannot be repaired')
        h.equal(sorted(agrees(folder)), [1, 3, 4], 'UIDs')
        h.equal(checked(server, BOB)[1], [], "of bob's")


def check_alone(site):
    server = m.server(site)
    with server:
        deliver(server, 4)
        arrived(server, 4)
    folder = maildir(server, ALICE)
    got, kinds = checked(server)
    h.equal((kinds, got['server']), ([], False), 'a check of what is whole')
    whole = (folder / 'postern-index').read_bytes()
    (folder / 'postern-index').write_bytes(whole[:-4])
    h.equal(checked(server, code=1)[1][0], 'index-cut', 'the finding')
    h.equal((folder / 'postern-index').read_bytes(), whole[:-4], 'the index after a check')
    checked(server, '--repair', code=1)
    h.equal(checked(server)[1], [], 'findings behind a repair')
    h.equal(sorted(agrees(folder)), [1, 2, 3, 4], 'UIDs')


def sizes(folder):
    """Octets of a mailbox's messages with CRLF."""
    return sum(len(re.sub(rb'\r?\n', b'\r\n', p.read_bytes())) for p in files(folder))


def stat_agrees(server, mail, served):
    """All figures against the files: mail has the number of messages of each user's mailboxes."""
    got = answer(server, 'store', 'stat')
    h.equal((got['ok'], got['server'], got['unreadable']), (True, served, []), 'the answer')
    expected = [(user, len(boxes), sum(boxes.values()), sum(sizes(maildir(server, user, None if box == 'INBOX' else box)) for box in boxes))
                for user, boxes in sorted(mail.items())]
    h.equal([(u['user'], u['mailboxes'], u['messages'], u['octets']) for u in got['users']], expected, 'users')
    h.equal([u['quota'] for u in got['users']], [100 << 20 if served else None] * len(mail), 'quotas')
    for user, boxes in mail.items():
        one = answer(server, 'store', 'stat', user)
        h.equal((one['user'], {b['mailbox']: b['messages'] for b in one['mailboxes']}), (user, boxes), 'mailboxes')
        for row in one['mailboxes']:
            folder = maildir(server, user, None if row['mailbox'] == 'INBOX' else row['mailbox'])
            validity, uids, _ = index(folder)
            h.equal((row['uidvalidity'], row['uidnext'], row['octets']), (validity, max(uids, default=0) + 1, sizes(folder)), 'the row')
            h.equal(row['unseen'], sum(1 for p in files(folder) if 'S' not in p.name.partition(':2,')[2]), 'unseen')
            h.check(row['modseq'] > 0, row)
    return got['store']


def stat_served(site):
    with m.server(site) as server:
        h.equal(answer(server, 'store', 'stat')['users'], [], 'users of an empty store')
        deliver(server, 5, (ALICE, BOB))
        deliver(server, 2, (BOB,))
        arrived(server, 5)
        arrived(server, 7, BOB)
        first = stat_agrees(server, {ALICE: {'INBOX': 5}, BOB: {'INBOX': 7}}, True)
        h.check(first['segments'] > 0 and first['segments'] + first['spare'] <= first['segments_max'], first)
        h.equal((first['segment_octets'], first['margin_octets'], first['stuck'], first['queued']), (1 << 20, 64 << 20, 0, 0), 'figures')
        h.check(first['clients'] >= 2, first)  # a worker, and the control process that asks
        h.check(0 < first['flushes'] and 0 < first['flush_mean_us'] <= first['flush_longest_us'] and
                first['flush_p50_us'] <= first['flush_p99_us'] <= first['flush_longest_us'], first)
        h.check(first['mailboxes_in_memory'] >= 2, first)
        # a message read by another program
        path = files(maildir(server, ALICE))[0]
        path.rename(maildir(server, ALICE) / 'cur' / (path.name.partition(':2,')[0] + ':2,S'))
        h.within(h.TIMEOUT, lambda: answer(server, 'store', 'stat', ALICE)['mailboxes'][0]['unseen'] == 4, 'one that is seen')
        deliver(server, 1)
        arrived(server, 6)
        then = stat_agrees(server, {ALICE: {'INBOX': 6}, BOB: {'INBOX': 7}}, True)
        h.check(then['newest'] > first['newest'] and then['flushes'] > first['flushes'], f'{first} {then}')
        # every 30 s
        h.within(120, lambda: answer(server, 'store', 'stat')['store']['durable'] >= then['newest'], 'a checkpoint')
        h.check(answer(server, 'store', 'stat')['store']['checkpointed'] > time.time() - 600, 'when it was')
        text = command(server, 'store', 'stat').stdout
        h.check(re.search(r'(?m)^journal +\d+ segments in use', text) and re.search(r'(?m)^flushes +\d+ since the start', text) and
                re.search(rf'(?m)^{ALICE} +1 +6 +\d+ +{100 << 20}$', text), text)
        text = command(server, 'store', 'stat', BOB).stdout
        h.check(re.search(r'(?m)^INBOX +7 +\d+ +7 +8 +\d+ +\d+$', text), text)


def stat_alone(site):
    server = m.server(site)
    with server:
        deliver(server, 5, (ALICE, BOB))
        arrived(server, 5)
        arrived(server, 5, BOB)
    for part in ('cur', 'new', 'tmp'):
        (maildir(server, ALICE, 'Work') / part).mkdir(parents=True)
    (maildir(server, ALICE, 'Work') / 'new' / '1.brought.host').write_bytes(b'Subject: brought\n\nby hand\n')
    if h.ROOT:
        st = os.stat(server.mail)
        subprocess.run(['chown', '-R', f'{st.st_uid}:{st.st_gid}', str(server.mail)], check=True)
    answer(server, 'store', 'stat')  # takes in what was brought: its name and its UID
    mail = {ALICE: {'INBOX': 5, 'Work': 1}, BOB: {'INBOX': 5}}
    store = stat_agrees(server, mail, False)
    h.equal((store['clients'], store['unapplied'], store['stuck']), (0, 0, 0), 'figures')
    h.check(0 < store['durable'] <= store['newest'], store)  # every end in good order has a checkpoint
    with server:
        deliver(server, 1)
        arrived(server, 6)


def stat_while_delivering(site):
    """Nothing that was acknowledged is missing in what is counted afterwards, and nothing waits."""
    with m.server(site) as server:
        folder = maildir(server, ALICE)
        load = Deliveries(server)
        h.within(h.TIMEOUT, lambda: len(files(folder)) > 10, 'some mail')
        before = 0
        for _ in range(ROUNDS * 2):
            with load.lock:
                least = len(load.acknowledged)
            [row] = answer(server, 'store', 'stat', ALICE)['mailboxes']
            h.check(row['messages'] >= max(least, before), f"{row['messages']} messages; {least} were acknowledged, {before} counted before")
            before = row['messages']
        load.stop()
        load.settled(folder)
        h.equal(answer(server, 'store', 'stat', ALICE)['mailboxes'][0]['messages'], len(files(maildir(server, ALICE))), 'messages')


def check_while_delivering(site):
    """Mail that comes in is never a finding, and a check loses none of it."""
    with m.server(site) as server:
        folder = maildir(server, ALICE)
        load = Deliveries(server)
        h.within(h.TIMEOUT, lambda: len(files(folder)) > 10, 'some mail')
        for i in range(ROUNDS * 2):
            got, kinds = checked(server, *([ALICE, '--repair'] if i % 2 else []))
            h.equal(kinds, [], 'findings')
        load.stop()
        load.settled(folder)
        h.equal(checked(server)[1], [], 'findings at the end')


def repair_killed(site):
    server = m.server(site)
    with server:
        deliver(server, 30)
        arrived(server, 30)
    folder = maildir(server, ALICE)
    validity, uids, _ = index(folder)
    whole = (folder / 'postern-index').read_bytes()
    postern = server.site.posternd.parent.parent / 'bin' / 'postern'
    rand = random.Random(7)
    for _ in range(ROUNDS):
        (folder / 'postern-index').write_bytes(whole[:len(whole) * 2 // 3])
        run = subprocess.Popen([str(postern), '-f', str(server.conf), 'store', 'check', '--repair'],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rand.random() * 0.06)
        run.kill()
        run.wait()
    command(server, 'store', 'check', '--repair', code=None)
    h.equal(index(folder)[:2], (validity, uids), 'UIDVALIDITY and UIDs')


def wrong(site):
    server = m.server(site)
    server.write_conf()
    run = command(server, 'reindex', code=1)
    h.check('there is no store yet' in run.stderr, run.stderr)
    with server:
        deliver(server, 1)
        arrived(server, 1)
        for words, code, text in WRONG:
            run = command(server, *words, code=code)
            h.check(text in run.stderr, f'{words}: {run.stderr}')
    for words, code, text in WRONG:
        run = command(server, *words, code=code)
        h.check(text in run.stderr, f'{words}, without a server: {run.stderr}')


def no_store(site):
    with site.server(h.LINE_SERVICE) as server:
        got = answer(server, 'reindex', code=1)
        h.check('no "mail" directive' in got['error'], got)
    got = answer(server, 'reindex', code=1)
    h.check('no "mail" directive' in got['error'], got)


def many_users(site):
    """More than a page of them, and mailboxes of one."""
    server = m.server(site)
    with server:
        deliver(server, 1)
        arrived(server, 1)
    st = os.stat(server.mail)
    for i in range(510):
        for part in ('cur', 'new', 'tmp'):
            (server.mail / f'u{i}@example.test' / 'Maildir' / part).mkdir(parents=True)
    (server.mail / 'not a user').mkdir()
    (server.mail / 'file@example.test').write_text('x')
    for i in range(510):
        for part in ('cur', 'new', 'tmp'):
            (maildir(server, ALICE) / f'.b{i}' / part).mkdir(parents=True)
    if h.ROOT:
        subprocess.run(['chown', '-R', f'{st.st_uid}:{st.st_gid}', str(server.mail)], check=True)
    h.equal(len(reindexed(server)), 510 + 511, 'mailboxes')
    with server:
        h.equal(len(reindexed(server)), 510 + 511, 'mailboxes')


def upgraded(site):
    """The control process and the store find each other again."""
    with m.server(site, allowed=r'was ended by signal 9|ended') as server:
        deliver(server, 1)
        arrived(server, 1)
        server.upgrade()
        h.within(h.TIMEOUT, lambda: len(server.pids('store')) == 1, 'one store')
        h.equal(len(reindexed(server)), 1, 'mailboxes after an upgrade')
        [pid] = server.pids('control')
        os.kill(pid, signal.SIGKILL)

        def again():
            try:
                return [p for p in server.pids('control') if p != pid]
            except (OSError, ValueError):
                return None
        h.within(h.TIMEOUT, again, 'another control process')
        h.within(h.TIMEOUT, lambda: not json.loads(subprocess.run(
            [str(server.site.posternd.parent.parent / 'bin' / 'postern'), '-f', str(server.conf), '--json', 'reindex'],
            capture_output=True, text=True, check=False).stdout).get('failed', [1]), 'an answer of the store')


if __name__ == '__main__':
    topic = h.Topic()
    place = h.Site(topic)
    for test in (with_server, without_server, other_programs, dovecot_served, dovecot_alone, while_delivering, store_killed,
                 command_killed, check_served, check_alone, check_while_delivering, repair_killed, stat_served, stat_alone, stat_while_delivering, never_two, authority, wrong, no_store, many_users, upgraded):
        topic.case(test.__name__, test, place)
    topic.done()
