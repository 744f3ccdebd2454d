"""Programs behind STARTTLS and TLS: any program's standard input and output, its client's identity in its
environment, and its end, however it comes."""
import json
import os
import pathlib
import pwd
import re
import signal
import socket
import ssl
import subprocess
import threading
import time

import harness as h

# A program of each bad habit, in shell: what they are run by is there on every system.
PROGRAMS = {
    'env': 'env; cat',
    'facts': 'pwd; id -u; id -g; ulimit -n; ulimit -t; ls -l /proc/self/fd | wc -l; cat /proc/self/stat',
    'forks': 'sleep 1000 & echo $$ $!; cat',
    'floods': 'exec head -c 1073741824 /dev/zero',
    'endless': 'exec cat /dev/zero',
    'deaf': 'echo ready; exec sleep 1000',
    'stubborn': 'trap "" TERM; echo $$; while :; do sleep 1000; done',
    'dead': 'exit 3',
    'killed': 'echo last words; kill -9 $$',
    'shy': 'echo before; exec >&-; while read line; do :; done',
    'blind': 'exec <&-; echo blind; sleep 0.3; echo still',
    'complains': 'printf "first\\nsecond \\033[31m\\n" >&2; cat; yes complaint | head -n 5000 >&2',
    'late': 'while read line; do :; done; echo one; sleep 0.5; echo two',
    'slow': 'while read line; do :; done; for i in 1 2 3 4; do sleep 0.7; echo $i; done',
    'eternal': 'while read line; do :; done; while :; do echo more; sleep 0.3; done',
    'leaves': 'sleep 1000 & echo $!',
    'lines': 'while read line; do echo "got $line"; done; echo end',
    'smtp': r'''printf '220 ready\r\n'
        while IFS= read -r line; do
            case $line in
            EHLO*) printf '250-here\r\n250 HELP\r\n' ;;
            QUIT*) printf '221 bye\r\n'; exit ;;
            *) printf '250 %s\r\n' "${line%?}" ;;
            esac
        done''',
}


def services(folder):
    """One service for each program, for everyone, and some of their own."""
    text = ''
    for name in PROGRAMS:
        text += f'''
service {name} {{
    protocol exec
    listen 127.0.0.1:@{name} starttls-required
    tls main
    login none
    command /bin/sh {folder}/{name}.sh
    stop-timeout 1s
    idle-timeout 3s
    max-per-address 1000
    environment COLOUR=green PATH=/usr/bin:/bin
}}'''
    return text + '''
service cat {
    protocol exec
    listen 127.0.0.1:@cat starttls-required
    listen 127.0.0.1:@cats tls
    listen 127.0.0.1:@catplain plain
    listen [::1]:@cat6 tls
    listen unix:@@/cat tls
    tls main
    login none
    command /bin/cat
    max-programs 1000
    max-per-address 1000
    idle-timeout 30s
    greeting "OK cat"
}
service calculator {
    protocol exec
    listen 127.0.0.1:@calculator starttls-required
    listen 127.0.0.1:@calculators tls
    tls main
    login certificate
    command /usr/bin/bc -q
    user nobody
    greeting "OK calculator"
    starttls "STARTTLS" reply "OK begin TLS"
}
service few {
    protocol exec
    listen 127.0.0.1:@few tls
    tls main
    login none
    command /bin/cat
    max-programs 2
    max-waiting 1
    wait-timeout 2s
    say busy "500 full"
}
service none {
    protocol exec
    listen 127.0.0.1:@none tls
    tls main
    login none
    command @@/gone
}
service idle {
    protocol exec
    listen 127.0.0.1:@idle tls
    tls main
    login none
    command /bin/cat
    idle-timeout 1s
    say idle "BYE idle"
}
service mail {
    protocol exec
    listen 127.0.0.1:@mail starttls-required
    tls main
    login none
    start at-once
    command /bin/sh @@/smtp.sh
    plaintext "EHLO *" QUIT
    capability "250-STARTTLS" before "250 *" to "EHLO *"
    banner "220 *"
    starttls STARTTLS reply "220 go ahead"
    say before-tls "530 5.7.0 STARTTLS first"
}
'''.replace('@@', str(folder))


def make_programs(site):
    folder = site.folder / 'programs'
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    for name, text in PROGRAMS.items():
        (folder / (name + '.sh')).write_text(text + '\n')
        (folder / (name + '.sh')).chmod(0o644)
    (folder / 'gone').write_text('#!/bin/sh\n')
    (folder / 'gone').chmod(0o755)
    return folder


