"""names.py - clients that ask for a host name (SNI): certificate, trust, mode and tickets of the name block that
has it, through reloads, with several clients; and what is said of names that are wrong."""
import socket
import ssl
import subprocess

import harness as h

VERSIONS = ('1.2', '1.3')

SERVICES = h.LINE_SERVICE + '''
service other {
    protocol line
    listen 127.0.0.1:@other starttls-required
    tls main { name mail.example.net { certificate %(server2)s key %(server2_key)s } }
}
'''

NAMES = '''
    name mail.example.net IMAP.example.net {
        certificate %(net)s key %(net_key)s
        client-certificate require
    }
    name *.example.net {
        certificate %(net)s key %(net_key)s
        client-certificate none
    }
    name bücher.example {
        certificate %(books)s key %(books_key)s
        client-ca %(stranger)s
        client-certificate optional
    }
'''

# asked for, the server's certificate, what a client without one gets, with alice's, with a stranger's
REFUSED = 'refused'
TABLE = [
    (None, 'server', 'none', 'trusted', 'unknown-ca'),
    ('localhost', 'server', 'none', 'trusted', 'unknown-ca'),
    ('nobody.example', 'server', 'none', 'trusted', 'unknown-ca'),
    ('example.net', 'server', 'none', 'trusted', 'unknown-ca'),
    ('mail.example.net', 'net', REFUSED, 'trusted', REFUSED),
    ('Mail.Example.NET', 'net', REFUSED, 'trusted', REFUSED),
    ('imap.example.net', 'net', REFUSED, 'trusted', REFUSED),
    ('other.example.net', 'net', None, None, None),
    ('a.b.example.net', 'server', 'none', 'trusted', 'unknown-ca'),
    ('xn--bcher-kva.example', 'books', 'none', REFUSED, 'trusted'),
]


def with_names(site, text=NAMES):
    certs = site.certs
    names = text % {'net': certs.cert('net'), 'net_key': certs.key('net'), 'books': certs.cert('books'),
                    'books_key': certs.key('books'), 'stranger': certs.cert('stranger-ca')}
    # the harness fills in what stands in braces
    return h.TLS_MAIN.replace('client-ca {ca}\n', 'client-ca {ca}\n' + names.replace('{', '{{').replace('}', '}}'))


def services(site):
    return SERVICES % {'server2': site.certs.cert('server-2'), 'server2_key': site.certs.key('server-2')}


def context(server, version=None, client=None):
    made = server.site.certs.context(version, client)
    made.check_hostname = False  # names are compared below
    return made


def visit(server, host, version=None, client=None, name='line', session=None, made=None):
    """The server's certificate, WHOAMI's facts and the session; REFUSED for facts if it ends with an alert."""
    made = made or context(server, version, client)
    with h.Client(server.address(name)) as c:
        if not name.startswith('lines'):
            c.reply()
            h.equal(c.command('STARTTLS').status, 'OK', 'STARTTLS')
        try:
            c.sock = made.wrap_socket(c.sock, server_hostname=host, session=session, suppress_ragged_eofs=False)
            c.greeting = c.reply()
            der = c.sock.getpeercert(True)
            facts = c.whoami()
            c.command('QUIT')
            return der, facts, c.sock.session
        except ssl.SSLError as why:
            h.check('alert' in str(why).lower(), f'{host}: {why}')
            return None, REFUSED, None


def der_of(server, name):
    return ssl.PEM_cert_to_DER_cert(server.site.certs.cert(name).read_text())


def table(server, version):
    for host, cert, *verdicts in TABLE:
        for client, want in zip((None, 'alice', 'stranger'), verdicts):
            for name in ('line', 'lines'):
                der, facts, _ = visit(server, host, version, client, name)
                got = facts if facts == REFUSED else facts.get('VERDICT')
                h.equal(got, want, f'{host} {client} at {name}')
                if der is not None:
                    h.check(der == der_of(server, cert), f'{host}: another certificate than that of {cert}')
    der, facts, _ = visit(server, 'mail.example.net', version, 'alice', 'other')
    h.check(der == der_of(server, 'server-2'), 'a service\'s own name: another certificate')
    der, facts, _ = visit(server, 'imap.example.net', version, 'alice', 'other')
    h.check(der == der_of(server, 'server'), 'a service with names has those of the block too')


def tickets(server, version):
    """A ticket of one name opens at no other: there it is a full handshake, judged anew."""
    homes = (('localhost', 'alice'), ('mail.example.net', 'alice'), ('other.example.net', 'alice'),
             ('xn--bcher-kva.example', 'stranger'))
    for home, client in homes:
        made = context(server, version, client)
        _, _, session = visit(server, home, made=made)
        h.check(session is not None and session.has_ticket, f'{home}: no ticket')
        for away, _ in homes:
            _, facts, _ = visit(server, away, session=session, made=made)
            if home == away:
                h.equal(facts['RESUMED'], 'yes', f'{home} again')
            else:
                h.check(facts == REFUSED or facts['RESUMED'] == 'no', f'a ticket of {home} at {away}')
    # through a reload and an upgrade, in every worker
    made = context(server, version, 'alice')
    _, _, session = visit(server, 'mail.example.net', made=made)
    for act in (server.reload, server.upgrade):
        act()
        for _ in range(4):
            _, facts, session = visit(server, 'mail.example.net', session=session, made=made)
            h.equal((facts['RESUMED'], facts['VERDICT']), ('yes', 'trusted'), 'behind a reload')


