"""Why a connection failed: each fault is brought about over a socket, by a client or by the server's own configuration, and
both `postern why` and the log must name it by its code; no two sentences are the same. Then the recorder itself: what
it keeps, of whom, and what `postern trace` shows."""
import contextlib
import json
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time

import distrust
import harness as h
import lists
import maildrop
import restart
import users

SERVICES = '''
service line {
    protocol line
    listen 127.0.0.1:@line starttls-required
    listen 127.0.0.1:@lines tls
    tls main
    max-per-address 100
    restarts 1 per 10m
}
service strict {
    protocol line
    listen 127.0.0.1:@strict starttls
    listen 127.0.0.1:@linesstrict tls
    tls main {
        client-certificate require
        client-crl @CRL@
        renegotiation 5 per 10m
        verify always
    }
}
service stale {
    protocol line
    listen 127.0.0.1:@linesstale tls
    tls main {
        client-certificate optional
        client-crl @STALE@
        crl-grace 1d
    }
}
service once {
    protocol line
    listen 127.0.0.1:@once starttls-required
    tls main { renegotiation 1 per 10m }
}
service quick {
    protocol line
    listen 127.0.0.1:@quick starttls
    listen 127.0.0.1:@linesquick tls
    tls main {
        handshake-timeout 900ms
        first-flight-timeout 300ms
        tickets off
    }
    idle-timeout 1s
}
service few {
    protocol line
    listen 127.0.0.1:@few starttls
    tls main
    max-connections 2
}
service one {
    protocol line
    listen 127.0.0.1:@one starttls
    tls main
    max-per-address 1
}
'''
IMPLICIT = ('lines', 'linesstrict', 'linesstale', 'linesquick', 'linesalpn')

# codes that nobody can bring about from outside: memory that is not there, and what we have no words for
NOT_INDUCED = {'out-of-memory', 'server-internal-error'}

LOGGED = re.compile(r"\] (?:debug|info|notice|warning|error): (.*?)(?: name=\S+)? service=\S+ peer=([\d.]+):\d+ id=\S+ side=\S+ code=(\S+)$")


# --- asking -------------------------------------------------------------------------------------


def postern(server, *args):
    run = subprocess.run([str(h.BUILD / 'src' / 'postern'), '-s', str(server.control), *args],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    h.check(run.returncode == 0, f'postern {" ".join(args)}: {run.stderr}')
    return run.stdout


def why(server, which='last'):
    return json.loads(postern(server, 'why', which, '--json'))


def trace(server, which='last'):
    return json.loads(postern(server, 'trace', which, '--json'))['connections']


class Seen:
    """Every code with its sentence, over all servers of this topic."""

    def __init__(self):
        self.sentences = {}

    def expect(self, server, which, code, logged=True):
        def now():
            answer = why(server, which)
            return answer if answer.get('code') == code else None
        try:
            answer = h.within(5, now, code)
        except h.Failure:
            answer = why(server, which)
            got = answer.get('code'), answer.get('sentence'), [
                (s['text'], s.get('number')) for s in answer.get('connection', {}).get('steps', [])][-4:]
            raise h.Failure(f'why {which}: got {got}, expected {code}') from None
        sentence = answer['sentence']
        h.check(re.fullmatch(r'[A-Z].*; .*\.', sentence), f'no sentence: {sentence!r}')
        h.check('{' not in sentence and '  ' not in sentence, f'not filled in: {sentence!r}')
        h.check(answer['side'] in ('client', 'server', 'network', 'nobody'), f'side {answer["side"]}')
        if logged:
            peer = answer['connection']['peer'].split(':')[0]
            h.within(5, lambda: any(m.group(1) == sentence and m.group(2) == peer and m.group(3) == code
                                    for m in map(LOGGED.search, server.log().splitlines()) if m),
                     f'the same sentence in the log, with code={code}: {sentence}')
        self.sentences.setdefault(code, sentence)
        return answer


SEEN = Seen()
_hosts = iter(range(1, 60000))


def new_host():
    """An address that nobody had before: by it the connection is found again."""
    n = next(_hosts)
    return f'127.1.{n // 250}.{n % 250 + 1}'


# --- clients ------------------------------------------------------------------------------------


@contextlib.contextmanager
def client_at(server, name, host):
    """Greeted in plaintext, or not at all where TLS begins at once."""
    with server.connect(name, source=host) as client:
        if name not in IMPLICIT:
            client.reply()
        yield client


def go_tls(client, name):
    if name not in IMPLICIT:
        h.equal(client.command('STARTTLS').status, 'OK', 'STARTTLS')


def lax(server, version=None, cert=None):
    """A context that trusts everybody and presents cert: a name, or a pair of paths."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version is not None:
        number = ssl.TLSVersion.TLSv1_2 if version == '1.2' else ssl.TLSVersion.TLSv1_3
        context.minimum_version = context.maximum_version = number
    if cert is not None:
        context.set_ciphers('DEFAULT@SECLEVEL=0')
        pair = cert if isinstance(cert, tuple) else (server.site.certs.cert(cert), server.site.certs.key(cert))
        context.load_cert_chain(*pair)
    return context


def say_in_tls(server, name, host, context, hostname='localhost', then=lambda client: client.command('NOOP')):
    """A session; whatever it ends with is what the server wants."""
    with client_at(server, name, host) as client:
        try:
            go_tls(client, name)
            client.sock = context.wrap_socket(client.sock, server_hostname=hostname, suppress_ragged_eofs=False)
            client.reply()
            then(client)
            client.sock.unwrap()
        except (ssl.SSLError, OSError, h.Failure):
            pass


def with_certificate(cert, version=None, name='linesstrict'):
    def act(server, host):
        say_in_tls(server, name, host, lax(server, version, cert))
    return act


def raw(octets, name='lines', fin=True, wait=True):
    """Octets in place of TLS; then our end, and the server's."""
    def act(server, host):
        with client_at(server, name, host) as client:
            go_tls(client, name)
            client.send(octets)
            if fin:
                client.sock.shutdown(socket.SHUT_WR)
            if wait:
                read_to_end(client.sock)
    return act


def plain(octets, name='line', fin=True):
    def act(server, host):
        with client_at(server, name, host) as client:
            client.send(octets)
            if fin:
                client.sock.shutdown(socket.SHUT_WR)
            read_to_end(client.sock)
    return act


def read_to_end(sock):
    got = b''
    with contextlib.suppress(OSError):
        while more := sock.recv(65536):
            got += more
    return got


def s_client(*args, name='lines'):
    def act(server, host):
        argv = [h.need('openssl', 'openssl'), 's_client', '-quiet', '-bind', f'{host}:0', '-connect',
                '%s:%d' % server.address(name), *args]
        subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       timeout=h.TIMEOUT)
    return act


