"""Limits on connections, many idle ones, every kind of listener, and a shortage of descriptors."""
import contextlib
import os
import re
import select
import socket
import stat
import time

import harness as h

LIMITED = '''
service few {
    protocol line
    listen 127.0.0.1:@few starttls
    listen 127.0.0.1:@linesfew tls
    tls main
    max-connections 10
    max-per-address 4
}
service other {
    protocol line
    listen 127.0.0.1:@other starttls
    tls main
}
'''
TOTAL, ADDRESS = 'The server has as many connections', 'Your address has as many connections'


class Many(contextlib.ExitStack):
    """Connections that are closed together."""

    def open(self, server, name='few', **options):
        return self.enter_context(server.client(name, **options))


def no_connection(server):
    h.within(h.TIMEOUT, lambda: sum(s['connections'] for s in server.status()['services']) == 0,
             'no connection is left')


def refused(server, name, text, **options):
    with server.connect(name, **options) as client:
        reply = client.reply()
        h.equal((reply.status, reply.code, reply.data), ('BYE', 'TRYLATER', []), 'the refusal')
        h.check(reply.text.startswith(text), f'the refusal says {reply.text!r}')
        client.expect_end()


def per_address(server):
    no_connection(server)
    before = server.service('few')['refused']
    with Many() as many:
        clients = [many.open(server, source='127.0.0.2') for _ in range(4)]
        for _ in range(5):
            refused(server, 'few', ADDRESS, source='127.0.0.2')
        h.equal(server.service('few')['refused'], before + 5, 'refused')
        many.open(server, source='127.0.0.3')  # another address is not concerned
        many.open(server, 'other', source='127.0.0.2')  # nor is another service
        clients[0].close()

        def again():
            client = server.connect('few', source='127.0.0.2')
            many.enter_context(client)
            return client.reply().status == 'OK'
        h.within(h.TIMEOUT, again, 'room after one has ended')
    server.wait_log('code=limit-address', 5)


def per_service(server):
    no_connection(server)
    with Many() as many:
        for n in range(10):
            many.open(server, source=f'127.0.0.{2 + n // 4}')
        refused(server, 'few', TOTAL, source='127.0.0.20')
        # with TLS from the start there is nothing to say it in: the end, at once
        with server.connect('linesfew', source='127.0.0.20') as client:
            client.expect_end()
        many.open(server, 'other')
    server.wait_log('code=limit-service', 2)
    no_connection(server)
    server.client('few').close()


def in_total(site):
    with site.server(LIMITED, top='max-connections 12\n') as server:
        with Many() as many:
            for _ in range(12):
                many.open(server, 'other')
            refused(server, 'other', TOTAL)
            refused(server, 'few', TOTAL)
        no_connection(server)
        server.client('few').close()


def idle_ones(server):
    """200 from many addresses, and a new one is answered at once."""
    with Many() as many:
        context = server.site.certs.context()
        clients = [many.enter_context(server.secure('line', context=context, source=f'127.0.1.{n + 1}'))
                   for n in range(200)]
        h.equal(server.service('line')['connections'], 200, 'connections')
        h.equal(server.service('line')['tls_sessions'], 200, 'TLS sessions')
        for worker in server.processes('worker'):
            h.check(worker['connections'] >= 20, f'an idle worker beside a busy one: {worker}')
        began = time.monotonic()
        with server.secure('line', context=context) as client:
            h.equal(client.command('NOOP').status, 'OK', 'NOOP')
        h.check(time.monotonic() - began < 1, f'a new client waited {time.monotonic() - began:.2f} s')
        for client in clients:
            h.equal(client.command('NOOP').status, 'OK', 'NOOP of an idle one')
    no_connection(server)


def burst(server):
    """Sixty connections in one moment, and all of them are served."""
    with Many() as many:
        clients = [many.enter_context(server.connect('line')) for _ in range(60)]
        for client in clients:
            h.equal(client.reply().status, 'OK', 'the greeting')
    no_connection(server)


LISTENERS = '''
service line {
    protocol line
    listen 127.0.0.1:@line starttls-required
    listen unix:@FOLDER/run/line starttls
    listen unix:@FOLDER/run/plain plain
    listen 127.0.0.1:@plain plain
    tls main
}
'''
SIX = '''
service six {
    protocol line
    listen [::1]:@line6 starttls-required
    listen [::1]:@lines6 tls
    tls main
    max-per-address 2
}
'''


def ipv6(site):
    try:
        h.free_port('::1')
    except OSError:
        raise h.Skip('this machine has no IPv6 loopback address') from None
    with site.server(SIX) as server:
        for name in ('line6', 'lines6'):
            with server.secure(name) as client:
                h.equal(client.whoami()['TLS'], 'TLS1.3', 'TLS')
        no_connection(server)
        with Many() as many:
            many.open(server, 'line6')
            many.open(server, 'line6')
            refused(server, 'line6', ADDRESS)


