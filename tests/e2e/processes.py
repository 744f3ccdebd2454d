"""The processes: what happens when one is killed, how they start, stop, and tell about themselves."""
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import harness as h

KILLED = r'was ended by signal 9|the keyholder is away|keyholder does not answer|dies again and again'


def kill_one(server, role):
    """Kills the newest process of that role; returns its pid."""
    pid = server.pids(role)[-1]
    os.kill(pid, signal.SIGKILL)
    return pid


def replaced(server, role, pid):
    """Waits for a process of the role that serves and is not pid."""
    def look():
        try:
            rows = server.processes(role, 'serving')
        except (OSError, ValueError):
            return None
        return rows and all(row['pid'] != pid and h.process_exists(row['pid']) for row in rows) and rows
    return h.within(h.TIMEOUT, look, f'another {role} than {pid}')


def drop_connection(client):
    try:
        return client.sock.recv(1000) == b''
    except OSError:
        return True


def worker_killed(server):
    clients = [server.secure() for _ in range(20)]
    rows = {row['pid']: row['connections'] for row in server.processes('worker')}
    h.check(len(rows) == 2 and min(rows.values()) > 0, f'connections of the workers: {rows}')
    pid = kill_one(server, 'worker')
    h.within(h.TIMEOUT, lambda: not h.process_exists(pid), 'its end')
    alive = 0
    for client in clients:
        try:
            alive += client.command('NOOP').status == 'OK'
        except (h.Ended, OSError):
            pass
    h.equal(alive, 20 - rows[pid], 'connections that go on')
    h.within(h.TIMEOUT, lambda: len(server.processes('worker', 'serving')) == 2, 'a new worker')
    replaced(server, 'worker', pid)
    h.within(h.TIMEOUT, lambda: sum(row['restarts'] for row in server.processes('worker')) == 1, 'a restart that is counted')
    h.equal(server.service()['connections'], alive, 'connections counted')
    for client in clients:
        client.close()
    h.within(h.TIMEOUT, lambda: server.service()['connections'] == 0, 'no connection is left')
    for _ in range(20):  # both of them serve
        server.secure().close()
    server.wait_log(r'worker\[%d\] was ended by signal 9' % pid)


def keyholder_killed(server):
    """The fourth death in a row leaves some time in which there is none."""
    with server.secure() as session:
        for _ in range(4):
            pid = kill_one(server, 'keyholder')
            if _ < 3:
                replaced(server, 'keyholder', pid)
        with server.client() as client:
            def refused():
                reply = client.command('STARTTLS')
                h.equal((reply.status, reply.code), ('NO', 'TRYLATER'), 'STARTTLS without a keyholder')
                return True
            h.within(1, lambda: not server.pids('keyholder'), 'status to know')
            refused()
            h.check('STARTTLS' in h.capabilities(client.greeting), 'it was offered before')
            with server.connect('lines') as other:  # a handshake ends with alert 80
                try:
                    other.wrap(server.site.certs.context())
                    raise h.Failure('a handshake without a keyholder')
                except h.ssl.SSLError as error:
                    h.equal(error.reason, 'TLSV1_ALERT_INTERNAL_ERROR', 'the alert')
            h.equal(session.command('NOOP').status, 'OK', 'a session that was up')
            h.check(server.service()['unavailable'] >= 1, 'unavailable is counted')
            replaced(server, 'keyholder', pid)

            def recovered():
                reply = client.command('STARTTLS')
                return reply.status == 'OK'
            h.within(h.TIMEOUT, recovered, 'STARTTLS works again')  # on the same connection
            client.wrap(server.site.certs.context())
            h.equal(client.reply().status, 'OK', 'the greeting in TLS')
        h.equal(session.command('WHOAMI').status, 'OK', 'a session that was up')


def control_killed(server):
    pid = kill_one(server, 'control')
    h.within(h.TIMEOUT, lambda: not h.process_exists(pid), 'its end')
    with server.secure() as client:  # nobody needs it to be served
        h.equal(client.command('NOOP').status, 'OK', 'NOOP')
    replaced(server, 'control', pid)
    h.equal(server.status()['state'], 'serving', 'state')
    # the log goes on, from every process: an injection is said by a worker, a reload by the parent
    with server.client() as client:
        client.send(b'STARTTLS\r\nNOOP\r\n')
        client.reply()
    server.wait_log('code=injection')
    server.reload()
    server.wait_log('serving .*generation')


