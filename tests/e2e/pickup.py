"""Files of certificates, keys and CAs that change are picked up without a reload: however they are changed, as a set,
by all processes or by none, and the sessions that are open do not feel it."""
import contextlib
import datetime
import os
import re
import shutil
import signal
import ssl
import subprocess
import time

import harness as h

TLS = '''
tls main {{
    certificate @F/tls.crt key @F/tls.key
    client-certificate request
    client-ca @F/ca.pem
    renegotiation 9 per 10m
}}
identity {{ map san-email }}
'''
REFUSED = 'credential files have changed and cannot be used'


class Files:
    """A folder with the credential files of a server, and every way to change them."""

    def __init__(self, site, name):
        self.certs = site.certs
        self.folder = site.folder / ('files-' + name)
        self.folder.mkdir()
        self.n = 0
        for name in ('tls.crt', 'tls.key', 'ca.pem'):
            self.write(name, self.source(name, 'server'))

    def write(self, name, text):
        """In place, if it is there. A key's file is its owner's."""
        path = self.path(name)
        path.touch(0o600 if '.key' in name else 0o644)
        path.write_text(text)
        return path

    def path(self, name):
        return self.folder / name

    def source(self, name, which):
        if name == 'tls.crt':
            return self.certs.cert(which).read_text()
        if name == 'tls.key':
            return self.certs.key(which).read_text()
        return self.certs.cert('ca').read_text()

    def tls(self, text=TLS):
        return text.replace('@F', str(self.folder))

    def rename(self, name, text):
        self.write(name + '.new', text).rename(self.path(name))

    def pair(self, which, put=None):
        for name in ('tls.crt', 'tls.key'):
            (put or self.rename)(name, self.source(name, which))


def serial(server, name='lines'):
    """Of the certificate that the server shows."""
    context = ssl._create_unverified_context()
    with server.connect(name) as client:
        client.wrap(context)
        der = client.sock.getpeercert(True)
    return der


def der(certs, name):
    return ssl.PEM_cert_to_DER_cert(certs.cert(name).read_text())


def used(server):
    """The credential generation of each process, when it is the same everywhere."""
    status = server.status()
    numbers = {p['credentials'] for p in status['processes'] if 'credentials' in p and p['state'] == 'serving'}
    return numbers.pop() if numbers == {status['credentials']['generation']} else None


def shows(server, which, seconds=h.TIMEOUT):
    """Waits until new sessions get that certificate; how long it took."""
    began = time.monotonic()
    h.within(seconds, lambda: tries(server, which), f'the certificate of {which}')
    return time.monotonic() - began


def talk(sessions):
    for n, session in enumerate(sessions):
        h.equal(session.command(f'ECHO still {n}').data, [[f'still {n}']], f'session {n}')


@contextlib.contextmanager
def started(site, name, services=h.LINE_SERVICE, files=None, **options):
    files = files or Files(site, name)
    with site.server(services, tls=options.pop('tls', None) or files.tls(), **options) as server:
        server.files = files
        yield server


# --- the ways to change a file ------------------------------------------------------------------

def in_place(files, which):
    files.pair(which, files.write)


def by_rename(files, which):
    files.pair(which)


def anew(files, which):
    def put(name, text):
        files.path(name).unlink()
        files.write(name, text)
    files.pair(which, put)


def by_link(files, which):
    """As certbot does: live/x is a link to archive/xN, and is made anew. At first no file is a link."""
    files.n += 1
    archive = files.folder / 'archive'
    archive.mkdir(exist_ok=True)

    def put(name, text):
        target = files.write(f'archive/{files.n}-{name}', text)
        new = files.path(name + '.link')
        new.symlink_to(f'archive/{target.name}')
        new.rename(files.path(name))
    files.pair(which, put)


def by_folder(files, which):
    """As Kubernetes does: each file is a link through ..data, and only that changes."""
    files.n += 1
    data = files.folder / f'..{files.n}'
    data.mkdir()
    for name in ('tls.crt', 'tls.key', 'ca.pem'):
        files.write(f'{data.name}/{name}', files.source(name, which))
    new = files.folder / '..tmp'
    new.symlink_to(data.name)
    new.rename(files.folder / '..data')
    for name in ('tls.crt', 'tls.key', 'ca.pem'):
        if not (files.path(name).is_symlink() and os.readlink(files.path(name)).startswith('..data/')):
            files.path(name + '.link').symlink_to(f'..data/{name}')
            files.path(name + '.link').rename(files.path(name))
    for old in files.folder.glob('..[0-9]*'):
        if old != data:
            shutil.rmtree(old)


