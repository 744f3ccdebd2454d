"""Peers that stall, say nothing, say something else, say too much or never listen: each costs itself a
connection and nobody else anything."""
import socket
import ssl
import subprocess
import threading
import time

import harness as h

LINGER_S = 2  # the default

SERVICES = h.LINE_SERVICE + '''
service strict {
    protocol line
    listen 127.0.0.1:@linesstrict tls
    tls main { client-certificate require }
}
service quick {
    protocol line
    listen 127.0.0.1:@quick starttls
    listen 127.0.0.1:@linesquick tls
    tls main { handshake-timeout 3s; first-flight-timeout 500ms }
    idle-timeout 1s
}
service plain {
    protocol line
    listen 127.0.0.1:@plain plain
    max-per-address 1000
}
'''.replace('; ', '\n')

# a TLS 1.2 ClientHello that OpenSSL sent, cut before its end by the tests that stall
def client_hello():
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname='localhost')
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def read_to_end(sock):
    got = b''
    while True:
        more = sock.recv(65536)
        if not more:
            return got
        got += more


def stall(server, name, first, at_least, at_most, code):
    """Sends the octets and nothing more: closed in time, and not before."""
    failed = server.service('quick')['handshakes_failed']
    with server.connect(name) as client:
        if not name.startswith('lines'):
            client.reply()
            h.equal(client.command('STARTTLS').status, 'OK', 'STARTTLS')
        client.send(first)
        began = time.monotonic()
        read_to_end(client.sock)
        took = time.monotonic() - began
        h.check(took >= at_least, f'closed after {took:.2f} s, expected {at_least} s at least')
        h.check(took < at_most, f'closed after {took:.2f} s only')
    h.within(h.TIMEOUT, lambda: server.service('quick')['handshakes_failed'] == failed + 1,
             'handshakes_failed + 1')
    server.wait_log('code=' + code)


def stalls_delay_nobody(server):
    hello = client_hello()
    stalled = [server.connect('linesquick') for _ in range(50)]
    for client in stalled:
        client.send(hello)
    began = time.monotonic()
    with server.secure() as client:
        h.equal(client.command('NOOP').status, 'OK', 'NOOP')
    h.check(time.monotonic() - began < 1, 'a good client waited for stalled ones')
    for client in stalled:
        client.close()


def drip(server):
    """An octet every now and then does not prolong a handshake."""
    hello = client_hello()
    with server.connect('linesquick') as client:
        began = time.monotonic()
        client.sock.settimeout(0.1)
        ended = None
        for n in range(100):
            try:
                client.send(hello[n:n + 1])
                if client.sock.recv(1000) == b'':
                    ended = time.monotonic()
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                ended = time.monotonic()
                break
        h.check(ended and ended - began < 5, 'a handshake of single octets goes on and on')


def silent(server, name):
    with server.connect(name) as client:
        if name == 'linesquick':
            client.wrap(server.site.certs.context())
        h.equal(client.reply().status, 'OK', 'the greeting')
        began = time.monotonic()
        reply = client.reply()
        h.equal((reply.status, reply.code), ('BYE', 'TRYLATER'), 'the last line')
        h.check(time.monotonic() - began >= 0.9, 'too early')
        client.expect_end()


def noise_is_silence(server):
    """Half lines and bad lines do not keep a session."""
    with server.client('quick') as client:
        end = time.monotonic() + 10
        client.sock.settimeout(0.2)
        while time.monotonic() < end:
            try:
                client.send(b'x')
                if b'BYE' in client.sock.recv(1000):
                    return
            except TimeoutError:
                continue
        raise h.Failure('a session that never ends a line goes on')


def refuses_with_alert(server, octets):
    """What is no ClientHello gets an alert, then the end."""
    with server.connect('lines') as client:
        client.send(octets)
        client.sock.shutdown(socket.SHUT_WR)
        answer = read_to_end(client.sock)
        h.check(len(answer) == 7 and answer[0] == 21 and answer[5] == 2, f'no fatal alert: {answer!r}')


def hello_on_plaintext_port(server):
    with server.connect() as client:
        client.send(client_hello())
        answer = read_to_end_or_quiet(client.sock)
        h.check(b'BAD' in answer, f'answer {answer!r}')
        h.check(b'TLS begins only after STARTTLS' in answer, f'it is not told what is wrong: {answer!r}')


