"""mailclients.py - programs that people send mail with, each by certificate and by password where it can: swaks, curl,
msmtp, Python's smtplib, nodemailer, openssl s_client; and gsasl, which binds its login to the TLS session. What they sent is compared octet for octet in the Maildir."""
import json
import os
import pathlib
import re
import select
import smtplib
import socket
import ssl
import subprocess
import threading

import harness as h
import maildrop as m


def run(*args, stdin='', env=None, code=0):
    done = subprocess.run([str(a) for a in args], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=h.TIMEOUT * 3, env={**os.environ, **(env or {})})
    h.check(code in (None, done.returncode), f'exit code {done.returncode}, not {code}, of {args[0]}: {done.stdout[-600:]}')
    return done.stdout


class Sender:
    """One server, and messages with numbers."""

    def __init__(self, site):
        self.site = site
        self.server = m.server(site)
        self.certs = site.certs
        self.count = 0

    def __enter__(self):
        self.server.__enter__()
        return self

    def __exit__(self, *args):
        return self.server.__exit__(*args)

    def letter(self, sender='alice@example.test'):
        self.count += 1
        text = m.letter(f'number {self.count}', sender)
        path = self.server.folder / f'letter-{self.count}'
        path.write_bytes(text)
        return text, path

    def arrived(self, sent, sender='alice@example.test', how='certificate'):
        got_sender, trace, body = m.split(m.delivered(self.server, 'bob@example.test', self.count))
        h.equal(got_sender, sender, 'the sender')
        h.check(f'(authenticated: {sender} by {how})' in trace, f'the trace: {trace}')
        h.equal(body, sent, 'the message')


def swaks(site):
    h.need('swaks', 'swaks')
    with Sender(site) as s:
        base = ['swaks', '--server', f'127.0.0.1:{s.server.port("submission")}', '--tls', '--tls-ca-path', s.certs.cert('ca'),
                '--tls-verify', '--tls-sni', 'localhost', '--to', 'bob@example.test', '--ehlo', 'swaks.example']
        cert = ['--tls-cert', s.certs.cert('alice'), '--tls-key', s.certs.key('alice')]
        sent, path = s.letter()
        path.write_bytes(sent[:-2])  # swaks adds a line end
        run(*base, *cert, '--from', 'alice@example.test', '--data', f'@{path}')
        s.arrived(sent)
        sent, path = s.letter('carol@example.test')
        path.write_bytes(sent[:-2])
        run(*base, '--from', 'carol@example.test', '--data', f'@{path}', '--auth', 'PLAIN', '--auth-user',
            'carol@example.test', '--auth-password', m.PASSWORD)
        s.arrived(sent, 'carol@example.test', 'PLAIN')
        out = run(*base, '--from', 'carol@example.test', '--data', f'@{path}', '--auth', 'PLAIN', '--auth-user',
                  'carol@example.test', '--auth-password', 'wrong', code=28)
        h.check('535 5.7.8' in out, f'a wrong password: {out[-300:]}')
        # and from the MX's side, without TLS and with
        for how in ([], ['--tls']):
            s.count += 1
            run('swaks', '--server', f'127.0.0.1:{s.server.port("mx")}', '--to', 'bob@example.test', '--from',
                'x@elsewhere.example', *how)
            m.delivered(s.server, 'bob@example.test', s.count)


def curl(site):
    h.need('curl', 'curl')
    with Sender(site) as s:
        base = ['curl', '--silent', '--show-error', '--cacert', s.certs.cert('ca'), '--connect-to', '::127.0.0.1:',
                '--mail-rcpt', 'bob@example.test']
        cert = ['--cert', s.certs.cert('alice'), '--key', s.certs.key('alice')]
        for name, scheme, tls in (('submission', 'smtp', ['--ssl-reqd']), ('submissions', 'smtps', [])):
            url = f'{scheme}://localhost:{s.server.port(name)}/curl.example'
            sent, path = s.letter()
            run(*base, *tls, *cert, '--mail-from', 'alice@example.test', '--upload-file', path, url)
            s.arrived(sent)
            sent, path = s.letter()
            run(*base, *tls, *cert, '--mail-from', 'alice@example.test', '--upload-file', path, '--user',
                'alice@example.test:', '--login-options', 'AUTH=EXTERNAL', url)
            s.arrived(sent)
            sent, path = s.letter('carol@example.test')
            run(*base, *tls, '--mail-from', 'carol@example.test', '--upload-file', path, '--user',
                f'carol@example.test:{m.PASSWORD}', '--login-options', 'AUTH=PLAIN', url)
            s.arrived(sent, 'carol@example.test', 'PLAIN')


