"""mail.py - messages over SMTP, submission and LMTP until they stand in a Maildir, octet for octet; what is refused, and
what the log says of it."""
import os
import re
import signal
import socket
import ssl
import subprocess
import time

import harness as h
import maildrop as m

BIG = 12 * 1024 * 1024


def by_certificate(site):
    with m.server(site) as server:
        sent = m.letter('by certificate')
        with m.secure(server) as client:
            h.check('AUTH EXTERNAL SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN' in client.capabilities,
                    f'what is offered: {client.capabilities}')
            code, text = client.message(sent)
            h.equal(code, 250, f'the reply, {text}')
            client.expect('QUIT', 221)
        sender, trace, body = m.split(m.delivered(server, 'bob@example.test'))
        h.equal((sender, body), ('alice@example.test', sent), 'sender and message')
        mid = re.search(r'kept as ([0-9a-f-]+)\.', text).group(1)
        want = (rf'from client\.example \(\[127\.0\.0\.1\]\) \(authenticated: alice@example\.test by certificate\) '
                rf'by localhost \(Postern\) with ESMTPSA id {mid} for <bob@example\.test> '
                r'tls TLS_AES_128_GCM_SHA256 group x25519 \(TLS1\.3\); \w{3}, \d+ \w{3} \d{4} [\d:]{8} \+0000')
        h.check(re.fullmatch(want, trace), f'Received is {trace!r}')
        server.wait_log(f'message {mid}: accepted from <alice@example.test> to <bob@example.test>')
        h.equal(m.box(server, 'alice@example.test'), [], 'messages of somebody else')
        server.wait_log('alice@example.test logged in by certificate service=submission .*code=login')


def by_password(site):
    with m.server(site) as server:
        with m.secure(server, cert=None) as client:
            h.check('AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN' in client.capabilities,
                    f'what is offered: {client.capabilities}')
            client.expect('MAIL FROM:<bob@example.test>', 530, '5.7.0 Log in first: no client certificate came.')
            client.expect('AUTH PLAIN ' + m.plain('bob@example.test', 'wrong'), 535, '5.7.8')
            client.expect('AUTH PLAIN ' + m.plain('correct horse', 'x'), 535, '5.7.8')
            client.expect('AUTH PLAIN ' + m.plain('bob@example.test'), 235, '2.7.0 You are logged in as bob@example.test.')
            sent = m.letter('by password', 'bob@example.test')
            h.equal(client.message(sent, 'bob@example.test', ['alice@example.test'])[0], 250, 'the reply')
        h.equal(m.split(m.delivered(server, 'alice@example.test'))[2], sent, 'the message')
        server.wait_log('bob@example.test logged in by PLAIN')
        server.wait_log('a login as bob@example.test by PLAIN failed')
        server.wait_log('a login by PLAIN failed')
        h.check('correct horse' not in server.log(), 'what may be a password is in the log')
        counted = server.service('submission')
        h.equal([counted[name] for name in ('messages', 'logins', 'logins_failed')], [1, 1, 2], 'what was counted')
        # a session that belongs to a certificate is nobody else's
        with m.secure(server, 'alice') as client:
            client.expect('AUTH PLAIN ' + m.plain('bob@example.test'), 535, '5.7.8 This session belongs to alice@example.test')
            client.expect('AUTH EXTERNAL =', 235, '2.7.0 You are logged in as alice@example.test.')


def guessing(site):
    """Who guesses is told that he is not heard any more, and by whose fault."""
    with m.server(site) as server:
        replies = []
        for _ in range(5):
            with m.secure(server, cert=None) as client:
                replies += [client.command('AUTH PLAIN ' + m.plain('bob@example.test', 'wrong')) for _ in range(3)]
                h.equal(client.reply()[0], 421, 'the goodbye behind three')
        h.equal([code for code, _ in replies], [535] * 10 + [454] * 5, 'replies')
        h.check(replies[-1][1].startswith('4.7.0 Too many logins from your address'), f'{replies[-1]}')
        with m.secure(server, cert=None) as client:
            client.expect('AUTH PLAIN ' + m.plain('alice@example.test'), 454, '4.7.0 Too many')
        with m.secure(server, 'alice') as client:  # a certificate is not guessed
            h.equal(client.message(m.letter('all the same'))[0], 250, 'the reply')


def bad_certificates(site):
    with m.server(site, m.SERVICES.replace('login certificate password', 'login certificate')) as server:
        for name, why in (('expired', 'has expired'), ('stranger', 'does not trust'), ('nameless', 'belongs to no user'),
                          ('dave', 'belongs to no user')):
            with m.secure(server, name) as client:
                h.check(not any(c.startswith('AUTH') for c in client.capabilities), f'{name} is offered a login')
                text = client.expect('MAIL FROM:<alice@example.test>', 530, '5.7.0 Log in first: ')
                h.check(why in text, f'{name}: {text}')
                text = client.expect('AUTH EXTERNAL =', 535, '5.7.8 EXTERNAL is not possible: ')
                h.check(why in text, f'{name}: {text}')
        server.wait_log('a login by EXTERNAL failed', count=4)