class Session:
    """A client of an exec service whose two directions end by themselves, as a pipe's do."""

    def __init__(self, server, name, version=None, cert=None, keyword=b'STARTTLS', implicit=False, greeting=False,
                 connect=None):
        self.context = server.site.certs.context(version, cert)
        self.sock = connect or server.connect(name).sock
        self.name = self.sock.getsockname()
        self.early = b''
        if greeting:
            self.greeting = self.plain_line()
        if not implicit:
            self.go_ahead = self.command(keyword)
        self.secure()

    def plain_line(self):
        line = b''
        while not line.endswith(b'\n'):
            octet = self.sock.recv(1)
            if not octet:
                raise h.Ended(f'the server has closed; left: {line!r}')
            line += octet
        return line.rstrip(b'\r\n').decode()

    def command(self, octets):
        self.sock.sendall(octets + b'\r\n')
        return self.plain_line()

    def secure(self):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = self.context.wrap_bio(self.incoming, self.outgoing, server_hostname='localhost')
        self._until(self.tls.do_handshake)

    def _flush(self):
        self.sock.sendall(self.outgoing.read())

    def _until(self, act):
        while True:
            try:
                result = act()
                self._flush()
                return result
            except ssl.SSLWantReadError:
                self._flush()
                octets = self.sock.recv(65536)
                if octets:
                    self.incoming.write(octets)
                else:
                    self.incoming.write_eof()

    def send(self, octets):
        self.tls.write(octets)
        self._flush()

    def recv(self, n=65536):
        """b'' is the server's close_notify; a cut connection raises ssl.SSLEOFError."""
        if self.early:
            early, self.early = self.early, b''
            return early
        try:
            return self._until(lambda: self.tls.read(n))
        except ssl.SSLZeroReturnError:
            return b''

    def until(self, end):
        got = b''
        while not got.endswith(end):
            more = self.recv()
            if not more:
                raise h.Ended(f'the server has closed; left: {got!r}')
            got += more
        return got

    def rest(self):
        got = b''
        while True:
            more = self.recv()
            if not more:
                return got
            got += more

    def bye(self):
        """Our close_notify; what the server has to say can still be read. (Python's unwrap() looks for the peer's
        at once, and must not find anything else.)"""
        try:
            while True:
                self.early += self.tls.read(65536)
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        self._flush()

    def ended(self):
        """The plain connection has ended, too."""
        return self.sock.recv(1) == b''

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def alive(pid):
    try:
        return pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0] != 'Z'
    except OSError:
        return False


def children(server):
    """Programs that run: children of the spawn process."""
    pid, = server.pids('spawn')
    return [int(c) for c in pathlib.Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]


def no_programs(server):
    h.within(h.TIMEOUT, lambda: not children(server), 'all programs to be ended')


# --- octets -------------------------------------------------------------------------------------


def echo(server, version):
    """STARTTLS with the keyword in any case, a greeting before it alone, octets as they are in both directions at
    once."""
    octets = os.urandom(3000000)
    with Session(server, 'cat', version, keyword=b'sTaRtTlS ', greeting=True) as s:
        h.equal(s.greeting, 'OK cat', 'the greeting')
        h.equal(s.go_ahead, 'OK begin TLS', 'the go-ahead')
        got = b''
        for at in range(0, len(octets), 30000):
            s.send(octets[at:at + 30000])
            while len(got) < at:
                got += s.recv()
        s.bye()
        h.check(got + s.rest() == octets, 'cat gives back something else')


def loses_nothing(server, version):
    """printf '1+1\n' | client: the end of input behind it, and all of the answer before the server's."""
    with Session(server, 'calculators', version, cert='alice', implicit=True) as s:
        h.equal(s.until(b'\n'), b'OK calculator\r\n', 'the greeting')
        s.send(b'1+1\n2^100\n')
        s.bye()
        h.equal(s.rest(), b'2\n1267650600228229401496703205376\n', 'what bc says')
        h.check(s.ended(), 'the connection goes on')
    octets = os.urandom(200000)  # more than the pipes hold
    with Session(server, 'cats', version, implicit=True) as s:
        got = s.until(b'\n')
        for at in range(0, len(octets), 20000):
            s.send(octets[at:at + 20000])
            while len(got) < at - 100000:
                got += s.recv()
        s.bye()
        h.check(got + s.rest() == b'OK cat\r\n' + octets, 'cat gives back something else')
    no_programs(server)


