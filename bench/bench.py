#!/usr/bin/env python3
"""bench.py - measures this build of posternd on loopback and holds the figures against their bars.

Starts a posternd of its own below a temporary folder, with certificates made for the occasion, drives it
with "load" and measures in the same rounds the floor that TLS in memory sets ("floor"). Only ratios
within one run mean much; README.md says how to read them. Changes nothing outside its temporary folder
and a cgroup of its own, which it removes.
"""
import argparse
import datetime
import json
import os
import platform
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import bench_mail
import bench_store

ROWS = ("cycle sockets cert known resumed noop latency storm pickup exec recorder idle mutual plain".split() + bench_mail.ROWS +
        bench_store.ROWS)
TIMED = "cycle sockets cert known resumed noop latency".split()


def say(text):
    print(text, flush=True)


# --- what the server uses --------------------------------------------------------------------------


class Meter:
    """A cgroup for the server when one can be made, else the run time of its processes."""

    def __init__(self):
        name = "postern-bench-%d" % os.getpid()
        self.dir, self.kind = None, "pids"
        for kind, base in (("v1", "/sys/fs/cgroup/cpuacct"), ("v2", self.own_v2())):
            if base is None or not os.path.isdir(base):
                continue
            try:
                os.mkdir(os.path.join(base, name))
            except OSError:
                continue
            self.dir, self.kind = os.path.join(base, name), kind
            break

    @staticmethod
    def own_v2():
        if not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
            return None
        with open("/proc/self/cgroup") as f:
            for line in f:
                if line.startswith("0::"):
                    return "/sys/fs/cgroup" + line[3:].strip()
        return None

    def enter(self):
        """In the child, before exec."""
        if self.dir:
            with open(os.path.join(self.dir, "cgroup.procs"), "w") as f:
                f.write(str(os.getpid()))

    def spec(self, server):
        if self.kind == "v1":
            return "v1:" + os.path.join(self.dir, "cpuacct.usage")
        if self.kind == "v2":
            return "v2:" + os.path.join(self.dir, "cpu.stat")
        return "pids:" + ",".join(str(p) for p in server.pids())

    def words(self):
        return {"v1": "the server's own cgroup (v1, cpuacct.usage)",
                "v2": "the server's own cgroup (v2, cpu.stat)",
                "pids": "the sum of /proc/PID/schedstat of its processes"}[self.kind]

    def close(self):
        if self.dir:
            for _ in range(50):
                try:
                    os.rmdir(self.dir)
                    return
                except OSError:
                    time.sleep(0.1)


# --- the server ------------------------------------------------------------------------------------


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    def __init__(self, posternd, folder, meter, workers, tls="", programs=False, top="", mail=None,
                 services=None):
        self.port, self.cat_port, self.echo_port, self.mail_port = (free_port() for _ in range(4))
        self.folder = tempfile.mkdtemp(prefix="server.", dir=folder)
        os.mkdir(os.path.join(self.folder, "run"))
        os.mkdir(os.path.join(self.folder, "state"))
        conf = os.path.join(self.folder, "postern.conf")
        if mail:  # its users; what is delivered is below the folder
            top += f'domain localhost\npostmaster client0@localhost\nusers file "{mail}"\nmail "{self.folder}/mail"\n'
        with open(conf, "w") as f:
            f.write(f"""hostname localhost
state "{self.folder}/state"
pid-file "{self.folder}/run/posternd.pid"
log file "{self.folder}/log"
{top}workers {workers}
max-connections 100000
control {{ socket "{self.folder}/run/control" }}
tls main {{
    certificate "{folder}/server.pem" key "{folder}/server.key"
    client-certificate request
    client-ca "{folder}/ca.pem"
{tls}}}
identity {{ map san-email from "{folder}/ca.pem" }}
""")
            f.write(services(self.mail_port, self.port) if services else f"""service line {{
    protocol line
    listen 127.0.0.1:{self.port} starttls-required
    tls main
    max-connections 100000
    max-per-address 100000
    idle-timeout 1h
}}
""")
            for name, port, command in (("cat", self.cat_port, "/bin/cat"),
                                        ("echo", self.echo_port, "/bin/echo ready")):
                f.write("" if not programs else f"""service {name} {{
    protocol exec
    listen 127.0.0.1:{port} starttls-required
    tls main
    login none
    command {command}
    greeting OK
    max-per-address 1000
}}
""")
        self.output = open(os.path.join(self.folder, "output"), "w")
        self.process = subprocess.Popen([posternd, "-d", "-f", conf], stdin=subprocess.DEVNULL,
                                        stdout=self.output, stderr=self.output,
                                        preexec_fn=meter.enter)
        self.await_greeting()

    def await_greeting(self):
        for _ in range(100):
            if self.process.poll() is not None:
                break
            try:
                with socket.create_connection(("127.0.0.1", self.port), 5) as s:
                    if s.recv(64):
                        return
            except OSError:
                time.sleep(0.05)
        self.output.flush()
        with open(os.path.join(self.folder, "output")) as f:
            sys.exit("bench: posternd does not start:\n" + f.read())

    def pids(self):
        """The parent and its children."""
        found = [self.process.pid]
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    with open(f"/proc/{entry}/stat") as f:
                        if int(f.read().rpartition(")")[2].split()[1]) == self.process.pid:
                            found.append(int(entry))
                except OSError:
                    pass
        return found

    def pss_kib(self):
        total = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/smaps_rollup") as f:
                total += next(int(line.split()[1]) for line in f if line.startswith("Pss:"))
        return total

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.output.close()


