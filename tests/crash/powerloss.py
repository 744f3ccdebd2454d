"""tests/crash/powerloss.py - what a loss of power takes away.

`Recording(folder)` makes the files that powerloss.c (see there) records into. After the recorded processes have been
killed, `strike(roots, rng)` changes the files below the folders `roots` into what might be on the disk: all
that a completed flush covers is there, and everything else is as the disk's mood has it:

- octets that no fsync, fdatasync or syncfs covers: kept, zeros, garbage, or the file ends before them;
- names (made, linked, renamed, removed) that no fsync of their folder and no syncfs covers: a file system with a
  journal keeps their order, so those after a random point are undone, last first. In every other strike it has
  none: each is undone or not as it comes, where that can still be done. A name that was brought into a folder which
  was flushed since is there; where it came from it may be, too, until that folder is flushed.

Returns a dictionary of what was done, for the log of a round."""

import os
import struct
import sys

MAGIC = 0x31534F4C52575031
RECORDS = 1 << 20
SIZE = 320
WRITE, TRUNCATE, FLUSH, SYNCFS, CREATE, LINK, RENAME, UNLINK, MKDIR, RMDIR = range(1, 11)
NAMES = (CREATE, LINK, RENAME, UNLINK, MKDIR, RMDIR)
LAYOUT = struct.Struct('<4I9Q96s96s')


class Record:
    """One line of the recording."""

    def __init__(self, index, fields):
        self.index = index
        (whole, self.kind, done, failed, self.dev, self.ino, self.dir, self.dir2, self.a, self.b,
         self.thread, self.end, self.process, name, name2) = fields
        self.whole, self.done, self.failed = bool(whole), bool(done), bool(failed)
        self.name = os.fsdecode(name.split(b'\0')[0])
        self.name2 = os.fsdecode(name2.split(b'\0')[0])
        self.end = self.end or sys.maxsize  # it had not returned
        self.era = self.era2 = self.own_era = 0  # which of the folders that had this number one after the other


