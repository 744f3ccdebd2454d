"""postern metrics: Prometheus text in which every number is what happened."""
import re
import subprocess

import harness as h

SAMPLE = re.compile(r'^(postern_[a-z_]+)(?:\{([^}]*)\})? (-?[0-9.e+]+|\+Inf)$')
FAMILY = re.compile(r'^# (HELP|TYPE) (postern_[a-z_]+) (.+)$')
TLS = h.TLS_MAIN.replace('client-certificate request',
                         'client-certificate request\n    handshake-timeout 900ms\n    first-flight-timeout 300ms')


def run(server, *args):
    postern = server.site.posternd.parent.parent / 'bin/postern'
    return subprocess.run([postern, '-f', server.conf, *args], capture_output=True, text=True, check=True,
                          timeout=h.TIMEOUT).stdout


def samples(server):
    """{(name, labels but the service): value} of the service line and of the server."""
    out = {}
    for line in run(server, 'metrics').splitlines():
        if line.startswith('#'):
            continue
        match = SAMPLE.match(line)
        h.check(match, f'not a sample: {line!r}')
        labels = dict(re.findall(r'([a-z]+)="([^"]*)"', match.group(2) or ''))
        if labels.pop('service', 'line') != 'line':
            continue
        key = (match.group(1), *sorted(labels.items()))
        h.check(key not in out, f'twice: {line!r}')
        out[key] = float(match.group(3))
    return out


def form(server):
    """Each family has its help and type, once, in front of its samples; histograms are cumulative."""
    known = {}
    for line in run(server, 'metrics').splitlines():
        if line.startswith('#'):
            kind, name, text = FAMILY.match(line).groups()
            known.setdefault(name, {})
            h.check(kind not in known[name], f'{kind} of {name} twice')
            known[name][kind] = text
            continue
        name = SAMPLE.match(line).group(1)
        family = re.sub(r'_(bucket|sum|count)$', '', name)
        family = family if family in known else name
        h.equal(set(known.get(family, ())), {'HELP', 'TYPE'}, f'what stands before {name}')
        h.equal(known[family]['TYPE'] == 'counter', name.endswith('_total'), f'the name of {name}')
    got = samples(server)
    for kind in ('full', 'full-certificate', 'resumed', 'resumed-certificate'):
        buckets = [v for k, v in got.items()
                   if k[0] == 'postern_handshake_seconds_bucket' and ('kind', kind) in k]
        h.equal(len(buckets), 13, f'buckets of {kind}')
        h.equal(buckets, sorted(buckets), f'buckets of {kind}')
        h.equal(buckets[-1], got['postern_handshake_seconds_count', ('kind', kind)], f'count of {kind}')


def grown(server, before, key, by=1):
    h.within(h.TIMEOUT, lambda: samples(server)[key] == before[key] + by, f'{key} + {by}')


def handshakes(server):
    before = samples(server)
    server.secure().close()
    server.secure(cert='alice').close()
    server.secure(cert='stranger').close()
    grown(server, before, ('postern_handshakes_total',), 3)
    for verdict in ('none', 'trusted', 'unknown-ca'):
        grown(server, before, ('postern_verdicts_total', ('verdict', verdict)))
    grown(server, before, ('postern_handshake_seconds_count', ('kind', 'full')))
    grown(server, before, ('postern_handshake_seconds_count', ('kind', 'full-certificate')), 2)
    after = samples(server)
    h.check(0 < after['postern_handshake_seconds_sum', ('kind', 'full')] < h.TIMEOUT, 'their time')


def failures(server):
    def count(reason, attempt):
        before = samples(server)
        attempt()
        grown(server, before, ('postern_handshake_failures_total', ('reason', reason)))
        grown(server, before, ('postern_handshakes_failed_total',))

    def closed():
        client = server.connect('lines')
        client.send(b'\x16\x03\x01')
        client.close()

    def garbage():
        with server.connect('lines') as client:
            client.send(b'GET / HTTP/1.0\r\n\r\n')
            client.sock.recv(100)

    def silent():
        with server.connect('lines') as client:
            client.sock.recv(100)

    count('closed', closed)
    count('protocol', garbage)
    count('no-hello', silent)


def certificate_refused(server):
    with server.connect('strict') as client:
        with h.contextlib.suppress(h.ssl.SSLError):
            client.wrap(server.site.certs.context())
            client.sock.recv(1)
    want = 'postern_handshake_failures_total{service="strict",reason="certificate"} 1\n'
    h.within(h.TIMEOUT, lambda: want in run(server, 'metrics'), want)


def outlive(server):
    """A reload and the end of a worker take nothing away."""
    before = samples(server)
    old = set(server.pids('worker'))
    server.reload()
    h.within(h.TIMEOUT, lambda: len(server.pids('worker')) == 2 and not old & set(server.pids('worker')), 'the old workers to end')
    pid = server.pids('worker')[0]
    h.os.kill(pid, h.signal.SIGKILL)
    h.within(h.TIMEOUT, lambda: pid not in server.pids('worker') and len(server.pids('worker')) == 2,
             'a new worker')
    after = samples(server)
    h.check(before[('postern_handshakes_total',)] > 0, 'something was counted')
    for key, value in before.items():
        if key[0].endswith('_total') or key[0].startswith('postern_handshake_seconds'):
            h.check(after[key] >= value, f'{key} fell from {value} to {after[key]}')
    h.equal(after[('postern_generation',)], before[('postern_generation',)] + 1, 'generation')


def as_json(server):
    answer = h.json.loads(run(server, 'metrics', '--json'))
    h.check(answer['ok'] and answer['metrics'].startswith('# HELP postern_'), 'the JSON answer')


SERVICES = h.LINE_SERVICE + '''
service strict {
    protocol line
    listen 127.0.0.1:@strict tls
    tls main { client-certificate require }
}
'''


def main():
    topic = h.Topic()
    site = h.Site(topic)
    with site.server(SERVICES, tls=TLS, allowed='was ended by signal 9') as server:
        topic.case('every handshake is counted and timed', handshakes, server)
        topic.case('every failure has its reason', failures, server)
        topic.case('a refused certificate', certificate_refused, server)
        topic.case('the form of the page', form, server)
        topic.case('nothing is lost by a reload or a killed worker', outlive, server)
        topic.case('as JSON', as_json, server)
    topic.done()


main()
