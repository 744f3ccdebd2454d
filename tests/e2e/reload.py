"""Reloads and upgrades while clients come without a pause: none of them fails, and the sessions that are
open stay so. And what a reload changes, and what it refuses."""
import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import ssl
import subprocess
import time

import harness as h

RATE_WANTED = 200  # new connections a second, each with STARTTLS and a full handshake
RATE_OFFERED = 280
CLIENTS = 4        # processes
RELOADS, UPGRADES = 20, 5
SESSIONS = 50

BUSY = '''
service line {
    protocol line
    listen 127.0.0.1:@line starttls-required
    listen 127.0.0.1:@lines tls
    tls main
    max-per-address 5000
}
'''


def one_connection(address, context):
    """The whole of a client's visit."""
    with h.Client(address) as client:
        h.equal(client.reply().status, 'OK', 'the greeting')
        client.starttls(context)
        h.equal(client.greeting.status, 'OK', 'the greeting in TLS')
        h.equal(client.command('QUIT').status, 'OK', 'QUIT')
        client.expect_end()


def come_and_go(server, stop, done, failures):
    """A client process: connects at its share of the rate until it is told to stop."""
    signal.alarm(h.TOPIC_TIMEOUT)
    context = server.site.certs.context()
    address = server.address()
    interval = CLIENTS / RATE_OFFERED
    due = time.monotonic() + random.random() * interval
    while not stop.is_set():
        pause = due - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        due += interval  # one who is late hurries
        try:
            one_connection(address, context)
            with done.get_lock():
                done.value += 1
        except Exception as error:
            failures.put(f'{type(error).__name__}: {error}')


