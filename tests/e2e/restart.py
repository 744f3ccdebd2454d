"""The end of TLS and what follows it: back to plaintext and in again with a fresh session, with nothing left of the
first; limits; what does not lead back; renegotiations and key updates."""
import os
import pathlib
import re
import secrets
import socket
import ssl
import subprocess
import time

import harness as h

VERSIONS = ('1.2', '1.3')
SERVICES = '''
service line {
    protocol line
    listen 127.0.0.1:@line starttls-required
    listen 127.0.0.1:@lines tls
    tls main
}
service many {
    protocol line
    listen 127.0.0.1:@many starttls
    tls main
    restarts 100 per 1d
}
service soon {
    protocol line
    listen 127.0.0.1:@soon starttls-required
    tls main
    restarts 1 per 1s
}
service none {
    protocol line
    listen 127.0.0.1:@none starttls-required
    tls main
    restarts off
}
service disconnect {
    protocol line
    listen 127.0.0.1:@disconnect starttls-required
    tls main
    after-close disconnect
}
service once {
    protocol line
    listen 127.0.0.1:@once starttls-required
    tls main { renegotiation 2 per 10m }
}
service always {
    protocol line
    listen 127.0.0.1:@always starttls-required
    tls main {
        renegotiation 10 per 10m
        verify always
    }
}
service short {
    protocol line
    listen 127.0.0.1:@short starttls-required
    tls main {
        renegotiation 10 per 10m
        handshake-timeout 1500ms
    }
}
service required {
    protocol line
    listen 127.0.0.1:@required starttls-required
    tls main {
        renegotiation 10 per 10m
        verify always
        client-certificate require
    }
}
'''


def counted(server, service, **more):
    """A context manager of one kind: what is counted in the service meanwhile."""
    return _Counted(server, service, more)


class _Counted:
    def __init__(self, server, service, more):
        self.server, self.service, self.more = server, service, more

    def __enter__(self):
        self.before = self.server.service(self.service)

    def __exit__(self, kind, *_):
        if kind is not None:
            return
        for name, n in self.more.items():
            def now(name=name):
                return self.server.service(self.service)[name] - self.before[name]
            h.within(h.TIMEOUT, lambda n=n, now=now: now() >= n, f'{name} of {self.service} by {n}')
            h.equal(now(), n, f'{name} of {self.service}')


# --- restarts -----------------------------------------------------------------------------------


def unwrap(client):
    """Both close_notify, then plaintext on the same connection."""
    h.equal(client.buffer, b'', 'octets before close_notify')
    client.sock = client.sock.unwrap()


def rounds(server, version):
    """STARTTLS, WHOAMI, close_notify, plaintext; each time as somebody else."""
    who = ['alice', 'bob', None, 'expired', 'alice']
    certs = server.site.certs
    with counted(server, 'many', restarts=len(who), handshakes=len(who), restarts_refused=0, truncated=0), \
            server.client('many') as client:
        first = client.greeting
        for cert in who:
            client.starttls(certs.context(version, cert))
            facts = client.whoami()
            h.equal(facts['TLS'], 'TLS' + version, 'TLS')
            h.equal(facts['RESUMED'], 'no', 'RESUMED')
            h.equal(facts.get('IDENTITY'), cert + '@example.test' if cert in ('alice', 'bob') else None,
                    f'IDENTITY of {cert}')
            h.equal(facts['VERDICT'], {None: 'none', 'expired': 'expired'}.get(cert, 'trusted'), 'VERDICT')
            h.equal(client.command('STARTTLS').status, 'NO', 'STARTTLS inside TLS')
            unwrap(client)
            # the first octets are the answer to this: no second greeting
            h.equal(client.command('NOOP back').code, 'TAG', 'the code of NOOP')
            facts = client.whoami()
            h.equal((facts['TLS'], facts.get('IDENTITY'), facts['SAN'], facts.get('VERDICT')),
                    ('none', None, [], None), 'WHOAMI in plaintext')
            h.equal(client.command('CAPABILITY').data, first.data, 'the capabilities')
        h.equal(client.command('QUIT').status, 'OK', 'QUIT')
        client.expect_end()


