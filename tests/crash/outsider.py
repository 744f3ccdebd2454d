"""tests/crash/outsider.py - another program that has a Maildir in its hands while the store has it, too.

`Outsider(maildir, path)` brings messages, changes their flags and removes them, as procmail, mutt and rsync would: by
Python's `mailbox`, which knows nothing of the store, and by renaming. It touches only what it brought itself, so what
must be there is known; tell() writes that to `path` for crash_client.c."""

import mailbox
import os

SENDER = 0xff
MESSAGES = 6  # of a mailbox
FLAGS = {'S': 1, 'R': 2, 'F': 4, 'T': 8, 'D': 16, 'P': 32}
MASK = (1 << 64) - 1


def body(ident, size):
    """What model_body() makes."""
    x = (ident * 0x9e3779b97f4a7c15 + size) & MASK
    head = b'X-Id: %016x %d\r\n\r\n' % (ident, size)
    out = bytearray(head[:size])
    for i in range(size):
        x ^= (x << 13) & MASK
        x ^= x >> 7
        x ^= (x << 17) & MASK
        if i >= len(head):
            out.append(48 + x % 74)
        if i > len(head) and i % 78 == 77:
            out[i - 1:i + 1] = b'\r\n'
    return bytes(out)


class Outsider:
    def __init__(self, maildir, path, rng):
        self.maildir, self.path, self.rng = maildir, path, rng
        self.number = 0
        self.there = [{}, {}]  # key: (id, size, flags)
        self.done = 0

    def folder(self, box):
        return os.path.join(self.maildir, '' if box == 0 else '.Public')

    def is_there(self):
        return all(os.path.isdir(os.path.join(self.folder(b), 'cur')) and os.path.isdir(os.path.join(self.folder(b), 'new'))
                   and os.path.isdir(os.path.join(self.folder(b), 'tmp')) for b in (0, 1))

    def act(self):
        """One change."""
        box = self.rng.randrange(2)
        have = self.there[box]
        dice = self.rng.random()
        if not have or (dice < 0.4 and len(have) < MESSAGES):
            self.bring(box)
        elif dice < 0.75:
            self.flag(box, self.rng.choice(sorted(have)))
        else:
            self.remove(box, self.rng.choice(sorted(have)))
        self.done += 1

    def bring(self, box):
        self.number += 1
        ident, size = SENDER << 32 | self.number, self.rng.randrange(64, 1500)
        octets = body(ident, size)
        if self.rng.random() < 0.5:  # as most programs write: the store gives out CRLF whatever lies there
            octets = octets.replace(b'\r\n', b'\n')
        md = mailbox.Maildir(self.folder(box), create=False)
        if self.rng.random() < 0.6:
            self.there[box][md.add(octets)] = (ident, size, '')
            return
        flags = ''.join(sorted(self.rng.sample('FRS', 2)))
        key = 'o%d.%d.elsewhere' % (self.number, size)
        temporary = os.path.join(self.folder(box), 'tmp', key)
        with open(temporary, 'wb') as f:
            f.write(octets)
        os.rename(temporary, os.path.join(self.folder(box), 'cur', key + ':2,' + flags))
        self.there[box][key] = (ident, size, flags)

    def flag(self, box, key):
        flags = ''.join(sorted(self.rng.sample('FRSP', self.rng.randrange(4))))
        while True:  # it may be moved from new to cur meanwhile
            old = self.find(box, key)
            new = os.path.join(self.folder(box), 'cur', key + ':2,' + flags)
            try:
                if old != new:
                    os.rename(old, new)
                break
            except FileNotFoundError:
                continue
        ident, size, _ = self.there[box][key]
        self.there[box][key] = (ident, size, flags)

    def remove(self, box, key):
        while True:
            md = mailbox.Maildir(self.folder(box), create=False)
            try:
                md.remove(key)
                break
            except (KeyError, FileNotFoundError):
                self.find(box, key)  # it is there, under another name
        del self.there[box][key]

    def find(self, box, key):
        for _ in range(1000):
            for part in ('new', 'cur'):
                folder = os.path.join(self.folder(box), part)
                for name in os.listdir(folder):
                    if name.split(':')[0] == key:
                        return os.path.join(folder, name)
        raise AssertionError('WRONG the message %s of another program is gone from %s' % (key, self.folder(box)))

    def tell(self):
        with open(self.path + '.new', 'w') as f:
            for box in (0, 1):
                for ident, size, flags in self.there[box].values():
                    f.write('%d %x %d %x\n' % (box, ident, size, sum(FLAGS[c] for c in flags)))
        os.rename(self.path + '.new', self.path)