# --- the clients -----------------------------------------------------------------------------------


class Bench:
    def __init__(self, options):
        self.o = options
        self.folder = tempfile.mkdtemp(prefix="postern-bench.", dir=options.folder)
        os.chmod(self.folder, 0o755)
        self.meter = Meter()
        self.notes, self.errors = [], 0
        self.tool("load", "pki", self.folder)

    def tool(self, name, *args):
        r = subprocess.run([os.path.join(self.o.tools, name)] + [str(a) for a in args],
                           stdout=subprocess.PIPE, text=True)
        if r.returncode != 0:
            sys.exit(f"bench: {name} {' '.join(str(a) for a in args)} failed")
        return r.stdout

    def server(self, workers="auto"):
        return Server(self.o.posternd, self.folder, self.meter, workers)

    def timed(self, server, mode, conns, *more, seconds=None):
        r = json.loads(self.tool("load", mode, "--port", server.port, "--conns", conns, "--seconds",
                                 seconds or self.o.seconds, "--meter", self.meter.spec(server), *more))
        if r["errors"]:
            self.errors += r["errors"]
            self.notes.append(f"{mode}: {r['errors']} errors: {r['error'] or 'not finished in time'}")
        if not r["ops"]:
            sys.exit(f"bench: {mode}: nothing was done: {r['error']}")
        r["cpu_us_op"] = r["cpu_us"] / r["ops"]
        r["rate"] = r["ops"] / r["seconds"]
        return r

    def floor(self, case):
        return float(self.tool("floor", self.folder, case, 0.5))

    def held(self, server, mode, conns, *more):
        p = subprocess.Popen([os.path.join(self.o.tools, "load"), mode, "--port", str(server.port),
                              "--conns", str(conns)] + [str(m) for m in more],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if p.stdout.readline() != "up\n":
            sys.exit(f"bench: {mode}: the connections could not be opened")
        return p

    @staticmethod
    def release(p):
        return json.loads(p.communicate()[0])

    def certs(self, seconds):
        """Enough that none comes twice."""
        return ["--pki", self.folder, "--certs", int(seconds * 4000)]

    # --- rows: each returns lines of the table -----------------------------------------------------

    def timed_rows(self, rows):
        """All of these in every round, the order turned by one from round to round."""
        got = {r: [] for r in rows}
        server = self.server()
        plan = [r for r in rows if r in TIMED]
        for n in range(self.o.rounds):
            for r in plan[n % len(plan):] + plan[:n % len(plan)]:
                if r == "cycle":
                    got[r].append((self.timed(server, "cycle", 64), self.floor("full")))
                elif r == "cert":
                    certs = self.certs(self.o.seconds)
                    got[r].append((self.timed(server, "cycle", 64, *certs), self.floor("cert")))
                elif r == "known":  # the same, first seen, in the same round: what the cache spares
                    certs = self.certs(self.o.seconds)
                    first = self.timed(server, "cycle", 64, *certs)["cpu_us_op"]
                    few = ["--pki", self.folder, "--certs", 64]
                    got[r].append((self.timed(server, "cycle", 64, *few), first))
                elif r == "resumed":  # by ticket, against the full handshake of the same chains
                    few = ["--pki", self.folder, "--certs", 64]
                    full = self.timed(server, "cycle", 64, *few)["cpu_us_op"]
                    got[r].append((self.timed(server, "cycle", 64, "--resume", *few), full))
                elif r == "sockets":
                    got[r].append((self.timed(server, "cycle", 64, "--plain"), None))
                elif r == "noop":
                    got[r].append((self.timed(server, "noop", 10), None))
                else:
                    got[r].append((self.timed(server, "cycle", 1), None))
            say(f"# round {n + 1} of {self.o.rounds}")
        server.stop()
        lines = []
        for r, name, bar in (("cycle", "STARTTLS cycle, full handshake", 1.4),
                             ("cert", "the same, client certificate never seen before", 1.25)):
            if got.get(r):
                cpu = [x["cpu_us_op"] for x, _ in got[r]]
                ratio = [x["cpu_us_op"] / f for x, f in got[r]]
                rate = statistics.median(x["rate"] for x, _ in got[r])
                lines.append(Line(name + f" ({rate:,.0f}/s)", cpu, "µs CPU",
                                  f"floor {statistics.median(f for _, f in got[r]):.0f}", ratio, bar))
        for r, name, bar in (("known", "the same, certificates seen before", 0.8),
                             ("resumed", "the same, resumed by ticket, judged again", 0.8)):
            if got.get(r):
                cpu = [x["cpu_us_op"] for x, _ in got[r]]
                base = statistics.median(f for _, f in got[r])
                rate = statistics.median(x["rate"] for x, _ in got[r])
                what = "first seen" if r == "known" else "full, seen before"
                lines.append(Line(name + f" ({rate:,.0f}/s)", cpu, "µs CPU", f"{what} {base:.0f}",
                                  [x["cpu_us_op"] / f for x, f in got[r]], bar))
        if got.get("sockets"):
            rate = statistics.median(x["rate"] for x, _ in got["sockets"])
            lines.append(Line(f"the cycle's round trips in plaintext ({rate:,.0f}/s)",
                              [x["cpu_us_op"] for x, _ in got["sockets"]], "µs CPU"))
        if got.get("noop"):
            rate = statistics.median(x["rate"] for x, _ in got["noop"])
            lines.append(Line(f"NOOP in TLS, 10 connections ({rate:,.0f}/s)",
                              [x["cpu_us_op"] for x, _ in got["noop"]], "µs CPU"))
        if got.get("latency"):
            lines.append(Line("one client's whole cycle, p50",
                              [x["p50_us"] for x, _ in got["latency"]], "µs"))
            lines.append(Line("one client's whole cycle, p99",
                              [x["p99_us"] for x, _ in got["latency"]], "µs"))
        return lines

    def storm_rows(self):
        server = self.server()
        rates, p99s, with_rates = [], [], []
        stalled = self.o.stalled
        for n in range(max(9, self.o.rounds)):
            got = {}
            for stall in ((False, True) if n % 2 else (True, False)):
                p = self.held(server, "stall", stalled) if stall else None
                got[stall] = self.timed(server, "cycle", 16)
                if p:
                    self.release(p)
                    time.sleep(0.3)
            with_rates.append(got[True]["rate"])
            rates.append(got[True]["rate"] / got[False]["rate"])
            p99s.append(got[True]["p99_us"] / got[False]["p99_us"])
        server.stop()
        name = f"16 good clients beside {stalled:,} stalled handshakes"
        return [Line(name + ": rate", with_rates, "cycles/s", "without", rates, 0.95, least=True),
                Line(name + ": p99", p99s, "x without", "without", p99s, 1.25)]

    def change_files(self, folder, seconds, other_ca):
        """A change of a file every second: the server's key, the list, the CAs. How many were made."""
        with open(os.path.join(folder, "ca.pem")) as f:
            ca = f.read()
        end, n = time.monotonic() + seconds - 0.7, 0
        while time.monotonic() < end:
            if n % 3 == 0:
                which = "server-2" if n % 2 == 0 else "first"
                for suffix in (".key", ".pem"):
                    new = os.path.join(folder, "new")
                    shutil.copy(os.path.join(folder, which + suffix), new)
                    os.rename(new, os.path.join(folder, "server" + suffix))
            elif n % 3 == 1:
                self.tool("load", "crl", folder, 1000)
            else:  # chains are verified anew when the CAs are others
                new = os.path.join(folder, "new")
                with open(new, "w") as f:
                    f.write(ca + (other_ca if n % 2 == 0 else ""))
                os.rename(new, os.path.join(folder, "ca.pem"))
            n += 1
            time.sleep(1)
        return n

    def pickup_rows(self):
        """Sessions that exchange commands while files of certificates change."""
        folder, other = os.path.join(self.folder, "pickup"), os.path.join(self.folder, "other")
        for each in (folder, other):
            os.mkdir(each, 0o755)
            self.tool("load", "pki", each)
        for suffix in (".key", ".pem"):
            shutil.copy(os.path.join(folder, "server" + suffix), os.path.join(folder, "first" + suffix))
        self.tool("load", "crl", folder, 1000)
        with open(os.path.join(other, "ca.pem")) as f:
            other_ca = f.read()
        server = Server(self.o.posternd, folder, self.meter, "auto", f'client-crl "{folder}/crl.pem"\n')
        worst, worst_without, p99, p99_ratio, lost, changes = [], [], [], [], 0, 0
        seconds = max(6, 3 * self.o.seconds)
        for n in range(self.o.rounds):
            got = {}
            for change in ((False, True) if n % 2 else (True, False)):
                p = self.held(server, "pace", 1000, "--seconds", seconds, "--interval", 1000, "--pki", folder,
                              "--certs", 1000)
                if change:
                    changes += self.change_files(folder, seconds, other_ca)
                got[change] = self.release(p)
                lost += got[change]["errors"]
                if got[change]["errors"]:
                    self.notes.append(f"pickup: {got[change]['errors']} errors: {got[change]['error']}")
            worst.append(got[True]["max_us"] / 1000)
            worst_without.append(got[False]["max_us"] / 1000)
            p99.append(got[True]["p99_us"])
            p99_ratio.append(got[True]["p99_us"] / got[False]["p99_us"])
            say(f"# pickup round {n + 1} of {self.o.rounds}")
        with open(os.path.join(server.folder, "output")) as f:
            done = f.read().count("credential files have changed (")
        server.stop()
        name = f"1,000 sessions with client certificate, a NOOP of each every second, {done} changes of files"
        if done < changes:
            self.errors += 1
            self.notes.append(f"pickup: {changes} changes were made and {done} picked up")
        self.errors += lost
        return [Line(name + ": sessions lost", [lost], "", None, None, 0),
                Line("the same: longest wait", worst, "ms", None, None, 20),
                Line("the same without changes: longest wait", worst_without, "ms"),
                Line("the same: p99", p99, "µs", "without", p99_ratio)]

    def exec_rows(self):
        """Octets through a program and back, beside the line service's own ECHO; and how soon a program speaks."""
        server = Server(self.o.posternd, self.folder, self.meter, "auto", programs=True)
        own, through, ratios, cpu_ratios, first, p99, started = [], [], [], [], [], [], []

        def talk(mode, port, *more):
            r = json.loads(self.tool("talk", mode, "--port", port, "--seconds", self.o.seconds,
                                     "--meter", self.meter.spec(server), *more))
            r["rate"], r["cpu_us_op"] = r["ops"] / r["seconds"], r["cpu_us"] / r["ops"]
            return r
        for n in range(self.o.rounds):
            got = {}
            for which in ((0, 1) if n % 2 else (1, 0)):
                got[which] = talk("echo", server.cat_port) if which else talk("echo", server.port, "--ok")
            own.append(got[0]["rate"])
            through.append(got[1]["rate"])
            ratios.append(got[1]["rate"] / got[0]["rate"])
            cpu_ratios.append(got[1]["cpu_us_op"] / got[0]["cpu_us_op"])
            r = talk("first", server.echo_port)
            first.append(r["p50_us"] / 1000)
            p99.append(r["p99_us"] / 1000)
            started.append(r["rate"])
            say(f"# exec round {n + 1} of {self.o.rounds}")
        server.stop()
        name = "64 lines of 1 KiB at once in TLS"
        return [Line(name + ", echoed by the line service", own, "lines/s"),
                Line("the same, echoed by cat(1)", through, "lines/s", "line service", ratios, 0.6, least=True),
                Line("the same: CPU, cat's included", cpu_ratios, "x line service"),
                Line(f"a program's first octet, one client ({statistics.median(started):,.0f} sessions/s), p50", first,
                     "ms", None, None, 5),
                Line("the same, p99", p99, "ms")]

    def idle_rows(self, name, bar, workers, certs, plain):
        slopes = []
        few, many = self.o.idle
        for _ in range(self.o.memory_rounds):
            server = self.server(workers)
            held, pss = [], []
            for conns in (few, many - few):
                more = ["--plain"] if plain else []
                if certs:
                    more += ["--pki", self.folder, "--certs", conns]
                held.append(self.held(server, "idle", conns, *more))
                time.sleep(2)
                pss.append(server.pss_kib())
            slopes.append((pss[1] - pss[0]) / (many - few))
            for p in held:
                self.release(p)
            server.stop()
        return [Line(f"{name} ({few:,} to {many:,} connections)", slopes, "KiB PSS each",
                     None, None, bar)]

    def instructions(self, recorder, case, handshakes=100):
        """Of the server's side of one handshake, in user space; None without valgrind."""
        if shutil.which("valgrind") is None:
            return None
        r = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
                            "--collect-atstart=no", "--toggle-collect=server_share",
                            os.path.join(self.o.tools, "recorder"), self.folder, recorder, case,
                            str(handshakes)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        collected = [line.split()[-1] for line in r.stdout.splitlines() if "Collected :" in line]
        if r.returncode != 0 or not collected:
            sys.exit("bench: recorder under callgrind: " + r.stdout[-500:])
        return int(collected[0]) / handshakes

    def recorder_rows(self):
        """Two servers, one without the recorder, in turns: a pair in each round."""
        servers = {top: Server(self.o.posternd, self.folder, self.meter, "auto", top=f"recorder {top}\n")
                   for top in ("on", "off")}
        few = ["--pki", self.folder, "--certs", 64]
        lines = []
        for name, more in (("STARTTLS cycle, recorder on", []),
                           ("the same, certificates seen before", few)):
            cpu, ratios = [], []
            for n in range(max(15, self.o.rounds)):
                got = {top: self.timed(servers[top], "cycle", 64, *more)["cpu_us_op"]
                       for top in (("on", "off") if n % 2 else ("off", "on"))}
                cpu.append(got["on"])
                ratios.append(got["on"] / got["off"])
            lines.append(Line(name, cpu, "µs CPU", "off", ratios, 1.05))
        for server in servers.values():
            server.stop()
        for name, case in (("one handshake's instructions, recorder on", "full"),
                           ("the same, certificate seen before", "cert")):
            on, off = self.instructions("on", case), self.instructions("off", case)
            if on is None:
                self.notes.append("valgrind is not here: instructions are not counted")
                break
            lines.append(Line(name, [on / 1000], "thousand", "off", [on / off], 1.03))
        return lines

    def run(self):
        rows, lines = self.o.rows, []
        if set(rows) & set(TIMED):
            lines += self.timed_rows(rows)
        if "storm" in rows:
            lines += self.storm_rows()
        if "pickup" in rows:
            lines += self.pickup_rows()
        if "exec" in rows:
            lines += self.exec_rows()
        if "recorder" in rows:
            lines += self.recorder_rows()
        mail = bench_mail.Mail(self, Server, Line, say)
        for row in bench_mail.ROWS:
            if row in rows:
                lines += getattr(mail, row + "_rows")()
        if "idle" in rows:
            lines += self.idle_rows("idle TLS connection", 16, "auto", False, False)
        if "mutual" in rows:
            lines += self.idle_rows("idle TLS connection with client certificate", 20, "auto", True,
                                    False)
        if "plain" in rows:
            lines += self.idle_rows("idle plaintext connection, one worker", 1, 1, False, True)
        if set(rows) & set(bench_store.ROWS):
            store = bench_store.Store(self.o, Line, say)
            try:
                lines += store.lines(rows)
            finally:
                if not self.o.keep:
                    store.close()
        return lines

    def close(self):
        self.meter.close()
        if self.o.keep:
            say(f"# kept: {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)


# --- the table -------------------------------------------------------------------------------------


def number(x):
    return f"{x:,.0f}" if x >= 1000 else f"{x:.0f}" if x >= 100 else f"{x:.1f}" if x >= 10 else f"{x:.2f}"


class Line:
    """One row: values of all rounds; ratios to something of the same rounds, held against the bar, or
    without ratios the values themselves."""

    def __init__(self, name, values, unit, base=None, ratios=None, bar=None, least=False):
        self.name, self.values, self.unit, self.base = name, values, unit, base
        self.ratios, self.bar, self.least = ratios, bar, least

    def text(self):
        def spread(v):
            if len(v) == 1:
                return number(v[0])
            return f"{number(statistics.median(v))} ({number(min(v))}–{number(max(v))})"

        judged = statistics.median(self.ratios or self.values)
        bar = verdict = ""
        if self.bar is not None:
            bar = ("≥ " if self.least else "≤ ") + f"{self.bar:g}"
            met = judged >= self.bar if self.least else judged <= self.bar
            verdict = "met" if met else "**missed**"
        ratio = f"{spread(self.ratios)} × {self.base}" if self.ratios else ""
        return f"| {self.name} | {spread(self.values)} {self.unit} | {ratio} | {bar} | {verdict} |"


def parse():
    p = argparse.ArgumentParser(description="measures a build of posternd on loopback")
    p.add_argument("--posternd", required=True, help="the server's program, installed")
    p.add_argument("--tools", required=True, help="the folder with load and floor")
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--seconds", type=float, default=2, help="each timed run")
    p.add_argument("--memory-rounds", type=int, default=1)
    p.add_argument("--stalled", type=int, default=2000)
    p.add_argument("--store-rounds", type=int, default=3, help="rounds of the store's rows")
    p.add_argument("--sustained", type=float, default=60, help="seconds of the row store-sustained")
    p.add_argument("--folder", help="where temporary folders are made, with the mailboxes in them; default: where temporary files go")
    p.add_argument("--keep", action="store_true", help="leave the temporary folder")
    p.add_argument("rows", nargs="*", default=ROWS, help="which rows: " + " ".join(ROWS))
    o = p.parse_args()
    if set(o.rows) - set(ROWS):
        p.error("no such row: " + " ".join(set(o.rows) - set(ROWS)))
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    # client and one worker each need that many descriptors, and some more
    o.idle = (1000, min(10000, limit - 500))
    if o.idle[1] < 2000:
        p.error(f"the limit of open files, {limit}, is too low (ulimit -Hn)")
    return o


def main():
    o = parse()
    b = Bench(o)
    try:
        begun = datetime.datetime.now(datetime.timezone.utc)
        lines = b.run()
        say(f"\n{begun:%Y-%m-%d %H:%M} UTC, {platform.machine()}, {os.cpu_count()} processors, Linux "
            f"{platform.release().split('-')[0]}, load {os.getloadavg()[1]:.1f}; {o.rounds} rounds of "
            f"{o.seconds:g} s")
        say(f"CPU: {b.meter.words()}\n")
        say("| what | median (least–most) | ratio in the same round | bar | |")
        say("|---|--:|--:|--:|---|")
        for line in lines:
            say(line.text())
        for note in b.notes:
            say("note: " + note)
    finally:
        b.close()
    sys.exit(1 if b.errors else 0)


if __name__ == "__main__":
    main()
