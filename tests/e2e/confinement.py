"""What the processes may not do: each of them tries (builds with --enable-probe), and the outcome is compared
with the table; and what the kernel says of them. Private keys are in the keyholder alone."""
import os
import pathlib
import pwd
import re
import signal
import struct

import harness as h

ROLES = ('keyholder', 'worker', 'control', 'auth', 'store')
FORBIDDEN = ('open a file', 'connect a socket', 'make a socket', 'trace its parent', 'signal its parent')
KILLS = 'run a program'
# The spawn process has no filter, because the programs that it starts would inherit it.
SPAWN_MAY = {'open a file': True, 'connect a socket': True, 'make a socket': True, 'trace its parent': False,
             'signal its parent': True}
SPAWN_KEEPS = {5, 6, 7}  # CAP_KILL, CAP_SETGID, CAP_SETUID
SERVICES = h.LINE_SERVICE + '''
service program {
    protocol exec
    listen 127.0.0.1:@program starttls-required
    tls main
    login none
    command /bin/cat
    user nobody
}
'''
USERS = {'keyholder': '_posternk', 'worker': '_postern', 'control': '_posternc', 'auth': '_posterna',
         'store': '_posternq'}
NOT_ALLOWED = {('store', 'open a file'): 'Permission denied'}  # by landlock; below its folders it may
PROBE_LINE = re.compile(r'probe: (\w+): ([^:]+): (.*)')


def need_probe():
    if not h.PROBE:
        raise h.Skip('the build was configured without --enable-probe')


def need_root():
    if not h.ROOT:
        raise h.Skip('needs root')


def users_file(site):
    """What makes auth and store two of the processes."""
    path = site.folder / 'users'
    path.write_text('alice@example.test -\n')
    path.chmod(0o600)
    return f'domain example.test\nusers file {path}\nmail {site.folder / "mail"}\njournal-size 4\n'


class Probed:
    """The outcome of one SIGURG: {(role, what): set of results}, and who was killed by a signal."""

    def __init__(self, site):
        with site.server(SERVICES, allowed=False, top=users_file(site)) as server:
            self.before = {p['pid']: p['role'] for p in server.status()['processes']}
            server.signal(signal.SIGURG)
            for pid, role in self.before.items():
                # what the spawn process runs takes its place, and has no channel: it ends, or the parent ends it
                server.wait_log(r'probe: spawn\[%d\] ended' % pid if role == 'spawn'
                                else r'probe: %s\[%d\] was ended by signal' % (role, pid))
            h.within(h.TIMEOUT, lambda: recovered(server, self.before), 'new processes in their places')
            server.secure(cert='alice').close()
            h.equal(server.stop(), 0, 'exit code')
            log = server.log()
            server.start()
        self.results = {}
        for role, what, result in PROBE_LINE.findall(log):
            self.results.setdefault((role, what), []).append(result)
        self.killed = {int(pid): int(number) for pid, number in
                       re.findall(r'probe: \w+\[(\d+)\] was ended by signal (\d+)', log)}


def recovered(server, before):
    try:
        rows = server.status()['processes']
    except (OSError, ValueError):
        return False
    return len(rows) == len(before) and not set(before) & {p['pid'] for p in rows} and \
        all(p['state'] == 'serving' for p in rows)


def cell(probed, role, what):
    count = list(probed.before.values()).count(role)
    want = [NOT_ALLOWED.get((role, what), 'Operation not permitted')] * count
    h.equal(probed.results.get((role, what)), want, 'the outcome')


def cell_killed(probed, role):
    h.equal(probed.results.get((role, KILLS)), None, 'an answer after it')
    for pid, other in probed.before.items():
        if other == role:
            h.equal(probed.killed.get(pid), signal.SIGSYS, f'the signal that ended {role}[{pid}]')


def cell_of_spawn(probed, what):
    if what == 'trace its parent' and not h.ROOT:
        raise h.Skip('needs root: without it the parent is a process like its own')
    result, = probed.results[('spawn', what)]
    h.equal(result != 'Operation not permitted', SPAWN_MAY[what], f'may (it said: {result})')


def nothing_else(probed):
    known = {(role, what) for role in (*ROLES, 'spawn') for what in FORBIDDEN}
    h.equal(set(probed.results) - known, set(), 'probes that this test does not know')


def each(server):
    """Those that have an account and an empty root."""
    return [(p['role'], p['pid']) for p in server.status()['processes'] if p['role'] != 'spawn']


