"""tickets.py - session tickets and resumption: every worker and every later start takes them, none opens
another trust domain, and what a resumed session is worth is decided anew each time."""
import datetime
import re
import shutil
import ssl
import time

import harness as h

VERSIONS = ('1.2', '1.3')
ROUNDS = 1000

SERVICES = h.LINE_SERVICE + '''
service strict {
    protocol line
    listen 127.0.0.1:@strict starttls-required
    tls main { client-certificate require }
}
service optional {
    protocol line
    listen 127.0.0.1:@optional starttls-required
    tls main { client-certificate optional }
}
service twin {
    protocol line
    listen 127.0.0.1:@twin starttls-required
    tls main
}
service more {
    protocol line
    listen 127.0.0.1:@more starttls-required
    tls main { client-ca %(ca)s %(stranger)s }
}
service off {
    protocol line
    listen 127.0.0.1:@off starttls-required
    tls main { tickets off }
}
'''


def services(site):
    return SERVICES % {'ca': site.certs.cert('ca'), 'stranger': site.certs.cert('stranger-ca')}


def many(server, version):
    before = server.service()
    visitor = h.Visitor(server, version, 'alice')
    h.equal(visitor.full()['VERDICT'], 'trusted', 'VERDICT')
    for i in range(ROUNDS):
        facts = visitor.resumed('lines' if i % 2 else 'line')
        h.equal((facts['VERDICT'], facts['IDENTITY'], facts['SAN']),
                ('trusted', 'alice@example.test', ['email:alice@example.test']), f'facts of {i}')
    after = server.service()
    h.equal(after['resumed'] - before['resumed'], ROUNDS, 'counted as resumed')
    h.equal(after['tickets'] - before['tickets'], 2 + ROUNDS if version == '1.3' else 1,
            'tickets given out')
    h.check(after['chains_known'] - before['chains_known'] >= ROUNDS - 8, 'chains were verified again and again')
    h.check(all(p['accepted'] > 0 for p in server.processes('worker')), 'a worker had nothing to do')


def key_file(server):
    return server.folder / 'state' / 'keys' / 'ticket'


def survives(server, version):
    visitor = h.Visitor(server, version, 'alice')
    key = key_file(server).read_bytes()
    h.equal((len(key), key_file(server).stat().st_mode & 0o7777,
             key_file(server).parent.stat().st_mode & 0o7777), (64, 0o600, 0o700), 'the key file')
    visitor.full()
    for what, act in (('reload', server.reload), ('upgrade', server.upgrade),
                      ('stop and start', lambda: (server.stop(), server.start()))):
        act()
        for _ in range(4):
            reused, facts = visitor.visit()
            h.check(reused, f'{what}: a full handshake')
            h.equal(facts['VERDICT'], 'trusted', f'{what}: VERDICT')
        h.equal(key_file(server).read_bytes(), key, f'{what}: the key')
    h.check(key.hex() not in server.log() and list(key_file(server).parent.iterdir()) == [key_file(server)],
            'the key is somewhere else')


def other_server_certificate(server, version):
    visitor = h.Visitor(server, version, 'alice')
    visitor.full()
    certs = server.site.certs
    server.write_conf(tls=h.TLS_MAIN.replace('{cert}', str(certs.cert('server-2')))
                      .replace('{key}', str(certs.key('server-2'))))
    server.reload()
    visitor.resumed()
    server.write_conf()
    server.reload()
    visitor.resumed()


def other_ca(server, version):
    visitor = h.Visitor(server, version, 'alice')
    strict = h.Visitor(server, version, 'alice')
    visitor.full()
    strict.full('strict')
    server.write_conf(tls=h.TLS_MAIN.replace('{ca}', str(server.site.certs.cert('stranger-ca'))))
    server.reload()
    facts = visitor.full(keep=False)
    h.equal((facts['VERDICT'], facts.get('IDENTITY')), ('unknown-ca', None), 'the CA is out')
    strict.refused('strict', 'UNKNOWN_CA')
    server.write_conf()
    server.reload()
    h.equal(visitor.resumed()['VERDICT'], 'trusted', 'the CA is back')
    strict.resumed('strict')


