"""harness.py - what the end-to-end tests share.

A topic is a program with cases. Each case prints one line, `ok NAME`, `FAIL NAME: why` or
`skip NAME: why`, and the last line counts them, for tests/summary.sh. A server is the program as
installed (once per build, into tests/e2e/inst below the build folder), in a temporary folder with
certificates of its own, on free loopback ports; it is stopped by its process id and ends with us in any
case. Nothing is shared between two runs but the installed files, so runs may overlap.

By hand: top_builddir=BUILD python3 -B tests/e2e/TOPIC.py [PART-OF-A-CASE-NAME ...]
"""
import atexit
import collections
import contextlib
import ctypes
import fcntl
import grp
import json
import os
import pathlib
import pwd
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import traceback

BUILD = pathlib.Path(os.environ.get('top_builddir', '.')).resolve()
PROBE = os.environ.get('PROBE') == 'yes'
ROOT = os.geteuid() == 0
MAKEFILE = BUILD / 'tests' / 'Makefile'
SANITIZED = MAKEFILE.exists() and '\nenable_sanitizers = yes\n' in MAKEFILE.read_text()
HOST = '127.0.0.1'
TIMEOUT = 20  # seconds for what takes milliseconds: only a hang is longer
TOPIC_TIMEOUT = 280
ACCOUNTS = ('_postern', '_posternk', '_posternc', '_posterna', '_posternq')
ADMIN_GROUP = 'postern-admin'
if SANITIZED:
    os.environ.setdefault('ASAN_OPTIONS', 'detect_leaks=0')  # a confined process cannot look for them


class Failure(Exception):
    """What was seen is not what should be."""


class Skip(Exception):
    """This case cannot run here; the text says why."""


def check(condition, why):
    if not condition:
        raise Failure(why)


def equal(got, want, what):
    check(got == want, f'{what}: got {got!r}, expected {want!r}')


def within(seconds, condition, what):
    """Waits until condition() is true and returns what it gave."""
    end = time.monotonic() + seconds
    while True:
        got = condition()
        if got:
            return got
        check(time.monotonic() < end, f'not within {seconds} s: {what}')
        time.sleep(0.02)


def need(program, package):
    path = shutil.which(program)
    if path is None:
        raise Skip(f'{program} is not here (Debian package {package})')
    return path


# --- topics and cases ---------------------------------------------------------------------------


class Topic:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.only = sys.argv[1:]
        self.servers = []  # whose log explains a failure
        signal.signal(signal.SIGTERM, lambda *_: sys.exit('ended by SIGTERM'))
        signal.signal(signal.SIGALRM, self._late)
        signal.alarm(TOPIC_TIMEOUT)
        sys.stdout.reconfigure(line_buffering=True)
        sys.excepthook = self._between_cases

    @staticmethod
    def _late(*_):
        raise Failure(f'this program ran longer than {TOPIC_TIMEOUT} s')

    def _between_cases(self, kind, error, trace):
        traceback.print_exception(kind, error, trace)
        print('FAIL between two cases: ' + f'{kind.__name__}: {error}'.replace('\n', ' | '))
        print(f'# {self.passed} passed, {self.failed + 1} failed, {self.skipped} skipped')

    def wants(self, name):
        """It was named on the command line, or nothing was."""
        return not self.only or any(part in name for part in self.only)

    def case(self, name, test, *args):
        """Runs test(*args) as one case. Returns whether it passed."""
        if not self.wants(name):
            return True
        began = time.monotonic()
        try:
            test(*args)
        except Skip as why:
            self.skipped += 1
            print(f'skip {name}: {why}')
            return True
        except Exception as why:  # whatever happens is a failure of this case, and the next one runs
            self.failed += 1
            text = str(why) if isinstance(why, Failure) else f'{type(why).__name__}: {why}'
            print(f'FAIL {name}: ' + text.replace('\n', ' | '))
            self._explain()
            return False
        self.passed += 1
        took = time.monotonic() - began
        print(f'ok {name}' + (f' ({took:.1f} s)' if took >= 1 else ''))
        return True

    def _explain(self):
        for line in traceback.format_exc().splitlines():
            if line.lstrip().startswith('File ') and 'e2e' in line:
                print('    at ' + line.strip())
        for server in self.servers:
            for line in server.log().splitlines()[-6:]:
                print('    log: ' + line)
        self.servers = [server for server in self.servers if server.alive()]

    def done(self):
        """The last line, and the exit code."""
        signal.alarm(0)
        if self.passed + self.failed + self.skipped == 0:
            self.failed = 1
            print('FAIL no case has this name')
        print(f'# {self.passed} passed, {self.failed} failed, {self.skipped} skipped')
        sys.exit(1 if self.failed else 0)


