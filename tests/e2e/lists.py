"""Revocation lists for tests, made by openssl."""
import datetime
import subprocess

import harness as h

DATES = {  # days from now: thisUpdate, nextUpdate; the grace is 7 days
    'current': (-1, 9),
    'late': (-3, -1),
    'stale': (-20, -10),
}

P256 = ('ec', '-pkeyopt', 'ec_paramgen_curve:P-256')


def make_pair(folder, name, days, *newkey):
    base = folder / name
    subprocess.run(['openssl', 'req', '-x509', '-newkey', *newkey, '-nodes', '-keyout', f'{base}.key', '-out',
                    f'{base}.pem', '-days', str(days), '-subj', f'/CN={name}'], check=True,
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return base.with_suffix('.pem'), base.with_suffix('.key')


class Lists:
    def __init__(self, site, folder=None):
        self.site = site
        self.folder = (folder or site.folder) / 'lists'
        self.folder.mkdir()
        self.number = 0

    def serial(self, name):
        out = subprocess.run(['openssl', 'x509', '-noout', '-serial', '-in', str(self.site.certs.cert(name))],
                             stdout=subprocess.PIPE, check=True, text=True).stdout
        return out.strip().split('=')[1]

    def make(self, name, revoked, age='current', issuer='ca', forged=False):
        """NAME.pem, by rename: a list that is newer than all before it. forged: by the issuer's name alone."""
        certs, base = self.site.certs, self.folder / name
        signer = (certs.cert(issuer), certs.key(issuer))
        if forged:
            signer = make_pair(self.folder, issuer, 100, *P256)
        now = datetime.datetime.now(datetime.timezone.utc)
        since, until = (now + datetime.timedelta(days=days) for days in DATES[age])
        self.number += 1
        index, number, conf, new = (base.with_suffix(s) for s in ('.index', '.number', '.cnf', '.new'))
        index.write_text(''.join(f'R\t491231235959Z\t200101000000Z\t{self.serial(who)}\tunknown\t/CN={who}\n'
                                 for who in revoked))
        number.write_text(f'{self.number:04X}\n')
        conf.write_text(f'[ca]\ndefault_ca = this\n[this]\ndatabase = {index}\ncrlnumber = {number}\n'
                        'default_md = sha256\n')
        run = subprocess.run(['openssl', 'ca', '-gencrl', '-config', str(conf), '-cert',
                              str(signer[0]), '-keyfile', str(signer[1]),
                              '-crl_lastupdate', f'{since:%Y%m%d%H%M%SZ}',
                              '-crl_nextupdate', f'{until:%Y%m%d%H%M%SZ}', '-out', str(new)],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             text=True)
        h.check(run.returncode == 0, run.stdout)
        path = base.with_suffix('.pem')
        new.rename(path)
        return path
