"""Sessions that exist end when what they rest on is gone: the certificate is revoked, its CA taken out, its time
over. Those that do not rest on it go on."""
import contextlib
import datetime
import os
import re
import signal
import subprocess
import time

import harness as h
from lists import Lists, P256, make_pair

SERVICES = '''
service request { protocol line
    listen 127.0.0.1:@request starttls-required
    tls main
    max-per-address 1000 }
service always { protocol line
    listen 127.0.0.1:@always starttls-required
    tls main { verify always }
    max-per-address 1000 }
service optional { protocol line
    listen 127.0.0.1:@optional starttls-required
    tls main { client-certificate optional }
    max-per-address 1000 }
service require { protocol line
    listen 127.0.0.1:@require starttls-required
    tls main { client-certificate require
        name localhost { client-crl @own } }
    max-per-address 1000 }
service nobody { protocol line
    listen 127.0.0.1:@nobody starttls-required
    tls main { client-certificate none }
    max-per-address 1000 }
'''
MODES = ('request', 'always', 'optional', 'require')
VERSIONS = ('1.2', '1.3')
GOODBYE = 'not accepted any more'


class Ground:
    """A server with files of its own: certificate, CAs, revocation lists."""

    def __init__(self, site, name, maps='map san-email'):
        self.site, self.folder, self.maps = site, site.folder / ('distrust-' + name), maps
        self.folder.mkdir()
        self.lists = Lists(site, self.folder)
        self.put('ca.pem', site.certs.cert('ca').read_text() + site.certs.cert('stranger-ca').read_text())
        self.put('own.pem', site.certs.cert('ca').read_text())
        self.put('tls.pem', site.certs.cert('server').read_text() + site.certs.key('server').read_text())
        self.revoke([])

    def put(self, name, text):
        new = self.folder / (name + '.new')
        new.touch(0o600)
        new.write_text(text)
        new.rename(self.folder / name)

    def revoke(self, names):
        """With a list of both CAs in one file, by rename."""
        one = self.lists.make('one', names).read_text()
        two = self.lists.make('two', [], issuer='stranger-ca').read_text()
        self.put('own-crl.pem', one + two)  # of a domain of its own: all clients here name that host
        self.put('crl.pem', one + two)

    def server(self, **options):
        f = self.folder
        tls = (f'tls main {{{{\n certificate {f}/tls.pem\n client-certificate request\n client-ca {f}/ca.pem\n'
               f' client-crl {f}/crl.pem\n renegotiation 9 per 10m }}}}\nidentity {{{{ {self.maps} }}}}\n')
        return self.site.server(SERVICES.replace('@own', f'{f}/own-crl.pem'), tls=tls, **options)


def generation(server):
    return server.status()['credentials']['generation']


@contextlib.contextmanager
def picked_up(server):
    """What the block changes is in use everywhere afterwards."""
    before = generation(server)
    yield
    h.within(h.TIMEOUT, lambda: generation(server) > before, 'the next credential generation')


def open_all(server, stack, cert, modes=MODES):
    return {(mode, version): stack.enter_context(server.secure(mode, version, cert))
            for mode in modes for version in VERSIONS}


def ended(session, what):
    reply = session.reply()
    h.equal(reply.status, 'BYE', f'{what}: {reply}')
    h.check(GOODBYE in str(reply), f'{what}: {reply}')
    session.expect_end()


def alive(sessions):
    for what, session in sessions.items():
        h.equal(session.command('NOOP').status, 'OK', f'{what}')


def revoked(site):
    """A list that comes while they are open."""
    ground = Ground(site, 'list')
    with ground.server() as server, contextlib.ExitStack() as stack:
        bob, alice = (open_all(server, stack, name) for name in ('bob', 'alice'))
        nobody = open_all(server, stack, None, ('request', 'optional', 'nobody'))
        with picked_up(server):
            ground.revoke(['bob'])
        for what, session in bob.items():
            ended(session, what)
        alive(alice)
        alive(nobody)
        for (mode, _), session in alice.items():
            h.equal(session.whoami()['IDENTITY'], 'alice@example.test', f'IDENTITY, {mode}')
        for mode in MODES:
            h.equal(server.service(mode)['distrusted'], 2, f'distrusted, {mode}')
        h.equal(len(re.findall('code=session-revoked', server.log())), 8, 'messages')
        # back again: who was ended may come again
        with picked_up(server):
            ground.revoke([])
        server.secure('require', cert='bob').close()
        alive(alice)


def verdict_is_told(site):
    """Under request a session that nobody has logged in to goes on, and is told what has become of its certificate."""
    ground = Ground(site, 'told')
    ground.lists.number += 10
    with ground.server() as server, server.secure('request', cert='nameless') as session:
        h.equal(session.whoami()['VERDICT'], 'unmapped', 'VERDICT')
        with picked_up(server):
            ground.revoke(['nameless'])
        h.within(h.TIMEOUT, lambda: session.whoami()['VERDICT'] == 'revoked', 'VERDICT')
        with picked_up(server):
            ground.revoke([])
        h.equal(session.whoami()['VERDICT'], 'revoked', 'VERDICT when the list is taken back')


