"""credentials.py - what the server shows of itself: several certificates by algorithm, and what it lets clients
call its protocol; and rules of identity that hold at one service alone."""
import base64
import re
import ssl
import subprocess
import time

import harness as h

VERSIONS = ('1.2', '1.3')


def certificate(site, name, more=''):
    return f'    certificate {site.certs.cert(name)} key {site.certs.key(name)}{more}\n'


def tls_with(site, lines):
    """The tls block with these lines instead of its certificate."""
    return h.TLS_MAIN.replace('    certificate {cert} key {key}\n', lines.replace('{', '{{').replace('}', '}}'))


def shown(server, *args, name='lines', starttls=False):
    """The subject and the signature's type that openssl s_client saw; None when there was no handshake."""
    out = h.s_client(server, name, 'QUIT\n', '-brief', *args, starttls=starttls)
    subject = re.search(r'^Peer certificate: CN ?= ?(.*)$', out, re.M)
    kind = re.search(r'^Signature type: (.*)$', out, re.M)
    return (subject.group(1), kind.group(1)) if subject and kind else None


# --- algorithms ---------------------------------------------------------------------------------

ALGORITHMS = [
    # what the client can do, and whose certificate it gets
    ('TLS 1.2, anything', ('-tls1_2',), 'server'),
    ('TLS 1.3, anything', ('-tls1_3',), 'server'),
    ('TLS 1.2, ECDSA', ('-tls1_2', '-cipher', 'ECDHE-ECDSA-AES128-GCM-SHA256'), 'server'),
    ('TLS 1.2, RSA', ('-tls1_2', '-cipher', 'ECDHE-RSA-AES128-GCM-SHA256'), 'server-rsa'),
    ('TLS 1.2, Ed25519', ('-tls1_2', '-sigalgs', 'ed25519'), 'server-ed25519'),
    ('TLS 1.3, ECDSA', ('-tls1_3', '-sigalgs', 'ECDSA+SHA256'), 'server'),
    ('TLS 1.3, RSA', ('-tls1_3', '-sigalgs', 'rsa_pss_rsae_sha256:RSA+SHA256:ECDSA+SHA384'), 'server-rsa'),
    ('TLS 1.3, Ed25519', ('-tls1_3', '-sigalgs', 'ed25519:ECDSA+SHA384'), 'server-ed25519'),
]
ORDERS = [('server', 'server-rsa', 'server-ed25519'), ('server-rsa', 'server-ed25519', 'server')]


def algorithms(server, args, want):
    got = shown(server, *args)
    h.check(got is not None and got[0] == want, f'{got}, expected {want}')


def gnutls_algorithms(server):
    for priority, want in (('NORMAL', 'server'), ('NORMAL:-SIGN-ALL:+SIGN-RSA-PSS-RSAE-SHA256:+SIGN-RSA-SHA256', 'server-rsa'),
                           ('NORMAL:-SIGN-ALL:+SIGN-EDDSA-ED25519', 'server-ed25519')):
        out = h.gnutls_cli(server, 'line', [('QUIT', 'OK')], '--priority', priority, '--no-ca-verification')
        h.check(f"subject `CN={want}'" in out, f'{priority}: {out}')


def one_alone(site):
    """A client that cannot verify the only certificate is turned away; others are not hurt."""
    with site.server(h.LINE_SERVICE, tls=tls_with(site, certificate(site, 'server-ed25519'))) as server:
        h.check(shown(server, '-tls1_2', '-cipher', 'ECDHE-RSA-AES128-GCM-SHA256') is None, 'RSA with Ed25519')
        h.equal(shown(server)[0], 'server-ed25519', 'a client that can')


# --- encrypted keys, PKCS#12 --------------------------------------------------------------------

SECRET = 'a secret with blanks, and é'