def msmtp(site):
    h.need('msmtp', 'msmtp')
    with Sender(site) as s:
        base = ['msmtp', '--host=127.0.0.1', f'--port={s.server.port("submission")}', '--tls', '--tls-starttls',
                f'--tls-trust-file={s.certs.cert("ca")}', '--domain=msmtp.example']
        cert = [f'--tls-cert-file={s.certs.cert("alice")}', f'--tls-key-file={s.certs.key("alice")}']
        for how in (['--auth=off'], ['--auth=external', '--user=alice@example.test']):
            sent, path = s.letter()
            run(*base, *cert, *how, '--from=alice@example.test', 'bob@example.test',
                stdin=sent.decode().replace('\r\n', '\n'))
            s.arrived(sent)
        for how, name in (('scram-sha-256', 'SCRAM-SHA-256'), ('plain', 'PLAIN')):
            sent, path = s.letter('carol@example.test')
            run(*base, f'--auth={how}', '--user=carol@example.test', f'--passwordeval=echo {m.PASSWORD}',
                '--from=carol@example.test', 'bob@example.test', stdin=sent.decode().replace('\r\n', '\n'))
            s.arrived(sent, 'carol@example.test', name)


def python(site):
    with Sender(site) as s:
        for cert, user in (('alice', None), ('alice', 'EXTERNAL'), (None, 'carol@example.test')):
            sender = user if user and '@' in user else 'alice@example.test'
            sent, _ = s.letter(sender)
            with smtplib.SMTP('localhost', s.server.port('submission'), local_hostname='python.example') as client:
                client.starttls(context=site.certs.context(client=cert))
                client.ehlo()
                if user == 'EXTERNAL':
                    h.equal(client.docmd('AUTH', 'EXTERNAL =')[0], 235, 'AUTH EXTERNAL')
                elif user:
                    client.login(user, m.PASSWORD)
                client.sendmail(sender, ['bob@example.test'], sent)
            s.arrived(sent, sender, 'PLAIN' if user and '@' in user else 'certificate')
        sent, _ = s.letter()
        with smtplib.LMTP('localhost', s.server.port('lmtp')) as client:
            client.sendmail('x@elsewhere.example', ['bob@example.test'], sent)
        h.equal(m.split(m.delivered(s.server, 'bob@example.test', s.count))[2], sent, 'what came by LMTP')


NODEMAILER = '''
const [port, ca, cert, key, user, pass, raw, from] = JSON.parse(process.argv[1]);
const fs = require('fs');
const transport = require('nodemailer').createTransport({ host: '127.0.0.1', port, requireTLS: true, name: 'node.example',
    tls: { ca: fs.readFileSync(ca), servername: 'localhost', cert: cert && fs.readFileSync(cert), key: key && fs.readFileSync(key) },
    auth: user ? { user, pass } : undefined });
transport.sendMail({ envelope: { from, to: 'bob@example.test' }, raw: fs.readFileSync(raw) })
    .then(() => transport.close(), error => { console.error(error); process.exit(1); });
'''


def nodemailer(site):
    node = h.need('node', 'nodejs')
    path = pathlib.Path('/usr/share/nodejs')
    if not (path / 'nodemailer').is_dir():
        raise h.Skip('needs nodemailer: apt-get install node-nodemailer')
    with Sender(site) as s:
        for cert, user in (('alice', None), (None, 'carol@example.test')):
            sender = user or 'alice@example.test'
            sent, letter = s.letter(sender)
            facts = [s.server.port('submission'), s.certs.cert('ca'), cert and s.certs.cert(cert),
                     cert and s.certs.key(cert), user, m.PASSWORD, letter, sender]
            run(node, '-e', NODEMAILER, json.dumps(facts, default=str), env={'NODE_PATH': str(path)})
            s.arrived(sent, sender, 'PLAIN' if user else 'certificate')