def senders(site):
    with m.server(site) as server, m.secure(server) as client:
        client.expect('MAIL FROM:<bob@example.test>', 550, '5.7.1 That is no address of yours. Send from: alice')
        code, text = client.message(m.letter('forged', 'bob@example.test'))
        h.check(code == 550 and text.startswith('5.7.1 The From field holds an address that is none of yours'), text)
        h.equal(client.message(m.letter('alias', 'alice.alias@example.test'), 'alice.alias@example.test')[0], 250,
                'an address that is listed')
        h.equal(client.message(b'hello\r\n')[0], 250, 'a message without a header')
        body = m.split(m.delivered(server, 'bob@example.test', 2))[2]
        h.check(re.fullmatch(rb'From: alice@example\.test\r\nDate: [^\r]+\r\nMessage-ID: <[^>]+@localhost>\r\n\r\nhello\r\n',
                             body), f'what was added: {body!r}')
        server.wait_log('sender <bob@example.test> refused')


def mx(site):
    with m.server(site) as server:
        sent = m.letter('from outside', 'x@elsewhere.example')
        with m.connect(server, 'mx') as client:
            h.check('STARTTLS' in client.hello(), 'STARTTLS is not offered')
            client.expect('MAIL FROM:<x@elsewhere.example>', 250)
            client.expect('RCPT TO:<nobody@example.test>', 550, '5.1.1')
            client.expect('RCPT TO:<x@elsewhere.example>', 550, '5.7.1')
            client.expect('AUTH PLAIN =', 502)
            client.expect('RSET', 250)
            to = ['Alice@Example.Test', 'bob.alias@example.test', 'bob+lists@example.test', 'postmaster',
                  'postmaster@example.org', 'carol@example.test']
            h.equal(client.message(sent, 'x@elsewhere.example', to)[0], 250, 'the reply')
            client.starttls(site.certs.context())
            client.hello()
            h.equal(client.message(m.letter('null'), '', ['carol@example.test'])[0], 250, 'a report')
        for user in m.USERS:
            want = 2 if user.startswith('carol') else 1
            sender, trace, body = m.split(m.delivered(server, user, want))
            if want == 1:
                h.equal((sender, body), ('x@elsewhere.example', sent), f'the message of {user}')
                h.check('for' not in trace, f'recipients told: {trace}')
        h.equal(m.split(m.box(server, 'carol@example.test')[1])[0], '', 'the null sender')
        server.wait_log('recipient <nobody@example.test> refused')


def lmtp(site):
    users = m.users_text().replace('100M carol', '6K carol')
    with m.server(site, users=users) as server:
        for address in (server.address('lmtp'), server.folder / 'run' / 'lmtp'):
            with m.Client(address) as client:
                h.equal(client.reply()[0], 220, 'the greeting')
                client.expect('EHLO x', 500)
                client.hello('LHLO')
                client.expect('MAIL FROM:<x@elsewhere.example>', 250)
                client.expect('RCPT TO:<alice@example.test>', 250)
                client.expect('RCPT TO:<nobody@example.test>', 550)
                client.expect('RCPT TO:<carol@example.test>', 250)
                client.expect('RCPT TO:<bob@example.test>', 250)
                client.expect('DATA', 354)
                client.send(m.stuffed(m.letter('lmtp', octets=8000)))
                codes = [client.reply() for _ in range(3)]
                h.equal([c[0] for c in codes], [250, 552, 250], f'the replies {codes}')
        m.delivered(server, 'alice@example.test', 2)
        trace = m.split(m.delivered(server, 'bob@example.test', 2))[1]
        h.check(' with LMTP id ' in trace and '[127' not in trace, f'the trace: {trace}')
        h.equal(m.box(server, 'carol@example.test'), [], 'messages beyond a quota')


class Slow(m.Client):
    """Says all that it has to say before it reads anything, with as little room for replies as there can be."""

    def __init__(self, address):
        super().__init__(address)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)

    def pour(self, octets):
        """Until the server takes no more without being read, which is up to the kernel's buffers."""
        self.sock.settimeout(h.TIMEOUT)
        self.sock.sendall(octets)