# --- the installed program ----------------------------------------------------------------------


def make_accounts():
    """The accounts that a start by root needs, as `postern setup` makes them."""
    if not any(group.gr_name == ADMIN_GROUP for group in grp.getgrall()):
        subprocess.run(['groupadd', '--system', ADMIN_GROUP], check=True)
        print(f'made the system group {ADMIN_GROUP}')
    for name in ACCOUNTS:
        try:
            pwd.getpwnam(name)
        except KeyError:
            subprocess.run(['useradd', '--system', '--no-create-home', '--home-dir', '/nonexistent',
                            '--shell', '/usr/sbin/nologin', name], check=True)
            print(f'made the system account {name}')


def install():
    """Installs the build, once, and returns the path of posternd."""
    folder = BUILD / 'tests' / 'e2e'
    built = [BUILD / 'src' / 'posternd', BUILD / 'src' / 'postern-control', BUILD / 'src' / 'postern-auth',
             BUILD / 'src' / 'postern-store']
    for path in built:
        if not path.exists():
            sys.exit(f'{path} is not built (top_builddir names the build folder): run make first')
    folder.mkdir(parents=True, exist_ok=True)
    stamp, inst = folder / 'inst.stamp', folder / 'inst'
    with open(folder / 'inst.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if ROOT:
            make_accounts()
        newest = max(path.stat().st_mtime_ns for path in built)
        if not stamp.exists() or stamp.read_text() != str(newest):
            env = {k: v for k, v in os.environ.items() if k not in ('MAKEFLAGS', 'MFLAGS', 'MAKELEVEL')}
            run = subprocess.run(['make', '-s', '-C', str(BUILD / 'src'), 'install-exec',
                                  f'DESTDIR={inst}', 'sbindir=/sbin', 'bindir=/bin',
                                  'libexecdir=/libexec'], env=env, text=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            if run.returncode != 0:
                sys.exit('make install failed:\n' + run.stdout)
            stamp.write_text(str(newest))
    return inst / 'sbin' / 'posternd'


# --- certificates -------------------------------------------------------------------------------

OPENSSL_CONF = '''
[ca]
default_ca = this
[this]
database = {folder}/index
new_certs_dir = {folder}/new
rand_serial = yes
default_md = sha256
default_days = 30
policy = any
unique_subject = no
copy_extensions = none
email_in_dn = no
[any]
commonName = supplied
[req]
distinguished_name = none
[none]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1, IP:::1
[client]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
{san}
'''

Issue = collections.namedtuple('Issue', 'name section san issuer dates key', defaults=('', 'ca', None, 'ec'))
VALID_FOREVER = ('20200101000000Z', '20491231235959Z')

ISSUES = [
    Issue('ca', 'authority', '', 'ca', VALID_FOREVER),
    Issue('stranger-ca', 'authority', '', 'stranger-ca', VALID_FOREVER),
    Issue('between', 'authority', '', 'ca', VALID_FOREVER),
    Issue('server', 'server'),
    Issue('server-2', 'server'),
    Issue('server-between', 'server', issuer='between'),
    Issue('server-rsa', 'server', key='rsa:2048'),
    Issue('server-ed25519', 'server', key='ed25519'),
    Issue('net', 'server', 'DNS:mail.example.net, DNS:imap.example.net, DNS:*.example.net'),
    Issue('books', 'server', 'DNS:xn--bcher-kva.example'),
    Issue('alice', 'client', 'email:alice@example.test'),
    Issue('bob', 'client', 'email:bob@example.test'),
    Issue('dave', 'client', 'email:dave@example.test'),
    Issue('stranger', 'client', 'email:alice@example.test', 'stranger-ca'),
    Issue('expired', 'client', 'email:alice@example.test', 'ca', ('20200101000000Z', '20200201000000Z')),
    Issue('future', 'client', 'email:alice@example.test', 'ca', ('20480101000000Z', '20490101000000Z')),
    Issue('purpose', 'server', 'email:alice@example.test'),
    Issue('nameless', 'client'),
    Issue('two', 'client', 'email:alice@example.test, email:bob@example.test'),
    Issue('indirect', 'client', 'email:alice@example.test', 'between'),
    Issue('rsa', 'client', 'email:alice@example.test', key='rsa:2048'),
    Issue('ed25519', 'client', 'email:alice@example.test', key='ed25519'),
    Issue('revoked', 'client', 'email:alice@example.test'),
    Issue('tampered', 'client', 'email:alice@example.test'),
    Issue('empty', 'client', 'DER:30:00'),
]


class Certificates:
    """Makes NAME.pem and NAME.key on first use. `indirect` carries its intermediate."""

    def __init__(self, folder):
        self.folder = folder
        self.openssl = need('openssl', 'openssl')
        self.making = threading.RLock()  # who finds half of it there takes a key that is none of this certificate's
        (folder / 'new').mkdir(parents=True)
        (folder / 'index').touch()

    def _run(self, *args):
        run = subprocess.run([self.openssl, *map(str, args)], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        check(run.returncode == 0, f'openssl {" ".join(map(str, args))}: {run.stdout}')

    def _make(self, issue):
        base = self.folder / issue.name
        conf = self.folder / (issue.name + '.cnf')
        san = f'subjectAltName = {issue.san}' if issue.san else ''
        text = OPENSSL_CONF.format(folder=self.folder, san=san)
        if issue.section == 'server' and issue.san:  # a server's purpose, a client's name
            text = re.sub(r'subjectAltName = DNS:.*', san, text)
        conf.write_text(text)
        request = base.with_suffix('.csr')
        curve = ['-pkeyopt', 'ec_paramgen_curve:P-256'] if issue.key == 'ec' else []
        self._run('req', '-new', '-config', conf, '-newkey', issue.key, *curve, '-nodes', '-keyout',
                  base.with_suffix('.key'), '-out', request, '-subj', f'/CN={issue.name}')
        args = ['ca', '-batch', '-notext', '-config', conf, '-extensions', issue.section,
                '-in', request, '-out', base.with_suffix('.pem')]
        if issue.issuer == issue.name:
            args += ['-selfsign', '-keyfile', base.with_suffix('.key')]
        else:
            args += ['-cert', self.cert(issue.issuer), '-keyfile', self.key(issue.issuer)]
        if issue.dates:
            args += ['-startdate', issue.dates[0], '-enddate', issue.dates[1]]
        self._run(*args)
        if issue.issuer == 'between':
            with open(base.with_suffix('.pem'), 'a') as out:
                out.write(self.cert('between').read_text())
        if issue.name == 'tampered':  # the last octet of the signature
            der = ssl.PEM_cert_to_DER_cert(base.with_suffix('.pem').read_text())
            base.with_suffix('.pem').write_text(ssl.DER_cert_to_PEM_cert(der[:-1] + bytes([der[-1] ^ 1])))

    def list_of(self, revoked):
        """The revocation list of `ca`, with this certificate on it."""
        path, conf = self.folder / 'crl.pem', self.folder / 'ca.cnf'
        signer = ('-config', conf, '-cert', self.cert('ca'), '-keyfile', self.key('ca'))
        self._run('ca', *signer, '-revoke', self.cert(revoked))
        self._run('ca', *signer, '-gencrl', '-crldays', '30', '-out', path)
        return path

    def cert(self, name):
        path = self.folder / (name + '.pem')
        with self.making:
            if not path.exists():
                self._make(next(issue for issue in ISSUES if issue.name == name))
        return path

    def key(self, name):
        self.cert(name)
        return self.folder / (name + '.key')

    def scalar(self, name):
        """The private number of a P-256 key (RFC 5915), 32 octets."""
        der = subprocess.run([self.openssl, 'pkey', '-in', str(self.key(name)), '-outform', 'DER'],
                             stdout=subprocess.PIPE, check=True).stdout
        at = der.index(bytes.fromhex('0201010420')) + 5
        return der[at:at + 32]

    def public(self, name):
        """The first half of a P-256 public key, its x, in hexadecimal."""
        der = subprocess.run([self.openssl, 'pkey', '-in', str(self.key(name)), '-pubout', '-outform',
                              'DER'], stdout=subprocess.PIPE, check=True).stdout
        return der[-64:-32].hex()

    def context(self, version=None, client=None, ca='ca'):
        """A client's TLS context; version '1.2' or '1.3' alone, client: name of its certificate."""
        context = ssl.create_default_context(cafile=str(self.cert(ca)))
        if version is not None:
            number = ssl.TLSVersion.TLSv1_2 if version == '1.2' else ssl.TLSVersion.TLSv1_3
            context.minimum_version = context.maximum_version = number
        if client is not None:
            context.load_cert_chain(self.cert(client), self.key(client))
        return context


# --- the server ---------------------------------------------------------------------------------


_given_ports = set()  # the kernel may offer one twice before anybody listens there


def free_port(host=HOST):
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    while True:
        with socket.socket(family, socket.SOCK_STREAM) as s:
            s.bind((host, 0))
            port = s.getsockname()[1]
        if port not in _given_ports:
            _given_ports.add(port)
            return port


def _end_with_us():
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG; an upgrade's exec keeps it


class Site:
    """A temporary folder with certificates, for one or more servers. A context manager."""

    def __init__(self, topic):
        self.topic = topic
        self.posternd = install()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='postern-e2e.'))
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        self.folder.chmod(0o755)
        self.certs = Certificates(self.folder / 'certs')
        self.count = 0

    def server(self, services, **options):
        self.count += 1
        return Server(self, self.folder / str(self.count), services, **options)


LINE_SERVICE = '''
service line {
    protocol line
    listen 127.0.0.1:@line starttls-required
    listen 127.0.0.1:@lines tls
    tls main
    max-per-address 1000
}
'''

TLS_MAIN = '''
tls main {{
    certificate {cert} key {key}
    client-certificate request
    client-ca {ca}
}}
identity {{ map san-email }}
'''


class Server:
    """posternd with its own configuration. @NAME in the text, behind no letter, stands for a free port; port(NAME) tells it.
    A context manager: stopped at the end, when its log must not hold an error that allowed (a regular
    expression) does not know."""

    def __init__(self, site, folder, services, top='', tls=None, log='stderr', foreground=True, env=None,
                 files_limit=None, allowed=None, posternd=None, workers=2):
        self.site, self.folder, self.services = site, folder, services
        self.top, self.tls, self.log_directive = top, tls, log
        self.foreground, self.env, self.files_limit = foreground, env or {}, files_limit
        self.allowed, self.workers = allowed, workers
        self.posternd = posternd or site.posternd
        self.process = None  # while it runs in the foreground
        self.pid = None
        self.exit_code = None
        self.ports = {}
        folder.mkdir()
        (folder / 'state').mkdir()
        (folder / 'run').mkdir()
        self.conf = folder / 'postern.conf'
        self.log_file = folder / 'log'
        self.control = folder / 'run' / 'control'
        self.pid_file = folder / 'run' / 'pid'

    # the configuration

    def text(self, services=None, top=None, tls=None):
        tls = tls or self.tls or TLS_MAIN
        certs = self.site.certs
        tls = tls.format(cert=certs.cert('server'), key=certs.key('server'), ca=certs.cert('ca'))
        text = (f'hostname localhost\nstate {self.folder}/state\npid-file {self.pid_file}\n'
                f'log {self.log_directive}\nworkers {self.workers}\n'
                f'control {{ socket {self.control} }}\n'
                + (top if top is not None else self.top) + tls + (services or self.services))
        return re.sub(r'(?<!\w)@(\w+)', lambda m: str(self.port(m.group(1))), text)

    def write_conf(self, **parts):
        """By rename, as an administrator's tool does."""
        new = self.conf.with_suffix('.new')
        new.write_text(self.text(**parts))
        new.rename(self.conf)

    def port(self, name):
        """Listeners whose name ends in 6 are on [::1]."""
        if name not in self.ports:
            self.ports[name] = free_port('::1' if name.endswith('6') else HOST)
        return self.ports[name]

    # start and end

    def _limits(self):
        _end_with_us()
        if self.files_limit is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self.files_limit, self.files_limit))

    def spawn(self):
        """Starts the process and does not wait."""
        argv = [str(self.posternd), '-f', str(self.conf)] + (['-d'] if self.foreground else [])
        with open(self.log_file, 'ab') as err:
            return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=err, stderr=err,
                                    env={**os.environ, **self.env},
                                    preexec_fn=self._limits if self.foreground else None)

    def start(self):
        for attempt in range(5):
            self.write_conf()
            process = self.spawn()
            try:
                if self.foreground:
                    self.process, self.pid = process, process.pid
                    within(TIMEOUT, lambda: process.poll() is not None or self.serving(), 'serving')
                    failed = process.poll() is not None
                else:  # the process that we started waits until it serves
                    failed = process.wait(TIMEOUT) != 0
                    self.pid = None if failed else int(self.pid_file.read_text())
                    if not failed:
                        within(TIMEOUT, self.serving, 'serving')
            except BaseException:
                self.kill()
                raise
            if not failed:
                return self
            self.process = self.pid = None
            if 'another program has this address' not in self.log() or attempt == 4:
                break
            self.ports.clear()  # somebody was quicker
            self.log_file.unlink()
        raise Failure(f'posternd does not start, code {process.returncode}: {self.log()}')

    def serving(self):
        try:
            return self.status()['state'] == 'serving'
        except (OSError, ValueError, KeyError):
            return False

    def __enter__(self):
        self.site.topic.servers.append(self)
        return self.start()

    def __exit__(self, kind, *_):
        if kind is None:
            code = self.stop()
            self.site.topic.servers.remove(self)
            if self.allowed is not False:
                check(code in (0, None), f'posternd ended with code {code}: {self.log()[-2000:]}')
                self.check_log()
        else:
            self.kill()

    def check_log(self):
        for line in self.log().splitlines():
            if re.search(r'\] (error|alert|critical): |assert|Sanitizer', line):
                check(self.allowed and re.search(self.allowed, line), f'the log has an error: {line}')

    def alive(self):
        if self.pid is None:
            return False
        if self.process is not None:
            return self.process.poll() is None
        return is_posternd(self.pid)

    def wait(self, seconds=TIMEOUT):
        """Waits for its end; the exit code where we can know it."""
        if self.process is not None:
            try:
                self.exit_code = self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                raise Failure(f'posternd has not ended within {seconds} s') from None
        elif self.pid is not None:
            within(seconds, lambda: not self.alive(), 'the end of posternd')
        self.process = self.pid = None
        return self.exit_code

    def stop(self, sig=signal.SIGTERM):
        if not self.alive():
            return self.wait()
        os.kill(self.pid, sig)
        try:
            return self.wait()
        finally:
            self.kill()

    def kill(self):
        if self.alive():
            os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def signal(self, sig):
        os.kill(self.pid, sig)

    # looking at it

    def log(self):
        return self.log_file.read_text(errors='replace') if self.log_file.exists() else ''

    def wait_log(self, pattern, count=1, seconds=TIMEOUT):
        return within(seconds, lambda: len(re.findall(pattern, self.log())) >= count,
                      f'{count} times {pattern!r} in the log')

    def ask(self, command):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.settimeout(TIMEOUT)
            s.connect(str(self.control))
            s.sendall(json.dumps({'command': command}).encode() + b'\n')
            with s.makefile('rb') as f:
                return json.loads(f.readline())

    def status(self):
        return self.ask('status')

    def service(self, name='line'):
        return next(s for s in self.status()['services'] if s['name'] == name)

    def processes(self, role, state=None):
        return [p for p in self.status()['processes']
                if p['role'] == role and state in (None, p['state'])]

    def pids(self, role):
        return [p['pid'] for p in self.processes(role)]

    def _transition(self, act, allow_later=False):
        before = self.status()['generation']
        act()

        def done():
            try:
                status = self.status()
            except (OSError, ValueError):
                return None  # control is being replaced
            return status['generation'] > before and status['state'] == 'serving'
        within(TIMEOUT, done, f'a generation after {before}')

    def reload(self):
        self._transition(lambda: self.signal(signal.SIGHUP))

    def upgrade(self):
        self._transition(lambda: self.signal(signal.SIGUSR2))

    # speaking to it

    def address(self, name='line'):
        return ('::1' if name.endswith('6') else HOST, self.port(name))

    def connect(self, name='line', **options):
        """A client that has not read the greeting."""
        return Client(self.address(name), **options)

    def client(self, name='line', **options):
        """A client that has been greeted with OK."""
        client = Client(self.address(name), **options)
        client.greeting = client.reply()
        equal(client.greeting.status, 'OK', 'the greeting')
        return client

    def secure(self, name='line', version=None, cert=None, context=None, **options):
        """A client in TLS, by STARTTLS or on a port with implicit TLS."""
        context = context or self.site.certs.context(version, cert)
        if name.startswith('lines'):
            client = Client(self.address(name), **options)
            client.wrap(context)
            client.greeting = client.reply()
        else:
            client = self.client(name, **options)
            client.starttls(context)
        equal(client.greeting.status, 'OK', 'the greeting in TLS')
        return client


