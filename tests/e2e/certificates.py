"""Which client certificate gets which verdict, identity or alert: every certificate, under every
client-certificate mode, in both versions of TLS."""
import ssl
import time

import harness as h

# certificate: verdict, identity, and the alert that refuses it under optional and require
CERTIFICATES = {
    None: ('none', None, {'1.2': 40, '1.3': 116}),
    'alice': ('trusted', 'alice@example.test', None),
    'indirect': ('trusted', 'alice@example.test', None),
    'nameless': ('unmapped', None, None),
    'two': ('unmapped', None, None),  # two users match: nobody is logged in
    'stranger': ('unknown-ca', None, {'1.2': 48, '1.3': 48}),
    'expired': ('expired', None, {'1.2': 45, '1.3': 45}),
    'future': ('not-yet-valid', None, {'1.2': 45, '1.3': 45}),
    'purpose': ('wrong-purpose', None, {'1.2': 43, '1.3': 43}),
}
MODES = ('none', 'request', 'optional', 'require')
VERSIONS = ('1.2', '1.3')
TRIES = 20

# what Python's ssl calls an alert that it got
REASONS = {40: 'SSLV3_ALERT_HANDSHAKE_FAILURE', 43: 'SSLV3_ALERT_UNSUPPORTED_CERTIFICATE',
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


def expected(cert, mode, version):
    """(alert, verdict, identity)"""
    verdict, identity, alerts = CERTIFICATES[cert]
    if mode == 'none':
        return None, None, None  # not asked for: it never comes
    refused = mode == 'require' or (mode == 'optional' and cert is not None)
    if alerts is not None and refused:
        return alerts[version], None, None
    return None, verdict, identity


def as_seen_by_s_client(server, cert, mode, version):
    args = ['-tls1_' + version[2:]]
    certs = server.site.certs
    if cert is not None:
        args += ['-cert', certs.cert(cert), '-key', certs.key(cert)]
        if cert == 'indirect':
            args += ['-cert_chain', certs.cert('between')]
    before = server.service(mode)
    out = h.s_client(server, mode, 'WHOAMI\nQUIT\n', *args)
    alert, verdict, identity = expected(cert, mode, version)
    h.equal(h.alert_of(out), alert, f'alert in {out}')
    facts = h.facts_of(out)
    h.equal(facts.get('VERDICT'), verdict, 'VERDICT')
    h.equal(facts.get('IDENTITY'), identity, 'IDENTITY')
    h.equal('TLS' in facts, alert is None, 'WHOAMI answered')
    name = 'handshakes' if alert is None else 'handshakes_failed'
    h.within(h.TIMEOUT, lambda: server.service(mode)[name] > before[name], f'{name} counted')


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
    with site.server(SERVICES) as server:
        for mode in MODES:
            for cert in CERTIFICATES:
                for version in VERSIONS:
                    topic.case(f'{cert or "no certificate"}, {mode}, TLS {version}', as_seen_by_s_client,
                               server, cert, mode, version)
        for mode in ('optional', 'require'):
            for cert in CERTIFICATES:
                for version in VERSIONS:
                    if expected(cert, mode, version)[0] is None:
                        continue
                    for name in (mode, 'lines' + mode):
                        where = 'implicit TLS' if name != mode else 'STARTTLS'
                        topic.case(f'{cert or "no certificate"}, {mode}, TLS {version}, {where}: '
                                   f'the alert in {TRIES} of {TRIES} tries', alert_always_arrives, server,
                                   cert, mode, version, name)
        topic.case('the greeting says that a certificate has expired', greeting_says_why, server, 'expired',
                   'expired')
        topic.case('the greeting says that an issuer is not trusted', greeting_says_why, server, 'stranger',
                   'issuer')
    topic.case('map ... from FILE', only_from, site)
    topic.done()


main()
