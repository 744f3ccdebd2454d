"""Revocation lists: which certificate gets which verdict and alert, while lists are current, late and
stale; what a list that is wrong does; that a new list counts from the reload on. Lists are openssl's."""
import datetime
import re
import subprocess

import harness as h
from lists import DATES, Lists, P256, make_pair

MODES = ('request', 'optional', 'require')
VERSIONS = ('1.2', '1.3')
# a client, and what the lists of one age say of it: verdict, and the alert under optional and require
TRUSTED, REVOKED, STALE = ('trusted', None), ('revoked', 44), ('crl-stale', 46)
LISTS = {
    'current': {'alice': TRUSTED, 'bob': REVOKED, 'indirect': REVOKED, 'expired': REVOKED},
    'late': {'alice': TRUSTED, 'bob': REVOKED, 'indirect': REVOKED},
    'stale': {'alice': STALE, 'bob': REVOKED, 'indirect': REVOKED},
}
WARNED = {'late': r'is out of date: what it revokes', 'stale': r'longer than crl-grace allows'}


def service(name, mode, crl):
    return f'''
service {name} {{
    protocol line
    listen 127.0.0.1:@{name} starttls-required
    tls main {{
        client-certificate {mode}
        client-crl {crl}
    }}
    max-per-address 1000
}}
'''


def seen(server, name, cert, version):
    """(alert, verdict) as s_client sees them."""
    certs = server.site.certs
    args = ['-tls1_' + version[2:], '-cert', certs.cert(cert), '-key', certs.key(cert)]
    if cert == 'indirect':
        args += ['-cert_chain', certs.cert('between')]
    out = h.s_client(server, name, 'WHOAMI\nQUIT\n', *args)
    facts = h.facts_of(out)
    h.equal('IDENTITY' in facts, facts.get('VERDICT') == 'trusted', 'IDENTITY')
    return h.alert_of(out), facts.get('VERDICT')


def expect(server, name, mode, cert, version, verdict, alert):
    want = (alert, None) if mode != 'request' and alert is not None else (None, verdict)
    h.equal(seen(server, name, cert, version), want, '(alert, verdict)')


def said_once(server, age):
    """Three services, each with its own set: one message each, though there are two workers."""
    server.wait_log(WARNED[age], 3)
    h.equal(len(re.findall(WARNED[age], server.log())), 3, f'messages in {server.log()}')


def in_status(server):
    """When the earliest list ends, in JSON, in text and as a metric."""
    now = datetime.datetime.now().timestamp()
    postern = str(server.site.posternd.parent.parent / 'bin' / 'postern')
    text, metrics = (subprocess.run([postern, '-f', str(server.conf), what], stdout=subprocess.PIPE, text=True,
                                    check=True, timeout=h.TIMEOUT).stdout for what in ('status', 'metrics'))
    for age, (_, until) in DATES.items():
        got = server.service(f'request{age}')['crl_next_update']
        h.check(abs(got - now - until * 86400) < 300, f'{age}: {got - now} s from now')
        h.check(f'postern_crl_next_update_seconds{{service="request{age}"}} {got}\n' in metrics, metrics)
        h.check(re.search(rf'^request{age} .* {"ended" if until < 0 else f"({until - 1}|{until})d"}$', text, re.M), text)
    h.equal(server.service('plain')['crl_next_update'], None, 'a service without lists')
    h.check('crl_next_update_seconds{service="plain"' not in metrics, metrics)


def forged_is_not_revoked(site, lists, server):
    """A certificate with a revoked one's issuer and number, by somebody else: not trusted, and no reason to say
    that the real one was used."""
    fake, fake_key = make_pair(lists.folder, 'ca', 100, *P256)
    base = lists.folder / 'forged-bob'
    subprocess.run(['openssl', 'req', '-new', '-newkey', *P256, '-nodes', '-keyout', f'{base}.key', '-out',
                    f'{base}.csr', '-subj', '/CN=bob'], check=True, stderr=subprocess.DEVNULL)
    subprocess.run(['openssl', 'x509', '-req', '-in', f'{base}.csr', '-CA', str(fake), '-CAkey', str(fake_key),
                    '-set_serial', '0x' + lists.serial('bob'), '-days', '9', '-out', f'{base}.pem'], check=True,
                   stderr=subprocess.DEVNULL)
    for mode in MODES:
        out = h.s_client(server, mode + 'current', 'WHOAMI\nQUIT\n', '-cert', f'{base}.pem', '-key',
                         f'{base}.key')
        want = (None, 'bad-signature') if mode == 'request' else (42, None)
        h.equal((h.alert_of(out), h.facts_of(out).get('VERDICT')), want, mode)