def is_posternd(pid):
    try:
        return pathlib.Path(f'/proc/{pid}/exe').exists() and \
            b'posternd' in pathlib.Path(f'/proc/{pid}/cmdline').read_bytes()
    except OSError:
        return False


def process_exists(pid):
    """It runs: one that has ended and was not yet waited for does not count."""
    try:
        stat = pathlib.Path(f'/proc/{pid}/stat').read_text()
    except OSError:
        return False
    return stat.rsplit(')', 1)[1].split()[0] != 'Z'


def process_status(pid):
    """/proc/PID/status as a dictionary."""
    lines = pathlib.Path(f'/proc/{pid}/status').read_text().splitlines()
    return {name: value.strip() for name, value in (line.split(':', 1) for line in lines)}


def cpu_seconds(pid):
    fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def rss_kib(pid):
    """0 in a build with sanitizers, which keep what is freed: there is nothing to be said of it."""
    if SANITIZED:
        return 0
    return int(process_status(pid)['VmRSS'].split()[0])


def title(pid):
    """What ps shows: behind a title shorter than the arguments were there may be more."""
    return pathlib.Path(f'/proc/{pid}/cmdline').read_bytes().split(b'\0')[0].decode(errors='replace')


# --- a client of the line protocol --------------------------------------------------------------

