"""Nothing crosses from plaintext into TLS: octets behind STARTTLS, what was learnt before it, and STARTTLS
where it does not belong."""
import socket
import ssl
import time

import harness as h

CUTS_AT_ONCE = 64  # clients in the middle of what they say
CUT_S = 0.01       # until the worker has read the first piece: if not, it reads both at once and nothing fails

EXTRA = {
    'a command': b'NOOP evil\r\n',
    'a second STARTTLS': b'STARTTLS\r\n',
    'half a line': b'x',
    'a ClientHello': bytes.fromhex('16030100050100000100'),
    '64 KiB': b'ECHO evil\r\n' * 6000,
}


def same_segment(server, extra, before):
    injections = server.service()['injections']
    handshakes = server.service()['handshakes']
    with server.client() as client:
        client.send(before + b'STARTTLS\r\n' + extra)
        if before:
            h.equal(client.reply().code, 'TAG', 'the command before it')
        h.equal(client.reply().status, 'BYE', 'the one reply')
        client.expect_end()
    h.within(h.TIMEOUT, lambda: server.service()['injections'] == injections + 1, 'injections + 1')
    h.equal(server.service()['handshakes'], handshakes, 'handshakes')
    h.within(h.TIMEOUT, lambda: server.service()['connections'] == 0, 'the connection is gone')


def next_segment(server, wait_for_reply):
    """Plaintext in place of a ClientHello: TLS fails, and it is never run."""
    before = server.service()
    with server.client() as client:
        client.send(b'STARTTLS\r\n')
        if wait_for_reply:
            h.equal(client.reply().status, 'OK', 'STARTTLS')
        else:  # on its way before the reply, but after what the server has read
            time.sleep(0.05)
        client.send(b'NOOP evil\r\nWHOAMI\r\n')
        if not wait_for_reply:
            h.equal(client.reply().status, 'OK', 'STARTTLS')
        answer = client.buffer
        while True:
            more = client.sock.recv(65536)
            if not more:
                break
            answer += more
        h.check(b'evil' not in answer and b'TLS' not in answer, f'it was run: {answer!r}')
        # nothing, or an alert: type 21, fatal
        h.check(answer == b'' or (answer[0] == 21 and answer[5] == 2), f'no alert but {answer!r}')
    h.within(h.TIMEOUT, lambda: server.service()['handshakes_failed'] == before['handshakes_failed'] + 1,
             'handshakes_failed + 1')
    h.equal(server.service()['handshakes'], before['handshakes'], 'handshakes')


def plaintext_inside_tls(server):
    """An octet that is no TLS record ends the session."""
    with server.secure() as client:
        raw = socket.socket(fileno=client.sock.detach())
        raw.settimeout(h.TIMEOUT)
        with raw:
            raw.sendall(b'NOOP evil\r\n')
            answer = b''
            try:
                while True:
                    more = raw.recv(65536)
                    if not more:
                        break
                    answer += more
            except ConnectionResetError:
                raise h.Failure('a reset and not an alert') from None
            h.check(b'evil' not in answer, f'it was run: {answer!r}')
            h.check(answer[:1] in (b'\x15', b'\x17'), f'no alert: {answer!r}')


def refused_is_no_boundary(server):
    """Commands behind a STARTTLS that is refused are answered."""
    with server.client() as client:
        client.send(b'STARTTLS now\r\nNOOP one\r\nSTARTTLS \r\nNOOP two\r\n')
        h.equal([client.reply().status for _ in range(4)], ['BAD', 'OK', 'BAD', 'OK'], 'replies')
        client.starttls(server.site.certs.context())
        h.equal(client.whoami()['TLS'], 'TLS1.3', 'TLS')


def inside_tls(server, name):
    with server.secure(name) as client:
        client.send(b'STARTTLS\r\nNOOP two\r\nSTARTTLS x\r\n')
        h.equal([client.reply().status for _ in range(3)], ['NO', 'OK', 'NO'], 'replies')
        h.equal(client.whoami()['TLS'], 'TLS1.3', 'TLS')


def where_there_is_none(server):
    with server.client('plain') as client:
        h.check('STARTTLS' not in h.capabilities(client.greeting), f'greeting {client.greeting}')
        client.send(b'STARTTLS\r\nNOOP two\r\n')
        h.equal([client.reply().status for _ in range(2)], ['NO', 'OK'], 'replies')


def errors_are_forgotten(server):
    """Nine errors in plaintext and nine in TLS: the tenth of a session ends it, so the count began anew."""
    with server.client() as client:
        for _ in range(9):
            h.equal(client.command('NONSENSE').status, 'NO', 'unknown where TLS is needed')
            h.equal(client.command('NOOP "').status, 'BAD', 'an error in plaintext')
        client.starttls(server.site.certs.context())
        for _ in range(9):
            h.equal(client.command('NOOP "').status, 'BAD', 'an error in TLS')
        h.equal(client.command('NOOP').status, 'OK', 'NOOP')
        h.equal(client.command('NOOP "').status, 'BAD', 'the tenth error')
        h.equal(client.reply().status, 'BYE', 'behind it')


def half_a_line_is_forgotten(server):
    """A line begun in plaintext does not end in TLS. It is behind STARTTLS only in time: the server reads it
    as the first octets of TLS."""
    with server.client() as client:
        h.equal(client.command('STARTTLS').status, 'OK', 'STARTTLS')
        client.send(b'ECHO ')
        try:
            client.wrap(server.site.certs.context())
            got = client.line()
        except (ssl.SSLError, h.Ended):
            return
        raise h.Failure(f'TLS began behind plaintext: {got!r}')