def thousand(site):
    """A reply for each of a thousand recipients, to one who reads late, and whatever ends the session behind them."""
    services = m.SERVICES.replace('protocol lmtp', 'protocol lmtp\n    max-recipients 1000').replace(
        '    listen 127.0.0.1:@lmtp plain', '    listen 127.0.0.1:@lmtp plain\n    listen 127.0.0.1:@lmtps tls\n    tls main')
    n = 1000
    envelope = b'LHLO x\r\nMAIL FROM:<x@elsewhere.example>\r\n' + b'RCPT TO:<bob@example.test>\r\n' * n + b'DATA\r\n'
    message = m.stuffed(m.letter('thousand'))
    with m.server(site, services) as server:
        for address in (server.address('lmtp'), server.folder / 'run' / 'lmtp'):
            for what, last, code in (('QUIT', message + b'QUIT\r\n', 250), ('its end', message, 250),
                                     ('an ambiguous end', b'x\n.\r\n' + b'x' * 4000, 554)):
                with Slow(address) as client:
                    client.pour(envelope + last)
                    if what == 'its end':
                        client.sock.shutdown(socket.SHUT_WR)
                    time.sleep(0.5)
                    codes = [client.reply()[0] for _ in range(3 + n + 1 + n)]
                    h.equal(codes[:3], [220, 250, 250], 'before the recipients')
                    h.equal(codes[3:3 + n], [250] * n, 'the recipients')
                    h.equal(codes[3 + n:], [354] + [code] * n, f'the replies before {what}')
                    if what == 'QUIT':
                        h.equal(client.reply()[0], 221, 'goodbye')
                    client.expect_end()
        # and within TLS, while the server stops
        client = Slow(server.address('lmtps'))
        client.wrap(server.site.certs.context())
        client.pour(envelope + b'x\n.\r\n')
        time.sleep(0.5)
        codes = [client.reply()[0] for _ in range(4 + n + n)]
        h.equal(codes[-n:], [554] * n, 'the replies within TLS')
        client.close()
        # every recipient is in the log, in as many lines as it takes
        server.wait_log(r'message \S+: accepted from <x@elsewhere.example> to <bob@example.test> .* and \d+ more, \d+ octets')
        server.wait_log(r'message \S+: also to <bob@example.test>.*code=message', 10)
        h.check(len(m.box(server, 'bob@example.test')) <= 4, 'one message for a recipient that was named a thousand times')


def quota(site):
    """A full mailbox refuses itself, and nobody else; when it becomes full in between nothing is lost and nothing doubled."""
    team = 'alice.alias@example.test,team@example.test'
    users = m.users_text().replace('100M carol.alias@example.test', '40K team@example.test').replace(
        '100M alice.alias@example.test', f'100M {team}')
    carol, bob = 'carol@example.test', 'bob@example.test'

    def named(client, who, code, size=''):
        got = client.command(f'RCPT TO:<{who}>')
        h.check(got[0] == code, f'{who} {size}: {got}')

    def transaction(client, rcpts, octets, size=None, code=250, text=''):
        """rcpts: who, and the code that he gets."""
        letter = m.letter('quota', octets=octets)
        client.expect(f'MAIL FROM:<x@elsewhere.example>{f" SIZE={size or len(letter)}" if size != 0 else ""}', 250)
        for who, expected in rcpts:
            named(client, who, expected, size)
        client.expect('DATA', 354)
        client.send(m.stuffed(letter))
        got = client.reply()
        h.check(got[0] == code and text in got[1], f'{got}, expected {code} {text}')

    with m.server(site, users=users) as server, m.connect(server, 'mx') as one, m.connect(server, 'mx') as two:
        one.hello()
        two.hello()
        # what the client says of the size counts, and nobody else is refused
        transaction(one, [(carol, 552), (bob, 250)], 60000)
        m.delivered(server, bob, 1)
        transaction(one, [(carol, 250)], 15000)
        m.delivered(server, carol, 1)
        transaction(one, [('team@example.test', 552), (bob, 250)], 30000)
        m.delivered(server, bob, 2)
        # who does not say it hears at the end
        transaction(one, [(carol, 250)], 30000, 0, 552, '5.2.2 The mailbox is full')
        transaction(one, [(carol, 250), (bob, 250)], 30000, 0, 552, '5.2.2 A recipient')
        # full in between: all or nothing, for now, and the next try tells who it is
        letter = m.letter('both', octets=12000)
        one.expect(f'MAIL FROM:<x@elsewhere.example> SIZE={len(letter)}', 250)
        named(one, carol, 250)
        named(one, bob, 250)
        transaction(two, [(carol, 250)], 14000)
        one.expect('DATA', 354)
        one.send(m.stuffed(letter))
        code, text = one.reply()
        h.check(code == 452 and text.startswith('4.2.2'), f'{code} {text}')
        transaction(one, [(carol, 552), (bob, 250)], 12000)
        m.delivered(server, bob, 3)
        m.delivered(server, carol, 2)
        h.equal(m.box(server, 'alice@example.test'), [], 'what went to the team')
    # but who can mend it is always reached, and that does not lift the limit
    users = m.users_text().replace('100M bob.alias', '1K bob.alias')
    with m.server(site, users=users) as server, m.connect(server, 'mx') as one:
        one.hello()
        transaction(one, [(bob, 552), ('Postmaster@example.org', 250)], 8000)
        transaction(one, [(bob, 552), ('postmaster', 250)], 8000)
        transaction(one, [(bob, 552), (carol, 250)], 8000)
        m.delivered(server, bob, 2)
    users = m.users_text().replace('100M carol.alias@example.test', '40K team@example.test')
    with m.server(site, users=users) as server, m.connect(server, 'mx') as one:
        one.hello()
        transaction(one, [(carol, 552), (bob, 250)], 60000)
        server.wait_log('recipient <carol@example.test> refused.*552 5.2.2')