def s_client(server):
    """printf | openssl s_client: nothing is lost."""
    certs = server.site.certs
    run = subprocess.run(['openssl', 's_client', '-quiet', '-verify_quiet', '-connect',
                          '127.0.0.1:%d' % server.port('calculators'), '-CAfile', str(certs.cert('ca')),
                          '-cert', str(certs.cert('alice')), '-key', str(certs.key('alice'))],
                         input=b'1+1\n' * 100 + b'quit\n', stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         timeout=h.TIMEOUT)
    h.equal(run.stdout, b'OK calculator\r\n' + b'2\n' * 100, 'what bc says')


def gnutls_client(server):
    cli = h.need('gnutls-cli', 'gnutls-bin')
    certs = server.site.certs
    run = subprocess.run([cli, '--logfile', '/dev/null', '--x509cafile', str(certs.cert('ca')), '--x509certfile',
                          str(certs.cert('alice')), '--x509keyfile', str(certs.key('alice')), '-p',
                          str(server.port('calculators')), 'localhost'], input=b'6*7\n',
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=h.TIMEOUT)
    h.check(b'OK calculator\r\n42\n' in run.stdout, f'what bc says: {run.stdout}')


def plain_port(server):
    """Without TLS: the same program, and the end of input as TCP has it."""
    with server.connect('catplain') as c:
        h.equal(c.line(), 'OK cat', 'the greeting')
        c.send(b'hello\n')
        c.sock.shutdown(socket.SHUT_WR)
        got = b''
        while True:
            more = c.sock.recv(100)
            if not more:
                break
            got += more
        h.equal(got, b'hello\n', 'what cat says')


def input_closed_early(server):
    """A program that reads nothing and has closed its input: what is sent to it is thrown away."""
    with Session(server, 'blind') as s:
        h.equal(s.until(b'\n'), b'blind\n', 'the first word')
        s.send(b'x' * 500000)
        h.equal(s.rest(), b'still\n', 'what it says then')


def truncated(server):
    """A connection that is cut is no end of input: the program is ended."""
    with Session(server, 'eternal') as s:
        h.within(h.TIMEOUT, lambda: len(children(server)) == 1, 'the program to run')
    no_programs(server)


# --- what a program is told ---------------------------------------------------------------------


def environment(server, name, **options):
    with Session(server, name, **options) as s:
        s.bye()
        return s, dict(line.split('=', 1) for line in s.rest().decode().splitlines())


def told(server, version):
    certs = server.site.certs
    s, env = environment(server, 'env', version=version, cert='alice')
    openssl = subprocess.run(['openssl', 'x509', '-in', str(certs.cert('alice')), '-noout', '-serial', '-subject',
                              '-issuer', '-startdate', '-enddate', '-fingerprint', '-sha256', '-nameopt', 'RFC2253'],
                             stdout=subprocess.PIPE, check=True).stdout.decode()
    facts = dict(line.split('=', 1) for line in openssl.splitlines())
    host, port = s.name
    want = {
        'PATH': '/usr/bin:/bin', 'COLOUR': 'green', 'POSTERN_USER': 'alice@example.test',
        'POSTERN_SERVICE': 'env', 'POSTERN_VERDICT': 'trusted', 'PROTO': 'TCP', 'TCPREMOTEIP': host,
        'TCPREMOTEPORT': str(port), 'TCPLOCALIP': '127.0.0.1', 'TCPLOCALPORT': str(server.port('env')),
        'TLS_PROTOCOL': 'TLSv' + version, 'TLS_CIPHER': env.get('TLS_CIPHER'), 'TLS_GROUP': env.get('TLS_GROUP'),
        'TLS_RESUMED': 'no', 'SSL_CLIENT_VERIFY': 'SUCCESS', 'SSL_CLIENT_S_DN': facts['subject'],
        'SSL_CLIENT_I_DN': facts['issuer'], 'SSL_CLIENT_M_SERIAL': facts['serial'].lstrip('0'),
        'SSL_CLIENT_FINGERPRINT': facts['sha256 Fingerprint'].replace(':', '').lower(),
        'SSL_CLIENT_V_START': facts['notBefore'], 'SSL_CLIENT_V_END': facts['notAfter'],
        'SSL_CLIENT_SAN_Email_0': 'alice@example.test',
    }
    env['SSL_CLIENT_M_SERIAL'] = env['SSL_CLIENT_M_SERIAL'].lstrip('0')
    for of_the_shell in ('PWD', 'SHLVL', '_', 'OLDPWD'):
        env.pop(of_the_shell, None)
    h.equal(env, want, 'the environment')
    h.check(re.fullmatch(r'AES-\d+-GCM|CHACHA20-POLY1305', env['TLS_CIPHER']), 'the cipher')
    h.check(env['TLS_GROUP'], 'the group')