# --- a client of TLS 1.2 made by hand -----------------------------------------------------------


def vector(width, octets):
    return len(octets).to_bytes(width, 'big') + octets


def record(kind, octets, version=0x0303):
    return struct.pack('!BHH', kind, version, len(octets)) + octets


def message(kind, octets):
    return bytes([kind]) + vector(3, octets)


def extension(kind, octets):
    return struct.pack('!H', kind) + vector(2, octets)


def client_hello(suites=(0xc02b, 0xc02f), groups=(29, 23), algorithms=(0x0403, 0x0401, 0x0804), more=b'',
                 compression=b'\0'):
    extensions = (extension(10, vector(2, struct.pack(f'!{len(groups)}H', *groups)))
                  + extension(11, vector(1, b'\0'))
                  + extension(13, vector(2, struct.pack(f'!{len(algorithms)}H', *algorithms)))
                  + extension(0xff01, vector(1, b'')) + more)
    return record(22, message(1, b'\x03\x03' + os.urandom(32) + vector(1, b'')
                              + vector(2, struct.pack(f'!{len(suites)}H', *suites))
                              + vector(1, compression) + vector(2, extensions)))


def until_hello_done(sock):
    """Reads the server's first flight of TLS 1.2."""
    got, messages = b'', b''
    while True:
        while len(got) >= 5 and len(got) >= 5 + int.from_bytes(got[3:5], 'big'):
            n = 5 + int.from_bytes(got[3:5], 'big')
            h.equal(got[0], 22, 'the type of the record')
            messages, got = messages + got[5:n], got[n:]
        if messages.endswith(message(14, b'')):
            return
        more = sock.recv(65536)
        h.check(more, 'the server has closed before its ServerHelloDone')
        got += more


def by_hand(octets, name='linesstrict', fin=False):
    """A handshake of TLS 1.2 up to the server's first flight; then these octets (or what they call makes)."""
    def act(server, host):
        with client_at(server, name, host) as client:
            go_tls(client, name)
            client.send(client_hello())
            until_hello_done(client.sock)
            client.send(octets(server) if callable(octets) else octets)
            if fin:
                client.sock.shutdown(socket.SHUT_WR)
            read_to_end(client.sock)
    return act


def alert(number, level=2):
    return by_hand(record(21, bytes([level, number])))


def stolen_certificate(server):
    """Alice's certificate, and a signature that is not hers."""
    der = ssl.PEM_cert_to_DER_cert(server.site.certs.cert('alice').read_text())
    point = bytes.fromhex('09' + '00' * 31)  # of X25519
    signature = bytes.fromhex('3006020101020101')
    return record(22, message(11, vector(3, vector(3, der))) + message(16, vector(1, point))
                  + message(15, b'\x04\x03' + vector(2, signature)))


def changed_hello(server, host):
    """Somebody between changes what the client offers; without extended master secret only Finished tells."""
    context = lax(server, '1.2')
    context.options |= 1  # SSL_OP_NO_EXTENDED_MASTER_SECRET
    with client_at(server, 'lines', host) as client:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing)
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        hello = bytearray(outgoing.read())
        at = 5 + 4 + 2 + 32  # the session id; then the suites, the last of which nobody will choose
        at += 1 + hello[at]
        last = at + 2 + int.from_bytes(hello[at:at + 2], 'big') - 2
        hello[last - 2:last] = b'\xc0\x9d'
        client.send(bytes(hello))
        with contextlib.suppress(ssl.SSLError, OSError):
            for _ in range(20):
                incoming.write(client.sock.recv(65536))
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    client.send(outgoing.read())
            client.send(outgoing.read())
        read_to_end(client.sock)


# --- sessions that go wrong later ---------------------------------------------------------------


def beneath(octets, then=lambda sock: None):
    """Octets of our own below an established session."""
    def act(server, host):
        with client_at(server, 'lines', host) as client:
            client.sock = lax(server).wrap_socket(client.sock, server_hostname='localhost')
            client.reply()
            with socket.socket(fileno=os.dup(client.sock.fileno())) as below:
                below.settimeout(h.TIMEOUT)
                if octets:
                    below.sendall(octets)
                then(below)
                read_to_end(below)
    return act


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))


def reset_in_session(server, host):
    with client_at(server, 'lines', host) as client:
        client.sock = lax(server).wrap_socket(client.sock, server_hostname='localhost')
        client.reply()
        reset(client.sock)


def reset_in_handshake(server, host):
    with client_at(server, 'lines', host) as client:
        client.send(client_hello())
        until_hello_done(client.sock)
        reset(client.sock)


def restarts(server, host):
    with client_at(server, 'line', host) as client:
        context = lax(server)
        for _ in range(2):
            client.starttls(context)
            client.sock = client.sock.unwrap()
        read_to_end(client.sock)


