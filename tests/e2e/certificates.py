"""Which client certificate gets which verdict, identity or alert: one table of every certificate under every
client-certificate mode, in both versions of TLS, in a full handshake and resumed, as openssl s_client sees
it. (Certificates that become bad between the two are in tickets.py and crl.py.)"""
import collections
import concurrent.futures
import ssl
import time

import harness as h

# certificate: verdict, identity, and the alert that refuses it under optional and require
CERTIFICATES = {
    None: ('none', None, {'1.2': 40, '1.3': 116}),
    'alice': ('trusted', 'alice@example.test', None),
    'rsa': ('trusted', 'alice@example.test', None),
    'ed25519': ('trusted', 'alice@example.test', None),
    'indirect': ('trusted', 'alice@example.test', None),
    'nameless': ('unmapped', None, None),
    'empty': ('unmapped', None, None),
    'two': ('unmapped', None, None),  # two users match: nobody is logged in
    'stranger': ('unknown-ca', None, {'1.2': 48, '1.3': 48}),
    'expired': ('expired', None, {'1.2': 45, '1.3': 45}),
    'future': ('not-yet-valid', None, {'1.2': 45, '1.3': 45}),
    'revoked': ('revoked', None, {'1.2': 44, '1.3': 44}),
    'purpose': ('wrong-purpose', None, {'1.2': 43, '1.3': 43}),
    'tampered': ('bad-signature', None, {'1.2': 42, '1.3': 42}),
}
WORDS = {
    None: 'no certificate', 'alice': 'P-256', 'rsa': 'RSA', 'ed25519': 'Ed25519', 'indirect': 'by an intermediate',
    'nameless': 'no SAN', 'empty': 'empty SAN', 'two': 'names of two users', 'stranger': 'unknown CA',
    'expired': 'expired', 'future': 'not yet valid', 'revoked': 'revoked', 'purpose': 'wrong purpose',
    'tampered': 'tampered',
}
MODES = ('none', 'request', 'optional', 'require')
VERSIONS = ('1.2', '1.3')
TRIES = 20
AT_ONCE = 4  # clients

# what Python's ssl calls an alert that it got
REASONS = {40: 'SSLV3_ALERT_HANDSHAKE_FAILURE', 42: 'SSLV3_ALERT_BAD_CERTIFICATE',
           43: 'SSLV3_ALERT_UNSUPPORTED_CERTIFICATE', 44: 'SSLV3_ALERT_CERTIFICATE_REVOKED',
           45: 'SSLV3_ALERT_CERTIFICATE_EXPIRED', 48: 'TLSV1_ALERT_UNKNOWN_CA',
           116: 'TLSV13_ALERT_CERTIFICATE_REQUIRED'}

SERVICES = ''.join(f'''
service {mode} {{
    protocol line
    listen 127.0.0.1:@{mode} starttls-required
    listen 127.0.0.1:@lines{mode} tls
    tls main {{ client-certificate {mode} }}
    max-per-address 1000
}}
''' for mode in MODES)

TLS = h.TLS_MAIN.replace('client-ca {ca}', 'client-ca {ca}\n    client-crl @crl@')

Seen = collections.namedtuple('Seen', 'alert verdict identity resumed')


def expected(cert, mode, version):
    """(alert, verdict, identity)"""
    verdict, identity, alerts = CERTIFICATES[cert]
    if mode == 'none':
        return None, None, None  # not asked for: it never comes
    refused = mode == 'require' or (mode == 'optional' and cert is not None)
    if alerts is not None and refused:
        return alerts[version], None, None
    return None, verdict, identity


class Table:
    """One row is a certificate, a mode and a version, with two connections: a full handshake and one that offers
    its ticket. All rows are run ahead, several at once; each connection is a case of its own."""

    def __init__(self, topic, server):
        self.topic, self.server = topic, server
        self.counted = collections.Counter()  # (mode, name of the counter)
        rows = [(cert, mode, version) for mode in MODES for cert in CERTIFICATES for version in VERSIONS
                if any(topic.wants(self.name(cert, mode, version, how)) for how in ('full', 'resumed'))]
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            futures = [(row, pool.submit(self.run, *row)) for row in rows]
        for row, future in futures:
            for n, how in enumerate(('full', 'resumed')):
                topic.case(self.name(*row, how), self.look, future, row, n)
        if not topic.only:
            for mode in MODES:
                topic.case(f'{mode}: what was counted is what was seen', self.count, mode)

    @staticmethod
    def name(cert, mode, version, how):
        return f'{WORDS[cert]}, {mode}, TLS {version}, {how}'

    def connect(self, name, cert, version, *more):
        args = ['-tls1_' + version[2:], *more]
        certs = self.server.site.certs
        if cert is not None:
            args += ['-cert', certs.cert(cert), '-key', certs.key(cert)]
            if cert == 'indirect':
                args += ['-cert_chain', certs.cert('between')]
        out = h.s_client(self.server, name, 'WHOAMI\nQUIT\n', *args)
        facts, alert = h.facts_of(out), h.alert_of(out)
        h.equal('TLS' in facts, alert is None, f'WHOAMI was answered: {out}')
        return Seen(alert, facts.get('VERDICT'), facts.get('IDENTITY'), facts.get('RESUMED'))

    def run(self, cert, mode, version):
        file = self.server.folder / f'session-{cert}-{mode}-{version}'
        full = self.connect(mode, cert, version, '-sess_out', file)
        if full.alert is not None:  # refused, so no ticket: then one from where it was not
            h.check(not file.exists(), 'a client that was refused has a session')
            self.connect('request', cert, version, '-sess_out', file)
        return full, self.connect(mode, cert, version, '-sess_in', file)

    def look(self, future, row, n):
        seen, (alert, verdict, identity) = future.result()[n], expected(*row)
        resumed = None if alert is not None else 'yes' if n == 1 else 'no'
        h.equal(seen, Seen(alert, verdict, identity, resumed), 'seen')

    def count(self, mode):
        rows = [expected(cert, mode, version) for cert in CERTIFICATES for version in VERSIONS]
        refused = sum(1 for alert, _, _ in rows if alert is not None)
        good = len(rows) - refused
        more = 0  # sessions that gave those that are refused elsewhere a ticket
        if mode == 'request':
            more = sum(1 for other in MODES for cert in CERTIFICATES for version in VERSIONS
                       if expected(cert, other, version)[0] is not None)
        want = {'handshakes': 2 * good + more, 'resumed': good, 'handshakes_failed': 2 * refused}

        def counted():
            service = self.server.service(mode)
            return {name: service[name] for name in want}
        h.within(h.TIMEOUT, lambda: counted()['handshakes_failed'] >= want['handshakes_failed'], 'all counted')
        h.equal(counted(), want, 'counted')