def ca_taken_out(site):
    """Its CA is not among ours any more; and a CA that comes makes nobody of those who are there trusted."""
    ground = Ground(site, 'ca')
    with ground.server() as server, contextlib.ExitStack() as stack:
        stranger, alice = (open_all(server, stack, name) for name in ('stranger', 'alice'))
        both = (ground.folder / 'ca.pem').read_text()
        with picked_up(server):
            ground.put('own-crl.pem', ground.lists.make('one', []).read_text())
            ground.put('crl.pem', ground.lists.make('one', []).read_text())
            ground.put('ca.pem', site.certs.cert('ca').read_text())
        for what, session in stranger.items():
            ended(session, what)
        alive(alice)
        untrusted = stack.enter_context(server.secure('request', cert='stranger'))
        h.equal(untrusted.whoami()['VERDICT'], 'unknown-ca', 'VERDICT')
        with picked_up(server):
            ground.put('ca.pem', both)
        h.equal(untrusted.whoami()['VERDICT'], 'unknown-ca', 'VERDICT when its CA has come')
        alive(alice)


def rule_taken_out(site):
    """The CA is trusted as before, but makes nobody a user any more."""
    ground = Ground(site, 'rule', f'map san-email from {site.folder}/distrust-rule/own.pem')
    ground.put('own.pem', (ground.folder / 'ca.pem').read_text())
    with ground.server() as server, contextlib.ExitStack() as stack:
        modes = ('request', 'require')
        stranger, alice = (open_all(server, stack, name, modes) for name in ('stranger', 'alice'))
        with picked_up(server):
            ground.put('own.pem', site.certs.cert('ca').read_text())
        for what, session in stranger.items():
            ended(session, what)
        alive(alice)
        server.wait_log('code=session-unmapped', 4)


def short_lived(site, seconds):
    """A certificate of alice's that ends soon."""
    certs, base = site.certs, site.certs.folder / 'short'
    if not base.with_suffix('.key').exists():
        certs.cert('alice')
        subprocess.run(['openssl', 'req', '-new', '-newkey', *P256, '-nodes', '-keyout', f'{base}.key', '-out',
                        f'{base}.csr', '-subj', '/CN=short'], check=True, stderr=subprocess.DEVNULL)
    now = datetime.datetime.now(datetime.timezone.utc)
    end = now + datetime.timedelta(seconds=seconds)
    since = now - datetime.timedelta(days=1)
    certs._run('ca', '-batch', '-notext', '-config', certs.folder / 'alice.cnf', '-extensions', 'client', '-in',
               f'{base}.csr', '-out', f'{base}.pem', '-cert', certs.cert('ca'), '-keyfile', certs.key('ca'),
               '-startdate', f'{since:%Y%m%d%H%M%SZ}', '-enddate', f'{end:%Y%m%d%H%M%SZ}')
    return end.timestamp()


def expires(site):
    """By the clock alone; also one that was resumed."""
    ground = Ground(site, 'expires')
    with ground.server() as server:
        for seconds in (6, 30):  # the first is too short on a machine that is very busy
            end = short_lived(site, seconds)
            with contextlib.ExitStack() as stack:
                try:
                    sessions = open_all(server, stack, 'short', ('request', 'require'))
                    h.equal(sessions['request', '1.3'].whoami()['IDENTITY'], 'alice@example.test', 'IDENTITY')
                except (OSError, KeyError, h.Ended):
                    if seconds == 30:
                        raise
                    continue
                alice = open_all(server, stack, 'alice', ('request',))
                for what, session in sessions.items():
                    ended(session, what)
                late = time.time() - end
                print(f'    {late:.1f} s after its end')
                h.check(late > 0, f'{late} s too early')
                alive(alice)
            server.wait_log('code=session-expired', 4)
            return


def older_generation(site):
    """A session of a configuration before the present one, which is also the one of an upgrade before."""
    ground = Ground(site, 'older')
    with ground.server() as server, contextlib.ExitStack() as stack:
        first = [open_all(server, stack, name, ('request',)) for name in ('bob', 'alice')]
        server.reload()
        second = [open_all(server, stack, name, ('require',)) for name in ('bob', 'alice')]
        server.upgrade()
        with picked_up(server):
            ground.revoke(['bob'])
        for sessions in (first[0], second[0]):
            for what, session in sessions.items():
                ended(session, what)
        for sessions in (first[1], second[1]):
            alive(sessions)


