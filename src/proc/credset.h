/* proc/credset.h - the files of a configuration's credentials (certificates, keys, CAs, revocation lists) as they
 * were at one moment: one credential generation, as the parent has it.
 *
 * Each file is opened once and copied by the kernel into sealed memory: what a process gets that is started again
 * weeks later is what the others have, whatever has been written into the file meanwhile. No octet of it
 * comes into the parent, and none is parsed here. Where the kernel cannot copy, the file itself stays open. */
#ifndef PROC_CREDSET_H
#define PROC_CREDSET_H

#include "conf/conf.h"
#include "proc/cred_kind.h"
#include "util/diag.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#define CRED_OCTETS_MAX (128 * 1024 * 1024) /* of one file; who parses it has limits of its own */

/* Whether a file is still the one that was opened. All zero: it cannot be looked at. */
struct file_sig {
	uint64_t dev, ino, size;
	int64_t mtime_ns, ctime_ns;
};

struct cred_source { /* a file, however many directives name it */
	char *path;
	int fd; /* the copy, owned; all other descriptors of a set but chain_fd are borrowed from here */
	bool private; /* goes to the keyholder alone */
	struct file_sig sig;
};

struct gen_cert { /* one certificate directive; its place in the array is the key's number */
	char *certificate, *key; /* paths; key NULL: in the certificate file */
	char *passphrase;        /* NULL: none */
	int cert_fd, key_fd, pass_fd;
	int chain_fd; /* owned; from the keyholder; -1 until then */
};

struct gen_file { /* a file of CAs or revocation lists for the workers */
	enum cred_kind kind;
	uint32_t set, index;
	char *path;
	int fd;
};

struct cred_set {
	TAILQ_ENTRY(cred_set) next;
	uint64_t number; /* of the credential generation */
	struct cred_source *sources;
	size_t nsources;
	struct gen_cert *certs;
	size_t ncerts;
	struct gen_file *files;
	size_t nfiles;
	unsigned agreed;       /* bit set of the helpers that have said yes to it, of the present ones */
	uint64_t holders[4];   /* one bit for each slot whose worker may need its keys */
};

TAILQ_HEAD(cred_set_list, cred_set);

/* Opens all files that conf names. Copies of files that prev (NULL: none) has and that have not changed are taken from
 * it. On error nothing stays open: PT_ENOENT, PT_EPERM, PT_EINVAL, PT_EIO with the file's path in diag,
 * PT_EFULL, PT_EAGAIN (a file was being written), PT_ENOMEM. */
int cred_set_open(const struct conf *conf, uint64_t number, const struct cred_set *prev,
		  struct cred_set **set_out, struct diag *diag) PT_MUST_USE;

/* One more source: *fd_out is borrowed from the set, and the same for a path that it has. For cred_set_open()'s walk
 * over the configuration (generation.c). */
int cred_set_source(struct cred_set *set, const struct cred_set *prev, const char *path, bool private,
		    int *fd_out, struct diag *diag) PT_MUST_USE;

/* Whether a file of it is not what it was. */
bool cred_set_changed(const struct cred_set *set);

/* No worker is started with it any more: what only workers get is closed. */
void cred_set_retire(struct cred_set *set);

/* NULL is fine; sets the pointer to NULL. */
void cred_set_free(struct cred_set **set);

/* The signature of the file that path leads to now. */
void file_sig_of(const char *path, struct file_sig *sig_out);
bool file_sig_same(const struct file_sig *a, const struct file_sig *b);

/* Goes on with a digest of signatures, begun with any number: for "is it as it was a moment ago", not against
 * malice. */
uint64_t file_sig_digest(uint64_t h, const char *path);

/* Of all files that the set is of, as they are now. */
uint64_t cred_set_digest(const struct cred_set *set);

/* slot: of a worker. */
void cred_set_hold(struct cred_set *set, uint32_t slot);
void cred_set_let_go(struct cred_set *set, uint32_t slot);
bool cred_set_is_held(const struct cred_set *set);

#endif