def resumed_rounds(server, version):
    """The same, each session but the first by the ticket of the one before: the identity comes from the ticket, and
    between two sessions there is none."""
    context = server.site.certs.context(version, 'alice')
    session = None
    with counted(server, 'many', restarts=4, handshakes=4, resumed=3), server.client('many') as client:
        for n in range(4):
            h.equal(client.command('STARTTLS').status, 'OK', 'STARTTLS')
            client.sock = context.wrap_socket(client.sock, server_hostname='localhost', session=session,
                                              suppress_ragged_eofs=False)
            h.equal(client.reply().status, 'OK', 'the first words')
            facts = client.whoami()
            h.equal((facts['RESUMED'], facts['VERDICT'], facts['IDENTITY']),
                    ('yes' if n > 0 else 'no', 'trusted', 'alice@example.test'), f'session {n}')
            session = client.sock.session
            unwrap(client)
            facts = client.whoami()
            h.equal((facts['TLS'], facts.get('IDENTITY'), facts['SAN']), ('none', None, []), 'in plaintext')
        h.equal(client.command('QUIT').status, 'OK', 'QUIT')


def needs_tls_again(server):
    """Where TLS is needed, it is needed again: nothing of what was allowed stays."""
    with server.client('line') as client:
        client.starttls(server.site.certs.context())
        h.equal(client.command('ECHO inside').status, 'OK', 'ECHO inside')
        unwrap(client)
        h.equal(client.command('ECHO outside').code, 'ENCRYPT-NEEDED', 'ECHO outside')