class Folder:
    """Encrypted forms of the server's key, by openssl."""

    def __init__(self, site):
        self.site, self.path = site, site.folder / 'encrypted'
        self.path.mkdir()
        self.secret = self.write('passphrase', SECRET + '\n')
        self.wrong = self.write('wrong', SECRET.upper() + '\n')
        self.cert, self.key = site.certs.cert('server'), site.certs.key('server')
        self.pkcs8 = self.make('pkcs8.key', 'pkcs8', '-topk8', '-in', self.key, '-passout', f'file:{self.secret}')
        self.older = self.make('older.key', 'ec', '-aes256', '-in', self.key, '-passout', f'file:{self.secret}')
        pkcs12 = ('pkcs12', '-export', '-in', self.cert, '-inkey', self.key)
        self.p12 = self.make('new.p12', *pkcs12, '-certfile', site.certs.cert('ca'), '-passout', f'file:{self.secret}')
        self.old_p12 = self.make('old.p12', *pkcs12, '-legacy', '-passout', f'file:{self.secret}')
        self.open_p12 = self.make('open.p12', *pkcs12, '-passout', 'pass:')
        self.chain_p12 = self.make('chain.p12', 'pkcs12', '-export', '-in', self.site.certs.cert('server-between'),
                                   '-inkey', self.site.certs.key('server-between'), '-passout', f'file:{self.secret}')
        self.both = self.write('both.pem', self.pkcs8.read_text() + self.cert.read_text())

    def write(self, name, text):
        path = self.path / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    def make(self, name, *args):
        path = self.path / name
        self.site.certs._run(*args, '-out', path)
        path.chmod(0o600)
        return path


def opened(site, folder, line, subject='server', chain=1):
    with site.server(h.LINE_SERVICE, tls=tls_with(site, f'    certificate {line}\n'),
                     allowed='Killed|the keyholder does not answer: end of file') as server: # it is killed
        h.equal(shown(server)[0], subject, 'the certificate')
        run = subprocess.run(['openssl', 's_client', '-connect', '%s:%d' % server.address('lines'), '-showcerts'],
                             input='', capture_output=True, text=True, timeout=h.TIMEOUT)
        h.equal(run.stdout.count('BEGIN CERTIFICATE'), chain, 'certificates shown')
        # who is started again opens it again
        h.os.kill(server.pids('keyholder')[0], 9)
        h.within(h.TIMEOUT, lambda: shown(server), 'a handshake with the next keyholder')
        server.upgrade()
        h.equal(shown(server)[0], subject, 'behind an upgrade')
        text = server.log()
        h.check(SECRET not in text, 'the passphrase is in the log')
        with open('/proc/%d/cmdline' % server.pid, encoding='utf-8') as f:
            h.check(SECRET not in f.read(), 'the passphrase is in the arguments')


def not_opened(site, folder, line, says):
    """A start and a reload that cannot open it say why and what to do; the reload changes nothing."""
    with site.server(h.LINE_SERVICE, allowed='reload failed') as server:
        server.write_conf(tls=tls_with(site, f'    certificate {line}\n'))
        run = subprocess.run([str(site.posternd), '-n', '-f', str(server.conf)], capture_output=True, text=True,
                             timeout=h.TIMEOUT)
        h.check(run.returncode == 78 and says in run.stderr, run.stderr)
        answer = server.ask('reload')
        h.check(not answer['ok'] and says in answer['error'], str(answer))
        h.check(line.split()[0] in answer['error'], 'the file is not named')
        h.equal(shown(server)[0], 'server', 'the old certificate')


def modes(site, folder):
    """posternd -n warns of a passphrase that others can read, and of one that opens nothing."""
    loose = folder.write('loose', SECRET)
    loose.chmod(0o644)
    with site.server(h.LINE_SERVICE, tls=tls_with(site, f'    certificate {folder.cert} key {folder.pkcs8} '
                                                        f'passphrase {loose}\n')) as server:
        run = subprocess.run([str(site.posternd), '-n', '-f', str(server.conf)], capture_output=True, text=True,
                             timeout=h.TIMEOUT)
        h.check(run.returncode == 0 and re.search(rf'warning: {loose}: .*everybody on this machine', run.stderr),
                run.stderr)
        server.write_conf(tls=tls_with(site, f'    certificate {folder.cert} key {folder.key} '
                                             f'passphrase {folder.secret}\n'))
        run = subprocess.run([str(site.posternd), '-n', '-f', str(server.conf)], capture_output=True, text=True,
                             timeout=h.TIMEOUT)
        h.check(run.returncode == 0 and f'warning: {folder.key}: has a passphrase in the configuration, but '
                'the private key in it is not encrypted' in run.stderr, run.stderr)


