"""tests/crash/reused.py - the test of powerloss.py itself: a folder's number is used again at once.

A process was killed while it removed a folder: whether that was done, nothing says but what is there. If so, and a
folder made since has its number, what is undone of the former one must not come into the new one."""

import os
import random
import struct
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import powerloss  # noqa: E402

OCTETS = b'of the folder that is gone'


def write(recording, records):
    with open(recording.log, 'r+b') as f:
        f.write(struct.pack('<QQQ', powerloss.MAGIC, len(records), 1))
        for i, r in enumerate(records):
            f.seek(powerloss.SIZE * (i + 1))
            f.write(powerloss.LAYOUT.pack(1, r['kind'], r['done'], 0, 0, r.get('ino', 0), r['dir'], 0, 0, r.get('b', 0), 1,
                                          i + 1 if r['done'] else 0, 1, r['name'], b''))


def strike(removed, seed):
    """The names below root afterwards. removed: the system had removed `old`, and `new` has its number."""
    with tempfile.TemporaryDirectory(prefix='postern-reused-') as base:
        root = os.path.join(base, 'root')
        os.makedirs(os.path.join(root, 'new' if removed else 'old'))
        recording = powerloss.Recording(os.path.join(base, 'powerloss'))
        with open(os.path.join(recording.graves, '1'), 'wb') as f:
            f.write(OCTETS)
        folder, number = os.stat(root).st_ino, os.stat(os.path.join(root, 'new' if removed else 'old')).st_ino
        write(recording, [{'kind': powerloss.UNLINK, 'done': 1, 'dir': number, 'b': 1, 'name': b'file'},
                          {'kind': powerloss.RMDIR, 'done': 0, 'dir': folder, 'ino': number, 'name': b'old'}])
        recording.strike([root], random.Random(seed))
        return sorted(os.path.relpath(os.path.join(path, name), root)
                      for path, folders, files in os.walk(root) for name in folders + files)


def main():
    seen = {}
    for removed in (True, False):
        seen[removed] = {tuple(strike(removed, seed)) for seed in range(40)}
    want = {True: {('new',), ('new', 'old'), ('new', 'old', 'old/file')}, False: {('old',), ('old', 'old/file')}}
    if seen != want:
        print('folders after a strike: %r, not %r' % (seen, want))
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
