"""postern-exec(7) followed step by step: its programs, its configuration and its clients, as they stand there. Only
paths, ports and the user's name are this machine's."""
import pathlib
import re
import subprocess
import sys

import harness as h

PAGE = pathlib.Path(__file__).parents[2] / 'doc' / 'postern-exec.7'
BLOCK = re.compile(r'^\.\\" @test (\w+) (\w+)\n\.Bd [^\n]*\n(.*?)^\.Ed$', re.M | re.S)


def blocks():
    """{(what, name): text} as a reader sees it."""
    found = {}
    for what, name, text in BLOCK.findall(PAGE.read_text()):
        h.check('\n.' not in '\n' + text, f'{what} {name} has macros in it')
        text = text.replace(r'\e', '\\').replace(r'\(dq', '"')
        h.check((what, name) not in found, f'{what} {name} twice')
        found[what, name] = text
    return found


class Reader:
    def __init__(self, topic):
        self.page = blocks()
        self.site = h.Site(topic)
        self.folder = self.site.folder / 'reader'
        self.folder.mkdir()
        self.folder.chmod(0o755)
        for name, path in (('server-ca.pem', self.site.certs.cert('ca')), ('alice.pem', self.site.certs.cert('alice')),
                           ('alice.key', self.site.certs.key('alice'))):
            (self.folder / name).write_text(path.read_text())
        self.ports = {}

    def here(self, text):
        """With the ports and paths of this test."""
        def port(match):
            return self.ports.setdefault(match.group(0), str(h.free_port()))
        text = re.sub(r'\b778\d\b', port, text)
        return text.replace('/usr/local/bin/', f'{self.folder}/').replace('alice@example.org', 'alice@example.test')

    def save_program(self, name):
        path = self.folder / name
        path.write_text(self.page['program', name])
        path.chmod(0o755)

    def services(self):
        return ''.join(self.here(text) for (what, _), text in self.page.items() if what == 'service')

    def run(self, argv, script):
        run = subprocess.run([*argv, script], cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True, timeout=h.TIMEOUT)
        return run.stdout.replace('\r\n', '\n')


def shell_client(reader, name):
    h.equal(reader.run(['sh', '-c'], reader.here(reader.page['client', name])),
            reader.here(reader.page['says', name]), 'what the client shows')


def python_client(reader, name):
    h.equal(reader.run([sys.executable, '-c'], reader.here(reader.page['python', name])),
            reader.here(reader.page['pythonsays', name]), 'what the client shows')


def nobody(reader, name):
    """The same client without its certificate."""
    client = re.sub(r'--x509(cert|key)file=\S+', '', reader.here(reader.page['client', name]))
    h.equal(reader.run(['sh', '-c'], client), reader.page['nobody', name], 'what the client shows')


def variables(reader, server):
    """Each variable of the page is one that programs get, and the other way round."""
    source = (PAGE.parents[1] / 'src' / 'proc' / 'program_env.h').read_text()
    known = set(re.findall(r'X\(\w+, "(\w+)"\)', source))
    h.check(len(known) > 20, 'no variables in program_env.h')
    page = set()
    for line in re.findall(r'^\.It Ev (.*)$', PAGE.read_text(), re.M):
        for first, last in re.findall(r'(\w+_)0 No to Ev _(\d)', line):
            page |= {f'{first}{n}' for n in range(int(last) + 1)}
        page |= set(re.findall(r'\b[A-Z]+[A-Z_]*\b', re.sub(r'\w+_0 No to Ev _\d', '', line)))
    # nobody knows a client's device yet, so the page does not promise it
    h.equal(page, known - {'POSTERN_DEVICE'}, 'variables')


def main():
    topic = h.Topic()
    h.need('gnutls-cli', 'gnutls-bin')
    h.need('bc', 'bc')
    reader = Reader(topic)
    reader.save_program('hello')
    with reader.site.server(reader.services()) as server:
        check = subprocess.run([str(server.posternd), '-n', '-f', str(server.conf)], stderr=subprocess.PIPE, text=True)
        topic.case('posternd -n', h.equal, (check.returncode, 'hello' in check.stderr and h.ROOT), (0, False), check.stderr)
        for name in ('hello', 'calculator'):
            topic.case(f'{name}: the client', shell_client, reader, name)
        topic.case('hello: the client in Python', python_client, reader, 'hello')
        topic.case('hello: nobody', nobody, reader, 'hello')
        topic.case('the list of variables', variables, reader, server)
    topic.done()


if __name__ == '__main__':
    main()