def spawn_is_reduced(server):
    """Root with few capabilities, or the server's user; its programs have none, and are nobody else's."""
    pid, = server.pids('spawn')
    status = h.process_status(pid)
    h.equal((status['NoNewPrivs'], status['Seccomp']), ('1', '0'), 'NoNewPrivs and Seccomp')
    want = sum(1 << n for n in SPAWN_KEEPS) if h.ROOT else 0
    h.equal(int(status['CapEff'], 16), want, 'CapEff')
    h.equal(int(status['CapPrm'], 16), want, 'CapPrm')
    client = server.connect('program')
    with client:
        client.send(b'STARTTLS\r\n')
        h.equal(client.line(), 'OK begin TLS', 'the go-ahead')
        client.wrap(server.site.certs.context())
        client.send(b'hello\n')
        h.equal(client.sock.recv(10), b'hello\n', 'the answer')
        program, = pathlib.Path(f'/proc/{pid}/task/{pid}/children').read_text().split()
        status = h.process_status(int(program))
        h.equal((status['NoNewPrivs'], status['Seccomp']), ('1', '0'), "the program's NoNewPrivs and Seccomp")
        for name in ('CapEff', 'CapPrm', 'CapInh', 'CapAmb'):
            h.equal(int(status[name], 16), 0, f"the program's {name}")
        if h.ROOT:
            nobody = pwd.getpwnam('nobody')
            h.equal(status['Uid'].split(), [str(nobody.pw_uid)] * 4, "the program's users")
            h.equal(status['Gid'].split(), [str(nobody.pw_gid)] * 4, "the program's groups")
            h.equal(set(status['Groups'].split()) - set(map(str, os.getgrouplist('nobody', nobody.pw_gid))), set(),
                    'further groups')


def kernel_says(server):
    for role, pid in each(server):
        status = h.process_status(pid)
        h.equal(status['NoNewPrivs'], '1', f'{role}: NoNewPrivs')
        h.equal(status['Seccomp'], '2', f'{role}: Seccomp')
        for name in ('CapEff', 'CapPrm', 'CapInh', 'CapAmb'):
            h.equal(int(status[name], 16), 0, f'{role}: {name}')
        limit, = (line.split()[3:5] for line in pathlib.Path(f'/proc/{pid}/limits').read_text().splitlines()
                  if line.startswith('Max file size'))
        if role == 'worker':
            h.equal(limit, [str(1 << 30)] * 2, f'{role}: octets of a file')
    status = h.process_status(server.pid)
    h.equal(status['NoNewPrivs'], '1', 'parent: NoNewPrivs')
    h.equal(status['Seccomp'], '0', 'parent: Seccomp (its children and the next binary would inherit it)')


def users(server):
    need_root()
    seen = {}
    for role, pid in each(server):
        status = h.process_status(pid)
        want = pwd.getpwnam(USERS[role])
        h.equal(status['Uid'].split(), [str(want.pw_uid)] * 4, f'{role}: users')
        h.equal(status['Gid'].split(), [str(want.pw_gid)] * 4, f'{role}: groups')
        h.equal(status['Groups'].split(), [], f'{role}: further groups')
        seen[role] = want.pw_uid
    h.equal(len(set(seen.values())), 5, 'different users')
    h.equal(h.process_status(server.pid)['Uid'].split()[0], '0', 'the parent')


def parent_is_reduced(server):
    need_root()
    kept = int(h.process_status(server.pid)['CapEff'], 16)
    for name, number in (('CAP_SYS_ADMIN', 21), ('CAP_SYS_PTRACE', 19), ('CAP_NET_ADMIN', 12),
                         ('CAP_SYS_MODULE', 16), ('CAP_SYS_RAWIO', 17), ('CAP_NET_RAW', 13)):
        h.check(not kept & 1 << number, f'the parent keeps {name}')


def empty_root(server):
    need_root()
    for role, pid in each(server):
        h.equal(os.listdir(f'/proc/{pid}/root/'), [], f'{role}: what its root folder holds')
        h.equal(os.readlink(f'/proc/{pid}/root'), str(server.folder / 'state' / 'empty'), f'{role}: root')
        h.equal(os.readlink(f'/proc/{pid}/cwd'), os.readlink(f'/proc/{pid}/root'), f'{role}: folder')


def descriptors(server):
    """Nobody holds a file that it has no business with: no key outside the keyholder, no folder, no device."""
    need_root()
    folders = (*(f'{server.folder}/state/{name}' for name in ('journal', 'kv', 'queue')), f'{server.site.folder}/mail')
    for role, pid in each(server):
        for fd in os.listdir(f'/proc/{pid}/fd'):
            target = os.readlink(f'/proc/{pid}/fd/{fd}')
            allowed = (target.startswith(('socket:', 'anon_inode:', 'pipe:', '/memfd:'))
                       or target in ('/dev/null', str(server.log_file))
                       or role == 'store' and target.startswith(folders))
            h.check(allowed, f'{role} holds {target} as descriptor {fd}')