def never_reads(server, host):
    with client_at(server, 'quick', host) as client:
        client.sock.settimeout(h.TIMEOUT / 2)  # a short wait would only say that the machine is slow
        with contextlib.suppress(OSError):
            while True:
                client.send(b'ECHO ' + b'x' * 900 + b'\r\n')
        h.within(h.TIMEOUT, lambda: why(server, host).get('code') == 'not-reading', 'given up')


def silent(server, host):
    with client_at(server, 'quick', host) as client:
        read_to_end(client.sock)


def refused_by_limit(name, n):
    def act(server, host):
        with contextlib.ExitStack() as stack:
            for _ in range(n):
                stack.enter_context(client_at(server, name, host if name == 'one' else new_host()))
            with server.connect(name, source=host) as client:
                read_to_end(client.sock)
    return act


# --- tickets ------------------------------------------------------------------------------------


def with_ticket_of(server, name, host, then_name, then_hostname='localhost'):
    """A session of TLS 1.2 whose ticket is presented to another service, or for another name."""
    context = lax(server, '1.2')
    kept = []
    say_in_tls(server, name, new_host(), context, then=lambda client: kept.append(client.sock.session))
    h.check(kept and kept[0].has_ticket, 'no ticket was given')
    with client_at(server, then_name, host) as client:
        client.sock = context.wrap_socket(client.sock, server_hostname=then_hostname, session=kept[0])
        client.reply()
        h.check(not client.sock.session_reused, 'the ticket was taken')
        client.sock.unwrap()


# --- the table ----------------------------------------------------------------------------------

HELLO = client_hello()
ALERTS = {0: 'client-closed-handshake', 10: 'client-says-unexpected-message', 20: 'client-says-bad-record',
          22: 'client-says-record-too-large', 40: 'client-says-handshake-failure',
          42: 'client-says-bad-certificate', 43: 'client-says-unsupported-certificate',
          44: 'client-says-certificate-revoked', 45: 'client-says-certificate-expired',
          46: 'client-says-certificate-not-acceptable', 47: 'client-says-illegal-parameter',
          48: 'client-says-unknown-ca', 49: 'client-says-access-denied', 50: 'client-says-decode-error',
          51: 'client-says-decrypt-error', 70: 'client-says-protocol-version',
          71: 'client-says-insufficient-security', 80: 'client-says-internal-error', 90: 'client-canceled',
          109: 'client-says-extension', 110: 'client-says-extension', 112: 'client-says-unrecognized-name',
          113: 'client-says-bad-ocsp-response', 120: 'client-says-no-application-protocol',
          60: 'client-says-other', 200: 'client-says-other'}

ROWS = [
    # the client certificate
    ('certificate-missing', with_certificate(None)),
    ('certificate-missing', with_certificate(None, '1.2')),
    ('certificate-unknown-ca', with_certificate('stranger')),
    ('certificate-self-signed', with_certificate('selfmade')),
    ('certificate-issuer-no-ca', with_certificate('of-a-leaf')),
    ('certificate-expired', with_certificate('expired')),
    ('certificate-expired', with_certificate('expired', '1.2')),
    ('certificate-ca-expired', with_certificate('of-an-old-ca')),
    ('certificate-not-yet-valid', with_certificate('future')),
    ('certificate-revoked', with_certificate('revoked')),
    ('certificate-ca-revoked', with_certificate('of-a-revoked-ca')),
    ('crl-stale', with_certificate('alice', name='linesstale')),
    ('certificate-wrong-purpose', with_certificate('purpose')),
    ('certificate-bad-signature', with_certificate('tampered')),
    ('certificate-weak-signature', with_certificate('weak')),
    ('certificate-unreadable', by_hand(record(22, message(11, vector(3, vector(3, b'\x30\x03\x02\x01\x05')))))),
    ('certificate-no-proof', by_hand(stolen_certificate)),
    ('certificate-unmapped', with_certificate('nameless', name='lines')),
    ('certificate-names-two-users', with_certificate('two', name='lines')),
    # what the two cannot agree on
    ('no-common-version', s_client('-tls1_1', '-cipher', 'ALL@SECLEVEL=0')),
    ('no-common-cipher', s_client('-tls1_2', '-cipher', 'AES128-SHA')),
    ('no-common-signature', raw(client_hello(algorithms=(0x0401, 0x0501)))),
    ('no-common-group', s_client('-tls1_3', '-groups', 'P-521')),
    ('no-common-protocol', s_client('-alpn', 'h2,http/1.1', name='linesalpn')),
    ('inappropriate-fallback', s_client('-fallback_scsv', '-tls1_2')),
    # what goes over the wire
    ('http-on-tls', raw(b'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')),
    ('http-on-plaintext', plain(b'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')),
    ('plaintext-on-tls', raw(b'EHLO client.example\r\n')),
    ('not-tls', raw(b'SSH-2.0-OpenSSH_9.2\r\n')),
    ('not-tls', raw(b'\0' * 40)),
    ('tls-without-starttls', plain(HELLO)),
    ('plaintext-after-starttls', raw(b'CAPABILITY\r\n', name='line')),
    ('injection', plain(b'STARTTLS\r\nNOOP\r\n')),
    ('starttls-never', plain(b'ECHO hello\r\nQUIT\r\n')),
    ('starttls-never', plain(b'ECHO hello\r\n')),
    ('said-nothing', plain(b'')),
    ('left-in-plaintext', plain(b'CAPABILITY\r\n')),
    ('no-hello', raw(b'', name='quick', fin=False)),
    ('hello-not-finished', raw(HELLO[:60], name='linesquick', fin=False)),
    ('handshake-stalled', by_hand(b'', name='linesquick')),
    ('closed-before-handshake', raw(b'')),
    ('closed-in-handshake', raw(HELLO[:60])),
    ('closed-in-handshake', by_hand(b'', fin=True)),
    ('reset-in-handshake', reset_in_handshake),
    ('reset', reset_in_session),
    ('truncated', beneath(b'', lambda sock: sock.shutdown(socket.SHUT_WR))),
    ('not-reading', never_reads),
    ('bad-record', beneath(record(23, os.urandom(40)))),
    ('record-too-large', beneath(record(23, b'x' * 20000))),
    ('handshake-too-large', by_hand(b''.join(record(22, part) for part in
                                             [message(11, vector(3, vector(3, b'0' * 60000)))[n:n + 16000]
                                              for n in range(0, 60000, 16000)]))),
    ('malformed-message', raw(record(22, message(1, b'\x03\x03' + b'r' * 32 + b'\xff')))),
    ('unexpected-message', raw(record(22, message(16, b'\0' * 33)))),
    ('unexpected-message', beneath(record(20, b'\x01') + record(23, b''))),
    ('illegal-value', raw(client_hello(compression=b'\x01'))),
    ('handshake-changed', changed_hello),
    ('unexpected-message', by_hand(record(22, b'') * 300)),
    # rules and limits
    ('restarts-too-many', restarts),
    ('too-many-errors', plain(b'NONSENSE x\r\n' * 20, name='quick', fin=False)),
    ('line-too-long', plain(b'x' * 100000, name='quick', fin=False)),
    ('limit-service', refused_by_limit('few', 2)),
    ('limit-address', refused_by_limit('one', 1)),
    ('idle-timeout', silent),
]
ROWS += [(code, alert(number, 1 if number == 0 else 2)) for number, code in ALERTS.items()]
NOTES = ('said-nothing', 'left-in-plaintext')