@contextlib.contextmanager
def load(server):
    """Clients come and go meanwhile; afterwards none may have failed, at the rate that was wanted."""
    fork = multiprocessing.get_context('fork')
    stop, done, failures = fork.Event(), fork.Value('Q', 0), fork.Queue()
    clients = [fork.Process(target=come_and_go, args=(server, stop, done, failures), daemon=True)
               for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    h.within(h.TIMEOUT, lambda: done.value > 10, 'the clients are at work')
    first, began = done.value, time.monotonic()
    try:
        yield
        count, took = done.value - first, time.monotonic() - began
    finally:
        stop.set()
        for client in clients:
            client.join(h.TIMEOUT)
            client.kill()
    failed = []
    while not failures.empty():
        failed.append(failures.get())
    print(f'    {count} connections in {took:.1f} s: {count / took:.0f} a second; {len(failed)} failed')
    h.check(not failed, f'{len(failed)} of {done.value} connections failed: {failed[:3]}')
    h.check(count / took >= RATE_WANTED, f'only {count / took:.0f} connections a second: this says little')


def talk(sessions, what):
    for n, session in enumerate(sessions):
        try:
            h.equal(session.command(f'ECHO {what} {n}').data, [[f'{what} {n}']], f'session {n}')
        except (OSError, h.Ended) as error:
            raise h.Failure(f'session {n} of {len(sessions)}, {what}: {error!r}') from error


def own_binary(site):
    """A copy of the installed tree that a test may replace."""
    tree = site.folder / f'tree-{site.count}'
    shutil.copytree(site.posternd.parent.parent, tree)
    return tree / 'sbin' / 'posternd'


def replace_binary(posternd, content=None):
    """As a package does: a new file under the old name."""
    new = posternd.with_name('posternd.dpkg-new')
    if content is None:
        shutil.copy2(posternd, new)
    else:
        new.write_text(content)
        new.chmod(0o755)
    new.rename(posternd)


def under_load(site):
    """The exercise as a whole: the order of reloads and upgrades is mixed."""
    posternd = own_binary(site)
    with site.server(BUSY, posternd=posternd) as server:
        pid = server.pid
        context = site.certs.context()
        with contextlib.ExitStack() as stack:
            sessions = [stack.enter_context(server.secure('lines' if n % 2 else 'line', context=context))
                        for n in range(SESSIONS)]
            steps = ['reload'] * (RELOADS // UPGRADES) + ['upgrade']
            with load(server):
                for n, step in enumerate(steps * UPGRADES):
                    talk(sessions, f'before {step} {n}')
                    if step == 'reload':
                        server.reload()
                    else:
                        replace_binary(posternd)
                        server.upgrade()
                    talk(sessions, f'after {step} {n}')
                    time.sleep(0.2)
            h.equal(server.status()['generation'], 1 + RELOADS + UPGRADES, 'generation')
            h.equal(server.pid, pid, 'pid')
            h.equal([p['restarts'] for p in server.status()['processes']].count(0),
                    len(server.status()['processes']), 'processes that never died')
            status = server.service()
            h.equal(status['handshakes_failed'], 0, 'handshakes_failed')
            h.equal(status['unavailable'], 0, 'STARTTLS refused')
            # all sessions are still those of the first generation
            old = [p for p in server.processes('worker') if p['generation'] == 1]
            h.equal(sum(p['connections'] for p in old), SESSIONS, 'sessions of the first generation')
        h.within(h.TIMEOUT, lambda: len(server.pids('worker')) == 2, 'the end of workers without sessions')
        h.equal(len(server.pids('keyholder')), 1, 'keyholders')
        h.equal(len(server.pids('control')), 1, 'controls')
        with server.secure('line', cert='alice') as client:
            h.equal(client.whoami()['IDENTITY'], 'alice@example.test', 'IDENTITY')


def many_signals(site):
    """Signals faster than they can be followed, and while the binary changes: none is fatal."""
    with site.server(BUSY) as server:
        pid = server.pid
        with server.secure() as session:
            for n in range(60):
                server.signal(random.choice([signal.SIGHUP, signal.SIGHUP, signal.SIGUSR2]))
                time.sleep(random.random() * 0.03)
            h.check(server.alive(), f'it has ended: {server.process.poll()}')
            talk([session], 'after 60 signals')
            h.within(h.TIMEOUT, server.serving, 'serving')
            settled(server)
            server.reload()
            h.equal(server.pid, pid, 'pid')
            server.secure().close()


def signal_within_upgrade(site, sig):
    """One that comes when the old program has gone and the new one has not yet begun is kept, not fatal."""
    with site.server(BUSY, top='linger 500ms\n') as server:
        for n in range(5):
            generation = server.status()['generation']
            with server.secure() as session:
                server.signal(signal.SIGUSR2)
                end = time.monotonic() + h.TIMEOUT
                while server.log().count('upgrade: going over to') <= n:
                    h.check(time.monotonic() < end, 'no upgrade')
                server.signal(sig)
                if sig == signal.SIGTERM:
                    h.equal(session.reply().status, 'BYE', 'the last line')
                    session.expect_end()
                    h.equal(server.wait(), 0, 'exit code')
                    server.log_file.unlink()
                    server.start()
                    server.log_file.write_text('upgrade: going over to\n' * (n + 1))
                    continue
                h.within(h.TIMEOUT, lambda: server.alive() and server.serving()
                         and server.status()['generation'] >= generation + 2, 'an upgrade and a reload')
                talk([session], 'a session')


def stop_within_reload(site):
    """A stop that comes while a reload is under way is a stop."""
    with site.server(BUSY, top='linger 500ms\n', workers=4) as server:
        for n in range(12):
            with server.secure() as session:
                server.signal(signal.SIGHUP)
                time.sleep(n * 0.002)
                server.signal(signal.SIGTERM)
                h.equal(session.reply().status, 'BYE', 'the last line')
                session.expect_end()
            began = time.monotonic()
            h.equal(server.wait(), 0, 'exit code')
            h.check(time.monotonic() - began < 3, f'the end took {time.monotonic() - began:.1f} s')
            server.start()


def settled(server):
    """Waits until no transition is under way any more."""
    seen = [None, time.monotonic()]

    def quiet():
        try:
            generation = server.status()['generation']
        except (OSError, ValueError):
            generation = None  # control is being replaced
        if generation != seen[0]:
            seen[:] = [generation, time.monotonic()]
        return generation and time.monotonic() - seen[1] > 1
    h.within(h.TIMEOUT, quiet, 'the end of reloads')


def broken_configuration(site, text, says):
    with site.server(BUSY, allowed='reload failed') as server:
        generation = server.status()['generation']
        with server.secure() as session:
            server.conf.write_text(text or server.text().replace(str(site.certs.key('server')),
                                                                 str(site.certs.key('bob'))))
            server.signal(signal.SIGHUP)
            server.wait_log('reload failed, everything goes on as before')
            h.check(says in server.log(), f'the log does not say {says!r}')
            answer = server.ask('reload')
            h.equal(answer['ok'], False, 'the answer to a reload')
            h.check(says in json_text(answer), f'the answer does not say {says!r}: {answer}')
            h.equal(server.status()['generation'], generation, 'generation')
            h.equal(len(server.pids('worker')), 2, 'workers')
            talk([session], 'a session')
            server.secure().close()
            server.write_conf()
            h.equal(server.ask('reload')['ok'], True, 'a reload of a good configuration')
            h.check(server.status()['generation'] > generation, 'generation after it')
            talk([session], 'a session')


def json_text(answer):
    return answer.get('error') or answer.get('text') or str(answer)


MORE = BUSY + '''
service more {
    protocol line
    listen 127.0.0.1:@more starttls
    tls main
}
'''


def listeners(site):
    with site.server(BUSY) as server:
        server.port('more')
        with server.secure() as session:
            server.write_conf(services=MORE)
            server.reload()
            with server.secure('more') as other:
                talk([session, other], 'with one more listener')
                server.write_conf()
                server.reload()
                talk([session, other], 'its session goes on')
                try:
                    server.connect('more')
                    raise h.Failure('a listener that is gone still takes connections')
                except ConnectionRefusedError:
                    pass
            talk([session], 'after all')
        # another one has the address: nothing changes
        with h.socket.create_server(('127.0.0.1', server.port('more'))):
            server.write_conf(services=MORE)
            answer = server.ask('reload')
            h.equal(answer['ok'], False, 'a reload onto a taken address')
            server.allowed = 'another program has this address'
        server.secure().close()


def serial(client):
    return client.sock.getpeercert()['serialNumber']


def certificate(site):
    with site.server(BUSY) as server, server.secure() as session:
        first = serial(session)
        server.write_conf(tls=h.TLS_MAIN.replace('{cert}', str(site.certs.cert('server-2'))).replace(
            '{key}', str(site.certs.key('server-2'))))
        server.reload()
        with server.secure() as client:
            h.check(serial(client) != first, 'the old certificate is served')
        talk([session], 'a session')


def certificate_in_place(site):
    """The same names, other files behind them."""
    cert, key = site.folder / 'moving.pem', site.folder / 'moving.key'

    def put(name):
        for source, target in ((site.certs.cert(name), cert), (site.certs.key(name), key)):
            shutil.copy(source, target.with_suffix('.new'))
            target.with_suffix('.new').rename(target)
    put('server')
    with site.server(BUSY, tls=h.TLS_MAIN.replace('{cert}', str(cert)).replace('{key}', str(key))) as server:
        with server.secure() as session:
            first = serial(session)
            put('server-2')
            server.reload()
            with server.secure() as client:
                h.check(serial(client) != first, 'the old certificate is served')
            put('server')
            server.upgrade()
            with server.secure() as client:
                h.equal(serial(client), first, 'the certificate after an upgrade')


def modes(site):
    """Sessions keep the rules that they began with; new ones have the new."""
    with site.server(BUSY) as server, server.secure() as session:
        server.write_conf(tls=h.TLS_MAIN.replace('request', 'require'))
        server.reload()
        talk([session], 'a session without a certificate')
        try:
            server.secure(version='1.2')
            raise h.Failure('a client without a certificate under require')
        except ssl.SSLError:
            pass
        server.secure(cert='alice').close()


def drain_is_over(site):
    with site.server(BUSY, top='drain 1s\nlinger 500ms\n') as server:
        sessions = [server.client(), server.secure(), server.secure('lines')]
        began = time.monotonic()
        server.reload()
        talk(sessions[1:], 'within drain')
        for session in sessions:
            reply = session.reply()
            h.equal((reply.status, reply.code), ('BYE', 'TRYLATER'), 'the goodbye')
            session.expect_end()
            session.close()
        h.check(time.monotonic() - began >= 0.9, 'the goodbye came too early')
        h.within(h.TIMEOUT, lambda: len(server.pids('worker')) == 2, 'the end of the old workers')
        server.secure().close()


def workers_change(site):
    with site.server(BUSY, workers=1) as server, server.secure() as session:
        for number in (4, 2):
            server.workers = number
            server.write_conf()
            server.reload()
            h.within(h.TIMEOUT, lambda: len(server.processes('worker', 'serving')) == number,
                     f'{number} workers')
            talk([session], 'a session')


def bad_binary(site, content, says):
    posternd = own_binary(site)
    with site.server(BUSY, posternd=posternd, allowed='upgrade refused|upgrade: ') as server:
        with server.secure() as session:
            good = posternd.with_name('good')
            shutil.copy2(posternd, good)
            if content is None:
                posternd.unlink()
            else:
                replace_binary(posternd, content)
            server.signal(signal.SIGUSR2)
            server.wait_log('upgrade refused, everything goes on as before')
            h.check(says in server.log(), f'the log does not say {says!r}')
            talk([session], 'a session')
            server.secure().close()
            h.equal(server.status()['generation'], 1, 'generation')
            good.rename(posternd)
            server.upgrade()
            talk([session], 'a session')
            server.secure().close()


def bad_configuration_for_upgrade(site):
    with site.server(BUSY, allowed='upgrade refused') as server, server.secure() as session:
        server.conf.write_text('nonsense\n')
        server.signal(signal.SIGUSR2)
        server.wait_log('upgrade refused')
        h.check('nonsense' in server.log(), 'the log does not say why')
        talk([session], 'a session')
        server.secure().close()


def everything_after_upgrade(site):
    """What the new parent took over works: limits, keys, the helpers, the end."""
    with site.server(BUSY.replace('5000', '3'), allowed='was ended by signal 9|keyholder') as server:
        before = {role: server.pids(role) for role in ('worker', 'keyholder', 'control')}
        with server.secure() as one, server.secure() as two:
            server.upgrade()
            for role, pids in before.items():
                now = server.pids(role)
                h.check(set(now) - set(pids), f'{role}: {now} after the upgrade, {pids} before')
            h.within(h.TIMEOUT, lambda: not h.process_exists(before['control'][0]), 'the old control')
            h.within(h.TIMEOUT, lambda: not h.process_exists(before['keyholder'][0]), 'the old keyholder')
            talk([one, two], 'sessions')
            with server.secure():  # the third of three, counted together with those of the old workers
                with server.connect() as client:
                    h.equal(client.reply().status, 'BYE', 'the fourth of three')
        for role in ('keyholder', 'worker'):
            pid = server.pids(role)[-1]
            os.kill(pid, signal.SIGKILL)
            server.wait_log(r'%s\[%d\] was ended by signal 9' % (role, pid))
            h.within(h.TIMEOUT, lambda: server.processes(role, 'serving')
                     and pid not in server.pids(role), f'a new {role}')
            h.within(h.TIMEOUT, lambda: works(server), 'STARTTLS works')
        second = subprocess.run([str(server.posternd), '-d', '-f', str(server.conf)], text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=h.TIMEOUT)
        h.check('already running' in second.stdout, f'a second start: {second.stdout}')


def works(server):
    try:
        server.secure().close()
        return True
    except (h.Failure, OSError):
        return False


def unix_socket_goes(site):
    """The file of a unix socket that a reload takes away goes with it, and all of them at the end."""
    folder = site.folder / 'sockets'
    folder.mkdir()
    kept, gone = folder / 'kept', folder / 'gone'
    service = '''
service local {{
    protocol line
    listen unix:{} plain
}}
'''
    both = h.LINE_SERVICE + service.format(kept) + service.format(gone).replace('service local', 'service other')
    with site.server(both) as server:
        h.check(kept.exists() and gone.exists(), 'both are there')
        server.write_conf(services=h.LINE_SERVICE + service.format(kept))
        server.reload()
        h.check(kept.exists(), 'the one that stays')
        h.check(not gone.exists(), 'the one that went is still there')
    h.check(not kept.exists(), 'left behind by a stop')


def main():
    topic = h.Topic()
    site = h.Site(topic)
    topic.case(f'{RELOADS} reloads and {UPGRADES} upgrades under load', under_load, site)
    topic.case('many signals', many_signals, site)
    topic.case('SIGHUP in the middle of an upgrade', signal_within_upgrade, site, signal.SIGHUP)
    topic.case('SIGTERM in the middle of an upgrade', signal_within_upgrade, site, signal.SIGTERM)
    topic.case('SIGTERM in the middle of a reload', stop_within_reload, site)
    topic.case('a reload with a mistake', broken_configuration, site, 'nonsense\n', 'nonsense')
    topic.case('a reload with a key that does not match', broken_configuration, site, None, 'server.pem')
    topic.case('listeners come and go', listeners, site)
    topic.case('another certificate', certificate, site)
    topic.case('another certificate under the same name', certificate_in_place, site)
    topic.case('another client-certificate mode', modes, site)
    topic.case('drain is over: goodbye', drain_is_over, site)
    topic.case('another number of workers', workers_change, site)
    topic.case('an upgrade to what is no program', bad_binary, site, 'not a program\n', 'cannot run')
    topic.case('an upgrade to a binary that fails its check', bad_binary, site,
               '#!/bin/sh\necho "this one is broken" >&2\nexit 1\n', 'this one is broken')
    topic.case('an upgrade to nothing', bad_binary, site, None, 'cannot run')
    topic.case('an upgrade with a broken configuration', bad_configuration_for_upgrade, site)
    topic.case('an upgraded server does all that a started one does', everything_after_upgrade, site)
    topic.case('the file of a unix socket goes with it', unix_socket_goes, site)
    topic.done()


main()