Reply = collections.namedtuple('Reply', 'status code text data')
STRING = r'"((?:[^"\\]|\\.)*)"'
FINAL = re.compile(r'(OK|NO|BAD|BYE) (?:\(([^"()]*)(?:"[^"]*")?\) )?' + STRING + r'\Z')


class Ended(Failure):
    """The server has closed in order: FIN, in TLS behind close_notify."""


class Client:
    """Speaks the line protocol (doc/line.md). Use as a context manager, or close()."""

    def __init__(self, address, source=None, timeout=TIMEOUT):
        if isinstance(address, (str, pathlib.Path)):
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        else:
            family = socket.AF_INET6 if ':' in address[0] else socket.AF_INET
            self.sock = socket.socket(family, socket.SOCK_STREAM)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.settimeout(timeout)
        self.buffer = b''
        self.greeting = None
        try:
            if source is not None:
                self.sock.bind((source, 0))
            self.sock.connect(str(address) if isinstance(address, pathlib.Path) else address)
        except BaseException:
            self.sock.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, octets):
        self.sock.sendall(octets)

    def line(self):
        while b'\r\n' not in self.buffer:
            more = self.sock.recv(65536)
            if not more:
                raise Ended(f'the server has closed; left: {self.buffer!r}')
            self.buffer += more
        line, self.buffer = self.buffer.split(b'\r\n', 1)
        return line.decode()

    def reply(self):
        data = []
        while True:
            line = self.line()
            if line.startswith('"'):
                data.append([re.sub(r'\\(.)', r'\1', s) for s in re.findall(STRING, line)])
                check(len(data) < 1000, 'a reply without an end')
                continue
            match = FINAL.match(line)
            check(match, f'a line that is no reply: {line!r}')
            return Reply(match.group(1), (match.group(2) or '').strip(), match.group(3), data)

    def command(self, line):
        self.send(line.encode() + b'\r\n')
        return self.reply()

    def wrap(self, context):
        check(self.buffer == b'', f'plaintext behind the reply to STARTTLS: {self.buffer!r}')
        self.sock = context.wrap_socket(self.sock, server_hostname='localhost',
                                        suppress_ragged_eofs=False)

    def starttls(self, context):
        reply = self.command('STARTTLS')
        check(reply.status == 'OK', f'STARTTLS: {reply}')
        self.wrap(context)
        self.greeting = self.reply()

    def whoami(self):
        """The facts as a dictionary; SAN as a list."""
        reply = self.command('WHOAMI')
        equal(reply.status, 'OK', 'WHOAMI')
        facts = {'SAN': [], 'TEXT': reply.text}
        for name, value in reply.data:
            if name == 'SAN':
                facts['SAN'].append(value)
            else:
                check(name not in facts, f'WHOAMI tells {name} twice')
                facts[name] = value
        return facts

    def expect_end(self):
        """The server closes in order, and says nothing more. In TLS a FIN without close_notify raises
        ssl.SSLError, a reset ConnectionResetError."""
        try:
            rest = self.buffer + self.sock.recv(65536)
        except ssl.SSLZeroReturnError:
            rest = b''
        equal(rest, b'', 'octets before the end')