def domains(server, version):
    for cert in (None, 'alice'):
        for home in ('line', 'optional', 'twin', 'more'):
            visitor = h.Visitor(server, version, cert)
            visitor.full(home)
            for away in ('line', 'optional', 'twin', 'more', 'off'):
                if away != home:
                    visitor.full(away, keep=False)
            visitor.resumed(home)


def anonymous(server, version):
    """A session without certificate never gets in where one is required."""
    visitor = h.Visitor(server, version)
    visitor.full()
    visitor.refused('strict', 'CERTIFICATE_REQUIRED' if version == '1.3' else 'HANDSHAKE_FAILURE')
    h.equal(visitor.resumed()['VERDICT'], 'none', 'VERDICT')


def expires(server, version):
    """Fine at first, expired when it comes back."""
    certs = server.site.certs
    name = 'brief-' + version.replace('.', '')
    now = datetime.datetime.now(datetime.timezone.utc)
    end = now + datetime.timedelta(seconds=4)
    dates = tuple(t.strftime('%Y%m%d%H%M%SZ') for t in (now - datetime.timedelta(hours=1), end))
    certs._make(h.Issue(name, 'client', 'email:alice@example.test', 'ca', dates))
    visitors = {service: h.Visitor(server, version, name) for service in ('line', 'optional', 'strict')}
    for service, visitor in visitors.items():
        h.equal(visitor.full(service)['VERDICT'], 'trusted', 'at first')
        h.equal(visitor.resumed(service)['VERDICT'], 'trusted', 'still')
    time.sleep(max(0, (end - datetime.datetime.now(datetime.timezone.utc)).total_seconds() + 1.2))
    facts = visitors['line'].resumed()
    h.equal((facts['VERDICT'], facts.get('IDENTITY'), facts['SUBJECT']), ('expired', None, f'CN={name}'),
            'under request it goes on')
    count = len(re.findall('in a resumed session', server.log()))
    failed = server.service('strict')['handshakes_failed']
    for service in ('optional', 'strict'):
        visitors[service].refused(service, 'CERTIFICATE_EXPIRED')
        visitors[service].refused(service, 'CERTIFICATE_EXPIRED')
    server.wait_log(r'expired on .* did not resume its session \(alert 45\)', count + 2)
    h.check(server.service('strict')['handshakes_failed'] >= failed + 2, 'not counted')


def off(server, version):
    visitor = h.Visitor(server, version, 'alice')
    for _ in range(3):
        visitor.full('off')
    h.check(not visitor.session.has_ticket, 'a ticket although they are off')
    h.equal(server.service('off')['tickets'], 0, 'tickets')


def off_everywhere(site):
    with site.server(h.LINE_SERVICE.replace('tls main', 'tls main { tickets off }')) as server:
        h.Visitor(server, '1.3').full()
        h.check(not key_file(server).exists(), 'a key that nobody needs')


def lifetime(site):
    """Another lifetime, another working key: the full handshake, no failure."""
    with site.server(services(site)) as server:
        visitor = h.Visitor(server, '1.3')
        visitor.full()
        server.write_conf(tls=h.TLS_MAIN.replace('client-certificate request',
                                                 'client-certificate request\n    ticket-lifetime 7d'))
        server.reload()
        visitor.full()
        visitor.resumed()
        h.check(604700 < visitor.session.ticket_lifetime_hint <= 604800, 'the hint')


def openssl(server):
    """Sessions in files, as people try it; no early data is allowed."""
    for version in ('-tls1_2', '-tls1_3'):
        file = server.folder / f'session{version}'
        certs = server.site.certs
        args = ['-cert', str(certs.cert('alice')), '-key', str(certs.key('alice')), version]
        first = h.s_client(server, 'strict', 'WHOAMI\nQUIT\n', *args, '-sess_out', str(file))
        h.equal(h.facts_of(first).get('RESUMED'), 'no', first)
        text = h.subprocess.run(['openssl', 'sess_id', '-in', str(file), '-noout', '-text'],
                                stdout=h.subprocess.PIPE, text=True, check=True).stdout
        h.check('lifetime hint: 21600' in text and 'Max Early Data: 0' in text
                or version == '-tls1_2' and 'lifetime hint: 21600' in text, text)
        for _ in range(3):
            again = h.s_client(server, 'strict', 'WHOAMI\nQUIT\n', *args, '-sess_in', str(file),
                               '-sess_out', str(file))
            facts = h.facts_of(again)
            h.equal((facts.get('RESUMED'), facts.get('IDENTITY')), ('yes', 'alice@example.test'), again)


