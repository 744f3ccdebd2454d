"""From plaintext to TLS as real clients do it: openssl s_client, gnutls-cli, Python's ssl; by STARTTLS and
at once; what WHOAMI and the second greeting tell."""
import harness as h


def by_s_client(server, name, version, starttls):
    certs = server.site.certs
    out = h.s_client(server, name, 'WHOAMI\nQUIT\n', '-tls1_' + version[2:], '-cert',
                     certs.cert('alice'), '-key', certs.key('alice'), starttls=starttls)
    facts = h.facts_of(out)
    h.equal(facts.get('TLS'), 'TLS' + version, f'TLS in {out}')
    h.equal(facts.get('CIPHER'), 'AES-128-GCM', 'CIPHER')
    h.equal(facts.get('VERDICT'), 'trusted', 'VERDICT')
    h.equal(facts.get('IDENTITY'), 'alice@example.test', 'IDENTITY')
    h.check('OK "Goodbye."' in out, f'no answer to QUIT: {out}')
    h.equal(h.alert_of(out), None, 'alert')


def by_gnutls_cli(server, name, cert, starttls):
    certs = server.site.certs
    args = ['--x509certfile', certs.cert(cert), '--x509keyfile', certs.key(cert)] if cert else []
    dialogue = [('WHOAMI', 'OK "(Your|Nobody)'), ('QUIT', 'Goodbye')]
    out = h.gnutls_cli(server, name, dialogue, *args, starttls=starttls)
    facts = h.facts_of(out)
    h.equal(facts.get('TLS'), 'TLS1.3', f'TLS in {out}')
    h.equal(facts.get('VERDICT'), 'trusted' if cert else 'none', 'VERDICT')
    h.equal(facts.get('IDENTITY'), 'alice@example.test' if cert else None, 'IDENTITY')
    h.check('OK "Goodbye."' in out, f'no answer to QUIT: {out}')


def by_hand(server, version):
    with server.client() as client:
        h.check('STARTTLS' in h.capabilities(client.greeting), f'greeting {client.greeting}')
        h.equal(client.command('ECHO x').code, 'ENCRYPT-NEEDED', 'ECHO in plaintext')
        h.equal(client.whoami(), {'SAN': [], 'TLS': 'none',
                                  'TEXT': 'Nobody is logged in: this connection is plaintext.'}, 'WHOAMI')
        client.starttls(server.site.certs.context(version, 'alice'))
        # RFC 5804 §2.2: the server speaks first, and its capabilities are told again
        h.equal(h.capabilities(client.greeting),
                ['IMPLEMENTATION', 'PROTOCOL', 'HOST', 'SERVICE', 'MAXLINE'], 'capabilities in TLS')
        facts = client.whoami()
        h.equal(facts['TLS'], 'TLS' + version, 'TLS')
        h.equal(facts['CIPHER'], 'AES-128-GCM', 'CIPHER')
        h.equal(facts['GROUP'], 'X25519', 'GROUP')
        h.equal(facts['RESUMED'], 'no', 'RESUMED')
        h.equal(facts['VERDICT'], 'trusted', 'VERDICT')
        h.equal(facts['SUBJECT'], 'CN=alice', 'SUBJECT')
        h.equal(facts['SAN'], ['email:alice@example.test'], 'SAN')
        h.equal(facts['IDENTITY'], 'alice@example.test', 'IDENTITY')
        h.equal(client.sock.version(), 'TLSv' + version, 'what the client says')
        h.equal(client.command('ECHO in TLS').data, [['in TLS']], 'ECHO')
        h.equal(client.command('QUIT').status, 'OK', 'QUIT')
        client.expect_end()


def implicit(server, version):
    with server.secure('lines', version) as client:
        h.check('STARTTLS' not in h.capabilities(client.greeting), f'greeting {client.greeting}')
        h.equal(client.whoami()['TLS'], 'TLS' + version, 'TLS')
        h.equal(client.command('QUIT').status, 'OK', 'QUIT')
        client.expect_end()


def close_notify_is_answered(server, version):
    with server.secure(version=version) as client:
        client.sock.unwrap()  # sends close_notify and waits for the server's


def big_exchange(server, version):
    """Many records each way, in order."""
    with server.secure(version=version) as client:
        lines = [f'ECHO {n} ' + 'x' * (n % 900) for n in range(400)]
        client.send(''.join(line + '\r\n' for line in lines[:40]).encode())
        for n, line in enumerate(lines):
            if n + 40 < len(lines):
                client.send(lines[n + 40].encode() + b'\r\n')
            h.equal(client.reply().data, [[line[5:]]], f'ECHO {n}')


def counted(server):
    before = server.service()
    server.secure().close()
    h.within(h.TIMEOUT, lambda: server.service()['handshakes'] == before['handshakes'] + 1, 'handshakes + 1')
    h.within(h.TIMEOUT, lambda: server.service()['connections'] == 0, 'no connection is left')
    h.equal(server.service()['tls_sessions'], 0, 'TLS sessions left')


def main():
    topic = h.Topic()
    site = h.Site(topic)
    with site.server(h.LINE_SERVICE) as server:
        for version in ('1.2', '1.3'):
            topic.case(f'openssl s_client by STARTTLS, TLS {version}', by_s_client, server, 'line', version,
                       True)
            topic.case(f'openssl s_client, implicit TLS {version}', by_s_client, server, 'lines', version,
                       False)
            topic.case(f'python by STARTTLS, TLS {version}', by_hand, server, version)
            topic.case(f'python, implicit TLS {version}', implicit, server, version)
            topic.case(f'close_notify is answered, TLS {version}', close_notify_is_answered, server, version)
            topic.case(f'400 pipelined lines come back in order, TLS {version}', big_exchange, server,
                       version)
        for cert in ('alice', None):
            word = 'with a certificate' if cert else 'without a certificate'
            topic.case(f'gnutls-cli by STARTTLS, {word}', by_gnutls_cli, server, 'line', cert, True)
            topic.case(f'gnutls-cli, implicit TLS, {word}', by_gnutls_cli, server, 'lines', cert, False)
        topic.case('handshakes and connections are counted', counted, server)
    topic.done()


main()