class Memory:
    """A TLS client over octets that we move: what goes into one segment is ours to say."""

    def __init__(self, server, name, version):
        self.plain = server.client(name)
        h.equal(self.plain.command('STARTTLS').status, 'OK', 'STARTTLS')
        self.sock = self.plain.sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = server.site.certs.context(version).wrap_bio(self.incoming, self.outgoing,
                                                               server_hostname='localhost')
        self.rest = b''
        self.pump(self.tls.do_handshake)
        while b'OK "' not in self.pump(lambda: self.tls.read(65536)):
            pass

    def record(self):
        """One record from the server, and no octet more, to the session."""
        while len(self.rest) < 5 or len(self.rest) < 5 + int.from_bytes(self.rest[3:5], 'big'):
            more = self.sock.recv(65536)
            h.check(more, 'the server has closed')
            self.rest += more
        n = 5 + int.from_bytes(self.rest[3:5], 'big')
        self.incoming.write(self.rest[:n])
        self.rest = self.rest[n:]

    def pump(self, act):
        while True:
            try:
                return act()
            except ssl.SSLWantReadError:
                self.sock.sendall(self.outgoing.read())
                self.record()
            finally:
                if self.outgoing.pending:
                    self.sock.sendall(self.outgoing.read())

    def close_notify(self):
        """Our close_notify as octets that are not sent yet."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()

    def to_the_end(self):
        """What the server still says inside TLS, up to its close_notify."""
        said = b''
        while True:
            try:
                said += self.tls.read(65536)
            except ssl.SSLWantReadError:
                self.record()
            except ssl.SSLZeroReturnError:
                return said

    def to_plaintext(self):
        self.pump(self.tls.unwrap)
        self.plain.buffer, self.rest = self.rest, b''
        return self.plain


def pipelined(server, version):
    """close_notify and plaintext in one segment: the plaintext is answered."""
    session = Memory(server, 'many', version)
    session.sock.sendall(session.close_notify() + b'NOOP one\r\nNOOP two\r\nWHOAMI\r\n')
    client = session.to_plaintext()
    with client:
        for want in ('one', 'two'):
            line = client.line()
            h.check(f'"{want}"' in line, f'the answer to NOOP {want}: {line!r}')
        h.equal(client.reply().data, [['TLS', 'none']], 'WHOAMI')
        client.starttls(server.site.certs.context(version))
        h.equal(client.command('NOOP').status, 'OK', 'NOOP in the second session')


def half_a_command(server, version):
    """A command that began inside does not end outside."""
    session = Memory(server, 'many', version)
    session.tls.write(b'NOOP ins')
    inside = session.outgoing.read()
    session.sock.sendall(inside + session.close_notify() + b'ide\r\n')
    with session.to_plaintext() as client:
        h.equal(client.reply().status, 'BAD', 'the answer to its second half')
        h.equal(client.command('NOOP').status, 'OK', 'NOOP')


def injection(server, version):
    """Plaintext behind close_notify is plaintext: STARTTLS with something behind it is an injection."""
    session = Memory(server, 'many', version)
    with counted(server, 'many', injections=1):
        session.sock.sendall(session.close_notify() + b'STARTTLS\r\nNOOP evil\r\n')
        with session.to_plaintext() as client:
            h.equal(client.reply().status, 'BYE', 'the answer')
            client.expect_end()


def client_hello_at_once(server, version):
    """A handshake without STARTTLS behind close_notify is no command, and no TLS either."""
    session = Memory(server, 'many', version)
    outgoing = ssl.MemoryBIO()
    tls = server.site.certs.context(version).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname='localhost')
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    session.sock.sendall(session.close_notify() + outgoing.read())
    with session.to_plaintext() as client:
        h.equal(client.reply().status, 'BAD', 'the answer')


def all_is_said_first(server, version, name):
    """What was asked before close_notify is answered, all of it inside TLS."""
    session = Memory(server, name, version)
    n = 500
    session.tls.write(b''.join(b'ECHO %04d %s\r\n' % (i, b'x' * 100) for i in range(n)))
    session.sock.sendall(session.outgoing.read() + session.close_notify())
    said = session.to_the_end()
    h.equal(re.findall(rb'^"(\d{4}) x{100}"\r$', said, re.M), [b'%04d' % i for i in range(n)], 'answers')
    session.sock.close()


def limit(server):
    """The default: three times in ten minutes. The fourth close_notify ends the connection."""
    context = server.site.certs.context()
    with counted(server, 'line', restarts=3, restarts_refused=1), server.client('line') as client:
        for _ in range(3):
            client.starttls(context)
            unwrap(client)
            h.equal(client.command('NOOP').status, 'OK', 'NOOP')
        client.starttls(context)
        unwrap(client)
        client.expect_end()
    server.wait_log('code=restarts-too-many')


def limit_slides(server):
    """When the window has passed, it is allowed again."""
    context = server.site.certs.context()
    with server.client('soon') as client:
        for _ in range(3):
            client.starttls(context)
            unwrap(client)
            h.equal(client.command('NOOP').status, 'OK', 'NOOP')
            time.sleep(1.05)
        client.starttls(context)
        unwrap(client)
        h.equal(client.command('NOOP').status, 'OK', 'NOOP')
        client.starttls(context)
        unwrap(client)
        client.expect_end()


def no_restart(server, name, version):
    """Both close_notify, then the end: plaintext behind it is not answered, and nothing is lost in a reset."""
    service = 'line' if name == 'lines' else name
    with counted(server, service, restarts=0, restarts_refused=0):
        with server.secure(name, version=version) as client:
            unwrap(client)
            try:
                client.send(b'NOOP\r\n')
            except OSError:
                pass
            try:
                client.expect_end()
            except ConnectionResetError:
                pass  # the answer to what we sent behind the end


def truncation(server, version):
    """A FIN without close_notify leads nowhere."""
    with counted(server, 'line', truncated=1, restarts=0):
        client = server.secure('line', version=version)
        os_sock = socket.socket(fileno=os.dup(client.sock.fileno()))
        os_sock.shutdown(socket.SHUT_WR)
        with os_sock:
            os_sock.settimeout(h.TIMEOUT)
            got = b''
            while more := os_sock.recv(65536):
                got += more
            h.check(b'OK' not in got and b'BYE' not in got, f'plaintext behind a truncation: {got!r}')
        client.close()


def forged_plaintext(server, version):
    """Plaintext in the middle of a session, without close_notify: the session fails, nothing is answered."""
    with counted(server, 'line', restarts=0):
        client = server.secure('line', version=version)
        raw = socket.socket(fileno=os.dup(client.sock.fileno()))
        with raw:
            raw.settimeout(h.TIMEOUT)
            raw.sendall(b'NOOP evil\r\n')
            got = b''
            try:
                while more := raw.recv(65536):
                    got += more
            except ConnectionResetError:
                pass
        client.close()
        h.check(b'evil' not in got and b'OK' not in got, f'the answer: {got!r}')


def holds(pid, marker):
    """How often the octets stand in the memory of a process; the flight recorder's is meant to hold names."""
    n = 0
    with open(f'/proc/{pid}/mem', 'rb', 0) as mem:
        for line in pathlib.Path(f'/proc/{pid}/maps').read_text().splitlines():
            span, rights = line.split()[:2]
            if rights[0] != 'r' or '[v' in line or 'memfd:postern-recorder' in line:
                continue
            first, last = (int(x, 16) for x in span.split('-'))
            try:
                mem.seek(first)
                n += mem.read(last - first).count(marker)
            except (OSError, ValueError, OverflowError):
                continue
    return n