def parent_killed(site):
    with site.server(h.LINE_SERVICE) as server:
        children = [p['pid'] for p in server.status()['processes']]
        h.equal(len(children), 4, 'children')
        session = server.secure()
        server.kill()
        h.within(1, lambda: not any(map(h.process_exists, children)), 'the end of all children')
        h.check(drop_connection(session), 'a session without a server')
        session.close()
        server.start()  # with the same ports, pid file and sockets
        server.secure().close()
        h.equal(int(server.pid_file.read_text()), server.pid, 'the pid file')


def crash_loop(site):
    """Each death in a row makes the next start later; the other worker serves meanwhile."""
    with site.server(h.LINE_SERVICE, allowed=KILLED) as server:
        row = server.processes('worker')[0]
        waits = []
        for n in range(6):
            os.kill(row['pid'], signal.SIGKILL)
            began = time.monotonic()

            def next_one():
                rows = server.processes('worker', 'serving')
                return next((r for r in rows if r['slot'] == row['slot'] and r['pid'] != row['pid']), None)
            server.secure().close()  # the other one serves
            if n < 5:
                row = h.within(h.TIMEOUT, next_one, 'the next worker')
                waits.append(time.monotonic() - began)
        h.check(waits[4] > 0.7, f'the fifth start came after {waits[4]:.2f} s: {waits}')
        server.wait_log('dies again and again', 1)
        server.secure().close()


def stop_by_term(site):
    with site.server(h.LINE_SERVICE, top='linger 500ms\n') as server:
        children = [p['pid'] for p in server.status()['processes']]
        clients = [server.client(), server.secure(), server.secure('lines')]
        server.signal(signal.SIGTERM)
        for client in clients:
            reply = client.reply()
            h.equal((reply.status, reply.code), ('BYE', 'TRYLATER'), 'the last line')
            client.expect_end()
            client.close()
        h.equal(server.wait(), 0, 'exit code')
        h.check(not any(map(h.process_exists, children)), 'children are left')
        h.check(not server.pid_file.exists(), 'the pid file is left')
        h.check(not server.control.exists(), 'the control socket is left')
        try:
            server.connect()
            raise h.Failure('somebody still listens')
        except ConnectionRefusedError:
            pass
        server.start()


def stop_in_spite_of(site):
    """A peer that does not read and a handshake under way do not hold the end up."""
    with site.server(h.LINE_SERVICE, top='linger 500ms\nstop-timeout 2s\n') as server:
        deaf = server.secure()
        deaf.sock.settimeout(0.2)
        try:
            while True:
                deaf.sock.send(b'ECHO ' + b'x' * 900 + b'\r\n')
        except (TimeoutError, h.ssl.SSLError):
            pass
        stalled = server.client()
        stalled.command('STARTTLS')
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        h.equal(server.wait(), 0, 'exit code')
        took = time.monotonic() - began
        h.check(took < 8, f'the end took {took:.1f} s')
        deaf.close()
        stalled.close()
        server.start()


def stop_at_once(site, signals):
    with site.server(h.LINE_SERVICE) as server:
        children = [p['pid'] for p in server.status()['processes']]
        session = server.secure()
        for n, sig in enumerate(signals):
            if n > 0:
                server.wait_log('stopping|draining')  # two of a kind at once are one
            server.signal(sig)
        began = time.monotonic()
        server.wait()
        h.check(time.monotonic() - began < 2, f'the end took {time.monotonic() - began:.1f} s')
        h.within(1, lambda: not any(map(h.process_exists, children)), 'the end of all children')
        session.close()
        server.start()


def drain_by_quit(site):
    with site.server(h.LINE_SERVICE) as server:
        session = server.secure()
        server.signal(signal.SIGQUIT)

        def closed():
            try:
                server.connect().close()
                return False
            except OSError:
                return True
        h.within(h.TIMEOUT, closed, 'no new connections')
        for _ in range(5):
            time.sleep(0.1)
            h.equal(session.command('NOOP').status, 'OK', 'a session that goes on')
        h.equal(session.command('QUIT').status, 'OK', 'QUIT')
        session.close()
        h.equal(server.wait(), 0, 'exit code')
        server.start()