def dumps(server):
    """No core of a process that holds keys or mail; nobody of the same user may look into it."""
    for role, pid in each(server):
        limits = pathlib.Path(f'/proc/{pid}/limits').read_text() if h.ROOT else ''
        if limits:
            line = next(line for line in limits.splitlines() if line.startswith('Max core file size'))
            h.equal(line.split()[4:6], ['0', '0'], f'{role}: core size')
        h.equal(os.stat(f'/proc/{pid}/mem').st_uid, 0, f'{role}: owner of its memory file')


def memory(pid):
    """All that the process can read, mapping by mapping."""
    with open(f'/proc/{pid}/maps') as maps, open(f'/proc/{pid}/mem', 'rb', 0) as mem:
        for line in maps:
            area, mode = line.split()[:2]
            start, end = (int(n, 16) for n in area.split('-'))
            if mode[0] != 'r' or '[v' in line:  # vvar, vdso, vsyscall
                continue
            try:
                mem.seek(start)
                data = b''
                while len(data) < end - start:
                    more = mem.read(end - start - len(data))
                    if not more:
                        break
                    data += more
            except OSError:
                pass
            yield data


def forms(scalar):
    """As it is written, and as a big number lies in memory on this machine (words of 64 bit, lowest first)."""
    words = struct.unpack('>4Q', scalar)
    return {scalar, struct.pack('=4Q', *reversed(words))}


def count_in_memory(pid, needles):
    return sum(data.count(needle) for data in memory(pid) for needle in needles)


def keys_in_keyholder_alone(server):
    need_root()
    for _ in range(20):  # signatures in every worker
        server.secure().close()
    scalar = forms(server.site.certs.scalar('server'))
    public = {bytes.fromhex(server.site.certs.public('server'))}
    processes = [*each(server), ('parent', server.pid)]
    for role, pid in processes:
        found = count_in_memory(pid, scalar)
        if role == 'keyholder':
            h.check(found > 0, 'the search finds no key where one is: it proves nothing')
        else:
            h.equal(found, 0, f'copies of the private key in the memory of {role}[{pid}]')
        if role == 'worker':  # the search does see this process's memory
            h.check(count_in_memory(pid, public) > 0, 'the public key is not found in a worker')


def old_keys_are_wiped(server):
    """After a reload to another key the keyholder has forgotten the first."""
    need_root()
    scalar = forms(server.site.certs.scalar('server'))
    tls = h.TLS_MAIN.replace('{cert}', str(server.site.certs.cert('server-2'))).replace(
        '{key}', str(server.site.certs.key('server-2')))
    server.write_conf(tls=tls)
    server.reload()
    h.within(h.TIMEOUT, lambda: len(server.pids('worker')) == 2, 'the end of the old workers')
    server.secure().close()
    pid = server.pids('keyholder')[0]
    h.check(count_in_memory(pid, forms(server.site.certs.scalar('server-2'))) > 0, 'no key at all')
    h.within(5, lambda: count_in_memory(pid, scalar) == 0, 'the first key is wiped')


def main():
    topic = h.Topic()
    site = h.Site(topic)
    if h.PROBE:
        probed = []
        topic.case('every process tries what it may not', lambda: probed.append(Probed(site)))
        for role in ROLES if probed else ():
            for what in FORBIDDEN:
                topic.case(f'{role}: {what}: not permitted', cell, probed[0], role, what)
            topic.case(f'{role}: {KILLS}: killed', cell_killed, probed[0], role)
        for what in FORBIDDEN if probed else ():
            topic.case(f'spawn: {what}', cell_of_spawn, probed[0], what)
        if probed:
            topic.case('no other probes', nothing_else, probed[0])
    else:
        topic.case('every process tries what it may not', need_probe)
    with site.server(SERVICES, top=users_file(site)) as server:
        topic.case('no new privileges, a filter, no capability', kernel_says, server)
        topic.case('a user for each role', users, server)
        topic.case('the parent keeps few capabilities', parent_is_reduced, server)
        topic.case('the spawn process and its programs', spawn_is_reduced, server)
        topic.case('an empty root folder', empty_root, server)
        topic.case('descriptors', descriptors, server)
        topic.case('no dumps', dumps, server)
        topic.case('private keys are in the keyholder alone', keys_in_keyholder_alone, server)
    # of its own: what a busy keyholder does with its heap would hide what is left there
    with site.server(SERVICES, top=users_file(site)) as server:
        topic.case('keys of former generations are wiped', old_keys_are_wiped, server)
    topic.done()


main()