def encrypted(topic, site):
    f = Folder(site)
    secret, wrong = f'passphrase {f.secret}', f'passphrase {f.wrong}'
    for what, line, *more in (
            ('PKCS#8', f'{f.cert} key {f.pkcs8} {secret}'), ('the older PEM form', f'{f.cert} key {f.older} {secret}'),
            ('key and certificate in one file', f'{f.both} {secret}'), ('PKCS#12', f'{f.p12} {secret}'),
            ('PKCS#12 in its older form', f'{f.old_p12} {secret}'), ('PKCS#12 without a passphrase', f'{f.open_p12}'),
            ('PKCS#12 with a chain', f'{f.chain_p12} {secret}', 'server-between', 2)):
        topic.case(f'encrypted: {what}', opened, site, f, line, *more)
    for what, line, says in (
            ('no passphrase', f'{f.cert} key {f.pkcs8}', 'the private key is encrypted, and needs a passphrase'),
            ('no passphrase, older form', f'{f.cert} key {f.older}', 'the private key is encrypted, and needs a'),
            ('wrong passphrase', f'{f.cert} key {f.pkcs8} {wrong}', 'the passphrase does not open the private key'),
            ('wrong passphrase, older form', f'{f.cert} key {f.older} {wrong}', 'does not open the private key'),
            ('PKCS#12, no passphrase', f'{f.p12}', 'the PKCS#12 file needs a passphrase'),
            ('PKCS#12, wrong passphrase', f'{f.p12} {wrong}', 'the passphrase does not open the PKCS#12 file'),
            ('PKCS#12 beside a key', f'{f.p12} key {f.key} {secret}', 'leave "key FILE" out')):
        topic.case(f'not opened: {what}', not_opened, site, f, line, says)
    topic.case('passphrases that others can read, or that open nothing', modes, site, f)


# --- OCSP ---------------------------------------------------------------------------------------


def response(site, name, signer='ca', ends=None, pem=False, minutes=60):
    """An OCSP response for a certificate, as its CA gives it; ends: nextUpdate, seconds of the epoch (which spoils
    the signature: only who has the issuer sees that)."""
    certs = site.certs
    out = certs.folder / f'{name}.ocsp'
    issuer = next(issue.issuer for issue in h.ISSUES if issue.name == name)
    certs._run('ocsp', '-index', certs.folder / 'index', '-rsigner', certs.cert(signer), '-rkey', certs.key(signer),
               '-CA', certs.cert(issuer), '-issuer', certs.cert(issuer), '-cert', certs.cert(name), '-noverify',
               '-nmin', minutes, '-respout', out)
    octets = out.read_bytes()
    if ends is not None:  # the last time in it but those of certificates behind the signature: [0] GeneralizedTime
        at = octets.index(b'\xa0\x11\x18\x0f') + 4
        octets = octets[:at] + time.strftime('%Y%m%d%H%M%SZ', time.gmtime(ends)).encode() + octets[at + 15:]
    if pem:
        text = base64.encodebytes(octets).decode()
        octets = f'A comment\n-----BEGIN OCSP RESPONSE-----\n{text}-----END OCSP RESPONSE-----\n'.encode()
    new = out.with_suffix('.new')
    new.write_bytes(octets)
    new.rename(out)
    return out


def stapled(server, *args, name='lines'):
    out = subprocess.run(['openssl', 's_client', '-connect', '%s:%d' % server.address(name), '-status', *args],
                         input='', capture_output=True, text=True, timeout=h.TIMEOUT).stdout
    h.check('OCSP response: no response sent' in out or 'OCSP Response Status: successful' in out, out)
    return 'OCSP Response Status: successful' in out


def ocsp_with(site, lines, **more):
    return site.server(h.LINE_SERVICE, tls=tls_with(site, certificate(site, 'server') + lines), **more)