def while_draining(site):
    """A drain may take an hour: what is revoked then is revoked."""
    ground = Ground(site, 'drain')
    with ground.server() as server, contextlib.ExitStack() as stack:
        bob, alice = (open_all(server, stack, name, ('request', 'require')) for name in ('bob', 'alice'))
        server.signal(signal.SIGQUIT)
        h.within(h.TIMEOUT, lambda: server.status()['state'] == 'draining', 'draining')
        with picked_up(server):
            ground.revoke(['bob'])
        for what, session in bob.items():
            ended(session, what)
        alive(alice)
        for session in alice.values():
            session.close()
        h.equal(server.wait(), 0, 'exit code')


def between(site):
    """Handshakes all the time while lists change: whoever is let in by a list that was replaced is out at once."""
    ground = Ground(site, 'between')
    with ground.server() as server:
        for n in range(6):
            names = ['bob'] if n % 2 == 0 else []
            before = generation(server)
            ground.revoke(names)
            open_ones = []
            while generation(server) == before:
                with contextlib.suppress(OSError, h.Ended, h.Failure):
                    open_ones.append(server.secure('require', version=VERSIONS[n // 2 % 2], cert='bob'))
            for session in open_ones:
                if names:
                    ended(session, 'one of those')
                session.close()


def copies(server):
    """Sealed copies of credential files that the parent holds."""
    folder = f'/proc/{server.pid}/fd'
    n = 0
    for fd in os.listdir(folder):
        with contextlib.suppress(OSError):
            n += 'postern-credential' in os.readlink(f'{folder}/{fd}')
    return n


def nothing_stays(site):
    """Fifty changes: a session that has lived through all of them holds no more than one that came just now."""
    ground = Ground(site, 'memory')
    with ground.server() as server, contextlib.ExitStack() as stack:
        sessions = open_all(server, stack, 'alice')
        first = copies(server)
        for _ in range(5):
            with picked_up(server):
                ground.revoke([])
        h.within(h.TIMEOUT, lambda: copies(server) == first, f'{first} copies, not {copies(server)}')
        # another key: its old one may still be needed by them, once, however often the list changes then
        with picked_up(server):
            ground.put('tls.pem', site.certs.cert('server-2').read_text() + site.certs.key('server-2').read_text())
        for _ in range(3):
            with picked_up(server):
                ground.revoke([])
        h.within(h.TIMEOUT, lambda: copies(server) == first + 1, f'{first + 1} copies, not {copies(server)}')
        alive(sessions)
        for session in sessions.values():
            session.close()
        h.within(h.TIMEOUT, lambda: copies(server) == first, f'{first} copies, not {copies(server)}')


def renegotiates(site, service, other_key, revoke):
    """A session that went over to another set, and renegotiates then: by the lists and CAs of now."""
    ground = Ground(site, f'again-{service}-{other_key}-{revoke}')
    with ground.server() as server:
        go = server.folder / 'go'
        argv = [h.BUILD / 'tests' / 'e2e' / 'renegotiator', server.port(service), 'NORMAL:-VERS-ALL:+VERS-TLS1.2',
                site.certs.cert('nameless'), site.certs.key('nameless'), '--', 'wait', go, 'again', 'say', 'WHOAMI',
                'again', 'say', 'NOOP']
        with subprocess.Popen([str(a) for a in argv], stdout=subprocess.PIPE, text=True) as client:
            try:
                h.equal(client.stdout.readline(), 'wait\n', 'what happened')
                with picked_up(server):
                    if other_key:
                        ground.put('tls.pem', site.certs.cert('server-2').read_text()
                                   + site.certs.key('server-2').read_text())
                    ground.revoke(['nameless'] if revoke else ['bob'])
                if not revoke:
                    with picked_up(server):
                        ground.revoke(['bob'])
                time.sleep(0.3)
                go.touch()
                out = client.stdout.read().splitlines()
                h.equal(out[0::2], ['again', 'again'], f'what happened in {out}')
                h.check(all(line.startswith('OK') for line in out[1::2]), f'{out}')
            finally:
                client.kill()


def main():
    topic = h.Topic()
    site = h.Site(topic)
    topic.case('a revocation list', revoked, site)
    topic.case('a session that rests on nothing', verdict_is_told, site)
    topic.case('a CA that is taken out', ca_taken_out, site)
    topic.case("a CA that is taken out of a rule", rule_taken_out, site)
    topic.case('a certificate expires', expires, site)
    topic.case('sessions of older generations', older_generation, site)
    topic.case('while the server drains', while_draining, site)
    topic.case('handshakes meanwhile', between, site)
    topic.case('nothing stays behind', nothing_stays, site)
    for service in ('request', 'always'):
        for other_key in (False, True):
            for revoke in (False, True):
                topic.case(f'a renegotiation then: {service}, {"another" if other_key else "the same"} key'
                           + (', revoked' if revoke else ''), renegotiates, site, service, other_key, revoke)
    topic.done()


if __name__ == '__main__':
    main()