def clients(server):
    certs = server.site.certs
    out = h.s_client(server, 'lines', 'WHOAMI\nQUIT\n', '-servername', 'mail.example.net', '-verify_hostname',
                     'mail.example.net', '-cert', certs.cert('alice'), '-key', certs.key('alice'), starttls=False)
    h.equal(h.facts_of(out).get('VERDICT'), 'trusted', f's_client: {out}')
    out = h.s_client(server, 'lines', 'NOOP\n', '-servername', 'mail.example.net', starttls=False)
    h.equal(h.alert_of(out), 116, f's_client without a certificate: {out}')
    out = h.gnutls_cli(server, 'line', [('WHOAMI', 'OK'), ('QUIT', 'OK')], '--sni-hostname', 'bücher.example',
                       '--verify-hostname', 'xn--bcher-kva.example', '--x509certfile', certs.cert('stranger'),
                       '--x509keyfile', certs.key('stranger'))
    h.equal(h.facts_of(out).get('VERDICT'), 'trusted', f'gnutls-cli: {out}')


def logged(server):
    """The log knows the name."""
    visit(server, 'IMAP.example.net', '1.3')
    server.wait_log('sent no certificate.* name=mail.example.net .*code=certificate-missing')


def changed(server):
    """Names come and go with a reload; sessions that are up keep what they have."""
    with h.Client(server.address('line')) as c:
        c.reply()
        c.command('STARTTLS')
        c.sock = context(server, '1.3', 'alice').wrap_socket(c.sock, server_hostname='mail.example.net',
                                                             suppress_ragged_eofs=False)
        c.reply()
        server.write_conf(tls=h.TLS_MAIN)
        server.reload()
        h.equal(c.whoami()['VERDICT'], 'trusted', 'a session of before')
    der, facts, _ = visit(server, 'mail.example.net', '1.3', 'stranger')
    h.check(der == der_of(server, 'server'), 'the name is still there')
    h.equal(facts['VERDICT'], 'unknown-ca', 'without the name')
    server.write_conf(tls=with_names(server.site))
    server.reload()
    der, _, _ = visit(server, 'mail.example.net', '1.3', 'alice')
    h.check(der == der_of(server, 'net'), 'the name is not back')


def garbage(server):
    """Names that nobody can have end no process."""
    made = context(server)
    for host in ('a' * 63 + '.example.net', 'a' * 64 + '.example.net', '-', '-.example.net', '.'.join(['a' * 60] * 4)):
        # python checks names; the extension is written into its ClientHello
        into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
        asked = ('x' * 50 + '.') * 5
        asked = asked[:len(host)].rstrip('.').ljust(len(host), 'x')
        tls = made.wrap_bio(into, out, server_hostname=asked)
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        hello = out.read().replace(asked.encode(), host.encode())
        with socket.create_connection(server.address('lines'), timeout=h.TIMEOUT) as s:
            s.sendall(hello)
            answer = s.recv(1)
            h.check(answer in (b'\x16', b'\x15'), f'{host}: {answer!r}')
    h.equal(len(server.processes('worker')), 2, 'workers')
    h.check(all(p['restarts'] == 0 for p in server.processes('worker')), 'a worker has died')


def checked(site):
    """posternd -n says which names no certificate is for, and every mistake of every name."""
    with site.server(services(site), tls=with_names(site), allowed='reload failed') as server:
        run = subprocess.run([str(site.posternd), '-n', '-f', str(server.conf)], capture_output=True, text=True,
                             timeout=h.TIMEOUT)
        h.equal(run.returncode, 0, run.stderr)
        h.check('line, name mail.example.net: no certificate is for the name' not in run.stderr, run.stderr)
        names = NAMES.replace('bücher.example', 'wrong.example').replace('%(net)s key %(net_key)s',
                                                                          '%(net)s key %(books_key)s')
        server.write_conf(tls=with_names(site, names))
        run = subprocess.run([str(site.posternd), '-n', '-f', str(server.conf)], capture_output=True, text=True,
                             timeout=h.TIMEOUT)
        h.equal(run.returncode, 78, run.stderr)
        h.check('the private key does not belong to the first certificate' in run.stderr, run.stderr)
        h.check('name wrong.example: no certificate is for the name wrong.example' in run.stderr, run.stderr)
        answer = server.ask('reload')
        h.check(not answer['ok'] and 'does not belong' in answer['error'], str(answer))
        der, _, _ = visit(server, 'mail.example.net', '1.3', 'alice')
        h.check(der == der_of(server, 'net'), 'something has changed')


def main():
    topic = h.Topic()
    site = h.Site(topic)
    with site.server(services(site), tls=with_names(site), workers=2) as server:
        for version in VERSIONS:
            topic.case(f'TLS {version}: whose certificate, who is trusted, who is refused', table, server, version)
            topic.case(f'TLS {version}: tickets', tickets, server, version)
        topic.case('s_client and gnutls-cli', clients, server)
        topic.case('the log', logged, server)
        topic.case('names come and go', changed, server)
        topic.case('names that nobody can have', garbage, server)
    topic.case('posternd -n', checked, site)
    topic.done()


if __name__ == '__main__':
    main()