def staple(site, pem):
    file = response(site, 'server', pem=pem)
    with ocsp_with(site, f'    ocsp {file}\n    name mail.example.net {{\n{certificate(site, "net")}    }}\n') as server:
        for version in ('-tls1_2', '-tls1_3'):
            h.check(stapled(server, version), f'{version}: no response')
            h.check(not stapled(server, version, '-servername', 'mail.example.net'), f'{version}: one for another name')
        ends = server.service()['ocsp_next_update']
        h.check(3300 < ends - time.time() <= 3600, f'ocsp_next_update {ends}')
        run = subprocess.run([str(h.BUILD / 'src/postern'), '-f', str(server.conf), 'metrics'], capture_output=True,
                             text=True, timeout=h.TIMEOUT)
        h.check(f'postern_ocsp_next_update_seconds{{service="line"}} {ends}\n' in run.stdout, run.stdout)


def staple_by_name(site):
    """Each certificate has its own, in any order; a name has its own."""
    lines = (certificate(site, 'server-rsa') + f'    ocsp {response(site, "server-rsa")} {response(site, "server")}\n'
             f'    name mail.example.net {{\n{certificate(site, "net")}ocsp {response(site, "net")}\n    }}\n')
    with ocsp_with(site, lines, allowed='RSA') as server:
        for args in ((), ('-tls1_2', '-cipher', 'ECDHE-RSA-AES128-GCM-SHA256'), ('-servername', 'mail.example.net')):
            h.check(stapled(server, *args), f'{args}: no response')


def ends_in_time(site):
    """The log says once that it is out of date, and it is not sent any more; a new file is taken at once."""
    file = response(site, 'server', ends=time.time() + 4)
    with ocsp_with(site, f'    ocsp {file}\n') as server:
        h.check(stapled(server), 'no response')
        server.wait_log(r'warning: \S*server.ocsp: the OCSP response for CN=server is out of date since')
        h.check(not stapled(server), 'sent though it is out of date')
        time.sleep(2.5)
        h.equal(server.log().count('is out of date since'), 1, 'times that it was said')
        server.stop()  # a start is no reason to be without a server
        server.start()
        h.check(not stapled(server), 'sent by the next one')
        server.wait_log('is out of date since', 2)
        response(site, 'server')
        h.within(h.TIMEOUT, lambda: stapled(server), 'the new response')


def wrong_responses(site):
    garbage = site.folder / 'garbage.ocsp'
    garbage.write_bytes(b'no response')
    empty = site.folder / 'empty.ocsp'
    empty.write_bytes(b'')
    both = site.folder / 'broken.ocsp'
    both.write_text('-----BEGIN OCSP RESPONSE-----\nAAAA\n')
    chain = site.folder / 'chain.pem'
    chain.write_text(site.certs.cert('server').read_text() + site.certs.cert('ca').read_text())
    with site.server(h.LINE_SERVICE, allowed='reload failed|cannot be used, everything goes on') as server:
        for lines, says in (
                (certificate(site, 'server') + f'ocsp {response(site, "net")}\n', 'for none of the certificates here'),
                (certificate(site, 'server') + f'ocsp {garbage}\n', 'it is no OCSP response'),
                (certificate(site, 'server') + f'ocsp {empty}\n', 'it is no OCSP response'),
                (certificate(site, 'server') + f'ocsp {both}\n', 'its PEM is broken'),
                (f'certificate {chain} key {site.certs.key("server")}\n'
                 f'ocsp {response(site, "server", signer="stranger-ca")}\n', 'not signed by the issuer')):
            server.write_conf(tls=tls_with(site, lines))
            run = subprocess.run([str(site.posternd), '-n', '-f', str(server.conf)], capture_output=True, text=True,
                                 timeout=h.TIMEOUT)
            h.check(run.returncode == 78 and says in run.stderr and '.ocsp: ' in run.stderr, run.stderr)
            answer = server.ask('reload')
            h.check(not answer['ok'] and says in answer['error'], str(answer))
        # signed, and about to end: said, and used
        server.write_conf(tls=tls_with(site, f'certificate {chain} key {site.certs.key("server")}\n'
                                             f'ocsp {response(site, "server")}\n'))
        server.reload()
        h.check(stapled(server), 'no response')
        server.write_conf(tls=tls_with(site, certificate(site, 'server') +
                                       f'ocsp {response(site, "server", ends=time.time() + 1)}\n'))
        time.sleep(1.5)
        run = subprocess.run([str(site.posternd), '-n', '-f', str(server.conf)], capture_output=True, text=True,
                             timeout=h.TIMEOUT)
        h.check(run.returncode == 0 and 'warning: line: ' in run.stderr and 'is out of date since' in run.stderr,
                run.stderr)