def make_certificates(site):
    """Those that no other topic needs."""
    past = ('20200101000000Z', '20200201000000Z')
    h.ISSUES += [
        h.Issue('selfmade', 'client', 'email:alice@example.test', 'selfmade'),
        h.Issue('of-a-leaf', 'client', 'email:alice@example.test', 'alice'),
        h.Issue('old-ca', 'authority', '', 'ca', past),
        h.Issue('of-an-old-ca', 'client', 'email:alice@example.test', 'old-ca', h.VALID_FOREVER),
        h.Issue('bad-ca', 'authority', '', 'ca', h.VALID_FOREVER),
        h.Issue('of-a-revoked-ca', 'client', 'email:alice@example.test', 'bad-ca'),
    ]
    certs = site.certs
    for name, issuer in (('of-a-leaf', 'alice'), ('of-an-old-ca', 'old-ca'), ('of-a-revoked-ca', 'bad-ca')):
        text = certs.cert(name).read_text() + certs.cert(issuer).read_text()
        certs.cert(name).write_text(text)
    certs.cert('alice')
    h.ISSUES.append(h.Issue('weak', 'client', 'email:alice@example.test'))
    certs.cert('weak')
    certs._run('ca', '-batch', '-notext', '-md', 'sha1', '-config', certs.folder / 'weak.cnf', '-extensions',
               'client', '-in', certs.folder / 'weak.csr', '-out', certs.folder / 'weak.pem', '-cert',
               certs.cert('ca'), '-keyfile', certs.key('ca'))


def row(server, code, act):
    host = new_host()
    act(server, host)
    SEEN.expect(server, host, code, logged=code not in NOTES)


# --- cases that are more than a row -------------------------------------------------------------


def incomplete_chain(server):
    """A CA that other clients have shown is missed by its name; so is one for which another came along."""
    certs = server.site.certs
    leaf = certs.cert('indirect').read_text().split('-----END CERTIFICATE-----\n')[0] + '-----END CERTIFICATE-----\n'
    alone, mixed = certs.folder / 'alone.pem', certs.folder / 'mixed.pem'
    alone.write_text(leaf)
    mixed.write_text(leaf + certs.cert('bob').read_text())
    host = new_host()
    say_in_tls(server, 'linesstrict', host, lax(server, None, (mixed, certs.key('indirect'))))
    answer = SEEN.expect(server, host, 'certificate-chain-incomplete')
    h.check('CN=between' in answer['what'], answer['what'])
    host = new_host()
    say_in_tls(server, 'lines', new_host(), lax(server, None, 'indirect'))
    say_in_tls(server, 'lines', host, lax(server, None, (alone, certs.key('indirect'))))
    answer = SEEN.expect(server, host, 'certificate-chain-incomplete')
    h.check('CN=between' in answer['what'] and 'nobody logged in' in answer['what'], answer['what'])


def says_when(server):
    """Dates, and how long ago."""
    for cert, words in (('expired', r'expired on 1 February 2020, \d+ years before this connection'),
                        ('future', r'valid only from 1 January 2048 on, \d+ years after this connection'),
                        ('revoked', r'revoked by its CA on 1 January 2020, \d+ years before this connection')):
        host = new_host()
        say_in_tls(server, 'linesstrict', host, lax(server, None, cert))
        answer = h.within(5, lambda: why(server, host) if why(server, host)['found'] else None, cert)
        h.check(re.search(words, answer['sentence']), answer['sentence'])
        h.check('so the server refused it (alert' in answer['sentence'], answer['sentence'])


def real_clients_alerts(server):
    """As s_client and Python say it, not by hand."""
    host = new_host()
    s_client('-verify_return_error', '-verify', '1')(server, host)
    SEEN.expect(server, host, 'client-says-unknown-ca')
    host = new_host()
    context = server.site.certs.context()
    say_in_tls(server, 'lines', host, context, hostname='elsewhere.example')
    answer = SEEN.expect(server, host, 'server-name-unknown')
    h.check('elsewhere.example' in answer['sentence'], answer['sentence'])