def read_to_end_or_quiet(sock):
    sock.settimeout(0.5)
    got = b''
    try:
        while True:
            more = sock.recv(65536)
            if not more:
                return got
            got += more
    except TimeoutError:
        return got


def long_line(server, name):
    client = server.client('plain') if name == 'plain' else server.secure()
    before = max(h.rss_kib(pid) for pid in server.pids('worker'))
    with client:
        def send():
            try:
                for _ in range(64):
                    client.send(b'a' * 16384)
            except (OSError, ssl.SSLError):
                pass
        sender = threading.Thread(target=send)
        sender.start()
        reply = client.reply()
        h.equal(reply.status, 'BAD', 'the line that is too long')
        h.equal(client.reply().status, 'BYE', 'the line without an end')
        client.close()
        sender.join()
    grown = max(h.rss_kib(pid) for pid in server.pids('worker')) - before
    h.check(grown < 4096, f'a worker grew by {grown} KiB')


def nul(server):
    with server.secure() as client:
        client.send(b'NOOP a\0b\r\nNOOP after\r\n')
        h.equal([client.reply().status for _ in range(2)], ['BAD', 'OK'], 'replies')


def half_close(server):
    """printf 'NOOP\r\nWHOAMI\r\n' | nc -N: every answer arrives, then the end."""
    with server.connect() as client:
        client.send(b'NOOP one\r\nWHOAMI\r\nHELP\r\nNOOP two\r\nNOOP half')
        client.sock.shutdown(socket.SHUT_WR)
        h.equal([client.reply().status for _ in range(5)], ['OK'] * 5, 'replies')
        client.expect_end()


def half_close_tls(server, version):
    """close_notify behind commands: every answer arrives inside TLS, then the server's close_notify."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with server.connect('lines') as client:
        tls = server.site.certs.context(version).wrap_bio(incoming, outgoing, server_hostname='localhost')

        def pump(call):
            while True:
                try:
                    return call()
                except ssl.SSLWantReadError:
                    client.send(outgoing.read())
                    more = client.sock.recv(65536)
                    if not more:
                        raise h.Ended('a FIN without close_notify') from None
                    incoming.write(more)
        pump(tls.do_handshake)
        tls.write(b'NOOP one\r\nNOOP two\r\n' * 20)
        try:
            tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:  # OpenSSL does not like data behind its own close_notify
            h.check('APPLICATION_DATA' in str(error.reason), str(error))
        client.send(outgoing.read())
        # OpenSSL no longer decrypts: count what comes back, and how it ends
        got = read_to_end(client.sock)
        h.check(len(got) > 40 * 20, f'{len(got)} octets for 40 answers')
        h.check(got[-24 if version == '1.3' else -31:][:1] in (b'\x17', b'\x15'),
                f'no close_notify at the end: {got[-40:]!r}')


class Unheard:
    """A client in TLS that asks, says close_notify and has read nothing of the answers: what its socket and the
    server's do not hold waits in the worker, which has read the close_notify."""

    ANSWER = 'x' * 900

    def __init__(self, server):
        self.server = server
        self.sock = socket.socket()
        self.sock.settimeout(h.TIMEOUT)
        # before it connects; the server's kernel keeps so many segments, and loopback's are large
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        self.sock.connect(server.address('lines'))
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = server.site.certs.context('1.3').wrap_bio(self.incoming, self.outgoing,
                                                             server_hostname='localhost')
        self.pump(self.tls.do_handshake)
        self.pump(lambda: self.tls.read(65536))
        self.asked = 0
        full = 0
        while full < 2:  # until the kernel takes no more of the answers
            before = self.queues()
            self.ask(8)
            time.sleep(0.02)
            full = full + 1 if self.queues()[0] == before[0] > 0 else 0
        self.ask(8)
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        self.sock.sendall(self.outgoing.read())
        h.within(h.TIMEOUT, lambda: self.queues()[1] == 0, 'close_notify is read')
        self.began = time.monotonic()

    def pump(self, call):
        while True:
            try:
                return call()
            except ssl.SSLWantReadError:
                self.sock.sendall(self.outgoing.read())
                more = self.sock.recv(65536)
                h.check(more, 'a FIN too early')
                self.incoming.write(more)

    def ask(self, n):
        self.tls.write(f'ECHO {self.ANSWER}\r\n'.encode() * n)
        self.sock.sendall(self.outgoing.read())
        self.asked += n
        h.within(h.TIMEOUT, lambda: self.queues()[1] == 0, 'the server has read it: it may keep as much')

    def queues(self):
        """Octets in the server's socket: to be sent, to be read."""
        ours, theirs = self.sock.getsockname()[1], self.server.port('lines')
        with open('/proc/net/tcp', encoding='ascii') as table:
            for line in table:
                fields = line.split()
                if fields[1].endswith(f':{theirs:04X}') and fields[2].endswith(f':{ours:04X}'):
                    return tuple(int(n, 16) for n in fields[4].split(':'))
        raise h.Failure('the server has closed')

    def gone(self):
        return self.server.service()['connections'] == 0