# --- ALPN ---------------------------------------------------------------------------------------


def alpn(server, version):
    for names, selected in ((None, None), (['postern-line'], 'postern-line'),
                            (['http/1.1', 'postern-line'], 'postern-line'), (['http/1.1', 'h2'], 'refused'),
                            (['imap'], 'refused'), (['postern-lin'], 'refused')):
        context = server.site.certs.context(version, 'alice')
        if names:
            context.set_alpn_protocols(names)
        for name in ('line', 'lines'):
            before = server.service(name=name if name == 'line' else 'line')
            try:
                with h.Client(server.address(name)) as c:
                    if name == 'line':
                        c.reply()
                        c.command('STARTTLS')
                    c.sock = context.wrap_socket(c.sock, server_hostname='localhost', suppress_ragged_eofs=False)
                    c.reply()
                    got = c.sock.selected_alpn_protocol()
                    h.equal(c.whoami()['IDENTITY'], 'alice@example.test', 'IDENTITY')
            except ssl.SSLError as why:
                h.check('NO_APPLICATION_PROTOCOL' in str(why).upper().replace(' ', '_'), f'{names}: {why}')
                got = 'refused'
            h.equal(got, selected, f'{names} at {name}')
            if selected == 'refused':
                h.within(h.TIMEOUT, lambda: server.service()['handshakes_failed'] == before['handshakes_failed'] + 1,
                         'counted as failed')
    # a browser's request never comes to the engine
    out = h.s_client(server, 'lines', 'GET / HTTP/1.1\n', '-alpn', 'http/1.1', starttls=False)
    h.equal(h.alert_of(out), 120, f'the alert: {out}')
    server.wait_log(r'the client wants to speak http/1.1, which service \S+ does not \(ALPN\).*code=no-common-protocol')


# --- rules that hold somewhere ------------------------------------------------------------------

RULES = h.LINE_SERVICE + '''
service partners {
    protocol line
    listen 127.0.0.1:@partners starttls-required
    tls main { client-ca %(ca)s %(stranger)s }
}
'''


def rules(site):
    """`map ... from FILE` holds where all CAs of the file are trusted; nowhere is a mistake."""
    certs = site.certs
    tls = h.TLS_MAIN.replace('map san-email', f'map san-email from {certs.cert("ca")}\n'
                             f'map san-email from {certs.cert("stranger-ca")}\n')
    services = RULES % {'ca': certs.cert('ca'), 'stranger': certs.cert('stranger-ca')}
    with site.server(services, tls=tls, allowed='reload failed') as server:
        for name, cert, verdict, identity in (
                ('line', 'alice', 'trusted', 'alice@example.test'), ('line', 'stranger', 'unknown-ca', None),
                ('partners', 'alice', 'trusted', 'alice@example.test'),
                ('partners', 'stranger', 'trusted', 'alice@example.test')):
            with server.secure(name, cert=cert) as client:
                facts = client.whoami()
                h.equal((facts['VERDICT'], facts.get('IDENTITY')), (verdict, identity), f'{cert} at {name}')
        server.write_conf(services=h.LINE_SERVICE)
        text = 'stranger-ca.pem: no service has all its CAs in client-ca'
        answer = server.ask('reload')
        h.check(not answer['ok'] and text in answer['error'], str(answer))
        run = subprocess.run([str(site.posternd), '-n', '-f', str(server.conf)], capture_output=True, text=True,
                             timeout=h.TIMEOUT)
        h.check(run.returncode == 78 and run.stderr.count(text) == 1, run.stderr)


