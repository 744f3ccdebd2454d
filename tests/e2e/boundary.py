"""Nothing crosses from plaintext into TLS: octets behind STARTTLS, what was learnt before it, and STARTTLS
where it does not belong."""
import socket
import ssl
import time

import harness as h

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
    topic.done()


main()
