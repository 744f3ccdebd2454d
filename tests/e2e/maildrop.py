"""maildrop.py - what the topics about mail share: a server with users and mail services, their mailboxes, and a client
of SMTP and LMTP that says exactly what it is told."""
import base64
import hashlib
import hmac
import os
import re
import ssl
import time

import harness as h

PASSWORD = 'correct horse'
USERS = ('alice@example.test', 'bob@example.test', 'carol@example.test')

SERVICES = '''
service mx {
    protocol smtp
    listen 127.0.0.1:@mx
    tls main
}
service submission {
    protocol submission
    listen 127.0.0.1:@submission starttls-required
    listen 127.0.0.1:@submissions tls
    tls main
    login certificate password
}
service lmtp {
    protocol lmtp
    listen 127.0.0.1:@lmtp plain
    listen unix:@@lmtp plain
}
'''


def scram(password, salt=b'0123456789abcdef', iterations=4096):
    """The stored form of a password (RFC 5802 §3), as the users file has it."""
    salted = hashlib.pbkdf2_hmac('sha256', password.encode(), salt, iterations)
    client = hmac.new(salted, b'Client Key', 'sha256').digest()
    server = hmac.new(salted, b'Server Key', 'sha256').digest()
    stored = hashlib.sha256(client).digest()
    text = [base64.b64encode(x).decode() for x in (salt, stored, server)]
    return '{SCRAM-SHA-256}%d,%s,%s,%s' % (iterations, *text)


def users_text():
    return ''.join(f'{user} {scram(PASSWORD)} 100M {user.split("@")[0]}.alias@example.test\n' for user in USERS)


def server(site, services=SERVICES, users=None, top='', **options):
    site.count += 1
    folder = site.folder / str(site.count)
    path = site.folder / f'users-{site.count}'
    path.write_text(users or users_text())
    path.chmod(0o600)
    text = (f'domain example.test example.org\npostmaster bob@example.test\nusers file {path}\n'
            f'mail {folder}/mail\njournal-size 4\n' + top)
    made = h.Server(site, folder, services.replace('@@lmtp', f'{folder}/run/lmtp'), top=text, **options)
    made.users_file = path
    made.mail = folder / 'mail'
    return made


def box(server, user):
    """The messages of a mailbox, oldest first."""
    found = []
    for sub in ('new', 'cur'):
        folder = server.mail / user / 'Maildir' / sub
        if folder.is_dir():
            found += [path for path in folder.iterdir() if path.is_file()]
    return [path.read_bytes() for path in sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))]


def delivered(server, user, count=1):
    """The last message, when there are that many. A reply says that a message is safe, not yet that it is in its file."""
    h.within(h.TIMEOUT, lambda: len(box(server, user)) >= count, f'{count} messages of {user}')
    h.equal(len(box(server, user)), count, f'messages of {user}')
    return box(server, user)[-1]


def split(message):
    """The trace that was put in front, unfolded, and what the client sent."""
    match = re.match(rb'Return-Path: <([^>]*)>\r\nReceived: ((?:[^\r]+\r\n[ \t])*[^\r]+)\r\n', message)
    h.check(match, f'no trace in front of {message[:200]!r}')
    return match.group(1).decode(), re.sub(rb'\r\n[ \t]', b' ', match.group(2)).decode(), message[match.end():]


def letter(subject, sender='alice@example.test', octets=0):
    """A whole message: nothing needs to be added to it."""
    text = (f'From: {sender}\r\nTo: bob@example.test\r\nSubject: {subject}\r\nDate: Fri, 27 Nov 2026 16:53:10 +0000\r\n'
            f'Message-ID: <{subject.replace(" ", ".")}@client.example>\r\n\r\n.dots\r\n..\r\nend\r\n')
    row = 'x' * 76 + '\r\n'
    return (text + row * (octets // len(row))).encode()


def stuffed(message):
    return re.sub(rb'(?m)^\.', b'..', message) + b'.\r\n'


class Client(h.Client):
    """Replies are (code, text of all lines)."""

    def reply(self):
        lines = []
        while True:
            line = self.line()
            h.check(re.match(r'[2-5][0-9][0-9][ -]', line), f'a line that is no reply: {line!r}')
            lines.append(line[4:])
            if line[3] == ' ':
                return int(line[:3]), '\n'.join(lines)

    def command(self, line):
        self.send(line.encode() + b'\r\n')
        return self.reply()

    def expect(self, line, code, text=''):
        got = self.command(line)
        h.check(got[0] == code and got[1].startswith(text), f'{line}: got {got}, expected {code} {text}')
        return got[1]

    def hello(self, word='EHLO', name='client.example'):
        return self.expect(f'{word} {name}', 250).split('\n')[1:]

    def starttls(self, context):
        self.expect('STARTTLS', 220)
        self.wrap(context)

    def message(self, message, sender='alice@example.test', to=('bob@example.test',)):
        """DATA and all before it; the reply to the last octet."""
        self.expect(f'MAIL FROM:<{sender}>', 250)
        for rcpt in to:
            self.expect(f'RCPT TO:<{rcpt}>', 250)
        self.expect('DATA', 354)
        self.send(stuffed(message))
        return self.reply()


def connect(server, name, **options):
    client = Client(server.address(name), **options)
    h.equal(client.reply()[0], 220, 'the greeting')
    return client


def secure(server, cert='alice', name='submission'):
    """Within TLS, EHLO said."""
    client = connect(server, name)
    client.hello()
    client.starttls(server.site.certs.context(client=cert))
    client.capabilities = client.hello()
    return client


def plain(user, password=PASSWORD):
    return base64.b64encode(f'\0{user}\0{password}'.encode()).decode()