def large(site):
    """Above what goes by memory; in one piece and in chunks."""
    with m.server(site) as server, m.secure(server) as client:
        for n, octets in enumerate((32 * 1024 - 800, 32 * 1024, 64 * 1024, BIG)):
            sent = m.letter(f'large {octets}', octets=octets)
            h.equal(client.message(sent)[0], 250, f'{octets} octets')
            h.check(m.split(m.delivered(server, 'bob@example.test', n + 1))[2] == sent, f'{octets} octets differ')
        sent = m.letter('chunks', octets=BIG)
        client.expect(f'MAIL FROM:<alice@example.test> SIZE={len(sent)}', 250)
        client.expect('RCPT TO:<carol@example.test>', 250)
        for at in range(0, len(sent), 1000003):
            client.send(b'BDAT %d\r\n' % len(sent[at:at + 1000003]) + sent[at:at + 1000003])
        client.send(b'BDAT 0 LAST\r\n')
        while (reply := client.reply())[1].endswith('octets taken.'):
            pass
        h.equal(reply[0], 250, f'{reply}')
        h.check(m.split(m.delivered(server, 'carol@example.test'))[2] == sent, 'what came in chunks differs')
        kind = subprocess.run(['stat', '-f', '-c', '%T', server.mail], stdout=subprocess.PIPE, text=True).stdout.strip()
        h.check(kind not in ('ext2/ext3', 'tmpfs', 'xfs', 'btrfs') or 'has no leases' not in server.log(),
                f'{kind} has leases, but bodies are copied')


def sizes(site):
    services = m.SERVICES.replace('login cert', 'max-message-size 64K\n    login cert')
    with m.server(site, services) as server, m.secure(server) as client:
        h.check('SIZE 65536' in client.hello(), 'SIZE is not told')
        client.expect('MAIL FROM:<alice@example.test> SIZE=65537', 552, '5.3.4')
        code, text = client.message(m.letter('too big', octets=70000))
        h.equal((code, text[:5]), (552, '5.3.4'), 'the reply')
        h.equal(client.message(m.letter('fits', octets=60000))[0], 250, 'the reply')
        m.delivered(server, 'bob@example.test')


def cut_off(site):
    """A message that does not end in order is no message."""
    with m.server(site) as server:
        for close_notify in (True, False):
            with m.secure(server) as client:
                client.expect('MAIL FROM:<alice@example.test>', 250)
                client.expect('RCPT TO:<bob@example.test>', 250)
                client.expect('DATA', 354)
                client.send(m.letter('cut off')[:-2])
                if close_notify:
                    client.sock.unwrap()
        server.wait_log('not accepted from <alice@example.test>.*the connection ended first', 2)
        with m.secure(server) as client:
            h.equal(client.message(m.letter('whole'))[0], 250, 'the reply')
        m.delivered(server, 'bob@example.test')


def smuggling(site):
    inner = b'MAIL FROM:<alice@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\nSubject: smuggled\r\n\r\n.\r\n'
    with m.server(site) as server:
        for end in (b'\n.\n', b'\n.\r\n', b'\r\n.\n', b'\r\n.\r', b'\r.\r'):
            with m.connect(server, 'mx') as client:
                client.hello()
                client.expect('MAIL FROM:<x@elsewhere.example>', 250)
                client.expect('RCPT TO:<bob@example.test>', 250)
                client.expect('DATA', 354)
                client.send(b'Subject: x\r\n\r\nx' + end + inner)
                h.equal(client.reply()[0], 554, f'{end!r}')
                client.expect_end()
        with m.connect(server, 'mx') as client:
            client.hello()
            client.expect('MAIL FROM:<x@elsewhere.example>', 250)
            client.expect('RCPT TO:<bob@example.test>', 250)
            client.expect('DATA', 354)
            client.send(b'Subject: x\r\n\r\na\nb\r\n.\r\n')
            h.equal(client.reply()[0], 554, 'a LF alone')
            client.expect('NOOP', 250)
        h.equal(m.box(server, 'bob@example.test'), [], 'what was kept')