def second_start(server):
    run = subprocess.run([str(server.posternd), '-d', '-f', str(server.conf)], stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True, timeout=h.TIMEOUT)
    h.check(run.returncode != 0, 'a second start succeeds')
    h.check('already running' in run.stdout and f'pid {server.pid}' in run.stdout, run.stdout)
    server.secure().close()
    h.equal(int(server.pid_file.read_text()), server.pid, 'the pid file')
    h.equal(server.status()['state'], 'serving', 'the control socket')


def titles(server):
    h.equal(h.title(server.pid), f'posternd: serving {server.conf}', 'title of the parent')
    rows = server.status()['processes']
    h.equal(sorted(row['role'] for row in rows), ['control', 'keyholder', 'worker', 'worker'], 'roles')
    for row in rows:
        want = 'posternd: ' + row['role'] + (f' {row["slot"]}: 0 connections, serving'
                                             if row['role'] == 'worker' else ': serving')
        h.within(5, lambda: h.title(row['pid']) == want, f'title {want!r} but {h.title(row["pid"])!r}')
    with server.client(), server.client():
        def told():
            return sum(int(re.search(r'(\d+) connection', h.title(pid)).group(1))
                       for pid in server.pids('worker'))
        h.within(5, lambda: told() == 2, 'connections in the titles')


def status(server):
    got = server.status()
    h.equal(got['pid'], server.pid, 'pid')
    h.equal(got['config'], str(server.conf), 'config')
    h.equal({row['state'] for row in got['processes']}, {'serving'}, 'states')
    h.check(0 <= got['uptime'] < 600, f'uptime {got["uptime"]}')
    h.equal([s['name'] for s in got['services']], ['line'], 'services')
    h.equal(got['services'][0]['listen'],
            [f'127.0.0.1:{server.port("line")} starttls-required', f'127.0.0.1:{server.port("lines")} tls'],
            'listen')
    h.check(h.ROOT or any('root' in text for text in got['limitations']),
            f'what is missing without root is not told: {got["limitations"]}')
    for request in (b'\n', b'{"command":"nonsense"}\n', b'{}\n', b'x' * 5000 + b'\n', b'[1]\n'):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.settimeout(h.TIMEOUT)
            s.connect(str(server.control))
            s.sendall(request)
            with s.makefile('rb') as f:
                h.equal(json.loads(f.readline()).get('ok'), False, f'answer to {request[:30]!r}')


def counts_outlive_workers(site):
    with site.server(h.LINE_SERVICE, allowed=KILLED) as server:
        for _ in range(5):
            server.secure().close()
        h.within(h.TIMEOUT, lambda: server.service()['truncated'] == 5, 'five ends')
        server.reload()
        h.within(h.TIMEOUT, lambda: len(server.pids('worker')) == 2, 'the end of the old workers')
        h.equal(server.service()['handshakes'], 5, 'handshakes after a reload')
        server.upgrade()
        h.within(h.TIMEOUT, lambda: len(server.pids('worker')) == 2, 'the end of the old workers')
        h.equal(server.service()['handshakes'], 5, 'handshakes after an upgrade')
        pid = kill_one(server, 'worker')
        replaced(server, 'worker', pid)
        h.equal(server.service()['handshakes'], 5, 'handshakes after the death of a worker')


class Notified:
    """What a service manager is told, in the order in which it comes."""

    def __init__(self, path):
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(h.TIMEOUT)

    def next(self):
        return self.socket.recv(4096).decode().splitlines()


def notify(site):
    notified = Notified(site.folder / 'notify')
    with site.server(h.LINE_SERVICE, env={'NOTIFY_SOCKET': str(notified.path)}) as server:
        lines = notified.next()
        h.check('READY=1' in lines and f'MAINPID={server.pid}' in lines, f'{lines}')
        server.signal(signal.SIGHUP)
        h.check('RELOADING=1' in notified.next(), 'a reload begins')
        h.check('READY=1' in notified.next(), 'a reload ends')
        server.conf.write_text('nonsense\n')
        server.signal(signal.SIGHUP)
        h.check('RELOADING=1' in notified.next(), 'a reload begins')
        h.check('READY=1' in notified.next(), 'a reload that fails ends')
        server.write_conf()
        server.signal(signal.SIGUSR2)
        seen = []
        while 'READY=1' not in seen:
            seen += notified.next()
        h.check('RELOADING=1' in seen, f'an upgrade: {seen}')
        h.check(f'MAINPID={server.pid}' in seen, f'an upgrade keeps the pid: {seen}')
        server.signal(signal.SIGTERM)
        h.check('STOPPING=1' in notified.next(), 'the stop')
        h.equal(server.wait(), 0, 'exit code')
        server.allowed = 'nonsense'
        server.start()