def never_hears(server):
    """It does not read: `linger` after the last octet that went it is given up."""
    client = Unheard(server)
    with client.sock:
        h.within(h.TIMEOUT, client.gone, 'it is given up')
        took = time.monotonic() - client.began
        h.check(took > LINGER_S - 0.3, f'given up after {took:.2f} s already')


def hears_slowly(server):
    """It reads, slowly: each octet that goes gives it `linger` once more, and it hears all."""
    client = Unheard(server)
    heard, least = 0, client.asked * (len(client.ANSWER) + 22)
    with client.sock as sock:
        while True:
            more = sock.recv(16384)
            if not more:
                break
            heard += len(more)
            if time.monotonic() < client.began + 3:
                time.sleep(0.1)
    h.check(heard >= least, f'{heard} octets for {client.asked} answers')
    h.check(time.monotonic() - client.began > LINGER_S + 0.5, 'that was not slow')
    h.within(h.TIMEOUT, client.gone, 'the connection is gone')


def truncated(server):
    before = server.service()['truncated']
    server.secure().close()
    h.within(h.TIMEOUT, lambda: server.service()['truncated'] == before + 1, 'truncated + 1')


def reset(server):
    """A reset in the middle leaves nothing behind."""
    for _ in range(20):
        client = server.secure()
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')
        client.send(b'WHOAMI\r\n')
        client.close()
    h.within(h.TIMEOUT, lambda: server.service()['connections'] == 0, 'no connection is left')


def old_tls(server):
    out = h.s_client(server, 'line', '', '-tls1_1', '-cipher', 'DEFAULT@SECLEVEL=0')
    h.equal(h.alert_of(out), 70, f'the alert in {out}')


def renegotiation(server):
    """In s_client a line R asks for it (TLS 1.2)."""
    argv = [h.need('openssl', 'openssl'), 's_client', '-tls1_2', '-starttls', 'sieve', '-connect',
            '%s:%d' % server.address('line'), '-CAfile', str(server.site.certs.cert('ca'))]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as process:
        try:
            printed = b''
            while b'Ready.' not in printed:
                more = process.stdout.read1(65536)
                h.check(more, f's_client has ended: {printed!r}')
                printed += more
            process.stdin.write(b'R\n')
            process.stdin.flush()
            out = process.stdout.read()
            process.wait(h.TIMEOUT)
        finally:
            process.kill()
    h.check(b'no renegotiation' in out, f'what s_client says: {out!r}')
    server.wait_log('code=renegotiation-refused')


class Talker:
    """Sends the same commands for ever, going on where the last send was cut."""
    LINES = (b'ECHO ' + b'x' * 900 + b'\r\n') * 64

    def __init__(self, client):
        self.client, self.at = client, 0

    def send(self):
        n = self.client.sock.send(self.LINES[self.at:])
        self.at = (self.at + n) % len(self.LINES)
        return n


def never_reads(server, name):
    """It sends commands for ever and reads no answer: the server stops reading, keeps little, and serves
    others meanwhile."""
    client = server.client('plain') if name == 'plain' else server.secure()
    workers = server.pids('worker')
    before = {pid: h.rss_kib(pid) for pid in workers}
    client.sock.settimeout(0.3)
    talker, sent = Talker(client), 0
    with client:
        end = time.monotonic() + 15
        quiet = 0
        while quiet < 3 and time.monotonic() < end:
            try:
                sent += talker.send()
                quiet = 0
            except (TimeoutError, ssl.SSLError):
                quiet += 1
                with server.secure() as other:
                    h.equal(other.command('NOOP').status, 'OK', 'another client, meanwhile')
        h.check(quiet == 3, f'the server took {sent >> 20} MiB and goes on taking')
        for pid in workers:
            grown = h.rss_kib(pid) - before[pid]
            h.check(grown < 2048, f'worker {pid} grew by {grown} KiB')
    h.within(h.TIMEOUT, lambda: server.service('plain' if name == 'plain' else 'line')['connections'] == 0,
             'its connection is gone')