def boundary(site):
    """Nothing of plaintext is known inside TLS; nothing behind STARTTLS is run."""
    with m.server(site, allowed='octets behind STARTTLS') as server:
        with m.connect(server, 'submission') as client:
            for command in ('HELO x', 'MAIL FROM:<alice@example.test>', 'RCPT TO:<bob@example.test>', 'DATA', 'RSET',
                            'AUTH PLAIN =', 'VRFY x', 'HELP'):
                client.expect(command, 530, '5.7.0')
            client.send(b'STARTTLS\r\nEHLO x\r\nMAIL FROM:<alice@example.test>\r\n')
            h.equal(client.reply()[0], 554, 'the reply')
            client.expect_end()
        with m.connect(server, 'mx') as client:
            client.hello()
            client.expect('MAIL FROM:<x@elsewhere.example>', 250)
            client.expect('STARTTLS', 503)
            client.expect('RSET', 250)
            client.starttls(site.certs.context())
            client.expect('MAIL FROM:<x@elsewhere.example>', 503)
            client.expect('STARTTLS', 503)
        # octets that come behind the go-ahead are the handshake's, where they fail
        with m.connect(server, 'submission') as client:
            client.expect('STARTTLS', 220)
            client.send(b'MAIL FROM:<alice@example.test>\r\n')
            try:
                got = client.sock.recv(1024)
            except ConnectionResetError:
                got = b''
            h.check(b'250' not in got, f'plaintext was answered: {got!r}')


def away(site):
    with m.server(site, allowed='signal 9|is away|was ended') as server:
        with m.secure(server) as client, m.connect(server, 'mx') as other:
            other.hello()
            os.kill(server.pids('auth')[0], signal.SIGKILL)
            codes = set()
            for _ in range(200):
                other.expect('MAIL FROM:<x@elsewhere.example>', 250)
                codes.add(other.command('RCPT TO:<bob@example.test>')[0])
                other.expect('RSET', 250)
                if codes >= {250}:
                    break
                time.sleep(0.05)
            h.check(codes <= {250, 451}, f'replies while auth is away: {codes}')
            h.within(h.TIMEOUT, lambda: client.command('MAIL FROM:<alice@example.test>')[0] == 250, 'auth is back')
            client.expect('RSET', 250)
            client.expect('MAIL FROM:<alice@example.test>', 250)
            client.expect('RCPT TO:<bob@example.test>', 250)
            os.kill(server.pids('store')[0], signal.SIGKILL)
            began = time.monotonic()
            while (code := client.command('DATA')[0]) == 451:  # the recipients stay
                waited, began = time.monotonic() - began, time.monotonic()
                h.check(waited >= 5, f'DATA waited {waited:.2f} s for the store, and was put off')
            h.equal(code, 354, 'DATA when the store is back')
            client.send(m.stuffed(m.letter('after')))
            h.equal(client.reply()[0], 250, 'the reply')
        m.delivered(server, 'bob@example.test')


def store_absent(site):
    """A message that comes while the store starts again waits for it, is taken, and is there once."""
    with m.server(site, allowed='signal 9|was ended|the store is') as server, m.secure(server) as client:
        for n in range(3):  # more, and it is started slowly
            client.expect('MAIL FROM:<alice@example.test>', 250)
            client.expect('RCPT TO:<bob@example.test>', 250)
            os.kill(server.pids('store')[0], signal.SIGKILL)
            time.sleep(n * 0.006)
            began = time.monotonic()
            code = client.command('DATA')[0]
            if code == 451:  # only where the machine is that slow
                waited = time.monotonic() - began
                h.check(waited >= 5, f'DATA waited {waited:.2f} s for the store, and was put off')
                code = h.within(h.TIMEOUT, lambda: client.command('DATA')[0] == 354 and 354, 'the store is back')
            h.equal(code, 354, 'DATA')
            client.send(m.stuffed(m.letter(f'number {n}')))
            h.equal(client.reply()[0], 250, 'the reply')
        m.delivered(server, 'bob@example.test', 3)


def away_at_first(site):
    """A session by certificate that begins while auth is away has its login when auth is back, without another connection."""
    with m.server(site, allowed='signal|is away|was ended|does not answer') as server:
        pid = server.pids('auth')[0]
        os.kill(pid, signal.SIGSTOP)  # it is there, and answers nobody
        with m.connect(server, 'submission') as client:
            client.hello()
            client.starttls(site.certs.context(client='alice'))
            os.kill(pid, signal.SIGKILL)
            server.wait_log('auth is back', count=server.workers)
            client.hello()
            client.expect('AUTH EXTERNAL =', 235, '2.7.0 You are logged in as alice@example.test.')
            h.equal(client.message(m.letter('late'))[0], 250, 'the reply')
        server.wait_log('alice@example.test logged in by certificate')
        m.delivered(server, 'bob@example.test')