def told_of_others(server):
    """Without a certificate, with a bad one, with one that is nobody's: never a user."""
    for cert, verdict, verify in ((None, 'none', 'NONE'), ('expired', 'expired', 'FAILED:expired'),
                                  ('stranger', 'unknown-ca', 'FAILED:unknown-ca'),
                                  ('nameless', 'unmapped', 'SUCCESS')):
        _, env = environment(server, 'env', cert=cert)
        h.equal((env.get('POSTERN_VERDICT'), env.get('SSL_CLIENT_VERIFY'), env.get('POSTERN_USER')),
                (verdict, verify, None), f'{cert}: verdict and user')
        h.equal('SSL_CLIENT_S_DN' in env, cert is not None, f'{cert}: a subject')


def told_of_unix(server):
    path = server.site.folder / 'programs' / 'cat'
    with Session(server, None, implicit=True, connect=h.Client(path).sock) as s:
        h.equal(s.until(b'\n'), b'OK cat\r\n', 'the greeting')


def nothing_inherited(server):
    """No descriptor, no signal that is ignored or blocked, no limit of the server's; a session of its own."""
    with Session(server, 'facts') as s:
        s.bye()
        folder, uid, gid, files, cpu, fds, stat = s.rest().decode().splitlines()
    h.equal(folder, '/', 'the folder')
    h.equal((uid, gid), (str(server.nobody.pw_uid), str(server.nobody.pw_gid)) if h.ROOT
            else (str(os.getuid()), str(os.getgid())), 'user and group')
    h.equal((files, cpu), ('1024', 'unlimited'), 'limits')
    h.equal(int(fds), 5, 'lines of ls: a total, three descriptors, its own')
    fields = stat.rsplit(')', 1)[1].split()
    blocked, ignored = (int(fields[n]) for n in (28, 29))
    h.equal((blocked, ignored), (0, 0), 'signals')


# --- before TLS ---------------------------------------------------------------------------------


def before_tls(server):
    no_programs(server)  # of the tests before
    with server.connect('calculator') as c:
        h.equal(c.line(), 'OK calculator', 'the greeting')
        for line, want in ((b'1+1\r\n', 'ERR not before TLS: send STARTTLS'),
                           (b'STARTTLSX\n', 'ERR not before TLS: send STARTTLS'),
                           (b'starttls now\n', 'ERR STARTTLS takes no arguments'),
                           (b'\n', 'ERR not before TLS: send STARTTLS'),
                           (b'x' * 5000 + b'\n', 'ERR line too long')):
            c.send(line)
            h.equal(c.line(), want, f'the answer to {line[:20]}')
        for _ in range(5):
            c.send(b'again\n')
            c.line()
        h.equal(c.line(), 'ERR too many errors', 'the last word')
        c.expect_end()
    h.equal(children(server), [], 'programs for plaintext')


def injection(server):
    no_programs(server)
    before = server.service('cat')['injections']
    with server.connect('cat') as c:
        h.equal(c.line(), 'OK cat', 'the greeting')
        c.send(b'STARTTLS\r\nid\r\n')
        h.equal(c.line(), 'ERR octets behind STARTTLS', 'the answer')
        c.expect_end()
    h.equal(server.service('cat')['injections'], before + 1, 'injections')
    h.equal(children(server), [], 'programs')


def login(server):
    """Nobody without an identity gets a program; the line says why."""
    no_programs(server)
    for cert, want in ((None, b'ERR a client certificate is needed, and none was sent\r\n'),
                       ('expired', b'ERR the client certificate has expired\r\n'),
                       ('nameless', b'ERR this certificate belongs to no user here\r\n'),
                       ('stranger', b'ERR the client certificate is by a CA that is not trusted here\r\n')):
        with Session(server, 'calculator', cert=cert, greeting=True) as s:
            h.equal(s.rest(), want, f'{cert}: the answer')
            h.check(s.ended(), 'the connection goes on')
    h.equal(children(server), [], 'programs')
    with Session(server, 'calculator', cert='bob', greeting=True) as s:
        s.send(b'2+3\n')
        h.equal(s.until(b'\n'), b'5\n', 'the answer')


