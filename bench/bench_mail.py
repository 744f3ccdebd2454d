"""bench_mail.py - the mail rows of bench.py: submission into mailboxes by clients with certificates.

Messages go from each client to 64 users in turn and stand in Maildirs below the temporary folder, so its file system is what is
measured; BENCH='--folder DIR ...' names another. All is removed at the end.
"""
import json
import os
import statistics
import subprocess
import sys
import threading
import time

ROWS = "submit login big mailstorm hashing mailnoop mailidle".split()
USERS = 64
MIB = 1024 * 1024


def services(port, line_port):
    return f"""service submission {{
    protocol submission
    listen 127.0.0.1:{port} starttls-required
    tls main
    login certificate password
    max-connections 100000
    max-per-address 100000
    idle-timeout 1h
}}
service line {{
    protocol line
    listen 127.0.0.1:{line_port} starttls-required
    tls main
    max-connections 100000
    max-per-address 100000
}}
"""


def memory_kib(server):
    """PSS of all processes, and the memory of their descriptors that is mapped nowhere."""
    total, seen = server.pss_kib(), set()
    for pid in server.pids():
        try:
            names = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue
        for name in names:
            path = f"/proc/{pid}/fd/{name}"
            try:
                if os.readlink(path).startswith("/memfd:"):
                    st = os.stat(path)
                    if st.st_ino not in seen:
                        total += st.st_blocks // 2
                    seen.add(st.st_ino)
            except OSError:
                pass
    return total


def delivery_us(server):
    """CPU so far of the threads that write mailboxes, which they do behind the replies."""
    total = 0
    for pid in server.pids():
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/comm") as f:
                name = f.read().strip()
            if name == "apply":
                with open(f"/proc/{pid}/task/{task}/schedstat") as f:
                    total += int(f.read().split()[0]) / 1000
    return total


def settled_us(server):
    """The same, when all that was accepted is in its mailbox."""
    last, now = -1, delivery_us(server)
    while now != last:
        time.sleep(0.3)
        last, now = now, delivery_us(server)
    return now