def wiped(server, version):
    """Nothing of what we wrote down about a session is left in any worker when it has ended. (What GnuTLS itself
    has freed is not ours to wipe: so what is looked for is written as only our engine writes it, with
    the quotes of ECHO escaped.)"""
    if not h.ROOT:
        raise h.Skip('reading the memory of another account\'s process needs root')
    if h.SANITIZED:
        raise h.Skip('sanitizers keep what is freed, and have more memory than can be looked through')
    workers = server.pids('worker')
    echoed, unfinished = secrets.token_hex(12).encode(), secrets.token_hex(12).encode()
    context = server.site.certs.context(version, 'alice')
    keylog = server.folder / f'keys-{version}'
    context.keylog_filename = str(keylog)
    with server.client('many') as client:
        client.starttls(context)
        # much at once, so that buffers of every size are filled, grow and are drained
        for n in (1, 2, 5, 10, 30):
            text = ' '.join([f'"{echoed.decode()}"'] * 30)
            client.send(f'ECHO {text}\r\n'.encode() * n)
            for _ in range(n):
                h.equal(client.reply().data, [[text]], 'the answer')
        client.send(b'NOOP ' + unfinished * 30)  # half a line stays in the engine: the search finds it
        h.within(h.TIMEOUT, lambda: sum(holds(pid, unfinished) for pid in workers) > 0,
                 'the half line in a worker')
        unwrap(client)
        h.equal(client.command('NOOP').status, 'OK', 'NOOP')
        for marker, what in ((b'\\"' + echoed + b'\\"', 'what was echoed'),
                             (b'email:alice@example.test', 'the name, as we write it')):
            h.equal(sum(holds(pid, marker) for pid in workers), 0, f'copies of {what}')
        found = re.findall(r'^([A-Z]\w+) \w+ (\w+)$', keylog.read_text(), re.M)
        h.check(found, 'no keys were written')
        for label, secret in found:
            if version == '1.3':  # of TLS 1.2 GnuTLS leaves one copy of the master secret in freed memory
                h.equal(sum(holds(pid, bytes.fromhex(secret)) for pid in workers), 0, f'copies of {label}')