def renegotiations(server):
    cases = (('line', None, ['again'], 'renegotiation-refused'),
             ('once', None, ['again', 'say', 'NOOP', 'again'], 'renegotiation-too-many'),
             ('strict', 'alice', ['again', 'bob'], 'identity-changed'))
    for name, cert, words, code in cases:
        restart.run(server, name, restart.TLS12, cert, *words)
        SEEN.expect(server, 'last', code)
    restart.run(server, 'once', restart.TLS12.replace('%SAFE_RENEGOTIATION', '') + ':%DISABLE_SAFE_RENEGOTIATION',
                None, 'again')
    SEEN.expect(server, 'last', 'renegotiation-insecure')
    restart.run(server, 'line', restart.TLS13, None, 'update', 11, 200)
    SEEN.expect(server, 'last', 'key-update-flood')


def tickets(server):
    for then, hostname, code in (('linesquick', 'localhost', 'ticket-off'),
                                 ('linesalpn', 'localhost', 'ticket-foreign'),
                                 ('lines', 'mail.localhost', 'ticket-expired')):
        host = new_host()
        with_ticket_of(server, 'lines', host, then, hostname)
        SEEN.expect(server, host, code, logged=False)


def by_user(server):
    """By the name in a certificate that was refused, and by that of who was logged in."""
    say_in_tls(server, 'linesstrict', new_host(), lax(server, None, 'expired'))
    for name in ('alice@example.test', 'ALICE@example.test', 'expired'):
        h.within(5, lambda name=name: why(server, name)['found'] > 0, f'why {name}')
    h.equal(why(server, 'nobody@example.test')['found'], 0, 'failures of nobody')
    text = postern(server, 'why', 'nobody@example.test')
    h.check('No connection of nobody@example.test has failed' in text, text)


def as_text(server):
    host = new_host()
    say_in_tls(server, 'linesstrict', host, lax(server, '1.2', 'expired'))
    answer = SEEN.expect(server, host, 'certificate-expired')
    text = postern(server, 'why', host)
    h.check(text.startswith(answer['sentence'] + '\n'), text)
    h.check('(certificate-expired, client; see postern-why(7))' in text, text)
    h.check(re.search(r'client <------ server  alert certificate_expired \(45\)', text), text)


# --- limits of the whole, the keyholder, the end ------------------------------------------------


def limit_of_all(site):
    with site.server(h.LINE_SERVICE, top='max-connections 2\n') as server:
        with server.client(source=new_host()), server.client(source=new_host()):
            host = new_host()
            with server.connect(source=host) as client:
                read_to_end(client.sock)
            SEEN.expect(server, host, 'limit-total')


def in_a_session(site):
    """What a session rests on is gone while it is open."""
    ca = site.certs.cert('ca').read_text()
    changes = {
        'session-revoked': ('alice', lambda ground: ground.revoke(['alice'])),
        'session-distrusted': ('stranger', lambda ground: (
            ground.put('own-crl.pem', ground.lists.make('one', []).read_text()),
            ground.put('crl.pem', ground.lists.make('one', []).read_text()), ground.put('ca.pem', ca))),
        'session-unmapped': ('stranger', lambda ground: ground.put('own.pem', ca)),
    }
    for code, (cert, change) in changes.items():
        rule = f'map san-email from {site.folder}/distrust-{code}/own.pem'
        ground = distrust.Ground(site, code, *([rule] if code == 'session-unmapped' else []))
        ground.put('own.pem', (ground.folder / 'ca.pem').read_text())
        host = new_host()
        with ground.server() as server:
            with server.secure('require', cert=cert, source=host) as session:
                with distrust.picked_up(server):
                    change(ground)
                distrust.ended(session, code)
            SEEN.expect(server, host, code)
    ground = distrust.Ground(site, 'session-expired')
    with ground.server() as server:
        for seconds in (3, 30):  # the first is too short on a machine that is very busy
            distrust.short_lived(site, seconds)
            host = new_host()
            try:
                session = server.secure('require', cert='short', source=host)
            except (OSError, h.Ended):
                continue
            with session:
                distrust.ended(session, 'session-expired')
            SEEN.expect(server, host, 'session-expired')
            return
    raise h.Failure('no session with a certificate of half a minute')


def mail(site):
    """What only mail services end a session for."""
    services = maildrop.SERVICES.replace(
        'protocol smtp', 'protocol smtp\n    message-timeout 2s\n    greeting-delay 2s\n    max-unknown-recipients 1')
    with maildrop.server(site, services) as server:
        early, host, user = new_host(), new_host(), new_host()
        with server.connect('mx', source=early) as client:
            client.send(b'EHLO x\r\n')
            read_to_end(client.sock)
        SEEN.expect(server, early, 'early-talker')
        with server.connect('mx', source=host) as client:
            client.line()
            client.send(b'HELO x\r\n')
            client.line()
            client.send(b'MAIL FROM:<a@b.example>\r\nRCPT TO:<nobody-of-them@example.test>\r\n')
            read_to_end(client.sock)
        SEEN.expect(server, host, 'too-much')
        slow = new_host()
        with maildrop.Client(server.address('mx'), source=slow) as client:
            client.reply()
            client.hello()
            client.expect('MAIL FROM:<a@b.example>', 250)
            client.expect('RCPT TO:<bob@example.test>', 250)
            client.expect('DATA', 354)
            with contextlib.suppress(OSError):
                for _ in range(600):
                    client.send(b'x')
                    time.sleep(0.2)
            SEEN.expect(server, slow, 'message-too-slow')
        for code, change in (('session-user-removed', users.without('carol')),
                             ('session-password-changed', lambda line: line.replace('4096,', '4097,'))):
            host = new_host()
            with maildrop.Client(server.address('submission'), source=host) as client:
                client.reply()
                client.hello()
                client.starttls(lax(server))
                client.hello()
                name = 'carol' if code == 'session-user-removed' else 'bob'
                client.expect(f'AUTH PLAIN {maildrop.plain(f"{name}@example.test")}', 235)
                users.rewrite(server, change)
                h.equal(client.reply()[0], 421, 'the goodbye')
            SEEN.expect(server, host, code)
        with server.connect('submissions', source=user) as client:
            client.wrap(lax(server))
            client.line()
            client.send(b'EHLO x\r\n')
            while not client.line().startswith('250 '):
                pass
            for _ in range(3):
                client.send(b'AUTH PLAIN ' + maildrop.plain('bob@example.test', 'wrong').encode() + b'\r\n')
                h.check(client.line().startswith(('535', '421')), 'the answer to a wrong password')
            read_to_end(client.sock)
        SEEN.expect(server, user, 'too-many-logins')
        host = new_host()
        with server.connect('submission', source=host) as client:
            client.line()
            client.send(b'HELO x\r\nMAIL FROM:<a@b.example>\r\nQUIT\r\n')
            read_to_end(client.sock)
        SEEN.expect(server, host, 'starttls-never')