class Mail:
    """Rows of mail. bench: bench.py's Bench; Line and Server are its classes."""

    def __init__(self, bench, server_class, line_class, say):
        self.b, self.o, self.line, self.say = bench, bench.o, line_class, say
        self.server_class = server_class
        self.auth = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(self.o.posternd))),
                                 "libexec/postern/postern-auth")

    def server(self):
        b = self.b
        users = os.path.join(b.folder, "users")
        field = subprocess.run([self.auth, "-H"], input="password", stdout=subprocess.PIPE, text=True, check=True).stdout
        with open(users, "w") as f:
            f.writelines(f"client{n}@localhost {field.strip()}\n" for n in range(USERS))
        os.chmod(users, 0o600)
        return self.server_class(self.o.posternd, b.folder, b.meter, "auto", mail=users, services=services)

    def run(self, server, mode, *args, seconds=None, meter=True):
        """One run of the client, and what it came to."""
        more = ["--meter", self.b.meter.spec(server)] if meter else []
        if mode != "password":
            more += ["--pki", self.b.folder, "--certs", USERS]
        r = json.loads(self.b.tool("mail", mode, "--port", server.mail_port, "--users", USERS, "--seconds",
                                   seconds or self.o.seconds, *args, *more))
        if r["errors"]:
            self.b.errors += r["errors"]
            self.b.notes.append(f"{mode}: {r['errors']} errors: {r['error']}")
        if not r["ops"]:
            sys.exit(f"bench: mail {mode}: nothing was done: {r['error']}")
        r["rate"], r["cpu_us_op"] = r["ops"] / r["seconds"], r["cpu_us"] / r["ops"]
        return r

    def flush_us(self):
        """One append of a message's size and one flush, on the file system of the mailboxes."""
        return json.loads(self.b.tool("disk", self.b.folder, 4608, 0.3))["p50_us"]

    def submit_rows(self):
        server = self.server()
        self.flush_us()  # makes its file
        rates, to_reply, cpu, above, flushes, p99 = ({c: [] for c in (1, 10, 100)} for _ in range(6))
        for n in range(self.o.rounds):
            conns = [1, 10, 100]
            for c in conns[n % 3:] + conns[:n % 3]:
                before = self.flush_us() if c == 1 else 0
                delivered = settled_us(server)
                r = self.run(server, "submit", "--conns", c)
                reply = r["cpu_us"] - (delivery_us(server) - delivered)
                to_reply[c].append(reply / r["ops"])
                cpu[c].append((reply + settled_us(server) - delivered) / r["ops"])
                if c == 1:
                    flush = (before + self.flush_us()) / 2
                    above[c].append(r["p50_us"] - flush)
                    flushes[c].append(flush)
                rates[c].append(r["rate"])
                p99[c].append(r["p99_us"] / 1000)
            self.say(f"# submit round {n + 1} of {self.o.rounds}")
        server.stop()
        flush = statistics.median(flushes[1])
        lines = []
        for c in (1, 10, 100):
            name = f"4 KiB submitted, durable, {c} connection{'s' if c > 1 else ''}"
            lines += [self.line(name, rates[c], "messages/s"),
                      self.line("the same: CPU to the reply", to_reply[c], "µs CPU"),
                      self.line("the same: CPU until it is in the mailbox", cpu[c], "µs CPU"),
                      self.line("the same: last octet to reply, p99", p99[c], "ms")]
        lines.insert(4, self.line(f"1 connection: last octet to reply, p50, above one flush of the disk ({flush:.0f} µs)",
                                  above[1], "µs", None, None, 150))
        return lines

    def login_rows(self):
        server = self.server()
        cpu, ratio, rates = [], [], []
        for n in range(self.o.rounds):
            got = {}
            for which in (("mail", "line") if n % 2 else ("line", "mail")):
                if which == "mail":
                    got[which] = self.run(server, "login", "--conns", 16)
                else:
                    got[which] = self.b.timed(server, "cycle", 16, "--pki", self.b.folder, "--certs", USERS)
            cpu.append(got["mail"]["cpu_us_op"])
            ratio.append(got["mail"]["cpu_us_op"] / got["line"]["cpu_us_op"])
            rates.append(got["mail"]["rate"])
        server.stop()
        return [self.line(f"SMTP: STARTTLS, known certificate, AUTH EXTERNAL, QUIT ({statistics.median(rates):,.0f}/s)", cpu,
                          "µs CPU", "line service's cycle", ratio)]

    def watched(self, server, call):
        """call() beside a look at the memory every quarter of a second: its result, and how much that grew at most."""
        worst, before, over = [0], memory_kib(server), threading.Event()

        def watch():
            while not over.wait(0.25):
                worst[0] = max(worst[0], memory_kib(server) - before)

        t = threading.Thread(target=watch)
        t.start()
        try:
            r = call()
        finally:
            over.set()
            t.join()
        return r, worst[0] / 1024

    def big_rows(self):
        server = self.server()
        cpu, rate, grown = [], [], []
        for n in range(self.o.rounds):
            r = self.run(server, "submit", "--conns", 4, "--size", 10 * MIB)
            cpu.append(r["cpu_us_op"] / 1000)
            rate.append(r["rate"] * 10)
            self.say(f"# big round {n + 1} of {self.o.rounds}")
        r, grew = self.watched(server, lambda: self.run(server, "submit", "--conns", 100, "--count", 100, "--size",
                                                        50 * MIB - 4096, seconds=600))
        grown.append(grew)
        server.stop()
        return [self.line("10 MiB message, 4 connections", cpu, "ms CPU"),
                self.line("the same", rate, "MiB/s"),
                self.line("100 clients with 50 MiB each at once: growth of PSS and shared memory", grown, "MiB", None, None, 64)]

    def held(self, server, mode, conns, *more):
        p = subprocess.Popen([os.path.join(self.o.tools, "mail"), mode, "--port", str(server.mail_port), "--conns", str(conns)] +
                             [str(m) for m in more], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if p.stdout.readline() != "up\n":
            sys.exit(f"bench: mail {mode}: the connections could not be opened")
        return p

    def mailstorm_rows(self):
        server = self.server()
        rates, p99s, with_rates = [], [], []
        for n in range(max(9, self.o.rounds)):
            got = {}
            for stall in ((False, True) if n % 2 else (True, False)):
                p = self.held(server, "stall", self.o.stalled) if stall else None
                got[stall] = self.run(server, "submit", "--conns", 16)
                if p:
                    self.b.release(p)
                    time.sleep(0.3)
            with_rates.append(got[True]["rate"])
            rates.append(got[True]["rate"] / got[False]["rate"])
            p99s.append(got[True]["p99_us"] / got[False]["p99_us"])
        server.stop()
        name = f"16 clients that submit 4 KiB messages beside {self.o.stalled:,} stalled handshakes"
        return [self.line(name + ": rate", with_rates, "messages/s", "without", rates, 0.95, least=True),
                self.line(name + ": p99", p99s, "x without", "without", p99s, 1.25)]

    def hashing_rows(self):
        """Logins at a pace that leaves room, three times in each round: twice beside as many others by certificate as there are
        passwords in the third, so that the hashes alone are what is different. A p99 needs many logins and many rounds: what two
        equal runs differ by is printed beside it."""
        server = self.server()
        p99, same, beside, checked, p50 = [], [], [], [], []
        tool = os.path.join(self.o.tools, "mail")
        seconds = max(4, self.o.seconds)
        for n in range(max(15, self.o.rounds)):
            got = {}
            order = ["certificates", "again", "passwords"]
            for which in order[n % 3:] + order[:n % 3]:
                how = ["password"] if which == "passwords" else ["login", "--pki", self.b.folder, "--certs", str(USERS)]
                p = subprocess.Popen([tool] + how + ["--port", str(server.mail_port), "--users", str(USERS), "--rate", "50",
                                                     "--seconds", str(seconds + 1)], stdout=subprocess.PIPE, text=True)
                time.sleep(0.3)
                got[which] = self.run(server, "login", "--rate", 200, seconds=seconds)
                r = json.loads(p.communicate()[0])
                if which == "passwords":
                    checked.append(r["ops"] / r["seconds"])
                if r["errors"]:
                    self.b.notes.append(f"{which}: {r['errors']} errors: {r['error']}")
            first = got["certificates"]
            p99.append(got["passwords"]["p99_us"] / 1000)
            beside.append(got["passwords"]["p99_us"] / first["p99_us"])
            p50.append(got["passwords"]["p50_us"] / first["p50_us"])
            same.append(got["again"]["p99_us"] / first["p99_us"])
        server.stop()
        name = f"200 certificate logins/s beside {statistics.median(checked):.0f} passwords/s"
        return [self.line(name + ": p99 of a login", p99, "ms", "beside 50 more certificates/s", beside, 1.1),
                self.line("the same: p50", p50, "×", "beside 50 more certificates/s", p50),
                self.line("beside 50 more certificates/s, twice: p99 (what of it is noise)", same, "×", "the first", same)]

    def mailnoop_rows(self):
        server = self.server()
        cpu, ratio, rates = [], [], []
        for n in range(self.o.rounds):
            got = {}
            for which in (("mail", "line") if n % 2 else ("line", "mail")):
                got[which] = (self.run(server, "noop", "--conns", 10) if which == "mail"
                              else self.b.timed(server, "noop", 10))
            cpu.append(got["mail"]["cpu_us_op"])
            ratio.append(got["mail"]["cpu_us_op"] / got["line"]["cpu_us_op"])
            rates.append(got["mail"]["rate"])
        server.stop()
        return [self.line(f"SMTP: NOOP in TLS, 10 connections ({statistics.median(rates):,.0f}/s)", cpu, "µs CPU",
                          "line service's", ratio)]

    def mailidle_rows(self):
        few, many = self.o.idle
        slopes = []
        for _ in range(self.o.memory_rounds):
            server = self.server()
            held, pss = [], []
            for conns in (few, many - few):
                held.append(self.held(server, "idle", conns, "--pki", self.b.folder, "--certs", USERS))
                time.sleep(2)
                pss.append(server.pss_kib())
            slopes.append((pss[1] - pss[0]) / (many - few))
            for p in held:
                self.b.release(p)
            server.stop()
        return [self.line(f"idle SMTP session that a certificate logged in ({few:,} to {many:,} connections)", slopes,
                          "KiB PSS each", None, None, 20)]