def reload_revokes(site, lists):
    """A new list counts for new sessions from the reload on; a wrong one changes nothing."""
    crl = lists.make('changing', [])
    services = ''.join(service(mode, mode, crl) for mode in MODES)
    with site.server(services, allowed='reload failed|cannot load its credentials|cannot be used') as server:
        def all_are(verdict, alert):
            for mode in MODES:
                for version in VERSIONS:
                    expect(server, mode, mode, 'bob', version, verdict, alert)
        all_are(*TRUSTED)
        with server.secure('require', cert='bob') as client:
            lists.make('changing', ['bob'])
            server.reload()
            all_are(*REVOKED)
            h.equal(client.reply().status, 'BYE', 'the session from before')
        # a forged list, which would let bob in again: the last good one is kept
        for n, wrong in enumerate((lambda: lists.make('changing', [], forged=True),
                                   lambda: crl.write_text('nothing\n'),
                                   lambda: lists.make('changing', [], issuer='stranger-ca'))):
            wrong()
            generation = server.status()['generation']
            answer = server.ask('reload')
            h.check(not answer.get('ok') and 'changing.pem' in str(answer), f'the answer: {answer}')
            server.wait_log('reload failed.*changing.pem', n + 1)
            h.equal(server.status()['generation'], generation, 'generation')
            all_are(*REVOKED)
            expect(server, 'require', 'require', 'alice', '1.3', *TRUSTED)
        lists.make('changing', [])
        server.reload()
        all_are(*TRUSTED)


def resumed_and_revoked(site, lists):
    """A ticket from before the revocation: today's verdict, and where that refuses, today's alert."""
    crl = lists.make('later', [])
    services = ''.join(service(mode, mode, crl) for mode in MODES)
    with site.server(services) as server:
        visitors = {(mode, version): h.Visitor(server, version, 'bob') for mode in MODES for version in VERSIONS}
        for (mode, _), visitor in visitors.items():
            h.equal(visitor.full(mode)['VERDICT'], 'trusted', f'{mode}, at first')
            h.equal(visitor.resumed(mode)['VERDICT'], 'trusted', f'{mode}, resumed')
        lists.make('later', ['bob'])
        server.reload()
        for (mode, version), visitor in visitors.items():
            if mode == 'request':
                facts = visitor.resumed(mode)
                h.equal((facts['VERDICT'], facts.get('IDENTITY')), ('revoked', None), f'TLS {version}')
            else:
                visitor.refused(mode, 'CERTIFICATE_REVOKED')
        server.wait_log(r'was revoked by its CA on .* did not resume its session \(alert 44\)', 4)


def run_check(server):
    run = subprocess.run([str(server.posternd), '-n', '-f', str(server.conf)], stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True, timeout=h.TIMEOUT)
    return run.returncode, run.stdout


def check_forged(site, lists, make, says):
    """-n and a start say it, and both fail."""
    server = site.server(service('line', 'request', make()))
    server.write_conf()
    code, said = run_check(server)
    h.check(code == 78 and re.search(says, said), f'-n: {code}: {said}')
    h.equal(server.spawn().wait(h.TIMEOUT), 78, 'the start')
    h.check(re.search(says, server.log()), f'the start says {server.log()}')