def many_never_read(server):
    """Fifty of them together: bounded as well."""
    workers = server.pids('worker')
    before = sum(h.rss_kib(pid) for pid in workers)
    clients = [server.client('plain') for _ in range(50)]
    talkers = [Talker(client) for client in clients]
    for client in clients:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client.sock.setblocking(False)
    quiet, end = 0, time.monotonic() + 20
    while quiet < 3 and time.monotonic() < end:
        moved = False
        for talker in talkers:
            try:
                talker.send()
                moved = True
            except BlockingIOError:
                pass
        quiet = 0 if moved else quiet + 1
        time.sleep(0.05)
    with server.secure() as other:
        h.equal(other.command('NOOP').status, 'OK', 'another client, meanwhile')
    grown = sum(h.rss_kib(pid) for pid in workers) - before
    used = sum(h.cpu_seconds(pid) for pid in workers)
    time.sleep(1)
    used = sum(h.cpu_seconds(pid) for pid in workers) - used
    for client in clients:
        client.close()
    h.check(used < 0.3, f'the workers were busy for {used:.2f} s in a second in which nothing happened')
    # each: 16 KiB of replies, 16 KiB on their way, 16 KiB read ahead, and the same again for waste
    h.check(grown < 50 * 96, f'the workers grew by {grown} KiB for 50 clients')


def goodbye_to_a_peer_that_never_reads(server):
    """The server's last words find no room at first: the connection ends all the same, and does not stay for
    ever with an engine that has closed."""
    before = server.service('quick')['connections']
    with server.client('quick') as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sock.setblocking(False)
        talker, quiet = Talker(client), 0
        end = time.monotonic() + 10
        while quiet < 3 and time.monotonic() < end:
            try:
                talker.send()
                quiet = 0
            except BlockingIOError:
                quiet += 1
                time.sleep(0.05)
        # its idle time is over: BYE, and `linger` later the end
        h.within(h.TIMEOUT, lambda: server.service('quick')['connections'] == before, 'the end')


def octet_by_octet(server):
    with server.connect() as client:
        client.reply()
        for n in b'NOOP slow\r\nSTARTTLS\r\n':
            client.send(bytes([n]))
            time.sleep(0.001)
        h.equal([client.reply().status for _ in range(2)], ['OK', 'OK'], 'replies')
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = server.site.certs.context(None, 'alice').wrap_bio(incoming, outgoing,
                                                                server_hostname='localhost')

        def send():
            for n in outgoing.read():
                client.send(bytes([n]))

        def pump(call):
            while True:
                try:
                    got = call()
                    send()
                    return got
                except ssl.SSLWantReadError:
                    send()
                    more = client.sock.recv(65536)
                    h.check(more, 'the server has closed')
                    incoming.write(more)
        pump(tls.do_handshake)
        pump(lambda: tls.write(b'WHOAMI\r\nQUIT\r\n'))
        got = b''
        while b'Goodbye' not in got:
            got += pump(lambda: tls.read(65536))
        h.check(b'"IDENTITY" "alice@example.test"' in got, f'{got!r}')


class Leaving:
    """A client whom the server has told the last it has to say, in TLS or not; a refused one got its alert. It has
    closed its own side of nothing."""

    def __init__(self, server, how):
        self.server = server
        if how == 'an alert':
            client = server.connect('linesstrict')
            client.wrap(server.site.certs.context('1.3'))
            try:
                client.reply()
                raise h.Failure('not refused')
            except ssl.SSLError:
                pass
        else:
            client = server.client('plain') if how == 'plaintext' else server.secure('linesquick')
            client.send(b'QUIT\r\n')
            client.reply()
        # what follows is octets to the kernel: no TLS of ours answers them
        self.raw = socket.socket(fileno=client.sock.detach())
        self.raw.settimeout(h.TIMEOUT)
        self.raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self.raw

    def __exit__(self, *_):
        self.raw.close()

    def gone(self):
        return sum(s['connections'] for s in self.server.status()['services']) == 0