def letter_by(client, sent, chunk, before):
    """Hands a message over by BDAT or DATA; before(): called when its recipient is taken. The code of the last reply."""
    client.expect('MAIL FROM:<x@elsewhere.example>', 250)
    client.expect('RCPT TO:<bob@example.test>', 250)
    before()
    if chunk:
        client.send(b'BDAT %d LAST\r\n' % len(sent) + sent)
    else:
        code = client.command('DATA')[0]
        if code != 354:
            client.expect('RSET', 250)
            return code
        client.send(m.stuffed(sent))
    return client.reply()[0]


def store_killed(site):
    """Small messages in a stream while the store is killed: none is put off, lost or doubled."""
    count, each = 60, 15  # more kills, and it is started slowly
    with m.server(site, workers=1, allowed='signal 9|is away|was ended') as server, m.connect(server, 'mx') as client:
        client.hello()
        for n in range(count):
            store = h.within(h.TIMEOUT, lambda: server.pids('store'), 'a store')[0] if n % each == 0 else None
            sent, began = m.letter(f'number {n}'), time.monotonic()
            code = letter_by(client, sent, n % 2 == 1, lambda: store and os.kill(store, signal.SIGKILL))
            while code == 451:  # only where the machine is that slow
                waited, began = time.monotonic() - began, time.monotonic()
                h.check(waited >= 5, f'number {n} waited {waited:.2f} s for the store, and was put off')
                client.command('RSET')
                code = letter_by(client, sent, n % 2 == 1, lambda: None)
            h.equal(code, 250, f'the reply to number {n}')
        m.delivered(server, 'bob@example.test', count)
        bodies = [m.split(message)[2] for message in m.box(server, 'bob@example.test')]
        h.equal(sorted(bodies), sorted(m.letter(f'number {n}') for n in range(count)), 'messages')


def store_stays_away(site):
    """The wait has an end, stops nobody else, and ends with its connection."""
    with m.server(site, workers=1, allowed='signal 9|is away|was ended') as server:
        parent, store = server.pid, server.pids('store')[0]
        with m.connect(server, 'mx') as client, m.connect(server, 'mx') as gone, m.connect(server, 'mx') as other:
            for one in (client, gone):
                one.hello()
                one.expect('MAIL FROM:<x@elsewhere.example>', 250)
                one.expect('RCPT TO:<bob@example.test>', 250)
            os.kill(parent, signal.SIGSTOP)  # who would start another
            try:
                os.kill(store, signal.SIGKILL)
                time.sleep(0.2)
                client.send(b'DATA\r\n')
                gone.send(b'DATA\r\n')
                other.expect('NOOP', 250)
                gone.close()
                h.equal(client.reply()[0], 451, 'the reply to DATA')
            finally:
                os.kill(parent, signal.SIGCONT)
            h.within(h.TIMEOUT, lambda: client.command('DATA')[0] == 354, 'the store is back')  # the recipients stay
            client.send(m.stuffed(m.letter('after')))
            h.equal(client.reply()[0], 250, 'the reply')
        m.delivered(server, 'bob@example.test')


def users_change(site):
    """What was answered in a session before does not hold in it when the users have changed."""
    alias, carol = 'alice.alias@example.test', 'carol@example.test'
    with m.server(site) as server, m.secure(server) as client:
        for _ in range(3):
            client.expect(f'MAIL FROM:<{alias}>', 250)
            client.expect(f'RCPT TO:<{carol}>', 250)
            client.expect('RSET', 250)
        new = server.users_file.with_suffix('.new')
        new.write_text(''.join(line.replace(f' {alias}', '') for line in m.users_text().splitlines(True)
                               if not line.startswith(carol)))
        new.chmod(0o600)
        new.rename(server.users_file)
        server.wait_log('the users have changed: 2 of them now')
        client.expect(f'MAIL FROM:<{alias}>', 550)
        client.expect('MAIL FROM:<alice@example.test>', 250)
        client.expect(f'RCPT TO:<{carol}>', 550)
        client.expect('RCPT TO:<bob@example.test>', 250)


def stops(site):
    """SIGTERM in the middle of a message: its end is waited for, and then it is goodbye."""
    with m.server(site) as server:
        with m.secure(server) as client, m.secure(server, 'bob') as idle:
            client.expect('MAIL FROM:<alice@example.test>', 250)
            client.expect('RCPT TO:<bob@example.test>', 250)
            client.expect('DATA', 354)
            sent = m.letter('at the end')
            client.send(sent[:20])
            server.signal(signal.SIGTERM)
            h.equal(idle.reply()[0], 421, 'the goodbye of a session that does nothing')
            client.send(m.stuffed(sent)[20:])
            h.equal(client.reply()[0], 250, 'the reply')
            h.equal(client.reply()[0], 421, 'the goodbye')
        server.wait()
        m.delivered(server, 'bob@example.test')