PROGRAMS = '''
service busy {
    protocol exec
    listen 127.0.0.1:@linesbusy tls
    tls main
    login none
    command /bin/cat
    greeting "OK"
    max-programs 1
    max-waiting 0
}
service gone {
    protocol exec
    listen 127.0.0.1:@linesgone tls
    tls main
    login none
    command @GONE@
}
service members {
    protocol exec
    listen 127.0.0.1:@linesmembers tls
    tls main
    login certificate
    command /bin/cat
}
'''


def programs(site):
    """None to be had, none to be found, taken away, and not for everybody."""
    gone = site.folder / 'gone'
    gone.write_text('#!/bin/sh\n')
    gone.chmod(0o755)
    with site.server(PROGRAMS.replace('@GONE@', str(gone)), allowed='cannot run|was ended by signal 9') as server:
        gone.unlink()
        context = lax(server)

        def session(name, host):
            sock = server.connect(name, source=host).sock
            return context.wrap_socket(sock, suppress_ragged_eofs=False)
        host = new_host()
        with session('linesgone', host) as sock:
            read_to_end(sock)
        SEEN.expect(server, host, 'program-failed')
        host = new_host()
        with session('linesmembers', host) as sock:
            read_to_end(sock)
        SEEN.expect(server, host, 'certificate-missing')
        first, second = new_host(), new_host()
        with session('linesbusy', first) as sock:
            h.check(sock.recv(100).startswith(b'OK'), 'the greeting')
            sock.sendall(b'x\n')
            h.equal(sock.recv(100), b'x\n', 'the answer')
            with session('linesbusy', second) as other:
                read_to_end(other)
            SEEN.expect(server, second, 'program-busy')
            spawn, = server.pids('spawn')
            os.kill(spawn, signal.SIGKILL)
            read_to_end(sock)
        SEEN.expect(server, first, 'program-lost')


def keyholder_sleeps(site):
    with site.server(h.LINE_SERVICE, workers=1, allowed='keyholder') as server:
        pid, = server.pids('keyholder')
        os.kill(pid, signal.SIGSTOP)
        try:
            host = new_host()
            say_in_tls(server, 'lines', host, lax(server))
            SEEN.expect(server, host, 'keyholder-did-not-sign')
            host = new_host()
            with server.connect(source=host) as client:
                client.reply()
                h.equal(client.command('STARTTLS').status, 'NO', 'STARTTLS')
                SEEN.expect(server, host, 'keyholder-away')  # while it is open
                client.command('QUIT')
        finally:
            os.kill(pid, signal.SIGCONT)


def killed(site):
    """Open connections of a worker that is killed, and its earlier failures, are known afterwards."""
    with site.server(h.LINE_SERVICE, workers=1, allowed='was ended by signal 9') as server:
        before, open_host = new_host(), new_host()
        raw(b'GET / HTTP/1.0\r\n\r\n')(server, before)
        SEEN.expect(server, before, 'http-on-tls')
        with server.connect(source=open_host) as client:
            client.reply()
            pid, = server.pids('worker')
            os.kill(pid, signal.SIGKILL)
            read_to_end(client.sock)
        answer = SEEN.expect(server, open_host, 'worker-killed')
        h.equal(answer['connection']['pid'], pid, 'the worker')
        SEEN.expect(server, before, 'http-on-tls')
        h.within(h.TIMEOUT, lambda: server.pids('worker') not in ([], [pid]), 'another worker')
        h.equal(server.processes('worker')[0]['slot'], 0, 'its slot')
        # also after control was killed, a reload, and another worker's death
        control, = server.pids('control')
        os.kill(control, signal.SIGKILL)
        server.allowed += '|control'
        h.within(h.TIMEOUT, lambda: server.serving() and server.pids('control') != [control], 'another control')
        SEEN.expect(server, open_host, 'worker-killed')
        server.reload()
        SEEN.expect(server, before, 'http-on-tls')


def killed_while_control_is_away(site):
    """Its records wait for the next control."""
    with site.server(h.LINE_SERVICE, workers=1, allowed='was ended by signal 9') as server:
        host = new_host()
        with server.connect(source=host) as client:
            client.reply()
            worker, control = server.pids('worker')[0], server.pids('control')[0]
            os.kill(control, signal.SIGKILL)
            os.kill(worker, signal.SIGKILL)
            read_to_end(client.sock)
        h.within(h.TIMEOUT, server.serving, 'another control')
        SEEN.expect(server, host, 'worker-killed')


def goodbye(site):
    with site.server(h.LINE_SERVICE, top='drain 1s\n') as server:
        host = new_host()
        with server.connect(source=host) as client:
            client.reply()
            server.reload()
            read_to_end(client.sock)
        SEEN.expect(server, host, 'server-stopping')