# --- posternd -n --------------------------------------------------------------------------------


def run_check(site, server):
    run = subprocess.run([str(site.posternd), '-n', '-f', str(server.conf)], capture_output=True, text=True,
                         timeout=h.TIMEOUT)
    return run.returncode, run.stderr


def all_said(site):
    """All mistakes of a service's files in one run, each once, and nothing that follows from them."""
    certs, bad = site.certs, site.folder / 'bad.pem'
    bad.write_text('nothing')
    server = site.server(h.LINE_SERVICE)

    def said(lines, *patterns, code=78):
        server.write_conf(tls=tls_with(site, lines))
        got, text = run_check(site, server)
        h.equal(got, code, text)
        for pattern in patterns:
            h.equal(len(re.findall(pattern, text)), 1, f'{pattern} in {text}')
        h.equal(len(re.findall('^posternd: (?!warning)', text, re.M)), len(patterns) if code else 0, text)

    said(f'certificate /nowhere/a.pem key /nowhere/a.key\nclient-ca /nowhere/ca.pem\nclient-crl /nowhere/crl.pem\n'
         f'ocsp /nowhere/a.ocsp\nname a.example {{ certificate /nowhere/a.pem key /nowhere/b.key }}\n',
         'cannot open /nowhere/a.pem', 'cannot open /nowhere/a.key', 'cannot open /nowhere/ca.pem',
         'cannot open /nowhere/crl.pem', 'cannot open /nowhere/a.ocsp', 'cannot open /nowhere/b.key')
    said(f'certificate {certs.cert("server")} key {certs.key("server-2")}\n'
         f'certificate {certs.cert("net")} key {certs.key("books")}\nclient-ca {bad}\n'
         f'priority "NONSENSE"\nname a.example {{\ncertificate {bad}\n}}\n',
         'certificate .*server.pem, key .*does not belong', 'certificate .*net.pem, key .*does not belong',
         'certificate .*bad.pem: there is no PEM certificate', 'bad.pem: there is no PEM certificate in it',
         'the priority string is wrong')
    other = site.folder / 'other.pem'
    other.write_text('nothing')
    said(certificate(site, 'server') + f'client-crl {bad} {other}\n' +
         f'name a.example {{\n{certificate(site, "net")}ocsp {bad} {other}\n}}\n',
         'line: /.*bad.pem: ', 'line: /.*other.pem: ', 'name a.example: /.*bad.pem: it is no OCSP',
         'name a.example: /.*other.pem: it is no OCSP')
    # RSA beside ECDSA is no news
    said(certificate(site, 'server') + certificate(site, 'server-rsa'), code=0)
    _, text = run_check(site, server)
    h.check('RSA' not in text, text)


def main():
    topic = h.Topic()
    site = h.Site(topic)
    for order in ORDERS:
        with site.server(h.LINE_SERVICE, tls=tls_with(site, ''.join(certificate(site, name) for name in order)),
                         allowed='RSA') as server:
            for what, args, want in ALGORITHMS:
                topic.case(f'{order[0]} first; {what}', algorithms, server, args, want)
            topic.case(f'{order[0]} first; gnutls-cli', gnutls_algorithms, server)
    topic.case('one certificate that not every client can verify', one_alone, site)
    encrypted(topic, site)
    for pem in (False, True):
        topic.case(f'OCSP, {"PEM" if pem else "DER"}', staple, site, pem)
    topic.case('OCSP, several certificates and names', staple_by_name, site)
    topic.case('OCSP, out of date', ends_in_time, site)
    topic.case('OCSP, responses that cannot be used', wrong_responses, site)
    with site.server(h.LINE_SERVICE) as server:
        for version in VERSIONS:
            topic.case(f'TLS {version}: ALPN', alpn, server, version)
    topic.case('posternd -n says all mistakes', all_said, site)
    topic.case('map ... from FILE, where its CAs are trusted', rules, site)
    topic.done()


if __name__ == '__main__':
    main()