class Recording:
    def __init__(self, folder):
        self.folder = folder
        self.graves = os.path.join(folder, 'graves')
        self.log = os.path.join(folder, 'log')
        os.makedirs(self.graves, exist_ok=True)
        os.chmod(folder, 0o755)
        os.chmod(self.graves, 0o777)
        self.reset()

    def reset(self):
        """Begins anew: what was written until now is on the disk."""
        for name in os.listdir(self.graves):
            os.unlink(os.path.join(self.graves, name))
        if os.path.exists(self.log):
            os.unlink(self.log)
        with open(self.log, 'wb') as f:
            os.fchmod(f.fileno(), 0o666)
            f.write(struct.pack('<QQQ', MAGIC, 0, 0))
            f.truncate(SIZE + RECORDS * SIZE)

    def records(self):
        count = self.count()
        with open(self.log, 'rb') as f:
            f.seek(SIZE)
            octets = f.read(count * SIZE)
        for i in range(count):
            r = Record(i, LAYOUT.unpack_from(octets, i * SIZE))
            if r.whole:
                yield r

    def count(self):
        """Records until now."""
        with open(self.log, 'rb') as f:
            return min(struct.unpack('<QQQ', f.read(24))[1], RECORDS)

    def waiting(self, folder, since):
        """The most flushes of one file of that folder that had begun, from record `since` on, and not returned when the
        processes were killed."""
        inodes = [e.inode() for e in os.scandir(folder)]
        begun = [r.ino for r in self.records()
                 if r.index >= since and r.kind == FLUSH and not r.done and not r.failed]
        return max((begun.count(i) for i in inodes), default=0)

    # --- what is durable -----------------------------------------------------------------------------

    def strike(self, roots, rng):
        records = list(self.records())
        self.roots = roots
        self.end_with_processes(records)
        self.tell_apart(records)
        # a flush covers what had returned before it began; only one that has returned counts
        synced = {}
        flushed = {}
        for r in records:
            if r.kind == SYNCFS and r.done:
                synced[r.dev] = r.index
            elif r.kind == FLUSH and r.done:
                flushed[r.ino] = r.index
        sync = max(synced.values(), default=-1)  # all is on one file system
        done = {'records': len(records), 'undone': 0, 'torn': 0, 'octets': 0}
        self.undo_names([r for r in records if r.kind in NAMES and r.done and r.end > sync],
                        flushed, roots, rng, done)
        self.tear_data([r for r in records if r.kind in (WRITE, TRUNCATE) and r.end > sync
                        and r.end > flushed.get(r.ino, -1)], roots, rng, done)
        return done

    def end_with_processes(self, records):
        """What a killed process had not come back from was over when the next one began: that one's flushes cover it."""
        last = {r.process: i for i, r in enumerate(records)}
        for r in records:
            behind = last[r.process] + 1
            if r.end == sys.maxsize and behind < len(records):
                r.end = records[behind].index

    def tell_apart(self, records):
        """Folders that came and went under one inode number: which one of them a record is about."""
        self.eras = {}
        self.back = {}  # (number, era) of folders that were removed and are there again: their number now
        folders = self.folders(self.roots)
        for r in records:
            r.era, r.era2, r.own_era = (self.eras.get(i, 0) for i in (r.dir, r.dir2, r.ino))
            if r.kind == RMDIR and not r.done and not r.failed:
                r.done = not self.is_there(r, folders)  # the process was killed in it
            if r.kind == RMDIR and r.done:
                self.eras[r.ino] = r.own_era + 1

    def is_there(self, r, folders):
        path = folders.get(r.ino)
        if path is None or r.name.startswith('/'):
            return path is not None and path == r.name
        return os.path.basename(path) == r.name and folders.get(r.dir) == os.path.dirname(path)

    def undo_names(self, ops, flushed, roots, rng, done):
        def durable(r):
            dirs = [r.dir] + ([r.dir2] if r.kind in (LINK, RENAME) else [])
            return all(flushed.get(d, -1) >= r.end for d in dirs)

        ops = [r for r in ops if not durable(r)]
        if not ops:
            return
        ordered = rng.random() < 0.5
        cut = rng.randrange(len(ops) + 1)
        folders = self.folders(roots)
        for i in range(len(ops) - 1, -1, -1):
            if (i >= cut) if ordered else (rng.random() < 0.5):
                done['undone'] += self.undo(ops[i], folders, flushed.get(ops[i].dir2, -1) >= ops[i].end)
                if self.is_folder:  # one came, went, or is elsewhere now
                    folders = self.folders(roots)

    def folders(self, roots):
        """Paths of all folders by inode."""
        paths = {}
        for root in roots:
            for path, _, _ in os.walk(root):
                paths[os.stat(path).st_ino] = path
        return paths

    def undo(self, r, folders, arrived):
        """arrived: the folder that a name was brought into has been flushed, and has it."""
        self.is_folder = r.kind in (MKDIR, RMDIR)

        def path(inode, era, name):
            if name.startswith('/'):
                if not any(name.startswith(root + '/') for root in self.roots):
                    raise KeyError  # a file of the test's own
                return name
            if (inode, era) in self.back:
                inode = self.back[inode, era]
            elif self.eras.get(inode, 0) != era:
                raise KeyError  # that folder is gone; another one has its number
            return os.path.join(folders[inode], name)

        try:
            if r.kind == CREATE:
                os.unlink(path(r.dir, r.era, r.name))
            elif r.kind == LINK:
                os.unlink(path(r.dir2, r.era2, r.name2))
            elif r.kind == MKDIR:
                os.rmdir(path(r.dir, r.era, r.name))
            elif r.kind == RMDIR:
                os.mkdir(path(r.dir, r.era, r.name), 0o700)
                self.back[r.ino, r.own_era] = os.stat(path(r.dir, r.era, r.name)).st_ino
            elif r.kind == UNLINK:
                if not r.b or os.path.lexists(path(r.dir, r.era, r.name)):
                    return 0
                os.link(os.path.join(self.graves, str(r.b)), path(r.dir, r.era, r.name))
            elif r.kind == RENAME:
                old, new = path(r.dir, r.era, r.name), path(r.dir2, r.era2, r.name2)
                if os.path.lexists(old):
                    return 0
                if arrived:  # at worst the folder that it came from still has it, too
                    os.link(new, old, follow_symlinks=False)
                    return 1
                os.rename(new, old)
                self.is_folder = os.path.isdir(old)
                if r.b:
                    os.link(os.path.join(self.graves, str(r.b)), new)
        except (KeyError, OSError):
            return 0  # what came later, and stays, is in its way
        return 1

    def tear_data(self, ops, roots, rng, done):
        paths = {}
        for root in list(roots) + [self.graves]:
            for folder, _, files in os.walk(root):
                for name in files:
                    path = os.path.join(folder, name)
                    paths.setdefault(os.lstat(path).st_ino, path)
        torn = {}
        for r in ops:
            torn.setdefault(r.ino, []).append(r)
        for ino, writes in torn.items():
            if ino in paths:
                done['torn'] += 1
                self.tear(paths[ino], writes, rng, done)

    def tear(self, path, writes, rng, done):
        size = os.path.getsize(path)
        with open(path, 'r+b') as f:
            for r in writes:
                if r.kind != WRITE:
                    continue
                start, end = r.a, min(r.a + r.b, size)
                if start >= end:
                    continue
                mood = rng.random()
                if mood < 0.25:
                    continue
                start = rng.randrange(start, end)  # the sectors before it have been written
                n = end - start
                f.seek(start)
                if mood < 0.5:
                    f.write(b'\0' * n)
                elif mood < 0.85:
                    f.write(rng.randbytes(n))
                elif end == size:
                    f.truncate(start)
                    size = start
                else:
                    f.write(rng.randbytes(n))
                done['octets'] += n