def switched_off(site):
    """The log says why all the same."""
    with site.server(h.LINE_SERVICE, top='recorder off\n') as server:
        raw(b'GET / HTTP/1.0\r\n\r\n')(server, new_host())
        say_in_tls(server, 'lines', new_host(), lax(server, None, 'expired'))
        server.wait_log('code=http-on-tls')
        server.wait_log(r"The client's certificate CN=expired expired on 1 February 2020.*code=certificate-expired")
        h.equal(why(server)['recorder'], 'off', 'recorder')
        h.equal(why(server)['found'], 0, 'found')
        h.check('flight recorder is off' in postern(server, 'why'), 'why does not say that it is off')
        h.check('flight recorder is off' in postern(server, 'trace'), 'trace does not say that it is off')


# --- what the recorder keeps --------------------------------------------------------------------

FULL_13 = ['ClientHello', 'ServerHello', 'EncryptedExtensions', 'CertificateRequest', 'Certificate',
           'CertificateVerify', 'Finished', 'Certificate', 'CertificateVerify', 'Finished', 'NewSessionTicket',
           'NewSessionTicket']
FULL_12 = ['ClientHello', 'ServerHello', 'Certificate', 'ServerKeyExchange', 'CertificateRequest',
           'ServerHelloDone', 'Certificate', 'ClientKeyExchange', 'CertificateVerify', 'Finished',
           'NewSessionTicket', 'Finished']
SHORT_12 = ['ClientHello', 'ServerHello', 'Finished', 'Finished']
SHORT_13 = ['ClientHello', 'ServerHello', 'EncryptedExtensions', 'Finished', 'Finished', 'NewSessionTicket']


def messages_of(connection):
    return [s['text'] for s in connection['steps'] if s['kind'] == 'handshake']


def flow(server, version, cert):
    """Full and resumed, with and without certificate: every message, which way, when, and what came of it."""
    context = lax(server, version, cert)
    kept, host = [], new_host()
    say_in_tls(server, 'lines', host, context,
               then=lambda client: (client.command('NOOP'), kept.append(client.sock.session)))
    c, = h.within(5, lambda: [x for x in trace(server, host) if not x['open']], 'the connection')
    want = [m for m in (FULL_12 if version == '1.2' else FULL_13)]
    if cert is None:
        want.remove('CertificateVerify') if version == '1.2' else want.pop(8)
    h.equal(messages_of(c), want, 'the messages')
    ways = [s['way'] for s in c['steps'] if s['kind'] == 'handshake']
    h.equal(ways[:2], ['in', 'out'], 'the ways of the first two')
    times = [s['us'] for s in c['steps']]
    h.equal(times, sorted(times), 'the times')
    h.check(all(s['size'] > 0 for s in c['steps'] if s['kind'] == 'handshake' and s['text'] != 'ServerHelloDone'),
            'sizes')
    h.equal(c['steps'][-1]['kind'], 'closed', 'the last step')
    h.equal((c['tls']['version'], c['tls']['server_name'], c['tls']['resumed']),
            ('TLS ' + version, 'localhost', False), 'what was negotiated')
    h.equal((c['verdict'], c.get('user')), ('trusted', 'alice@example.test') if cert else ('none', None), 'verdict')
    if cert:
        h.equal((c['certificate']['subject'], c['certificate']['issuer'], c['certificate']['names']),
                ('CN=alice', 'CN=ca', 'email:alice@example.test'), 'the certificate')
    host = new_host()
    with client_at(server, 'lines', host) as client:
        client.sock = context.wrap_socket(client.sock, server_hostname='localhost', session=kept[0])
        client.reply()
        h.check(client.sock.session_reused, 'not resumed')
        client.sock.unwrap()
    c, = h.within(5, lambda: [x for x in trace(server, host) if not x['open']], 'the connection')
    h.equal(messages_of(c), SHORT_12 if version == '1.2' else SHORT_13, 'the messages, resumed')
    h.equal((c['tls']['resumed'], c.get('user')), (True, 'alice@example.test' if cert else None), 'resumed')
    text = postern(server, 'trace', c['id'])
    h.check(text.startswith(f'connection {c["id"]}, ') and 'resumed by ticket' in text, text)
    columns = {line.index('server  ') for line in text.splitlines() if '------' in line}
    h.equal(len(columns), 1, f'columns in {text}')


def a_flood_of_good_ones(server):
    """pushes no failed one out; nor does a flood of one kind of failure from many addresses."""
    host = new_host()
    raw(b'GET / HTTP/1.0\r\n\r\n')(server, host)
    SEEN.expect(server, host, 'http-on-tls')
    for _ in range(1100):
        with server.connect('quick') as client:
            client.send(b'QUIT\r\n')
            read_to_end(client.sock)
    for _ in range(400):
        raw(b'EHLO x\r\n')(server, new_host())
    SEEN.expect(server, host, 'http-on-tls')


def repeats(server):
    """The same again from one address is one record with a number, and ten lines in the log."""
    host = new_host()
    for _ in range(40):
        raw(b'GET / HTTP/1.0\r\n\r\n')(server, host)
    answer = h.within(5, lambda: why(server, host) if why(server, host)['connection'].get('repeats', 0) == 39
                      else None, 'the 40th')
    h.check(answer['connection']['first_time'] < answer['connection']['time'], 'the first time')
    lines = [m for m in map(LOGGED.search, server.log().splitlines()) if m and m.group(2) == host]
    h.equal(len(lines), 10, 'lines in the log')


def left_out(server):
    """What the log left out is told when the minute is over."""
    pattern = re.compile(r'(\d+) more of the same from this address in the last minute were left out of the log')
    h.within(80, lambda: [m for m in pattern.finditer(server.log()) if m.group(1) == '30'], 'what was left out')