def key_first(files, which):
    for name in ('tls.key', 'tls.crt'):
        files.rename(name, files.source(name, which))
        time.sleep(0.5)  # longer than changes are gathered


def changes(site, server, change):
    """Twice, because the second time a link is a link already. Sessions of all ages live through it."""
    generation = server.status()['generation']
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(server.secure(cert='alice'))]
        for which in ('server-2', 'server'):
            number = h.within(h.TIMEOUT, lambda: used(server), "one credential generation everywhere")
            change(server.files, which)
            took = shows(server, which)
            print(f'    {which} after {took:.2f} s')
            h.within(h.TIMEOUT, lambda: (used(server) or 0) > number, 'one credential generation everywhere')
            talk(sessions)
            sessions.append(stack.enter_context(server.secure(cert='alice')))
            h.equal(sessions[-1].whoami()['IDENTITY'], 'alice@example.test', 'IDENTITY')
        h.check(REFUSED not in server.log(), server.log())
    h.equal(server.status()['generation'], generation, 'generation of the configuration')


# --- what must not be picked up -----------------------------------------------------------------

def refused(site, wrong, says, mend):
    """Nothing changes anywhere, one line says why, and it is looked at again."""
    with started(site, f'refused-{site.count}', allowed=REFUSED) as server:
        number = h.within(h.TIMEOUT, lambda: used(server), "one credential generation everywhere")
        with server.secure(cert='alice') as session:
            wrong(server.files)
            server.wait_log(REFUSED + '.*' + says)
            h.equal(server.log().count(REFUSED), 1, f'messages in {server.log()}')
            h.equal(used(server), number, 'credential generation')
            status = server.status()['credentials']
            h.check(status['refused'] and says.split('.*')[0] in status['error'], f'{status}')
            h.equal(serial(server), der(site.certs, 'server'), 'the certificate')
            talk([session])
            # a worker that is started now gets what the others have, not what lies on the disk
            pid = server.pids('worker')[0]
            os.kill(pid, signal.SIGKILL)
            h.within(h.TIMEOUT, lambda: pid not in server.pids('worker') and len(server.pids('worker')) == 2
                     and used(server) == number, 'the next worker')
            mend(server.files)
            if serial(server) == der(site.certs, 'server'):
                shows(server, 'server-2')
            h.within(h.TIMEOUT, lambda: used(server) and used(server) > number, 'the generation after it')
            h.equal(server.status()['credentials']['error'], None, 'error')
            h.equal(server.log().count(REFUSED), 1, f'messages in {server.log()}')
        server.allowed += '|was ended by signal 9'


def half(files):
    files.rename('tls.crt', files.source('tls.crt', 'server-2'))


def other_half(files):
    files.rename('tls.key', files.source('tls.key', 'server-2'))


def broken(files):
    files.path('tls.key').write_text('nothing\n')


def gone(files):
    files.path('ca.pem').rename(files.path('away'))


def no_ca(files):
    files.path('ca.pem').write_text('# no certificate\n')


def whole(files):
    for name in ('ca.pem',):
        files.path(name).write_text(files.source(name, 'server-2'))
    files.pair('server-2')


def untouched(site):
    """A file that is written anew as it was makes a generation or none, and no difference; one that is read, and
    others of the folder, nothing at all."""
    with started(site, 'untouched') as server:
        number = h.within(h.TIMEOUT, lambda: used(server), "one credential generation everywhere")
        server.files.path('other').write_text('x')
        server.files.path('tls.key').read_text()
        time.sleep(1)
        h.equal(used(server), number, 'credential generation')
        server.files.path('tls.crt').touch()
        h.within(h.TIMEOUT, lambda: used(server), 'one credential generation everywhere')
        h.equal(serial(server), der(site.certs, 'server'), 'the certificate')


# --- a pick-up and everything else --------------------------------------------------------------

def keyholder_dies(site):
    """Meanwhile and between: the next one has every set that a session may need."""
    with started(site, 'keyholder', allowed='was ended by signal 9|keyholder does not answer') as server:
        for n in range(5):
            which = ('server-2', 'server')[n % 2]
            server.files.pair(which)
            time.sleep(0.05 * n)
            pid = server.pids('keyholder')[0]
            os.kill(pid, signal.SIGKILL)
            h.within(h.TIMEOUT, lambda: server.pids('keyholder') not in ([], [pid]), 'the next keyholder')
            h.within(h.TIMEOUT, lambda: tries(server, which), f'the certificate of {which}')
            h.within(h.TIMEOUT, lambda: used(server), 'one credential generation everywhere')