def checked(server, **parts):
    """posternd -n; returns its code and what it says."""
    server.write_conf(**parts)
    run = subprocess.run([str(server.posternd), '-n', '-f', str(server.conf)], stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True, timeout=h.TIMEOUT)
    return run.returncode, run.stdout


def check_finds(site, name, old, new, says):
    certs = site.certs
    server = site.server(h.LINE_SERVICE)
    code, said = checked(server)
    h.equal((code, said), (0, ''), 'a good configuration')
    values = {'cert': certs.cert('server'), 'key': certs.key('server'), 'ca': certs.cert('ca'),
              'other_key': certs.key('alice'), 'stranger': certs.cert('stranger-ca'),
              'folder': server.folder}
    text = server.text()
    old, new = old.format(**values), new.format(**values)
    h.check(old in text, f'{old!r} is not in the configuration')
    server.conf.write_text(text.replace(old, new))
    run = subprocess.run([str(server.posternd), '-n', '-f', str(server.conf)], stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True, timeout=h.TIMEOUT)
    h.check(run.returncode not in (0, None) and run.returncode > 0, f'code {run.returncode}: {run.stdout}')
    h.check(re.search(says.format(**values), run.stdout), f'it says {run.stdout!r}')
    # and a start with it ends in the same way
    run = subprocess.run([str(server.posternd), '-d', '-f', str(server.conf)], stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True, timeout=h.TIMEOUT)
    h.check(run.returncode > 0, f'the start: code {run.returncode}: {run.stdout}')
    h.check(re.search(says.format(**values), run.stdout), f'the start says {run.stdout!r}')
    h.check(not server.pid_file.exists(), 'the pid file is left')


CHECKS = [
    ('a certificate that is not there', 'certificate {cert}', 'certificate {folder}/none.pem',
     r'none\.pem.*No such file'),
    ('a key that does not match', 'key {key}', 'key {other_key}', r'server\.pem, key .*alice\.key: .*belong'),
    ('a CA file without a certificate', 'client-ca {ca}', 'client-ca {key}', r'server\.key'),
    ('a CA that from names and client-ca does not', 'map san-email', 'map san-email from {stranger}',
     r'stranger-ca\.pem'),
    ('a folder in place of a key', 'key {key}', 'key {folder}', 'is not a file'),
    ('an unknown directive', 'protocol line', 'protocol line\nnonsense yes', r'postern\.conf:\d+:\d+: .*nonsense'),
    ('a service without an address', 'listen', '# listen', r'postern\.conf:\d+:\d+: .*listen'),
]


def log_to_file(site, format_):
    path = site.folder / f'posternd-{format_}.log'
    with site.server(h.LINE_SERVICE, log=f'file {path} format {format_}', foreground=False) as server:
        h.check(server.pid != os.getpid() and h.is_posternd(server.pid), 'the pid file')

        def injection():
            with server.client() as client:
                client.send(b'STARTTLS\r\nNOOP\r\n')
                client.reply()

        def has(file, text, count=1):
            return h.within(h.TIMEOUT, lambda: file.exists() and file.read_text().count(text) >= count,
                            f'{count} times {text!r} in {file.name}')
        injection()
        has(path, 'injection')
        old = path.with_suffix('.1')
        path.rename(old)
        injection()
        has(old, 'code', 2 if format_ == 'json' else 2)  # still open
        server.signal(signal.SIGHUP)
        has(path, 'generation 2')
        injection()
        has(path, 'injection')
        if format_ == 'json':
            for line in (old.read_text() + path.read_text()).splitlines():
                row = json.loads(line)
                h.check({'time', 'role', 'pid', 'level', 'text'} <= set(row), f'fields of {row}')
            row = next(json.loads(line) for line in path.read_text().splitlines() if 'injection' in line)
            h.equal((row['role'], row['service'], row['code']), ('worker', 'line', 'injection'), 'fields')
            h.check(row['peer'].startswith('127.0.0.1:'), row['peer'])
        else:
            h.check(re.search(r'^\S+Z worker\[\d+\] warning: .* service=line peer=127\.0\.0\.1:\d+ '
                              r'id=\d+-\d+ side=client code=injection$', path.read_text(), re.M), path.read_text())
        h.equal(server.log(), '', 'what goes to stderr')
        server.stop()
        text = old.read_text() + path.read_text()
        h.check('stopping' in text, 'the log has no end')
        server.start()