def capabilities(reply):
    return [pair[0] for pair in reply.data]


# --- other people's clients ---------------------------------------------------------------------

ALERT = re.compile(r'SSL alert number (\d+)')


def s_client(server, name, commands='', *args, starttls=True):
    """openssl s_client; returns all that it printed. It reads until the server closes."""
    argv = [need('openssl', 'openssl'), 's_client', '-quiet', '-connect',
            '%s:%d' % server.address(name), '-CAfile', str(server.site.certs.cert('ca')),
            '-servername', 'localhost', '-verify_return_error', *map(str, args)]
    if starttls:
        argv += ['-starttls', 'sieve']
    run = subprocess.run(argv, input=commands.replace('\n', '\r\n').encode(), stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, timeout=TIMEOUT)
    return run.stdout.decode(errors='replace')


def alert_of(output):
    match = ALERT.search(output)
    return int(match.group(1)) if match else None


def gnutls_cli(server, name, dialogue, *args, starttls=True):
    """gnutls-cli; dialogue: pairs of a command and the pattern that ends its answer. It takes one line at a
    time: what stands behind it in the same read waits for the next."""
    host, port = server.address(name)
    argv = [need('gnutls-cli', 'gnutls-bin'), '--port', str(port), '--x509cafile',
            str(server.site.certs.cert('ca')), '--crlf', *map(str, args)]
    if starttls:
        argv += ['--starttls-proto=sieve']
    with tempfile.TemporaryFile() as out, \
            subprocess.Popen([*argv, host], stdin=subprocess.PIPE, stdout=out, stderr=out) as process:
        def printed():
            return os.pread(out.fileno(), 1 << 20, 0).decode(errors='replace')

        def until(pattern):
            within(TIMEOUT, lambda: re.search(pattern, printed()) or process.poll() is not None,
                   f'{pattern!r} from gnutls-cli')
        try:
            until('Simple Client Mode')
            for command, answer in dialogue:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.write(command.encode() + b'\n')
                    process.stdin.flush()
                until(answer)
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            process.wait(TIMEOUT)
        finally:
            if process.poll() is None:
                process.kill()
        return printed()