def at_once(server):
    """A program in plaintext, which is told little and tells of STARTTLS; and another in TLS."""
    no_programs(server)
    client = server.connect('mail')
    with client:
        h.equal(client.line(), '220 ready', "the program's greeting")
        client.send(b'EHLO me\r\n')
        h.equal([client.line() for _ in range(3)], ['250-here', '250-STARTTLS', '250 HELP'], 'capabilities')
        client.send(b'MAIL FROM:<a@b>\r\n')
        h.equal(client.line(), '530 5.7.0 STARTTLS first', 'MAIL in plaintext')
        first = children(server)
        h.equal(len(first), 1, 'programs')
        with Session(server, None, connect=client.sock) as s:
            h.equal(s.go_ahead, '220 go ahead', 'the go-ahead')
            s.send(b'EHLO me\r\n')
            h.equal(s.until(b'HELP\r\n'), b'250-here\r\n250 HELP\r\n', 'capabilities in TLS, and no banner')
            h.within(h.TIMEOUT, lambda: not set(children(server)) & set(first), 'the end of the program of plaintext')
            s.send(b'MAIL FROM:<a@b>\r\nQUIT\r\n')
            h.equal(s.rest(), b'250 MAIL FROM:<a@b>\r\n221 bye\r\n', 'the rest')
    no_programs(server)


# --- ends ---------------------------------------------------------------------------------------


def group_is_ended(server):
    """The client goes: the program, and what it has started, with it."""
    with Session(server, 'forks') as s:
        pids = [int(p) for p in s.until(b'\n').split()]
        h.check(all(alive(p) for p in pids), 'they do not run')
    h.within(h.TIMEOUT, lambda: not any(alive(p) for p in pids), 'its group to be gone')


def stubborn(server):
    """One that ignores SIGTERM is killed, after stop-timeout and not before."""
    with Session(server, 'stubborn') as s:
        pid = int(s.until(b'\n'))
    begin = time.monotonic()
    h.within(h.TIMEOUT, lambda: not alive(pid), 'the program to be gone')
    h.check(time.monotonic() - begin > 0.8, 'it was not given its time')
    server.wait_log(r'service stubborn: program %d does not end when it is told to' % pid)
    no_programs(server)


def recorded(server, kind, number):
    """The last connection's record has the end of its program."""
    def steps():
        run = subprocess.run([str(h.BUILD / 'src' / 'postern'), '-s', str(server.control), 'trace', 'last', '--json'],
                             stdout=subprocess.PIPE, text=True, timeout=h.TIMEOUT, check=True)
        connection, = json.loads(run.stdout)['connections']
        return [s for s in connection['steps'] if (s['kind'], s.get('number')) == (kind, number)]
    h.within(h.TIMEOUT, steps, f'{kind} {number} in the record')


def dead(server):
    """One that ends at once: its status is in log and record, and the session ends in order."""
    with Session(server, 'dead') as s:
        h.equal(s.rest(), b'', 'octets')
        h.check(s.ended(), 'the connection goes on')
    server.wait_log(r'program \d+ ended with code 3')
    recorded(server, 'program-exit', 3)
    with Session(server, 'killed') as s:
        h.equal(s.rest(), b'last words\n', 'octets')
    server.wait_log(r'program \d+ was ended by signal 9')
    recorded(server, 'program-signal', 9)


def output_closed(server):
    """A program that closes its output and goes on: the session ends, and then the program."""
    with Session(server, 'shy') as s:
        h.equal(s.rest(), b'before\n', 'octets')
    no_programs(server)


def leaves_one(server):
    """The first process ends, and another holds the output: the session goes no longer than its linger."""
    with Session(server, 'leaves') as s:
        pid = int(s.until(b'\n'))
        h.within(h.TIMEOUT, lambda: not alive(pid), 'what it has left to be gone')
        h.equal(s.rest(), b'', 'octets')
    no_programs(server)


def last_words(server):
    """Behind the client's close_notify: all that comes while each word is no later than linger (2 s) behind the
    one before, then close_notify; and one that never comes to an end is cut off."""
    with Session(server, 'late') as s:
        s.bye()
        h.equal(s.rest(), b'one\ntwo\n', 'last words')
    with Session(server, 'slow') as s:
        s.bye()
        h.equal(s.rest(), b'1\n2\n3\n4\n', 'last words')
    with Session(server, 'deaf') as s:
        h.equal(s.until(b'\n'), b'ready\n', 'the first word')
        begin = time.monotonic()
        s.bye()
        h.equal(s.rest(), b'', 'last words')
        h.check(1.8 <= time.monotonic() - begin, 'it was not given its linger')
    no_programs(server)