def start_that_fails(site):
    """In the background: whoever starts it hears it."""
    server = site.server(h.LINE_SERVICE, foreground=False)
    taken = socket.create_server((h.HOST, 0))
    server.ports['line'] = taken.getsockname()[1]
    server.write_conf()
    code = server.spawn().wait(h.TIMEOUT)
    taken.close()
    h.check(code > 0, f'code {code}')
    h.check('another program has this address' in server.log(), f'what it says: {server.log()!r}')
    h.check(not server.pid_file.exists(), 'the pid file is left')


def log_flood(site):
    """A peer cannot fill the log: its lines are bounded, what was left out is counted, and said."""
    with site.server(h.LINE_SERVICE, workers=1) as server:
        def flood(n):
            for i in range(600):
                # each from an address of its own: of one address the same is said ten times in a minute
                with server.connect(source=f'127.{n}.{i // 250 + 1}.{i % 250 + 1}') as client:
                    client.reply()
                    client.send(b'STARTTLS\r\nNOOP\r\n')
                    client.reply()
        threads = [threading.Thread(target=flood, args=(n,)) for n in (3, 4, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        h.equal(server.service()['injections'], 1800, 'injections')
        lines = server.log().count('code=injection')
        h.check(900 < lines < 1750, f'{lines} lines for 1800 injections')
        server.wait_log('messages? (were|was)?.*(dropped|left out|lost)', 1)


def log_without_a_place(site):
    """In the background stderr is nobody's: a log that cannot be opened is lost, and status says so."""
    with site.server(h.LINE_SERVICE, log=f'file {site.folder}/nowhere/log', foreground=False,
                     allowed='cannot open the log') as server:
        h.within(h.TIMEOUT, lambda: any("log's target" in line for line in server.status()['limitations']),
                 'a limitation in status')
        server.secure().close()


def main():
    topic = h.Topic()
    site = h.Site(topic)
    with site.server(h.LINE_SERVICE) as server:
        topic.case('process titles', titles, server)
        topic.case('status', status, server)
        topic.case('a second start is refused', second_start, server)
    with site.server(h.LINE_SERVICE, allowed=KILLED) as server:
        topic.case('a worker is killed', worker_killed, server)
        topic.case('control is killed', control_killed, server)
        topic.case('the keyholder is killed, again and again', keyholder_killed, server)
    topic.case('the parent is killed', parent_killed, site)
    topic.case('a crash loop backs off', crash_loop, site)
    topic.case('SIGTERM: goodbye', stop_by_term, site)
    topic.case('SIGTERM in spite of a deaf and of a stalled peer', stop_in_spite_of, site)
    topic.case('SIGINT: at once', stop_at_once, site, [signal.SIGINT])
    topic.case('SIGTERM twice: at once', stop_at_once, site, [signal.SIGTERM, signal.SIGTERM])
    topic.case('SIGQUIT: sessions go on', drain_by_quit, site)
    topic.case('counts outlive the workers', counts_outlive_workers, site)
    topic.case('the service manager is told', notify, site)
    for name, old, new, says in CHECKS:
        topic.case(f'posternd -n finds {name}', check_finds, site, name, old, new, says)
    topic.case('log to a file, text, reopened by SIGHUP', log_to_file, site, 'text')
    topic.case('log to a file, JSON, reopened by SIGHUP', log_to_file, site, 'json')
    topic.case('a start in the background that fails', start_that_fails, site)
    topic.case('a flood of messages is bounded', log_flood, site)
    topic.case('a log that cannot be opened, in the background', log_without_a_place, site)
    topic.done()


main()