def reloads(site):
    with m.server(site) as server:
        with m.secure(server) as client:
            client.expect('MAIL FROM:<alice@example.test>', 250)
            client.expect('RCPT TO:<bob@example.test>', 250)
            client.expect('DATA', 354)
            sent = m.letter('across a reload')
            client.send(sent[:20])
            server.reload()
            client.send(m.stuffed(sent)[20:])
            h.equal(client.reply()[0], 250, 'the reply')
        h.equal(m.split(m.delivered(server, 'bob@example.test'))[2], sent, 'the message')


def limits(site):
    services = m.SERVICES.replace('protocol smtp', 'protocol smtp\n    max-per-address 1\n    greeting-delay 1s\n'
                                  '    max-unknown-recipients 2\n    max-recipients 2')
    with m.server(site, services) as server:
        with m.connect(server, 'mx') as client:
            with m.Client(server.address('mx')) as second:
                h.equal(second.reply()[0], 421, 'one too many')
            client.hello()
            client.expect('MAIL FROM:<x@elsewhere.example>', 250)
            client.expect('RCPT TO:<alice@example.test>', 250)
            client.expect('RCPT TO:<bob@example.test>', 250)
            client.expect('RCPT TO:<carol@example.test>', 452, '4.5.3')
            client.expect('RSET', 250)
            client.expect('MAIL FROM:<x@elsewhere.example>', 250)
            client.expect('RCPT TO:<a@example.test>', 550)
            client.expect('RCPT TO:<b@example.test>', 550)
            h.equal(client.reply()[0], 421, 'the goodbye')
        h.within(h.TIMEOUT, lambda: server.service('mx')['connections'] == 0, 'the connection is gone')
        with m.Client(server.address('mx')) as client:
            client.send(b'EHLO x\r\n')
            h.equal(client.reply()[0], 554, 'the greeting of an early talker')
            client.expect_end()
        server.wait_log('code=early-talker')


def back_pressure(site):
    """A store that stands still stops who sends messages and nobody else, and costs no memory."""
    with m.server(site, workers=1) as server:
        worker, store = server.pids('worker')[0], server.pids('store')[0]
        clients = [m.secure(server) for _ in range(20)]
        sent = m.letter('slow', octets=4 * 1024 * 1024)
        for client in clients:
            client.expect('MAIL FROM:<alice@example.test>', 250)
            client.expect('RCPT TO:<bob@example.test>', 250)
            client.expect('DATA', 354)
        before = h.rss_kib(worker)
        os.kill(store, signal.SIGSTOP)
        try:
            left = [m.stuffed(sent)] * len(clients)
            for client in clients:
                client.sock.settimeout(0.2)
            for _ in range(3):  # until nothing goes any more
                for n, client in enumerate(clients):
                    try:
                        while left[n]:
                            left[n] = left[n][client.sock.send(left[n][:65536]):]
                    except (TimeoutError, ssl.SSLWantWriteError):
                        pass
            h.check(all(left), 'a message was taken whole')
            h.check(h.rss_kib(worker) - before < 8 * 1024, f'the worker has grown by {h.rss_kib(worker) - before} KiB')
            with m.connect(server, 'mx') as other:
                other.expect('NOOP', 250)
        finally:
            os.kill(store, signal.SIGCONT)
        for n, client in enumerate(clients):
            client.sock.settimeout(h.TIMEOUT * 3)
            client.sock.sendall(left[n])
        for client in clients:
            h.equal(client.reply()[0], 250, 'the reply')
            client.close()
        m.delivered(server, 'bob@example.test', len(clients))
        h.check(all(m.split(message)[2] == sent for message in m.box(server, 'bob@example.test')), 'messages differ')


