"""The users file: checked before a start and at a reload, picked up when it changes, kept when the new one has a
mistake; and the process that holds it, killed and upgraded."""
import os
import signal
import subprocess
import time

import harness as h
import maildrop

GOOD = 'alice@example.test - 10G sales@example.test\nbob@example.test -\n'
KEPT = r'the users stay as they were, 2 of them: .*users-\d+:1: no credentials behind the address'


def put(path, text):
    """By rename, as people's editors and `postern user` do it."""
    new = path.with_suffix('.new')
    new.write_text(text)
    new.chmod(0o600)
    new.rename(path)


def with_users(site, text=GOOD, **options):
    path = site.folder / f'users-{site.count}'
    put(path, text)
    top = f'domain example.test\npostmaster bob@example.test\nusers file {path}\n'
    server = site.server(h.LINE_SERVICE, top=top, **options)
    server.users_file = path
    return server


def check_conf(server):
    run = subprocess.run([str(server.posternd), '-n', '-f', str(server.conf)], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return run.returncode, run.stdout


def no_users_no_auth(site):
    with site.server(h.LINE_SERVICE) as server:
        h.equal(server.pids('auth'), [], 'auth processes without a users file')


def changes(site):
    with with_users(site, allowed='the users stay') as server:
        h.equal(len(server.pids('auth')), 1, 'auth processes')
        put(server.users_file, GOOD + 'carol@example.test -\n')
        server.wait_log('the users have changed: 3 of them now')
        with open(server.users_file, 'a') as f:  # in place
            f.write('dave@example.test -\n')
        server.wait_log('the users have changed: 4 of them now')
        put(server.users_file, 'alice\n')
        server.wait_log('the users stay as they were, 4 of them: .*:1: no credentials')
        server.users_file.unlink()
        put(server.users_file, GOOD)
        server.wait_log('the users have changed: 2 of them now')


def mistakes(site):
    with with_users(site, allowed=r'the users stay|reload failed|auth\[\d+\] was ended by signal 9') as server:
        put(server.users_file, 'alice\nbob@example.test secret\n')
        code, text = check_conf(server)
        h.equal(code, 78, 'exit code of posternd -n')
        h.check(f'{server.users_file}:1: no credentials' in text and f'{server.users_file}:2: credentials are' in text,
                f'what posternd -n says: {text}')
        server.wait_log(KEPT)
        server.signal(signal.SIGHUP)
        server.wait_log('reload failed, everything goes on as before: .*users-.*:1: no credentials')
        # what was good is what the next one gets
        old = server.pids('auth')[0]
        os.kill(old, signal.SIGKILL)
        h.within(h.TIMEOUT, lambda: [p for p in server.processes('auth')
                                     if p['state'] == 'serving' and p['pid'] != old], 'another auth process')
        put(server.users_file, GOOD)
        server.reload()


def warnings(site):
    with with_users(site, GOOD + 'eve@elsewhere.test -\n') as server:
        server.users_file.chmod(0o644)
        code, text = check_conf(server)
        h.equal(code, 0, 'exit code of posternd -n')
        for part in ('holds password hashes that others', 'user eve@elsewhere.test gets no mail'):
            h.check(part in text, f'{part!r} in {text}')
        server.users_file.chmod(0o600)
        put(server.users_file, 'alice@example.test -\n')
        code, text = check_conf(server)
        h.check('nobody is bob@example.test, the postmaster' in text, text)


def does_not_start(site):
    server = with_users(site, 'alice\n', allowed=False)
    server.write_conf()
    run = subprocess.run([str(server.posternd), '-d', '-f', str(server.conf)], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=h.TIMEOUT)
    h.equal(run.returncode, 78, 'exit code')
    h.check(f'cannot start: {server.users_file}:1: no credentials' in run.stdout, run.stdout)


def killed(site):
    with with_users(site, allowed=r'auth\[\d+\] was ended by signal 9') as server:
        for n in range(3):
            [pid] = server.pids('auth')
            os.kill(pid, signal.SIGKILL)
            h.within(h.TIMEOUT, lambda: [p for p in server.processes('auth')
                                         if p['pid'] != pid and p['state'] == 'serving'], 'another one')
            server.wait_log('auth is away', count=(n + 1) * server.workers)
            server.wait_log('auth is back', count=(n + 1) * server.workers)
        server.secure(cert='alice').close()


def killed_with_a_change(site):
    """A file that changes while auth hangs, and while it is dead, is what the next one gets in the end."""
    with with_users(site, allowed=r'auth\[\d+\] was ended by signal 9') as server:
        for n in range(3, 6):
            [pid] = server.pids('auth')
            os.kill(pid, signal.SIGSTOP)
            put(server.users_file, GOOD + ''.join(f'more{i}@example.test -\n' for i in range(2, n)))
            time.sleep(0.5)  # it is given to the one that hangs; sooner or later is right, too
            os.kill(pid, signal.SIGKILL)
            server.wait_log(f'the users have changed: {n} of them now')


def comes_and_goes(site):
    """A reload to a configuration without users, and back."""
    with with_users(site) as server:
        top, server.top = server.top, ''
        server.write_conf()
        server.reload()
        h.within(h.TIMEOUT, lambda: not server.pids('auth'), 'the end of auth')
        server.top = top
        server.write_conf()
        server.reload()
        h.equal(len(server.pids('auth')), 1, 'auth processes')


def upgraded(site):
    with with_users(site) as server:
        [old] = server.pids('auth')
        server.upgrade()
        h.within(h.TIMEOUT, lambda: old not in server.pids('auth'), 'the end of the old auth process')
        h.equal(len(server.pids('auth')), 1, 'auth processes')
        put(server.users_file, GOOD + 'carol@example.test -\n')
        server.wait_log('the users have changed: 3 of them now')


def impersonate(site):
    table = site.folder / 'impersonate'
    put(table, 'bob@example.test *\n')
    tls = h.TLS_MAIN.replace('map san-email', f'impersonate {table}')
    with with_users(site, tls=tls, allowed='the users stay') as server:
        put(table, 'bob@example.test\n')
        server.wait_log('the users stay as they were, 2 of them: .*impersonate:1: nobody behind the user')
        put(table, 'bob@example.test alice@example.test\n')
        server.wait_log('the users have changed: 2 of them now')


def salt_outlives(site):
    with with_users(site) as server:
        path = server.folder / 'state' / 'keys' / 'salt'
        before = path.read_bytes()
        h.equal(len(before), 64, 'octets of the salt')
        h.equal(path.stat().st_mode & 0o777, 0o600, 'its mode')
        server.stop()
        server.start()
        h.equal(path.read_bytes(), before, 'the salt after a restart')


OTHERS = '''
service line {
    protocol line
    listen 127.0.0.1:@line starttls-required
    tls main
}
service cat {
    protocol exec
    listen 127.0.0.1:@cat starttls-required
    tls main
    login certificate
    command /bin/cat
    user nobody
    say user "gone: your user was removed"
}
service anyone {
    protocol exec
    listen 127.0.0.1:@anyone starttls-required
    tls main
    login none
    command /bin/sh -c "printf 'user=%s\\\\r\\\\n' \\"$POSTERN_USER\\"; exec cat"
    user nobody
}
'''


def with_password(server, user):
    client = maildrop.secure(server, None)
    client.expect(f'AUTH PLAIN {maildrop.plain(user)}', 235)
    return client


def program(server, name='cat', cert='alice', first='hello'):
    client = h.Client(server.address(name))
    client.send(b'STARTTLS\r\n')
    h.equal(client.line(), 'OK begin TLS', 'the go-ahead')
    client.wrap(server.site.certs.context(client=cert))
    if first is not None:
        client.send(first.encode() + b'\r\n')
        h.equal(client.line(), first, 'what cat says')
    return client


def goes_on(*clients):
    for client in clients:
        client.expect('NOOP', 250)


def rewrite(server, change):
    """By rename: lines of users through change, which gives None for one that goes."""
    lines = server.users_file.read_text().splitlines()
    put(server.users_file, ''.join(f'{line}\n' for line in map(change, lines) if line is not None))


def without(user):
    return lambda line: None if line.startswith(f'{user}@') else line


def ousted(site):
    """Who is removed, or gets another password, is out at once, in every protocol; nobody else is."""
    with maildrop.server(site, maildrop.SERVICES + OTHERS) as server:
        alice, bob, carol = (with_password(server, f'{name}@example.test') for name in ('alice', 'bob', 'carol'))
        laptop = maildrop.secure(server)
        external = maildrop.secure(server)
        external.expect('AUTH EXTERNAL =', 235)
        line, cat, anyone = server.secure(cert='alice'), program(server), program(server, 'anyone', first=None)
        h.equal(anyone.line(), 'user=alice@example.test', 'what a program is told')
        # in the middle of a message
        writing = with_password(server, 'bob@example.test')
        writing.expect('MAIL FROM:<bob@example.test>', 250)
        writing.expect('RCPT TO:<carol@example.test>', 250)
        writing.expect('DATA', 354)
        writing.send(b'Subject: half\r\n')
        other = f'bob@example.test {maildrop.scram("another")} 100M'
        rewrite(server, lambda text: other if text.startswith('bob@') else text)
        for client in (bob, writing):
            code, text = client.reply()
            h.check(code == 421 and text.startswith('4.7.0 The password of this session was changed'), f'{code} {text}')
            client.expect_end()
        goes_on(alice, carol, laptop, external)
        # an alias and a quota are nobody's login
        rewrite(server, lambda text: text.replace('100M', '200M').replace('carol.alias', 'caroline'))
        server.wait_log('the users have changed', 2)
        goes_on(alice, carol, laptop, external)
        rewrite(server, without('alice'))
        for client in (alice, laptop, external):
            code, text = client.reply()
            h.check(code == 421 and text.startswith('4.7.0 Your user was removed'), f'{code} {text}')
            client.expect_end()
        h.check(line.line().startswith('BYE "Your user was removed'), 'the goodbye of line')
        line.expect_end()
        h.equal(cat.line(), 'gone: your user was removed', 'the goodbye of exec')
        cat.expect_end()
        anyone.expect_end()
        goes_on(carol)
        h.equal(maildrop.box(server, 'carol@example.test'), [], 'the half message')
        h.equal(sum(service['ousted'] for service in server.status()['services']), 8, 'sessions that were ended')
        # and stays out
        again = maildrop.secure(server)
        again.expect('MAIL FROM:<alice@example.test>', 530)
        denied = program(server, first=None)
        h.equal(denied.line(), 'ERR this certificate belongs to no user here', 'exec, and a certificate of nobody')
        denied.expect_end()
        nobody = program(server, 'anyone', first=None)
        h.equal(nobody.line(), 'user=', 'what a program is told of nobody')
        # until it is back
        rewrite(server, lambda text: text + '\nalice@example.test -' if text.startswith('bob@') else text)
        server.wait_log('the users have changed', 4)
        program(server).close()
        maildrop.secure(server).expect('MAIL FROM:<alice@example.test>', 250)


def no_users_no_question(site):
    """Without a users file whoever a certificate names is somebody."""
    with site.server(OTHERS) as server:
        client = program(server, 'anyone', cert='bob', first=None)
        h.equal(client.line(), 'user=bob@example.test', 'what a program is told')
        program(server).close()


def auth_away(site):
    """exec does not let anybody in whom it cannot ask about."""
    with maildrop.server(site, maildrop.SERVICES + OTHERS, allowed=r'auth\[\d+\] was ended by signal 9') as server:
        [pid] = server.pids('auth')
        os.kill(pid, signal.SIGSTOP)
        client = program(server, first=None)
        os.kill(pid, signal.SIGKILL)
        h.equal(client.line(), 'ERR logins cannot be checked now, try again later', 'while auth is away')
        h.within(h.TIMEOUT, lambda: server.pids('auth') not in ([], [pid]), 'another auth process')
        server.wait_log('auth is back', count=server.workers)
        program(server).close()


def main():
    topic = h.Topic()
    site = h.Site(topic)
    topic.case('without a users file there is no auth process', no_users_no_auth, site)
    topic.case('a file that changes is picked up, one with a mistake is not', changes, site)
    topic.case('mistakes: of a check, of a reload, and of the next process', mistakes, site)
    topic.case('warnings of posternd -n', warnings, site)
    topic.case('no start with a mistake', does_not_start, site)
    topic.case('killed, it comes back', killed, site)
    topic.case('a change that a dead process was given', killed_with_a_change, site)
    topic.case('users come and go with the configuration', comes_and_goes, site)
    topic.case('an upgrade', upgraded, site)
    topic.case('the impersonate table', impersonate, site)
    topic.case('who is removed or gets another password is out at once', ousted, site)
    topic.case('without users nobody is asked', no_users_no_question, site)
    topic.case('a program while auth is away', auth_away, site)
    topic.case('the salt outlives the server', salt_outlives, site)
    topic.done()


if __name__ == '__main__':
    main()