def tries(server, which):
    try:
        return serial(server) == der(server.site.certs, which)
    except (OSError, h.Ended):
        return False


def workers_die(site):
    with started(site, 'workers', allowed='was ended by signal 9', workers=3) as server:
        for n in range(6):
            which = ('server-2', 'server')[n % 2]
            server.files.pair(which)
            time.sleep(0.05 * n)
            for pid in server.pids('worker')[:2]:
                os.kill(pid, signal.SIGKILL)
            h.within(h.TIMEOUT, lambda: len(server.pids('worker')) == 3 and tries(server, which)
                     and used(server), f'three workers with the certificate of {which}')


def hung(site):
    """A worker that does not answer is waited for, and meanwhile no one has the new generation."""
    with started(site, 'hung') as server:
        number = h.within(h.TIMEOUT, lambda: used(server), "one credential generation everywhere")
        pid = server.pids('worker')[0]
        os.kill(pid, signal.SIGSTOP)
        try:
            server.files.pair('server-2')
            time.sleep(2)
            h.equal(server.status()['credentials']['generation'], number, 'credential generation')
        finally:
            os.kill(pid, signal.SIGCONT)
        shows(server, 'server-2')
        h.within(h.TIMEOUT, lambda: used(server), 'one credential generation everywhere')


def dies_of_it(site):
    """A worker that ends while it loads a set may have ended of it: nobody gets that one, and it is tried anew."""
    with started(site, 'dies', allowed='was ended by signal 9') as server:
        number = h.within(h.TIMEOUT, lambda: used(server), 'one credential generation everywhere')
        pid = server.pids('worker')[0]
        os.kill(pid, signal.SIGSTOP)
        server.files.pair('server-2')
        time.sleep(2)
        os.kill(pid, signal.SIGKILL)
        shows(server, 'server-2')
        h.within(h.TIMEOUT, lambda: (used(server) or 0) > number + 1, 'a generation that is not the first one tried')


def mixed(site, step):
    """A reload or an upgrade in the middle: in the end all have what lies on the disk."""
    with started(site, step) as server:
        with server.secure(cert='alice') as session:
            for n in range(8):
                which = ('server-2', 'server')[n % 2]
                server.files.pair(which)
                time.sleep(0.05 * n)
                getattr(server, step)()
                h.within(h.TIMEOUT, lambda: tries(server, which), f'the certificate of {which}')
                talk([session])
            h.within(h.TIMEOUT, lambda: used(server), 'one credential generation everywhere')
        number = h.within(h.TIMEOUT, lambda: used(server), "one credential generation everywhere")
        server.files.pair('server-2' if serial(server) == der(site.certs, 'server') else 'server')
        h.within(h.TIMEOUT, lambda: used(server) and used(server) > number, 'one more')


def broken_from_the_start(site, step):
    """Files that are wrong when a reload comes: the reload fails, and the next change is met all the same."""
    with started(site, 'wrong-' + step, allowed=REFUSED + '|reload failed|upgrade refused') as server:
        broken(server.files)
        server.signal(signal.SIGHUP if step == 'reload' else signal.SIGUSR2)
        server.wait_log('reload failed' if step == 'reload' else 'upgrade refused')
        server.files.pair('server-2')
        shows(server, 'server-2')


def older_generation(site):
    """Workers that drain follow, too: a session of theirs gets the new certificate at its next handshake."""
    with started(site, 'older') as server:
        with server.client() as client:
            server.reload()
            h.within(h.TIMEOUT, lambda: server.processes('worker', 'draining'), 'a worker that drains')
            server.files.pair('server-2')
            shows(server, 'server-2')
            server.wait_log('is in use by an older generation')
            client.starttls(ssl._create_unverified_context())
            h.equal(client.sock.getpeercert(True), der(site.certs, 'server-2'), 'its certificate')
        h.within(h.TIMEOUT, lambda: not server.processes('worker', 'draining'), 'the end of it')