def facts_of(output):
    """WHOAMI's facts in what another client printed."""
    facts = {'SAN': []}
    for name, value in re.findall(r'^"([A-Z-]+)" ' + STRING + r'\r?$', output, re.M):
        if name == 'SAN':
            facts['SAN'].append(value)
        else:
            facts[name] = value
    return facts


class Visitor:
    """A client that keeps its newest session."""

    def __init__(self, server, version, cert=None):
        self.server = server
        self.context = server.site.certs.context(version, cert)
        self.session = None

    def visit(self, name='line', keep=True):
        """One connection: whether it was resumed, and WHOAMI's facts."""
        with Client(self.server.address(name)) as client:
            if not name.startswith('lines'):
                client.reply()
                equal(client.command('STARTTLS').status, 'OK', 'STARTTLS')
            client.sock = self.context.wrap_socket(client.sock, server_hostname='localhost',
                                                   session=self.session, suppress_ragged_eofs=False)
            client.greeting = client.reply()
            facts = client.whoami()
            reused = client.sock.session_reused
            equal(facts['RESUMED'], 'yes' if reused else 'no', 'RESUMED')
            if keep:
                self.session = client.sock.session
            client.command('QUIT')
        return reused, facts

    def full(self, name='line', **options):
        reused, facts = self.visit(name, **options)
        check(not reused, f'{name}: resumed, and should not be')
        return facts

    def resumed(self, name='line', **options):
        reused, facts = self.visit(name, **options)
        check(reused, f'{name}: a full handshake')
        return facts

    def refused(self, name, reason):
        try:
            self.visit(name, keep=False)
        except ssl.SSLError as why:
            check(reason in str(why), f'{name}: {why}, expected {reason}')
            return
        raise Failure(f'{name}: not refused')