def each_has_its_line(site):
    """Faster than anything else may be said."""
    count, step = 3000, 100
    with m.server(site, users=m.users_text().replace(' 100M ', ' - ')) as server, m.connect(server, 'mx') as client:
        client.hello()
        one = (b'MAIL FROM:<x@elsewhere.example>\r\nRCPT TO:<bob@example.test>\r\nBDAT 12 LAST\r\nSubject: x\r\n')
        for _ in range(count // step):
            client.send(one * step)
            h.check(all(client.reply()[0] == 250 for _ in range(3 * step)), 'a message was refused')
        # nor does it matter when the log's writer is late
        control = server.pids('control')[0]
        os.kill(control, signal.SIGSTOP)
        try:
            for _ in range(count // step):
                client.send(one * step)
                h.check(all(client.reply()[0] == 250 for _ in range(3 * step)), 'a message was refused')
        finally:
            os.kill(control, signal.SIGCONT)
        count *= 2
        server.wait_log(r'message [0-9a-f-]+: accepted from <x@elsewhere.example> to <bob@example.test>', count)
        ids = re.findall(r' id=(\S+) ', server.log())
        h.equal((len(ids), len(set(ids))), (count, count), 'lines, and ids in them')
        h.check('left out' not in server.log(), 'lines were left out')


def burst(client, count):
    """Messages as fast as they go, so that their lines gather. Returns the ids of those that were accepted."""
    client.send(b'MAIL FROM:<x@elsewhere.example>\r\nRCPT TO:<bob@example.test>\r\nBDAT 12 LAST\r\nSubject: x\r\n' * count)
    replies = [client.reply() for _ in range(3 * count)]
    h.check(all(code == 250 for code, _ in replies), f'a message was refused: {replies}')
    return [text.split()[-1].rstrip('.') for _, text in replies[2::3]]


def each_once(server, ids, what):
    lines = re.findall(r'message (\S+): accepted from ', server.log())
    missing = [mid for mid in ids if lines.count(mid) != 1]
    h.check(not missing, f'{len(missing)} of {len(ids)} accepted messages do not have one line {what}: {missing[:3]}')


def lines_at_stop(site):
    """What gathers in control is written although all ends right behind the reply."""
    for count in (1, 2, 40, 150):
        with m.server(site, users=m.users_text().replace(' 100M ', ' - ')) as server, m.connect(server, 'mx') as client:
            client.hello()
            ids = burst(client, count)
            server.signal(signal.SIGTERM)
            client.close()
            server.wait()
            each_once(server, ids, 'behind a stop')


def lines_at_reload(site):
    """Nor are they lost with a worker, or a control process, whose time is over."""
    with m.server(site, users=m.users_text().replace(' 100M ', ' - '), top='drain 1s\n') as server:
        ids = []
        for act in (server.reload, server.upgrade, server.reload, server.upgrade):
            for count in (1, 60):
                old = set(server.pids('worker') + server.pids('control'))
                with m.connect(server, 'mx') as client:
                    client.hello()
                    ids += burst(client, count)
                    act()
                    ids += burst(client, count)
                    client.expect('QUIT', 221)
                if act == server.reload:
                    old -= set(server.pids('control'))
                h.within(h.TIMEOUT, lambda: not any(h.process_exists(pid) for pid in old), 'the end of those before')
        h.within(h.TIMEOUT, lambda: ids[-1] in server.log(), 'the last line')
        each_once(server, ids, 'behind reloads and upgrades')


def lines_of_killed(site):
    """A worker that is killed right behind its reply has said it already."""
    with m.server(site, users=m.users_text().replace(' 100M ', ' - '), workers=1, allowed='signal 9|was ended|killed') as server:
        ids = []
        for count in (1, 2, 30, 1, 150):
            worker = server.pids('worker')[0]
            with m.connect(server, 'mx') as client:
                client.hello()
                ids += burst(client, count)
                os.kill(worker, signal.SIGKILL)
            h.within(h.TIMEOUT, lambda: [p for p in server.pids('worker') if p != worker], 'another worker')
        server.wait_log('signal 9', 5)
        h.within(h.TIMEOUT, lambda: ids[-1] in server.log(), 'the last line')
        each_once(server, ids, 'behind a kill')


CASES = (
    ('a certificate is the login', by_certificate),
    ('a password is one', by_password),
    ('a password is not guessed', guessing),
    ('certificates that are none', bad_certificates),
    ('sender and From are the user\'s', senders),
    ('mail from outside', mx),
    ('LMTP, on a port and a unix socket', lmtp),
    ('a thousand recipients, each with a reply', thousand),
    ('a full mailbox refuses itself alone', quota),
    ('large messages, in one piece and in chunks', large),
    ('messages that are too large', sizes),
    ('messages that are cut off', cut_off),
    ('smuggling', smuggling),
    ('STARTTLS is a boundary', boundary),
    ('auth and the store are away, and come back', away),
    ('auth is away when a session begins', away_at_first),
    ('the store is away when a message begins', store_absent),
    ('the store is killed in a stream of messages', store_killed),
    ('a store that stays away is not waited for', store_stays_away),
    ('users change under a session', users_change),
    ('a stop in the middle of a message', stops),
    ('a reload in the middle of a message', reloads),
    ('limits', limits),
    ('each message has its line in the log', each_has_its_line),
    ('its line is not lost at a stop', lines_at_stop),
    ('its line is not lost at reloads and upgrades', lines_at_reload),
    ('its line is not lost when its worker is killed', lines_of_killed),
    ('a store that stands still', back_pressure),
)


def main():
    topic = h.Topic()
    site = h.Site(topic)
    for name, test in CASES:
        topic.case(name, test, site)
    topic.done()


if __name__ == '__main__':
    main()