def sends_on(server, how):
    """So that the last words arrive, the server reads on behind them, but not for ever: 256 KiB."""
    most = 32 << 20  # far above what the buffers of two sockets hold
    leaving, sent = Leaving(server, how), 0
    with leaving as raw:
        try:
            while sent < most:
                sent += raw.send(bytes(65536))
        except (ConnectionResetError, BrokenPipeError):
            pass
        h.check(256 << 10 <= sent < most, f'{sent} octets were taken')
        h.within(h.TIMEOUT, leaving.gone, 'the connection is gone')


def drips_on(server, how):
    """Nor for longer than `linger`, whatever still comes."""
    leaving, began = Leaving(server, how), time.monotonic()
    with leaving as raw:
        try:
            while not leaving.gone():
                raw.send(b'x')
                time.sleep(0.02)
                h.check(time.monotonic() - began < h.TIMEOUT, 'it lingers')
        except (ConnectionResetError, BrokenPipeError):
            pass
        took = time.monotonic() - began
        h.check(took > LINGER_S - 0.3, f'it was cut after {took:.2f} s already')
        h.within(h.TIMEOUT, leaving.gone, 'the connection is gone')


def nobody_is_left(server):
    """After all this: the workers that were started, no connection, and nothing killed."""
    h.within(h.TIMEOUT, lambda: sum(s['connections'] for s in server.status()['services']) == 0,
             'no connection is left')
    h.equal([p['restarts'] for p in server.status()['processes']], [0, 0, 0, 0], 'restarts')


def main():
    topic = h.Topic()
    site = h.Site(topic)
    hello = client_hello()
    with site.server(SERVICES) as server:
        for name, where in (('quick', 'STARTTLS'), ('linesquick', 'implicit TLS')):
            topic.case(f'no first flight, {where}', stall, server, name, b'', 0.45, 2.8, 'no-hello')
            topic.case(f'half a ClientHello, {where}', stall, server, name, hello[:100], 0.45, 2.8,
                       'hello-not-finished')
            topic.case(f'a handshake that stalls, {where}', stall, server, name, hello, 2.9, 20,
                       'handshake-stalled')
        topic.case('50 stalled handshakes delay nobody', stalls_delay_nobody, server)
        topic.case('a handshake of single octets ends in time', drip, server)
        topic.case('a silent peer in plaintext', silent, server, 'quick')
        topic.case('a silent peer in TLS', silent, server, 'linesquick')
        topic.case('octets without a line are silence', noise_is_silence, server)
        topic.case('garbage on the TLS port', refuses_with_alert, server, b'\xff' * 300)
        topic.case('HTTP on the TLS port', refuses_with_alert, server,
                   b'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
        topic.case('the line protocol on the TLS port', refuses_with_alert, server, b'NOOP\r\nSTARTTLS\r\n')
        topic.case('a ClientHello on the plaintext port', hello_on_plaintext_port, server)
        topic.case('a line of 1 MiB in plaintext', long_line, server, 'plain')
        topic.case('a line of 1 MiB in TLS', long_line, server, 'line')
        topic.case('NUL in a line', nul, server)
        topic.case('half-close: every answer arrives', half_close, server)
        for version in ('1.2', '1.3'):
            topic.case(f'close_notify behind commands: every answer arrives, TLS {version}', half_close_tls,
                       server, version)
        topic.case('the end without close_notify is counted', truncated, server)
        topic.case('resets leave nothing behind', reset, server)
        topic.case('TLS 1.1 is refused with alert 70', old_tls, server)
        topic.case('renegotiation in TLS 1.2 is refused', renegotiation, server)
        topic.case('a peer that never reads, plaintext', never_reads, server, 'plain')
        topic.case('a peer that never reads, TLS', never_reads, server, 'line')
        topic.case('50 peers that never read', many_never_read, server)
        topic.case('goodbye to a peer that never reads', goodbye_to_a_peer_that_never_reads, server)
        topic.case('one octet at a time, handshake included', octet_by_octet, server)
        for how in ('plaintext', 'TLS', 'an alert'):
            topic.case(f'who sends on behind our last words, {how}', sends_on, server, how)
            topic.case(f'who drips on behind our last words, {how}', drips_on, server, how)
        topic.case('nobody is left', nobody_is_left, server)
    with site.server(h.LINE_SERVICE) as server:
        topic.case('close_notify, and it never reads the answers', never_hears, server)
        topic.case('close_notify, and it reads the answers slowly', hears_slowly, server)
    topic.done()


main()