def restart(server, version):
    """Back to plaintext: the program is ended, nothing is said, and the next session has another."""
    with Session(server, 'forks', version) as s:
        first = [int(p) for p in s.until(b'\n').split()]
        s.bye()
        h.equal(s.rest(), b'', 'octets behind our close_notify')
        h.within(h.TIMEOUT, lambda: not any(alive(p) for p in first), 'the first program to be gone')
        h.equal(s.command(b'hello'), 'ERR not before TLS: send STARTTLS', 'plaintext again')
        h.equal(s.command(b'STARTTLS'), 'OK begin TLS', 'STARTTLS again')
        s.secure()
        second = [int(p) for p in s.until(b'\n').split()]
        h.check(not set(first) & set(second), 'the same program')
    no_programs(server)


def idle(server):
    with Session(server, 'idle', implicit=True) as s:
        s.send(b'hello\n')
        h.equal(s.rest(), b'hello\nBYE idle\r\n', 'all that is said')
    no_programs(server)


# --- floods -------------------------------------------------------------------------------------


def memory(server):
    return sum(h.rss_kib(pid) for role in ('worker', 'spawn') for pid in server.pids(role))


def flood(server):
    """1 GiB to a client that reads nothing at first: nobody holds more than a little of it, and it all comes."""
    before = memory(server)
    with Session(server, 'floods') as s:
        time.sleep(1)
        h.check(memory(server) < before + 4096, 'the server holds what nobody reads')
        got = 0
        while True:
            more = s.recv(1 << 20)
            if not more:
                break
            got += len(more)
        h.equal(got, 1 << 30, 'octets')
        h.check(memory(server) < before + 4096, 'the server holds what was read')
    sessions = [Session(server, 'endless') for _ in range(20)]
    time.sleep(1)
    h.check(memory(server) < before + 20 * 512, 'the server holds what nobody reads')
    for s in sessions:
        s.close()
    no_programs(server)


def deaf(server):
    """One that never reads: the client is held up, the server holds little, and the end comes all the same."""
    before = memory(server)
    with Session(server, 'deaf') as s:
        h.equal(s.until(b'\n'), b'ready\n', 'the first word')
        s.sock.settimeout(1)
        sent = 0
        try:
            while sent < 100000000:
                s.send(b'x' * 100000)
                sent += 100000
        except TimeoutError:
            pass
        h.check(sent < 20000000, 'it takes all, and nobody reads it')
        h.check(memory(server) < before + 4096, 'the server holds what nobody reads')
    no_programs(server)


def complains(server):
    """Standard error goes to the log: a line each, without control characters, and not too many."""
    with Session(server, 'complains') as s:
        s.bye()
        s.rest()
    server.wait_log(r'service complains: program \d+: first')
    server.wait_log(r'service complains: program \d+: second \?\[31m')
    no_programs(server)
    server.wait_log(r'service complains: program \d+: \(\d+ lines were left out\)')
    h.check(len(re.findall('complaint', server.log())) <= 100, 'it floods the log')


# --- many ---------------------------------------------------------------------------------------


def few(server):
    """Two may run, one may wait: it gets its turn, or is refused in time; a fourth is refused at once."""
    with Session(server, 'few', implicit=True) as a, Session(server, 'few', implicit=True) as b:
        for s in (a, b):
            s.send(b'hello\n')
            h.equal(s.until(b'\n'), b'hello\n', 'the answer')
        with Session(server, 'few', implicit=True) as c:
            c.send(b'me too\n')
            with Session(server, 'few', implicit=True) as d:
                h.within(h.TIMEOUT, lambda: server.service('few')['programs_refused'] == 1, 'a refusal')
                h.equal(d.rest(), b'500 full\r\n', 'the fourth')
            h.equal(c.rest(), b'500 full\r\n', 'the third, in the end')
        with Session(server, 'few', implicit=True) as c:
            c.send(b'me too\n')
            a.close()
            h.equal(c.until(b'\n'), b'me too\n', 'the third, whose turn it is')
    no_programs(server)


