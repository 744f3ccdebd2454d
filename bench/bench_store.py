"""bench_store.py - the store's rows of bench.py: postern-store beside one file for each message, in the same round.

What is deleted in one round would make the next one's folders slow (the file system avoids inodes that were deleted lately), so
every run has folders of its own, those that must be fresh come first, and all of it is removed at the end.
"""
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile

ROWS = ("store-fresh store-churned store-slow store-sustained store-index store-kill store-big store-event "
        "store-memory store-queue").split()
HALF_JOURNAL = 28000  # messages of 4 KiB in half of 256 MiB, with their lines
CHURN = 100000        # files that were just deleted


class Store:
    """Rows of the store. Line is bench.py's; say prints progress."""

    def __init__(self, options, line, say):
        self.o, self.line, self.say = options, line, say
        self.program = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(options.posternd))),
                                    "libexec/postern/postern-store")
        if not os.path.exists(self.program):
            sys.exit(f"bench: there is no {self.program}")
        self.folder = tempfile.mkdtemp(prefix="postern-bench-store.", dir=options.folder)
        os.chmod(self.folder, 0o755)
        self.runs = 0

    def run(self, row, *args, flush_us=None):
        self.runs += 1
        folder = os.path.join(self.folder, str(self.runs))
        os.mkdir(folder, 0o755)
        env = dict(os.environ)
        counts = os.path.join(folder, "counts")
        if flush_us is not None:
            with open(counts, "wb") as f:
                f.write(bytes(24))
            env.update(LD_PRELOAD=os.path.join(os.path.realpath(self.o.tools), "flush.so"), BENCH_FLUSH_COUNT=counts,
                       BENCH_FLUSH_US=str(flush_us))
        r = subprocess.run([os.path.join(self.o.tools, "store"), row, "--program", self.program, "--dir", folder] +
                           [str(a) for a in args], stdout=subprocess.PIPE, text=True, env=env)
        if r.returncode != 0:
            sys.exit(f"bench: store {row} {' '.join(str(a) for a in args)} failed")
        result = json.loads(r.stdout)
        if flush_us is not None:
            with open(counts, "rb") as f:
                result["flushes"] = struct.unpack("=3Q", f.read())
        return result

    def pair(self, n, clients, *args, flush_us=None):
        """The store and the peer, in turns first."""
        got = {}
        for which in (("append", "peer") if n % 2 == 0 else ("peer", "append")):
            more = ["--processes", min(clients, os.cpu_count())] if which == "append" else []
            got[which] = self.run(which, "--clients", clients, *more, *args, flush_us=flush_us)
            got[which]["rate"] = got[which]["ops"] / got[which]["seconds"]
        return got["append"], got["peer"]

    # --- rows --------------------------------------------------------------------------------------

    def burst(self, name, bars, churn):
        """Acknowledged 4 KiB messages, as many as half the journal takes, or as come in 1.2 s."""
        lines = []
        more = ["--churn", CHURN] if churn else []
        for clients in (1, 10, 100):
            rates, ratios, flushed, cpu, client_cpu, applied_cpu, p99 = [], [], [], [], [], [], []
            for n in range(self.o.store_rounds):
                a, b = self.pair(n, clients, "--count", HALF_JOURNAL, "--seconds", 1.2 if clients < 100 else 10,
                                 *more)
                rates.append(a["rate"])
                ratios.append(a["rate"] / b["rate"])
                cpu.append(a["cpu_us"])
                client_cpu.append(a["client_cpu_us"])
                applied_cpu.append(a["applied_cpu_us"])
                p99.append(a["p99_us"] / 1000)
                self.say(f"# {name}, {clients} clients: {a['rate']:,.0f}/s, peer {b['rate']:,.0f}/s")
            text = f"{name}, {clients} client{'s' if clients > 1 else ''}"
            lines.append(self.line(f"{text}: 4 KiB acknowledged", rates, "messages/s", "one file each", ratios,
                                   bars.get(clients), least=True))
            if clients == 1:
                continue
            bar = (45, 480) if clients == 100 or clients == 10 else (None, None)
            lines.append(self.line("the same: CPU of the store to the acknowledgement", cpu, "µs", None, None, bar[0]))
            lines.append(self.line("the same: CPU of the client's side", client_cpu, "µs"))
            lines.append(self.line("the same: CPU of the store, applied", applied_cpu, "µs", None, None, bar[1]))
            lines.append(self.line("the same: p99", p99, "ms"))
        return lines

    def counted(self):
        """Flushes at one client, by a preloaded library that only counts."""
        r = self.run("append", "--clients", 1, "--seconds", 1.2, flush_us=0)
        return self.line(f"flushes for each acknowledgement, 1 client ({r['ops']:,})",
                         [r["flushes"][1] / r["ops"]], "fdatasync", None, None, 1, least=True)

    def slow(self):
        rates, ratios = [], []
        for n in range(self.o.store_rounds):
            a, b = self.pair(n, 100, "--count", HALF_JOURNAL, "--seconds", 60, flush_us=1000)
            rates.append(a["rate"])
            ratios.append(a["rate"] / b["rate"])
            self.say(f"# 1 ms more for each flush: {a['rate']:,.0f}/s, peer {b['rate']:,.0f}/s")
        return [self.line("1 ms more for each flush, 100 clients: 4 KiB acknowledged", rates, "messages/s",
                          "one file each", ratios, 5, least=True)]

    def sustained(self):
        """A minute of it, until all of it stands in the mailboxes."""
        lines = []
        for churn in (False, True):
            more = ["--churn", CHURN] if churn else []
            a, b = self.pair(0, 100, "--seconds", self.o.sustained, *more)
            rate = a["ops"] / a["applied_seconds"]
            self.say(f"# sustained: {a['rate']:,.0f}/s acknowledged, {rate:,.0f}/s applied, "
                     f"longest wait {a['max_us'] / 1000:,.0f} ms, peer {b['rate']:,.0f}/s")
            lines.append(self.line(f"{'churned' if churn else 'fresh'}, 100 clients, {self.o.sustained:g} s, until all is "
                                   "in the mailboxes", [rate], "messages/s", "one file each", [rate / b["rate"]], 1,
                                   least=True))
            lines += [self.line(f"the same: {what}", [a[key] / 1000], "ms") for what, key in
                      (("p50", "p50_us"), ("p99", "p99_us"), ("longest wait", "max_us"))]
        return lines

    def index(self):
        got = [self.run("index", "--messages", 100000) for _ in range(self.o.store_rounds)]
        return [self.line("a mailbox of 100,000 messages is opened, the store has it", [r["warm_ms"] for r in got],
                          "ms", None, None, 20),
                self.line("the same, the store has just been started", [r["cold_ms"] for r in got], "ms")]

    def kill(self):
        got = [self.run("kill", "--clients", 100, "--processes", os.cpu_count(), "--count", 2 * HALF_JOURNAL)
               for _ in range(self.o.store_rounds)]
        used = max(r["segments"] for r in got)
        return [self.line(f"kill -9 with {used} of 4 segments in use, until a new message is acknowledged",
                          [r["accepts_ms"] / 1000 for r in got], "s", None, None, 2),
                self.line("the same, until all of the journal is applied again", [r["applied_ms"] / 1000 for r in got], "s")]

    def big(self):
        pairs = self.run("big", "--mib", 50, "--rounds", max(7, self.o.store_rounds))
        return [self.line("a body of 50 MiB, acknowledged", [a for a, _ in pairs], "ms", "write and fdatasync",
                          [a / b for a, b in pairs], 1.5)]

    def event(self):
        r = self.run("event", "--rounds", 200)
        return [self.line(f"{text} to a subscriber, {what}", [r[key][what + "_ms"]], "ms", None, None, 20)
                for key, text in (("inside", "another client's message"), ("outside", "another program's file"))
                for what in ("p50", "p99", "max")]

    def memory(self):
        r = self.run("memory", "--clients", 100, "--mib", 50)
        return [self.line(f"100 clients with 50 MiB each at once ({r['seconds']:.0f} s): growth of PSS and shared memory",
                          [r["pss_mib"] + r["shared_mib"]], "MiB", None, None, 64)]

    def queue(self):
        got = []
        for _ in range(self.o.store_rounds):
            self.runs += 1
            folder = os.path.join(self.folder, str(self.runs))
            os.mkdir(folder, 0o755)
            r = subprocess.run([os.path.join(self.o.tools, "queued"), folder], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
            if r.returncode != 0:
                sys.exit("bench: queued failed")
            got.append(json.loads(r.stdout))
        lines = [self.line(f"{text}, 100 at a time", [r[key] for r in got], "a second", "messages to mailboxes",
                           [r[key] / r["added"] for r in got])
                 for key, text in (("queued", "messages to the queue"), ("later", "attempts put off"),
                                   ("delivered", "deliveries noted"))]
        lines.append(self.line("messages claimed, 64 at a time", [r["claimed"] for r in got], "a second"))
        lines += [self.line(f"a checkpoint with 10,000 queued messages that {text}", [r[key + "_ms"] for r in got], "ms")
                  for key, text in (("made", "have no files yet"), ("more", "were tried"), ("gone", "are done"))]
        lines.append(self.line("the store's thread held up by one of these, longest",
                               [max(r[key + "_held_ms"] for key in ("made", "more", "gone")) for r in got], "ms"))
        lines.append(self.line("the store opened with 10,000 queued messages", [r["opened_ms"] for r in got], "ms"))
        return lines

    def lines(self, rows):
        lines = []
        if "store-fresh" in rows:
            lines += self.burst("fresh folders", {100: 3, 1: 1.1}, False)
            lines.append(self.counted())
        if "store-slow" in rows:
            lines += self.slow()
        for row, f in (("store-index", self.index), ("store-kill", self.kill), ("store-big", self.big),
                       ("store-event", self.event), ("store-memory", self.memory),
                       ("store-queue", self.queue)):
            if row in rows:
                lines += f()
        if "store-churned" in rows:
            lines += self.burst("churned folders", {100: 5, 1: 1.3}, True)
        if "store-sustained" in rows:
            lines += self.sustained()
        return lines

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)