def java(server, version, how, want, resume=False):
    for program in ('javac', 'java', 'keytool'):
        h.need(program, 'openjdk-17-jdk-headless')
    here = pathlib.Path(__file__).parent
    folder = server.site.folder / 'java'
    if not (folder / 'Restart.class').exists():
        folder.mkdir(exist_ok=True)
        subprocess.run(['javac', '-d', str(folder), str(here / 'Restart.java')], check=True)
        subprocess.run(['keytool', '-importcert', '-noprompt', '-alias', 'ca', '-storepass', 'changeit',
                        '-keystore', str(folder / 'trust'), '-file', str(server.site.certs.cert('ca'))],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    run = subprocess.run(['java', '-cp', str(folder), 'Restart', str(server.port('many')), 'TLSv' + version,
                          str(folder / 'trust'), 'changeit', how, '3', 'resume' if resume else 'full'], stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, timeout=60)
    out = run.stdout.decode()
    h.equal(len(re.findall(r'^inside TLSv' + version + ' OK', out, re.M)), 3 if want else 1, f'sessions in {out}')
    h.equal(re.findall(r'^resumed (\w+)', out, re.M), (['no', 'yes', 'yes'] if resume else ['no'] * 3)[:3 if want else 1],
            f'resumed, in {out}')
    h.equal(len(re.findall(r'^plain OK', out, re.M)), 3 if want else 0, f'answers in plaintext in {out}')
    if want:
        h.check('quit OK' in out, out)


# --- renegotiations and key updates -------------------------------------------------------------

TLS12 = 'NORMAL:-VERS-ALL:+VERS-TLS1.2'
TLS13 = 'NORMAL:-VERS-ALL:+VERS-TLS1.3'


def run(server, name, priority, cert, *words):
    certs = server.site.certs
    program = h.BUILD / 'tests' / 'e2e' / 'renegotiator'
    h.check(program.exists(), f'{program} is not built')
    argv = [str(program), str(server.port(name)), priority]
    if cert is not None:
        argv += [str(certs.cert(cert)), str(certs.key(cert))]
    argv.append('--')
    for word in words:
        if word in ('alice', 'bob', 'expired', 'stranger'):
            argv += [str(certs.cert(word)), str(certs.key(word))]
        else:
            argv.append(str(word))
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    return done.stdout.decode().splitlines()


LOGGED_IN, NOBODY = 'OK "Your client certificate is your login."', 'OK "'


def renegotiates(server, name, cert):
    """The same certificate, or none as before: the session and its identity go on."""
    again = ['again'] if name == 'once' else ['again', cert or '-']
    with counted(server, name, renegotiations=2, renegotiations_refused=0, handshakes=1):
        out = run(server, name, TLS12, cert, *again, 'say', 'WHOAMI', *again, 'say', 'WHOAMI')
    h.equal(out[0::2], ['again', 'again'], f'what happened in {out}')
    for line in out[1::2]:
        h.equal(line == LOGGED_IN, cert is not None, f'{line} of {out}')


def once_asks_nobody(server):
    """verify once: another certificate is not even asked for, and the identity stays."""
    with counted(server, 'once', renegotiations=1):
        out = run(server, 'once', TLS12, 'alice', 'again', 'bob', 'say', 'WHOAMI')
    h.equal(out, ['again', LOGGED_IN], 'what happened')


def once_gives_nobody(server):
    """verify once: an anonymous session stays anonymous."""
    with counted(server, 'once', renegotiations=1):
        out = run(server, 'once', TLS12, None, 'again', 'alice', 'say', 'WHOAMI')
    h.equal(out[0], 'again', 'what happened')
    h.check(out[1] != LOGGED_IN, f'{out}')


def changes(server, name, first, then, alert):
    """verify always: whoever comes now is not who was there: the end, before a single command."""
    with counted(server, name, renegotiations=0, renegotiations_refused=1):
        out = run(server, name, TLS12, first, 'say', 'ECHO before', 'again', then, 'say', 'ECHO after')
    h.check(out[0].startswith('OK'), f'{out}')
    # a client may take its handshake for done before it learns what we think of its certificate
    h.check(out[1:] in (['alert ' + alert], ['again', 'alert ' + alert]), f'what happened: {out}')
    if alert == '49':
        server.wait_log('code=identity-changed')


def excess(server):
    with counted(server, 'once', renegotiations=2, renegotiations_refused=1):
        out = run(server, 'once', TLS12, 'alice', 'again', 'again', 'again', 'say', 'NOOP')
    h.equal(out, ['again', 'again', 'alert 100'], 'what happened')
    server.wait_log('code=renegotiation-too-many')


def off(server):
    with counted(server, 'line', renegotiations=0, renegotiations_refused=1):
        out = run(server, 'line', TLS12, 'alice', 'again', 'say', 'NOOP')
    h.equal(out, ['alert 100'], 'what happened')


def stalls(server):
    """A renegotiation has a handshake's deadline."""
    began = time.monotonic()
    with counted(server, 'short', renegotiations=0, renegotiations_refused=1, handshakes_failed=0):
        out = run(server, 'short', TLS12, 'alice', 'say', 'NOOP', 'stall')
    took = time.monotonic() - began
    h.equal(out, ['OK "Done."', 'ended'], 'what happened')
    h.check(1.4 <= took <= 6, f'ended after {took:.1f} s')
    server.wait_log('code=handshake-stalled')


def insecure(server):
    """Without RFC 5746 a client may come in (TLS 1.3 has no use for it), but never renegotiate."""
    with counted(server, 'once', handshakes=1, renegotiations=0, renegotiations_refused=1):
        out = run(server, 'once', TLS12 + ':%DISABLE_SAFE_RENEGOTIATION', 'alice', 'say', 'NOOP', 'again')
    h.equal(out, ['OK "Done."', 'alert 100'], 'what happened')
    server.wait_log('code=renegotiation-insecure')


def by_s_client(server):
    """A line R in openssl s_client renegotiates."""
    argv = [h.need('openssl', 'openssl'), 's_client', '-tls1_2', '-crlf', '-starttls', 'sieve', '-connect',
            '%s:%d' % server.address('once'), '-CAfile', str(server.site.certs.cert('ca'))]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as process:
        def until(word, seen=b''):
            while word not in seen:
                more = process.stdout.read1(65536)
                h.check(more, f's_client has ended: {seen!r}')
                seen += more
            return seen
        try:
            until(b'Ready.')
            for n in range(2):
                process.stdin.write(b'R\n')
                process.stdin.flush()
                until(b'RENEGOTIATING')
                process.stdin.write(b'NOOP again%d\n' % n)
                process.stdin.flush()
                until(b'"again%d"' % n)
            process.stdin.write(b'R\n')
            process.stdin.flush()
            out = process.stdout.read()
            process.wait(h.TIMEOUT)
        finally:
            process.kill()
    h.check(b'no renegotiation' in out, f'what s_client says: {out!r}')


def key_updates(server, n, ms, floods):
    with counted(server, 'line', key_update_floods=floods):
        out = run(server, 'line', TLS13, None, 'update', n, ms)
    if floods:
        h.check(len(out) == 1 and (out[0] == 'alert 10' or out[0].startswith('error')), f'{out}')
        server.wait_log('code=key-update-flood')
    else:
        h.equal(out, ['OK "Done."'], 'what happened')


def main():
    topic = h.Topic()
    site = h.Site(topic)
    with site.server(SERVICES) as server:
        for version in VERSIONS:
            where = f'TLS {version}'
            topic.case(f'five rounds, each as somebody else, {where}', rounds, server, version)
            topic.case(f'four rounds, resumed, {where}', resumed_rounds, server, version)
            topic.case(f'plaintext behind close_notify in the same segment, {where}', pipelined, server, version)
            topic.case(f'half a command before close_notify, {where}', half_a_command, server, version)
            topic.case(f'an injection behind close_notify, {where}', injection, server, version)
            topic.case(f'a ClientHello behind close_notify, {where}', client_hello_at_once, server, version)
            for name in ('many', 'disconnect'):
                topic.case(f'500 answers before close_notify, {name}, {where}', all_is_said_first, server,
                           version, name)
            for name in ('none', 'disconnect', 'lines'):
                topic.case(f'no restart: {name}, {where}', no_restart, server, name, version)
            topic.case(f'truncation, {where}', truncation, server, version)
            topic.case(f'plaintext without close_notify, {where}', forged_plaintext, server, version)
            topic.case(f'nothing of ours is left in memory, {where}', wiped, server, version)
            topic.case(f'Java, shutdownOutput, {where}', java, server, version, 'shutdownOutput', True)
            topic.case(f'Java, shutdownOutput, resumed, {where}', java, server, version, 'shutdownOutput', True, True)
            topic.case(f'Java, close, {where}', java, server, version, 'close', version == '1.2')
        topic.case('where TLS is needed it is needed again', needs_tls_again, server)
        topic.case('three restarts in ten minutes', limit, server)
        topic.case('the window slides', limit_slides, server)
        topic.case('renegotiation off', off, server)
        for name in ('once', 'always'):
            for cert in ('alice', None):
                topic.case(f'renegotiation, verify {name}, {cert or "no certificate"}', renegotiates, server,
                           name, cert)
        topic.case('verify once: another certificate is not asked for', once_asks_nobody, server)
        topic.case('verify once: no identity appears', once_gives_nobody, server)
        for first, then in (('alice', 'bob'), (None, 'alice'), ('alice', '-'), ('alice', 'expired')):
            topic.case(f'verify always: {first or "no certificate"}, then {then}', changes, server, 'always',
                       first, then, '49')
        for then, alert in (('bob', '49'), ('-', '40'), ('stranger', '49')):
            topic.case(f'verify always under require: alice, then {then}', changes, server, 'required',
                       'alice', then, alert)
        topic.case('more renegotiations than allowed', excess, server)
        topic.case('a renegotiation that stalls', stalls, server)
        topic.case('no secure renegotiation', insecure, server)
        topic.case('renegotiation by s_client', by_s_client, server)
        topic.case('10 key updates in 2 s', key_updates, server, 10, 200, 0)
        topic.case('11 key updates in 2 s', key_updates, server, 11, 200, 1)
        topic.case('20 key updates at once', key_updates, server, 20, 0, 1)
    topic.done()


if __name__ == '__main__':
    main()
