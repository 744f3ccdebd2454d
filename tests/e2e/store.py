"""The store process: it starts with the folder of mailboxes, comes again, is replaced, and goes; what it holds is its own."""
import ctypes
import os
import pathlib
import pwd
import signal
import socket
import subprocess

import harness as h

SYS_PIDFD_GETFD = 438


def with_mail(site, **options):
    folder = pathlib.Path(os.path.join(site.folder, f'mail-{len(list(site.folder.glob("mail-*")))}'))
    server = site.server(h.LINE_SERVICE, top=f'mail {folder}\njournal-size 4\n', **options)
    server.mail = folder
    return server


def no_mail_no_store(site):
    with site.server(h.LINE_SERVICE) as server:
        h.equal(server.pids('store'), [], 'store processes without a mail folder')


def folders(site):
    with with_mail(site) as server:
        h.equal(len(server.processes('store', 'serving')), 1, 'store processes')
        owner = pwd.getpwnam('_posternq').pw_uid if h.ROOT else os.geteuid()
        for folder in (server.mail, *(server.folder / 'state' / name for name in ('journal', 'kv', 'queue'))):
            st = os.stat(folder)
            h.equal((st.st_uid, st.st_mode & 0o777), (owner, 0o700), f'owner and mode of {folder}')
        h.within(h.TIMEOUT, lambda: list((server.folder / 'state' / 'journal').glob('*.pj')), 'a journal')


def killed(site):
    with with_mail(site, allowed=r'store\[\d+\] was ended by signal 9') as server:
        for _ in range(3):
            [pid] = server.pids('store')
            os.kill(pid, signal.SIGKILL)
            h.within(h.TIMEOUT, lambda: [p for p in server.processes('store', 'serving') if p['pid'] != pid],
                     'another one')
        server.secure(cert='alice').close()


def reloaded_and_upgraded(site):
    with with_mail(site) as server:
        [pid] = server.pids('store')
        server.reload()
        h.equal(server.pids('store'), [pid], 'the store after a reload')
        server.signal(signal.SIGUSR2)
        h.within(h.TIMEOUT, lambda: [p for p in server.processes('store', 'serving') if p['pid'] != pid] and
                 not h.process_exists(pid), 'the next one, alone')


def sockets(pid):
    """Its sockets: descriptor by inode."""
    found = {}
    for fd in os.listdir(f'/proc/{pid}/fd'):
        try:
            name = os.readlink(f'/proc/{pid}/fd/{fd}')
        except OSError:
            continue
        if name.startswith('socket:['):
            found[int(name[8:-1])] = int(fd)
    return found


def channel_between(worker, store):
    """A copy of the worker's end. The two ends of a pair have inodes one behind the other; the helper gets the first."""
    theirs = sockets(store)
    fds = [fd for inode, fd in sockets(worker).items() if inode - 1 in theirs]
    h.equal(len(fds), 1, 'channels of the worker to the store')
    pidfd = os.pidfd_open(worker)
    fd = ctypes.CDLL(None, use_errno=True).syscall(SYS_PIDFD_GETFD, pidfd, fds[0], 0)
    os.close(pidfd)
    h.check(fd >= 0, f'pidfd_getfd: {os.strerror(ctypes.get_errno())}')
    return socket.socket(fileno=fd)


def condemned(site):
    if not h.ROOT:
        raise h.Skip('only root can speak for a worker')
    with with_mail(site, allowed=r'worker\[\d+\] (is killed|was ended by signal 9)|a client sent what it may not') as server:
        [store] = server.pids('store')
        workers = server.pids('worker')
        with channel_between(workers[0], store) as channel:
            channel.send(b'\1\0' + b'\377' * 10)
            server.wait_log(rf'worker\[{workers[0]}\] is killed and another one started: the store says that it sent what it may not')
            h.within(h.TIMEOUT, lambda: not h.process_exists(workers[0]), 'its end')
        h.within(h.TIMEOUT, lambda: len(server.processes('worker', 'serving')) == len(workers), 'another one')
        h.equal(server.pids('store'), [store], 'the store')
        h.check(set(workers[1:]) <= set(server.pids('worker')), 'the others live on')
        server.secure(cert='alice').close()


def another_folder(site):
    with with_mail(site, allowed='reload failed') as server:
        top = server.top
        server.top = top.replace('mail ', 'mail /nowhere')
        server.write_conf()
        server.signal(signal.SIGHUP)
        server.wait_log('reload failed, everything goes on as before: mail: the folder cannot be another one')
        server.top = top
        server.write_conf()
        server.reload()


def comes_and_goes(site):
    with with_mail(site) as server:
        top, server.top = server.top, ''
        server.write_conf()
        server.reload()
        h.within(h.TIMEOUT, lambda: not server.pids('store'), 'the end of the store')
        server.top = top
        server.write_conf()
        server.reload()
        h.equal(len(server.pids('store')), 1, 'store processes')


def does_not_start(site):
    """A folder of somebody else's, or none that could be made."""
    server = with_mail(site, allowed=False)
    server.top = 'mail /proc/nowhere\n'
    server.write_conf()
    run = subprocess.run([str(server.posternd), '-d', '-f', str(server.conf)], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=h.TIMEOUT)
    h.check(run.returncode != 0, 'it started')
    h.check('cannot make the folder /proc/nowhere' in run.stdout, run.stdout)


def main():
    topic = h.Topic()
    site = h.Site(topic)
    topic.case('without a mail folder there is no store', no_mail_no_store, site)
    topic.case('folders are made, for it alone', folders, site)
    topic.case('one that was killed comes again', killed, site)
    topic.case('it stays at a reload, and is replaced at an upgrade', reloaded_and_upgraded, site)
    topic.case('a worker that it condemns is ended', condemned, site)
    topic.case('another folder needs a restart', another_folder, site)
    topic.case('it comes and goes with its directive', comes_and_goes, site)
    topic.case('a folder that cannot be', does_not_start, site)
    topic.done()


main()