def renegotiates_with_the_old_key(site):
    """A session from before shows the certificate that it has shown, signed with the key of that time, also after the
    keyholder was started again; when it has ended nothing of it is left."""
    with started(site, 'old-key', allowed='was ended by signal 9|keyholder does not answer') as server:
        program = h.BUILD / 'tests' / 'e2e' / 'renegotiator'
        files = [server.folder / 'go-1', server.folder / 'go-2']
        argv = [program, str(server.port('line')), 'NORMAL:-VERS-ALL:+VERS-TLS1.2', site.certs.cert('alice'),
                site.certs.key('alice'), '--', 'wait', files[0], 'again', 'say', 'WHOAMI', 'wait', files[1], 'again',
                'say', 'WHOAMI']
        with subprocess.Popen([str(a) for a in argv], stdout=subprocess.PIPE, text=True) as client:
            try:
                h.equal(client.stdout.readline(), 'wait\n', 'what happened')
                for n, file in enumerate(files):
                    server.files.pair(('server-2', 'server')[n])
                    shows(server, ('server-2', 'server')[n])
                    if n == 1:
                        pid = server.pids('keyholder')[0]
                        os.kill(pid, signal.SIGKILL)
                        h.within(h.TIMEOUT, lambda: tries(server, 'server'), 'the next keyholder')
                    file.touch()
                    h.equal(client.stdout.readline(), 'again\n', 'what happened')
                    h.equal(client.stdout.readline(), 'OK "Your client certificate is your login."\n', 'WHOAMI')
                    if n == 0:
                        h.equal(client.stdout.readline(), 'wait\n', 'what happened')
                h.equal(client.wait(h.TIMEOUT), 0, 'exit code')
            finally:
                client.kill()


# --- the end of certificates --------------------------------------------------------------------

def made_to_end(files, seconds):
    """A certificate of the server's that ends then; the exact time."""
    certs = files.certs
    end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    certs.cert('server')
    certs._run('ca', '-batch', '-notext', '-config', certs.folder / 'server.cnf', '-extensions', 'server', '-in',
               certs.folder / 'server.csr', '-out', files.folder / 'short', '-cert', certs.cert('ca'), '-keyfile',
               certs.key('ca'), '-startdate', '20200101000000Z', '-enddate', f'{end:%Y%m%d%H%M%SZ}')
    files.rename('tls.crt', (files.folder / 'short').read_text())
    return int(end.timestamp())


def ends(site):
    """Status and metrics tell when certificates end; the log says it when 14 days are left, and when it has come."""
    with started(site, 'ends', workers=3) as server:
        postern = str(server.posternd.parent.parent / 'bin' / 'postern')
        path = str(server.files.path('tls.crt'))
        for seconds, says in ((14 * 86400 + 5, 'expires within 14 days'), (6, 'has expired at')):
            number = h.within(h.TIMEOUT, lambda: used(server), "one credential generation everywhere")
            end = made_to_end(server.files, seconds)
            h.within(h.TIMEOUT, lambda: used(server) and used(server) > number, 'the next generation')
            h.equal(server.service()['certificates'], [{'file': path, 'not_after': end}], 'certificates')
            metrics = subprocess.run([postern, '-f', str(server.conf), 'metrics'], stdout=subprocess.PIPE,
                                     text=True, check=True).stdout
            for line in (f'postern_certificate_not_after_seconds{{service="line",file="{path}"}} {end}',
                         f'postern_credential_generation {used(server)}', 'postern_credential_refused_seconds 0'):
                h.check(line + '\n' in metrics, f'no {line} in {metrics}')
            server.wait_log(re.escape(path) + '.*' + says)
            time.sleep(2)
            # on a machine that is very busy it may have come before the load, and then the keyholder says it too
            by = re.findall(r'(\w+)\[\d+\] warning: .*' + says, server.log())
            h.check(by in (['worker'], ['keyholder', 'worker']), f'messages in {server.log()}')
        with server.client(): # what has happened is no reason to stop
            pass


def main():
    topic = h.Topic()
    site = h.Site(topic)
    with started(site, 'ways') as server:
        for change in (by_rename, in_place, anew, by_link, by_folder, key_first):
            topic.case('changed: ' + change.__name__.replace('_', ' '), changes, site, server, change)
    for name, wrong, says, mend in (
            ('half a pair', half, 'files-.*tls.crt', other_half),
            ('a broken key', broken, 'files-.*tls.key', whole),
            ('a CA file that is gone', gone, 'cannot open .*ca.pem', whole),
            ('a CA file without a CA', no_ca, 'service line.*ca.pem', whole)):
        topic.case('not picked up: ' + name, refused, site, wrong, says, mend)
    topic.case('files that have not changed', untouched, site)
    topic.case('the keyholder dies', keyholder_dies, site)
    topic.case('workers die', workers_die, site)
    topic.case('a worker that does not answer', hung, site)
    topic.case('a worker that ends of it', dies_of_it, site)
    for step in ('reload', 'upgrade'):
        topic.case(f'in the middle of a {step}', mixed, site, step)
        topic.case(f'broken when a {step} comes', broken_from_the_start, site, step)
    topic.case('workers that drain', older_generation, site)
    topic.case('certificates end', ends, site)
    topic.case('a renegotiation in a session from before', renegotiates_with_the_old_key, site)
    topic.done()


main()