def openssl(site):
    """By hand, as the line that `./quickstart run` prints."""
    with Sender(site) as s:
        for name, how in (('submission', ['-starttls', 'smtp']), ('submissions', [])):
            sent, _ = s.letter()
            commands = ('EHLO openssl.example\r\nAUTH EXTERNAL =\r\nMAIL FROM:<alice@example.test>\r\n'
                        'rcpt TO:<bob@example.test>\r\nDATA\r\n' + m.stuffed(sent).decode() + 'quit\r\n')
            out = run('openssl', 's_client', '-connect', f'127.0.0.1:{s.server.port(name)}', *how, '-quiet', '-ign_eof',
                      '-CAfile', s.certs.cert('ca'), '-verify_return_error', '-servername', 'localhost', '-cert',
                      s.certs.cert('alice'), '-key', s.certs.key('alice'), stdin=commands)
            h.check('235 2.7.0 You are logged in as alice@example.test.' in out and '221 2.0.0' in out, out[-500:])
            s.arrived(sent)


class Between(threading.Thread):
    """Who sits between client and server with a certificate that the client trusts: two TLS sessions, and every octet seen."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server = server
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        self.seen = b''

    def run(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client, socket.create_connection(self.server.address('submission')) as server:
                try:
                    self.relay(client, server)
                except OSError:
                    pass

    def relay(self, client, server):
        certs = self.server.site.certs
        inside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        inside.load_cert_chain(certs.cert('server'), certs.key('server'))
        line = b''
        while line != b'STARTTLS\r\n':
            source = select.select([client, server], [], [], h.TIMEOUT)[0][0]
            octets = source.recv(1 if source is client else 65536)
            (server if source is client else client).sendall(octets)
            if source is client:
                line = line + octets if not line.endswith(b'\n') else octets
        client.sendall(server.recv(65536))
        client = inside.wrap_socket(client, server_side=True)
        server = certs.context().wrap_socket(server, server_hostname='localhost')
        while True:
            for source in select.select([client, server], [], [], h.TIMEOUT)[0]:
                octets = source.recv(65536)
                if not octets:
                    return
                while source.pending():
                    octets += source.recv(65536)
                self.seen += octets
                (server if source is client else client).sendall(octets)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.listener.close()


def gsasl(site):
    h.need('gsasl', 'gsasl')
    with Sender(site) as s, Between(s.server) as between:
        def login(mechanism, *args, password=m.PASSWORD, port=s.server.port('submission'), code=0):
            return run('gsasl', '--smtp', '--starttls', '--connect', f'localhost:{port}', '-m', mechanism, '-a', 'bob@example.test',
                       '-z', '', '-p', password, '--x509-ca-file', s.certs.cert('ca'), '--hostname', 'localhost', *args,
                       stdin='QUIT\n', code=code)

        logins = 0
        for mechanism, args in (('SCRAM-SHA-256-PLUS', ()), ('SCRAM-SHA-256', ('--no-cb',)),
                                ('SCRAM-SHA-256', ('--no-cb', '--priority', 'NORMAL:-VERS-TLS1.3')), ('PLAIN', ())):
            out = login(mechanism, *args)
            h.check('235 2.7.0 You are logged in as bob@example.test' in out, f'{mechanism}: {out[-300:]}')
            h.check(mechanism == 'PLAIN' or 'server trusted' in out, f'the server has not shown that it knows: {out[-300:]}')
            logins += 1
            s.server.wait_log('logged in by SCRAM|logged in by PLAIN', logins)
            s.server.wait_log(f'bob@example.test logged in by {mechanism} service=submission')
        for mechanism, args in (('SCRAM-SHA-256-PLUS', ()), ('SCRAM-SHA-256', ('--no-cb',)), ('PLAIN', ())):
            h.check('535 5.7.8' in login(mechanism, *args, password='wrong', code=1), f'{mechanism} with a wrong password')
        # between them all goes well but the one that is bound to the session
        h.check('235 2.7.0' in login('SCRAM-SHA-256', '--no-cb', port=between.port, code=None), 'SCRAM-SHA-256 through a third')
        h.check(b'235 2.7.0' in between.seen, f'the third has not seen it: {between.seen[-300:]}')
        out = login('SCRAM-SHA-256-PLUS', port=between.port, code=None)
        h.check('535 5.7.8' in out, f'another session\'s binding: {out[-300:]}')


def main():
    topic = h.Topic()
    site = h.Site(topic)
    for name, test in (('swaks', swaks), ('curl', curl), ('msmtp', msmtp), ('smtplib', python), ('nodemailer', nodemailer),
                       ('openssl s_client', openssl), ('gsasl', gsasl)):
        topic.case(name, test, site)
    topic.done()


if __name__ == '__main__':
    main()