def not_there(server):
    """The program is gone since the server was started; and the check says so."""
    program = server.site.folder / 'programs' / 'gone'
    program.rename(program.with_suffix('.away'))
    try:
        with Session(server, 'none', implicit=True) as s:
            h.equal(s.rest(), b"ERR the program cannot be started; see the server's log\r\n", 'the answer')
        server.wait_log(f'service none: cannot run {program}: No such file')
        for edit, text in ((None, f'service none: command {program}: No such file or directory'),
                           (('directory /', 'directory /nonexistent'), 'directory /nonexistent: No such file'),
                           ((f'command {program}', 'command /etc/passwd'), 'command /etc/passwd is not executable'),
                           ((f'command {program}', 'command /etc'), 'command /etc is not a file')):
            text_of_it = server.text().replace('service none {', 'service none {\n    directory /')
            other = server.conf.with_suffix('.other')
            other.write_text(text_of_it.replace(*edit) if edit else text_of_it)
            check = subprocess.run([str(server.posternd), '-n', '-f', str(other)], stderr=subprocess.PIPE, text=True)
            h.check(check.returncode == 78 and text in check.stderr, f'posternd -n: {check.stderr}')
    finally:
        program.with_suffix('.away').rename(program)
    no_programs(server)


def many(server):
    """200 at once, each with its own program."""
    def one(n):
        try:
            with Session(server, 'cat', greeting=True) as s:
                s.send(b'%d\n' % n)
                got = s.until(b'\n')
                barrier.wait(h.TIMEOUT)
                s.bye()
                results[n] = got + s.rest()
        except Exception as error:  # noqa: told below
            results[n] = error
    results = {}
    barrier = threading.Barrier(200)
    threads = [threading.Thread(target=one, args=(n,)) for n in range(200)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    h.equal({n: r for n, r in results.items() if r != b'%d\n' % n}, {}, 'wrong answers')
    no_programs(server)


# --- processes ----------------------------------------------------------------------------------


def spawn_killed(server):
    """Its programs end, with all that they have started, and their sessions in order; then there is another."""
    for _ in range(3):
        with Session(server, 'forks') as s, Session(server, 'stubborn') as t:
            pids = [int(p) for p in s.until(b'\n').split()] + [int(t.until(b'\n'))]
            spawn, = server.pids('spawn')
            os.kill(spawn, signal.SIGKILL)
            h.equal(s.rest(), b'', 'octets')
            h.equal(t.rest(), b'', 'octets')
        h.within(h.TIMEOUT, lambda: not any(alive(p) for p in pids), 'its programs to be gone')
        h.within(h.TIMEOUT, lambda: server.pids('spawn') not in ([], [spawn]), 'another one')

        def works():
            with Session(server, 'lines') as s:
                s.send(b'hello\n')
                s.bye()
                return s.rest() == b'got hello\nend\n'
        h.within(h.TIMEOUT, works, 'new sessions')
    server.wait_log('code=program-lost')


def worker_killed(server):
    with Session(server, 'forks') as s:
        pids = [int(p) for p in s.until(b'\n').split()]
        for pid in server.pids('worker'):
            os.kill(pid, signal.SIGKILL)
        h.within(h.TIMEOUT, lambda: not any(alive(p) for p in pids), 'its programs to be gone')
    h.within(h.TIMEOUT, lambda: len(server.processes('worker', 'serving')) == 2, 'workers')


def through_reload(server, act):
    """A session goes on, with its program; new ones are served; nothing is left of the old."""
    with Session(server, 'cat', greeting=True) as s:
        s.send(b'before\n')
        h.equal(s.until(b'\n'), b'before\n', 'before')
        act()
        s.send(b'after\n')
        h.equal(s.until(b'\n'), b'after\n', 'after')
        with Session(server, 'cat', greeting=True) as t:
            t.send(b'new\n')
            h.equal(t.until(b'\n'), b'new\n', 'a new one')
        s.bye()
        h.equal(s.rest(), b'', 'the end')
    h.within(h.TIMEOUT, lambda: len(server.pids('spawn')) == 1 and len(server.pids('worker')) == 2,
             'the old processes to be gone')
    no_programs(server)


def only_where_needed(site):
    """The process is there while a service needs it, and not otherwise."""
    folder = make_programs(site)
    teach = h.LINE_SERVICE.replace('@line', '@teach')
    with site.server(teach) as server:
        h.equal(server.pids('spawn'), [], 'spawn without a program')
        server.services = teach + services(folder)
        server.write_conf()
        server.reload()
        h.equal(len(server.pids('spawn')), 1, 'spawn')
        with Session(server, 'lines') as s:
            s.bye()
            h.equal(s.rest(), b'end\n', 'an answer')
        server.services = teach
        server.write_conf()
        server.reload()
        h.within(h.TIMEOUT, lambda: server.pids('spawn') == [], 'spawn to be gone')


def wrong_user(server):
    """A user that does not exist: the reload fails, the check says so, all goes on."""
    if not h.ROOT:
        raise h.Skip('needs root')
    good = server.services
    for name, text in (('nobody-here', 'the user nobody-here does not exist'),
                       ('root', 'programs never run as root')):
        server.services = good.replace('user nobody', f'user {name}')
        server.write_conf()
        check = subprocess.run([str(server.posternd), '-n', '-f', str(server.conf)], stderr=subprocess.PIPE, text=True)
        h.check(check.returncode != 0 and text in check.stderr, f'posternd -n: {check.stderr}')
        server.signal(signal.SIGHUP)
        server.wait_log('reload failed.*' + text)
    server.services = good
    server.write_conf()
    server.reload()
    with Session(server, 'lines') as s:
        s.bye()
        h.equal(s.rest(), b'end\n', 'an answer')


def stopped(site):
    """The server stops with programs that run, one of them deaf to SIGTERM: in time, and nothing is left."""
    with site.server(services(make_programs(site))) as server:
        with Session(server, 'stubborn') as s, Session(server, 'forks') as t:
            pids = [int(s.until(b'\n'))] + [int(p) for p in t.until(b'\n').split()]
            begin = time.monotonic()
            h.equal(server.stop(), 0, 'exit code')
            h.check(time.monotonic() - begin < 15, 'it takes long')
        h.within(h.TIMEOUT, lambda: not any(alive(p) for p in pids), 'its programs to be gone')
        server.start()


def killed(site):
    """The server is ended at once, or killed: nothing is left of its programs either."""
    with site.server(services(make_programs(site))) as server:
        for end in (lambda: server.stop(signal.SIGINT), server.kill):
            with Session(server, 'stubborn') as s, Session(server, 'forks') as t:
                pids = [int(s.until(b'\n'))] + [int(p) for p in t.until(b'\n').split()]
                end()
            h.within(h.TIMEOUT, lambda: not any(alive(p) for p in pids), 'its programs to be gone')
            server.start()


def main():
    topic = h.Topic()
    site = h.Site(topic)
    folder = make_programs(site)
    # what the log may hold: what these tests make happen
    allowed = 'spawn.*was ended by signal 9|worker.*was ended by signal 9|cannot run /|' \
        'cannot be started|is away|reload failed|has died|no program'
    with site.server(services(folder), allowed=allowed, env={'SECRET': 'of the server'}) as server:
        server.nobody = pwd.getpwnam('nobody')
        for version in ('1.2', '1.3'):
            topic.case(f'octets to and from a program, TLS {version}', echo, server, version)
            topic.case(f'the end of input: nothing is lost, TLS {version}', loses_nothing, server, version)
            topic.case(f'what a program is told, TLS {version}', told, server, version)
            topic.case(f'back to plaintext, and another program, TLS {version}', restart, server, version)
        topic.case('openssl s_client', s_client, server)
        topic.case('gnutls-cli', gnutls_client, server)
        topic.case('a plain port', plain_port, server)
        topic.case('a program that closes its input', input_closed_early, server)
        topic.case('a connection that is cut', truncated, server)
        topic.case('what a program is told of clients who are nobody', told_of_others, server)
        topic.case('a unix socket', told_of_unix, server)
        topic.case('nothing is inherited', nothing_inherited, server)
        topic.case('refusals before TLS', before_tls, server)
        topic.case('injection', injection, server)
        topic.case('login certificate', login, server)
        topic.case('a program that is started at once', at_once, server)
        topic.case('the whole group is ended', group_is_ended, server)
        topic.case('a program that ignores SIGTERM', stubborn, server)
        topic.case('a program that dies at once', dead, server)
        topic.case('a program that closes its output', output_closed, server)
        topic.case('a program that leaves another', leaves_one, server)
        topic.case('last words', last_words, server)
        topic.case('idle', idle, server)
        topic.case('a flood of 1 GiB', flood, server)
        topic.case('a program that never reads', deaf, server)
        topic.case('standard error', complains, server)
        topic.case('as many as may run, and those that wait', few, server)
        topic.case('a program that is not there', not_there, server)
        topic.case('200 at once', many, server)
        topic.case('the spawn process is killed', spawn_killed, server)
        topic.case('a worker is killed', worker_killed, server)
        topic.case('a reload', through_reload, server, server.reload)
        topic.case('an upgrade', through_reload, server, server.upgrade)
        topic.case('a user that cannot be', wrong_user, server)
    topic.case('only where it is needed', only_where_needed, site)
    topic.case('the server stops', stopped, site)
    topic.case('the server is ended at once, or killed', killed, site)
    topic.done()


if __name__ == '__main__':
    main()