def each_session_its_own(server):
    """Identities do not cross connections that a worker serves at the same time."""
    certs = server.site.certs
    contexts = {name: certs.context(None, name) for name in ('alice', 'bob', None)}
    clients = [(name, server.secure(context=contexts[name]))
               for name in ('alice', 'bob', None) * 6]
    for name, client in clients:
        h.equal(client.whoami().get('IDENTITY'), name and f'{name}@example.test', 'IDENTITY')
    for _, client in clients:
        client.close()


class Cutter:
    """A client whose octets number `at` and later come a moment after those before it. Steps that many clients take
    in turns: each yields after it has sent the first part."""

    def __init__(self, server, context, at):
        self.client = server.connect()
        self.context, self.at, self.sent = context, at, 0

    def send(self, octets):
        """Yields once if the cut is within these octets, or at their beginning."""
        first = octets[:max(0, self.at - self.sent)] if self.sent <= self.at < self.sent + len(octets) else octets
        self.client.send(first)
        if len(first) < len(octets):
            yield
            self.client.send(octets[len(first):])
        self.sent += len(octets)

    def receive(self, incoming):
        more = self.client.sock.recv(65536)
        if not more:
            incoming.write_eof()
        incoming.write(more)

    def conversation(self):
        """STARTTLS, handshake, WHOAMI, both close_notify, and a command in plaintext behind them."""
        client = self.client
        client.reply()
        yield from self.send(b'STARTTLS\r\n')
        h.equal(client.reply().status, 'OK', 'STARTTLS')
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self.context.wrap_bio(incoming, outgoing, server_hostname='localhost')

        def attempt(call, *args):
            while True:
                try:
                    got = call(*args)
                    yield from self.send(outgoing.read())
                    return got
                except ssl.SSLWantReadError:
                    yield from self.send(outgoing.read())
                    self.receive(incoming)
        yield from attempt(tls.do_handshake)
        yield from attempt(tls.write, b'WHOAMI\r\n')
        heard = b''
        while heard.count(b'\r\nOK ') < 2:  # the first words, and the answer
            heard += yield from attempt(tls.read, 65536)
        h.check(b'"TLS"' in heard, f'WHOAMI: {heard!r}')
        yield from attempt(tls.unwrap)
        yield from self.send(b'NOOP "cut"\r\n')
        client.buffer = incoming.read()
        h.equal(client.reply().status, 'OK', 'plaintext behind close_notify')
        client.close()


def cut_everywhere(server, version, cert):
    """A whole connection in two pieces, for each octet that it may be cut at: the worker reads the first piece, and
    finds nothing lost, doubled or taken for something else when the second comes."""
    context = server.site.certs.context(version, cert)
    whole = Cutter(server, context, -1)
    for _ in whole.conversation():
        raise h.Failure('a cut that nobody asked for')
    before = server.service()
    for start in range(0, whole.sent, CUTS_AT_ONCE):
        under_way = []
        for at in range(start, min(start + CUTS_AT_ONCE, whole.sent)):
            conversation = Cutter(server, context, at).conversation()
            if next(conversation, 'over') != 'over':
                under_way.append((at, conversation))
        time.sleep(CUT_S)
        for at, conversation in under_way:
            try:
                for _ in conversation:
                    raise h.Failure('a second cut')
            except Exception as why:
                raise h.Failure(f'cut at octet {at} of {whole.sent}: {why!r}') from why
    h.within(h.TIMEOUT, lambda: server.service()['connections'] == 0, 'the connections are gone')
    after = server.service()
    h.equal(after['handshakes'] - before['handshakes'], whole.sent, 'handshakes')
    h.equal((after['handshakes_failed'], after['injections']),
            (before['handshakes_failed'], before['injections']), 'failures')


PLAIN = '''
service plain {
    protocol line
    listen 127.0.0.1:@plain plain
}
'''


def main():
    topic = h.Topic()
    site = h.Site(topic)
    with site.server(h.LINE_SERVICE + PLAIN) as server:
        for name, extra in EXTRA.items():
            topic.case(f'STARTTLS and {name} in one segment', same_segment, server, extra, b'')
            topic.case(f'a command, STARTTLS and {name} in one segment', same_segment, server, extra,
                       b'NOOP first\r\n')
        topic.case('plaintext in place of a ClientHello', next_segment, server, True)
        topic.case('plaintext sent before the reply to STARTTLS', next_segment, server, False)
        topic.case('plaintext inside TLS', plaintext_inside_tls, server)
        topic.case('commands behind a refused STARTTLS are answered', refused_is_no_boundary, server)
        topic.case('STARTTLS inside TLS after STARTTLS', inside_tls, server, 'line')
        topic.case('STARTTLS inside implicit TLS', inside_tls, server, 'lines')
        topic.case('STARTTLS on a plain listener', where_there_is_none, server)
        topic.case('errors in plaintext are forgotten', errors_are_forgotten, server)
        topic.case('half a line in plaintext is forgotten', half_a_line_is_forgotten, server)
        topic.case('identities stay with their connections', each_session_its_own, server)
        for version in ('1.2', '1.3'):
            for cert in (None, 'alice'):
                topic.case(f'cut at every octet, TLS {version}, {cert or "no certificate"}', cut_everywhere, server,
                           version, cert)
    topic.done()


main()