def refused_gets_none(server):
    for version in ('-tls1_2', '-tls1_3'):
        file = server.folder / f'refused{version}'
        before = server.service('strict')['tickets']
        out = h.s_client(server, 'strict', 'NOOP\n', version, '-sess_out', str(file))
        h.equal(h.alert_of(out), 116 if version == '-tls1_3' else 40, 'the alert')
        h.check(version == '-tls1_2' or not file.exists(), 'a session was kept')
        h.equal(server.service('strict')['tickets'], before, 'tickets given')


def one_write(server):
    """Tickets come with the first words: what arrives in one read has both."""
    context = server.site.certs.context('1.3')
    for name in ('line', 'lines'):
        with h.Client(server.address(name)) as client:
            if name == 'line':
                client.reply()
                client.command('STARTTLS')
            into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = context.wrap_bio(into, out, server_hostname='localhost')
            for _ in range(2):
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    client.send(out.read())
                    into.write(client.sock.recv(65536))
            client.send(out.read())
            into.write(client.sock.recv(65536))
            words = tls.read(65536)
            h.check(words.endswith(b'\r\n') and b'OK ' in words, f'{name}: the first words: {words!r}')
            h.check(tls.session is not None and tls.session.has_ticket, f'{name}: no ticket with them')


def bad_file(site):
    """A key that others could have read is not used; tickets made with it are worth nothing."""
    with site.server(services(site)) as server:
        visitor = h.Visitor(server, '1.3')
        visitor.full()
        key = key_file(server).read_bytes()
        key_file(server).chmod(0o644)
        server.reload()
        server.wait_log('keys/ticket was open to other users: a new key')
        h.check(key_file(server).read_bytes() != key, 'the old key is still there')
        visitor.full()
        key_file(server).write_bytes(b'short')
        server.reload()
        server.wait_log('keys/ticket did not have 64 octets: a new key')
        visitor.full()
        visitor.resumed()
        shutil.rmtree(key_file(server).parent)  # the way to change it by hand
        server.reload()
        visitor.full()
        h.equal(len(key_file(server).read_bytes()), 64, 'made again')


def no_folder(site):
    """Without a place for the key the server serves, and says what that costs."""
    with site.server(services(site)) as server:
        keys = key_file(server).parent
        shutil.rmtree(keys)
        keys.write_text('in the way')
        server.reload()
        server.wait_log('cannot open the folder .*keys.*tickets do not outlive this process')
        visitor = h.Visitor(server, '1.3')
        visitor.full()
        visitor.resumed()
        server.reload()
        visitor.resumed()


def main():
    topic = h.Topic()
    site = h.Site(topic)
    with site.server(services(site), workers=4) as server:
        for version in VERSIONS:
            topic.case(f'TLS {version}: {ROUNDS} resumptions over all workers', many, server, version)
        for version in VERSIONS:
            topic.case(f'TLS {version}: a reload, an upgrade, a stop and a start', survives, server, version)
            topic.case(f'TLS {version}: another certificate of the server', other_server_certificate,
                       server, version)
            topic.case(f'TLS {version}: a CA that was taken out', other_ca, server, version)
            topic.case(f'TLS {version}: no ticket opens another service', domains, server, version)
            topic.case(f'TLS {version}: without certificate where one is required', anonymous, server,
                       version)
            topic.case(f'TLS {version}: a certificate that has expired since', expires, server, version)
            topic.case(f'TLS {version}: tickets off', off, server, version)
        topic.case('openssl s_client: sessions in files, no early data', openssl, server)
        topic.case('a client that is refused gets no ticket', refused_gets_none, server)
        topic.case('tickets and the first words are one write', one_write, server)
    topic.case('tickets off everywhere: no key', off_everywhere, site)
    topic.case('another lifetime', lifetime, site)
    topic.case('a key file that cannot be used is replaced', bad_file, site)
    topic.case('no place for the key file', no_folder, site)
    topic.done()


if __name__ == '__main__':
    main()