def warnings(site, lists):
    """posternd -n: what can be used and yet is wrong. The exit code is 0; a start logs what it can see."""
    certs = site.certs
    rsa, rsa_key = make_pair(site.folder, 'rsa', 100, 'rsa:2048')
    soon, soon_key = make_pair(site.folder, 'soon', 5, *P256)
    soon_key.chmod(0o640)
    rsa_key.chmod(0o644)
    rows = [
        (f'certificate {rsa} key {rsa_key}', [r'rsa\.pem: its key is RSA', r'rsa\.key: .*everybody']),
        (f'certificate {soon} key {soon_key}', [r'soon\.pem: .*expires within 14 days', r'soon\.key: .*group']),
        (f'certificate {certs.cert("stranger")} key {certs.key("stranger")}', [r'stranger\.pem: the issuer']),
        (f'certificate {certs.cert("expired")} key {certs.key("expired")}', [r'expired\.pem: .*has expired']),
        ('client-ca ' + str(certs.cert('expired')), [r'expired\.pem: the CA.*has expired',
                                                     r'expired\.pem: .*is no CA']),
        ('client-crl ' + str(lists.make('w-late', [], 'late')), [r'w-late\.pem: .*is out of date']),
        ('client-crl ' + str(lists.make('w-ok', [])) + '\nclient-ca ' + str(certs.cert('stranger-ca')),
         [r'no file of client-crl.*CN=stranger-ca']),
    ]
    service_text = 'service line { protocol line\nlisten 127.0.0.1:@line\ntls main\nmax-per-address 1000\n}\n'
    for line, wanted in rows:
        own = '' if line.startswith('certificate') else 'certificate {cert} key {key}\n'
        tls = 'tls main {{\n' + own + line + '\nclient-ca {ca}\n}}\n'
        server = site.server(service_text, tls=tls)
        server.write_conf()
        code, said = run_check(server)
        h.equal(code, 0, f'code with {line}: {said}')
        for pattern in wanted:
            h.check(re.search('^posternd: warning: .*' + pattern, said, re.M), f'no {pattern} in {said}')
        h.equal(len(said.splitlines()), len(wanted), f'lines of {said}')
        if 'issuer' in wanted[0] or 'client-ca' in line.split('\n')[0]:
            continue  # only -n looks at those
        with server:
            for pattern in wanted:
                if 'RSA' in pattern:
                    continue  # nor at that: what a key costs is a matter of all keys of a service
                server.wait_log('warning: .*' + pattern.split(' ', 1)[-1])


def main():
    topic = h.Topic()
    site = h.Site(topic)
    lists = Lists(site)
    services = ''
    for age in LISTS:
        crl = lists.make(age, ['bob', 'between', 'expired'], age)
        services += ''.join(service(mode + age, mode, crl) for mode in MODES)
    services += h.LINE_SERVICE.replace('service line', 'service plain')
    with site.server(services) as server:
        for age, clients in LISTS.items():
            for mode in MODES:
                for cert, (verdict, alert) in clients.items():
                    for version in VERSIONS:
                        topic.case(f'{cert}, list {age}, {mode}, TLS {version}', expect, server, mode + age,
                                   mode, cert, version, verdict, alert)
        for age in WARNED:
            topic.case(f'a list that is {age} is said once', said_once, server, age)
        topic.case('a forged certificate with a revoked number', forged_is_not_revoked, site, lists, server)
        topic.case('status tells when lists end', in_status, server)
    topic.case('a reload with a new list, and with wrong ones', reload_revokes, site, lists)
    for name, make, says in (
            ('forged', lambda: lists.make('forged', [], forged=True),
             r'forged\.pem: revocation list 1, of CN=ca: its signature'),
            ('of nobody', lambda: lists.make('nobody', [], issuer='stranger-ca'),
             r'nobody\.pem: revocation list 1, of CN=stranger-ca: its issuer is no CA'),
            ('that is a CA file', lambda: site.certs.cert('ca'), r'ca\.pem: there is no PEM revocation list')):
        topic.case(f'a list {name} is refused at the start and by -n', check_forged, site, lists, make, says)
    topic.case('a resumed session whose certificate was revoked since', resumed_and_revoked, site, lists)
    topic.case('posternd -n warns, and a start logs it', warnings, site, lists)
    topic.done()


if __name__ == '__main__':
    main()