def over_unix(server, path):
    address = server.folder / 'run' / path
    h.check(stat.S_ISSOCK(os.stat(address).st_mode), f'{address} is no socket')
    with h.Client(address) as client:
        h.equal(client.reply().status, 'OK', 'the greeting')
        h.equal(client.command('ECHO x').data, [['x']], 'ECHO')
        if path == 'line':
            client.starttls(server.site.certs.context(None, 'alice'))
            h.equal(client.whoami()['IDENTITY'], 'alice@example.test', 'IDENTITY')


def plain(server):
    with server.client('plain') as client:
        h.equal(client.command('ECHO x').data, [['x']], 'ECHO')
        h.equal(client.command('QUIT').status, 'OK', 'QUIT')
        client.expect_end()


def unix_sockets_are_removed(site):
    with site.server(LISTENERS.replace('@FOLDER', str(site.folder / str(site.count + 1)))) as server:
        path = server.folder / 'run' / 'line'
        h.check(path.exists(), f'{path} is not there')
        server.kill()
        h.check(path.exists(), 'who removed it?')
        server.start()  # what a killed one left is in nobody's way
        over_unix(server, 'line')
        server.stop()
        h.check(not path.exists(), f'{path} is left')
        server.start()


def plain_elsewhere(site):
    """A listener without TLS on an address that others reach is a mistake in the configuration."""
    server = site.server(LIMITED.replace('127.0.0.1:@other starttls', '0.0.0.0:@other plain'))
    try:
        server.start()
    except h.Failure as why:
        h.check('loopback' in str(why), f'why it does not start: {why}')
    else:
        server.kill()
        raise h.Failure('it starts')


FILES = 100


def descriptors(site):
    """Out of descriptors: accepting pauses, says so once, and goes on when connections have ended."""
    with site.server(h.LINE_SERVICE, workers=1, files_limit=FILES,
                     allowed='out of file descriptors') as server:
        def shortages():
            return len(re.findall('out of file descriptors', server.log()))
        clients = [server.connect() for _ in range(FILES + 60)]
        try:
            server.wait_log('out of file descriptors')
            time.sleep(0.3)
            greeted = select.select([client.sock for client in clients], [], [], 0)[0]
            greeted = [client for client in clients if client.sock in greeted]
            h.check(50 < len(greeted) < FILES, f'{len(greeted)} are served')
            for client in greeted:
                h.equal(client.reply().status, 'OK', 'the greeting')
                h.equal(client.command('NOOP').status, 'OK', 'one that is served')
            time.sleep(2.5)  # five times the pause: each tries in vain
            h.equal(shortages(), 1, 'how often it is said')
            h.equal(server.status()['state'], 'serving', 'state')
            waiting = [client for client in clients if client not in greeted]
            for client in greeted:
                client.close()
            for client in waiting[:40]:
                h.equal(client.reply().status, 'OK', 'one that waited')
        finally:
            for client in clients:
                client.close()
        with server.secure() as client:
            h.equal(client.command('NOOP').status, 'OK', 'NOOP')
        server.wait_log('descriptors are free again', 1)
        server.reload()  # the parent has what it needs, too
        server.secure().close()


def unix_peers_are_no_address(site):
    """max-per-address counts addresses; all peers of a unix socket would be one."""
    services = h.LINE_SERVICE + '''
service local {
    protocol line
    listen unix:%s plain
    max-per-address 2
}
''' % (site.folder / 'many')
    with site.server(services), contextlib.ExitStack() as stack:
        for _ in range(5):
            s = stack.enter_context(socket.socket(socket.AF_UNIX))
            s.settimeout(h.TIMEOUT)
            s.connect(str(site.folder / 'many'))
            h.check(not s.recv(4096).startswith(b'BYE'), 'refused')


def main():
    topic = h.Topic()
    site = h.Site(topic)
    with site.server(LIMITED + h.LINE_SERVICE) as server:
        topic.case('max-per-address', per_address, server)
        topic.case('max-connections of a service', per_service, server)
        topic.case('200 idle connections', idle_ones, server)
        topic.case('60 connections at once', burst, server)
    topic.case('max-connections in total', in_total, site)
    topic.case('listen on [::1]', ipv6, site)
    with site.server(LISTENERS.replace('@FOLDER', str(site.folder / str(site.count + 1)))) as server:
        topic.case('listen on a unix socket, starttls', over_unix, server, 'line')
        topic.case('listen on a unix socket, plain', over_unix, server, 'plain')
        topic.case('listen on 127.0.0.1, plain', plain, server)
    topic.case('unix sockets come and go with the server', unix_sockets_are_removed, site)
    topic.case('plain is for loopback and unix alone', plain_elsewhere, site)
    topic.case('out of descriptors', descriptors, site)
    topic.case('peers of a unix socket are no address', unix_peers_are_no_address, site)
    topic.done()


main()