def send_slowly(client, records):
    """Each TLS record by itself: the server refuses in the middle of the flight, and the rest comes when it
    has. Unless it reads on, the client meets a reset where it should find the alert."""
    while records:
        size = 5 + int.from_bytes(records[3:5], 'big')
        client.send(records[:size])
        records = records[size:]
        time.sleep(0.002)


def refusal(client, context):
    """The reason that a client gives for the end of its handshake, or of what follows in TLS 1.3."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname='localhost')

    def receive():
        more = client.sock.recv(65536)
        h.check(more, 'the end without an alert')
        incoming.write(more)
    try:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                send_slowly(client, outgoing.read())
                receive()
        for _ in range(3):
            tls.write(b'WHOAMI\r\n')
            send_slowly(client, outgoing.read())
        while True:
            try:
                raise h.Failure(f'it was not refused: {tls.read(1000)!r}')
            except ssl.SSLWantReadError:
                receive()
    except ssl.SSLError as error:
        return error.reason


def alert_always_arrives(server, cert, mode, version, name):
    alert = expected(cert, mode, version)[0]
    context = server.site.certs.context(version, cert)
    for n in range(TRIES):
        with server.connect(name) as client:
            if not name.startswith('lines'):
                client.reply()
                h.equal(client.command('STARTTLS').status, 'OK', 'STARTTLS')
            try:
                h.equal(refusal(client, context), REASONS[alert], 'the alert')
            except (OSError, h.Failure) as error:
                raise h.Failure(f'try {n + 1} of {TRIES}: no alert but {error!r}') from error


def greeting_says_why(server, cert, word):
    with server.secure('request', cert=cert) as client:
        h.check(word in client.greeting.text, f'the greeting in TLS: {client.greeting.text!r}')


def only_from(site):
    """A rule `from FILE` holds for chains of that CA alone."""
    tls = '''
tls main {{
    certificate {cert} key {key}
    client-ca {ca} ''' + str(site.certs.cert('stranger-ca')) + '''
}}
identity {{ map san-email from ''' + str(site.certs.cert('stranger-ca')) + ''' }}
'''
    with site.server(h.LINE_SERVICE, tls=tls) as server:
        for cert, verdict, identity in (('alice', 'unmapped', None),
                                        ('stranger', 'trusted', 'alice@example.test')):
            with server.secure(cert=cert) as client:
                facts = client.whoami()
                h.equal((facts['VERDICT'], facts.get('IDENTITY')), (verdict, identity), cert)


def main():
    topic = h.Topic()
    site = h.Site(topic)
    for cert in CERTIFICATES:
        if cert is not None:
            site.certs.cert(cert)  # before several want it at once
    with site.server(SERVICES, tls=TLS.replace('@crl@', str(site.certs.list_of('revoked')))) as server:
        Table(topic, server)
        for mode in ('optional', 'require'):
            for cert in CERTIFICATES:
                for version in VERSIONS:
                    if expected(cert, mode, version)[0] is None:
                        continue
                    for name in (mode, 'lines' + mode):
                        where = 'implicit TLS' if name != mode else 'STARTTLS'
                        topic.case(f'{WORDS[cert]}, {mode}, TLS {version}, {where}: '
                                   f'the alert in {TRIES} of {TRIES} tries', alert_always_arrives, server,
                                   cert, mode, version, name)
        topic.case('the greeting says that a certificate has expired', greeting_says_why, server, 'expired',
                   'expired')
        topic.case('the greeting says that an issuer is not trusted', greeting_says_why, server, 'stranger',
                   'issuer')
    topic.case('map ... from FILE', only_from, site)
    topic.done()


main()