def many_open(site):
    """More open connections than records: what fails is known all the same, without its steps."""
    with site.server(h.LINE_SERVICE, top='max-connections 5000\n', workers=1) as server:
        with contextlib.ExitStack() as stack:
            host = new_host()
            first = stack.enter_context(server.connect('lines', source=host))
            for _ in range(800):
                stack.enter_context(server.connect('line', source='127.2.0.1'))
            h.within(h.TIMEOUT, lambda: server.service()['connections'] == 801, 'all of them')
            first.send(b'GET / HTTP/1.0\r\n\r\n')
            read_to_end(first.sock)
            answer = SEEN.expect(server, host, 'http-on-tls')
            h.check(answer['connection']['partial'], 'it has its steps')


def follow(server):
    """Each step of a connection as it happens, once."""
    argv = [str(h.BUILD / 'src' / 'postern'), '-s', str(server.control), 'trace', '--follow', '--json']
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        seen = []
        reader = threading.Thread(target=lambda: seen.extend(map(json.loads, process.stdout)))
        reader.start()
        try:
            h.within(h.TIMEOUT, lambda: _follows(server), 'it follows')
            time.sleep(0.3)
            host = new_host()
            with client_at(server, 'line', host) as client:
                h.within(5, lambda: _steps(process, seen, host), 'the first step')
                client.starttls(lax(server))
                h.equal(client.command('NOOP').status, 'OK', 'NOOP')
                client.sock.unwrap()
            h.within(5, lambda: 'connection closed' in _steps(process, seen, host), 'the last step')
        finally:
            process.terminate()
            reader.join()
        steps = _steps(process, seen, host)
        h.equal(steps[0], 'connection accepted', 'the first step')
        h.equal(steps.count('ClientHello'), 1, f'ClientHello in {steps}')
        h.equal(steps, [s['text'] for s in trace(server, host)[0]['steps']], 'the steps')


def _follows(server):
    return subprocess.run(['pgrep', '-f', f'{server.control} trace --follow'], stdout=subprocess.DEVNULL,
                          check=False).returncode == 0


def _steps(_process, seen, host):
    return [s['text'] for answer in list(seen) for s in answer['connection']['steps']
            if answer['connection']['peer'].startswith(host + ':')]


def survives_an_upgrade(site):
    with site.server(h.LINE_SERVICE, allowed=None) as server:
        host = new_host()
        raw(b'GET / HTTP/1.0\r\n\r\n')(server, host)
        SEEN.expect(server, host, 'http-on-tls')
        server.upgrade()
        SEEN.expect(server, host, 'http-on-tls')


def all_codes():
    """Every code of the table, in the order of its list."""
    text = (h.pathlib.Path(os.environ.get('top_srcdir') or h.pathlib.Path(__file__).parents[2])
            / 'src' / 'rec' / 'why_list.h').read_text()
    return re.findall(r'^\tX\([A-Z_]+, "([a-z-]+)"', text, re.M)


def everything_was_there():
    codes = set(all_codes())
    h.check(len(codes) > 80, f'{len(codes)} codes only')
    h.equal(codes - set(SEEN.sentences), NOT_INDUCED, 'codes that were not brought about')


def no_two_are_the_same():
    by_sentence = {}
    for code, sentence in SEEN.sentences.items():
        by_sentence.setdefault(re.sub(r'127[\d.]+', '', sentence), []).append(code)
    h.equal([codes for codes in by_sentence.values() if len(codes) > 1], [], 'codes with one sentence')


def main():
    topic = h.Topic()
    site = h.Site(topic)
    make_certificates(site)
    made = lists.Lists(site)
    services = SERVICES.replace('@CRL@', str(made.make('revoked', ['revoked', 'bad-ca'])))
    services = services.replace('@STALE@', str(made.make('stale', [], 'stale')))
    whole = not topic.only
    with site.server(services + ALPN_SERVICE, workers=1, top='max-connections 20000\n') as server:
        for n, (code, act) in enumerate(ROWS):
            topic.case(f'{code} ({n})', row, server, code, act)
        topic.case('an incomplete chain', incomplete_chain, server)
        topic.case('when', says_when, server)
        topic.case('alerts of real clients', real_clients_alerts, server)
        topic.case('renegotiations and key updates', renegotiations, server)
        topic.case('tickets that are not taken', tickets, server)
        topic.case('by user', by_user, server)
        topic.case('as text', as_text, server)
        for version in ('1.2', '1.3'):
            for cert in (None, 'alice'):
                topic.case(f'trace, TLS {version}, {cert or "no certificate"}', flow, server, version, cert)
        topic.case('follow', follow, server)
        topic.case('repeats', repeats, server)
        topic.case('a flood of good ones', a_flood_of_good_ones, server)
        topic.case('what the log left out', left_out, server)
    topic.case('mail', mail, site)
    topic.case('programs', programs, site)
    topic.case('in a session', in_a_session, site)
    topic.case('max-connections of all', limit_of_all, site)
    topic.case('the keyholder sleeps', keyholder_sleeps, site)
    topic.case('a worker is killed', killed, site)
    topic.case('a worker and control are killed', killed_while_control_is_away, site)
    topic.case('a reload', goodbye, site)
    topic.case('an upgrade', survives_an_upgrade, site)
    topic.case('more open than there is room', many_open, site)
    topic.case('recorder off', switched_off, site)
    if whole:
        topic.case('every code was brought about', everything_was_there)
        topic.case('no two sentences are the same', no_two_are_the_same)
    topic.done()


ALPN_SERVICE = '''
service alpn {
    protocol line
    listen 127.0.0.1:@linesalpn tls
    tls main
}
'''


if __name__ == '__main__':
    main()
