/* proc/credset.c - see credset.h. Which files a configuration names is in generation.c. */
#include "proc/credset.h"

#include "proc/table.h"
#include "util/err.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NS 1000000000ll
#define TICK_NS (1000000ll)
#define TICKS 20 /* of that length at most: the kernel's own is 10 ms or less */
#define TRIES 3 /* to meet a file while nobody writes it */
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

_Static_assert(TABLE_SLOTS_MAX == 4 * 64, "a bit for each slot");

/* --- has it changed --------------------------------------------------------------------------- */

static struct file_sig
sig_from(const struct stat *st)
{
	return (struct file_sig){ .dev = st->st_dev, .ino = st->st_ino, .size = (uint64_t)st->st_size,
		.mtime_ns = st->st_mtim.tv_sec * NS + st->st_mtim.tv_nsec,
		.ctime_ns = st->st_ctim.tv_sec * NS + st->st_ctim.tv_nsec };
}

void
file_sig_of(const char *path, struct file_sig *sig)
{
	struct stat st;

	*sig = stat(path, &st) == 0 ? sig_from(&st) : (struct file_sig){ 0 };
}

bool
file_sig_same(const struct file_sig *a, const struct file_sig *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size && a->mtime_ns == b->mtime_ns &&
		a->ctime_ns == b->ctime_ns;
}

/* FNV-1a. */
uint64_t
file_sig_digest(uint64_t h, const char *path)
{
	struct file_sig sig;
	const uint8_t *o = (const uint8_t *)&sig;
	size_t i;

	file_sig_of(path, &sig);
	for (i = 0; i < sizeof sig; i++)
		h = (h ^ o[i]) * 1099511628211ull;
	return h;
}

uint64_t
cred_set_digest(const struct cred_set *set)
{
	uint64_t h = 14695981039346656037ull;
	size_t i;

	for (i = 0; i < set->nsources; i++)
		h = file_sig_digest(h, set->sources[i].path);
	return h;
}

bool
cred_set_changed(const struct cred_set *set)
{
	struct file_sig now;
	size_t i;

	for (i = 0; i < set->nsources; i++) {
		file_sig_of(set->sources[i].path, &now);
		if (!file_sig_same(&now, &set->sources[i].sig))
			return true;
	}
	return false;
}

/* --- opening ---------------------------------------------------------------------------------- */

/* The kernel copies; -1 when it cannot, and then the file itself is used. The copy has the file's mode, which the
 * keyholder looks at. */
static int
copy_sealed(int fd, const struct stat *st)
{
	int copy = memfd_create("postern-credential", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	off_t at = 0;
	ssize_t n = -1;

	if (copy < 0)
		return -1;
	while (at < st->st_size) {
		n = sendfile(copy, fd, &at, (size_t)(st->st_size - at));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
	}
	if (at == st->st_size && fchmod(copy, st->st_mode & 0777) == 0 && fcntl(copy, F_ADD_SEALS, SEALS) == 0)
		return copy;
	close(copy);
	return -1;
}

/* Files are stamped with a clock that ticks: what is written twice in one tick has one stamp. So a file is read only
 * when the tick of its stamp is over, and no later change goes unnoticed. */
static void
wait_for_tick(const struct file_sig *sig)
{
	const struct timespec tick = { 0, TICK_NS };
	struct timespec now;
	int i;

	for (i = 0; i < TICKS; i++) {
		clock_gettime(CLOCK_REALTIME_COARSE, &now);
		if (now.tv_sec * NS + now.tv_nsec > sig->ctime_ns)
			return;
		nanosleep(&tick, NULL);
	}
}

static int
open_once(struct cred_source *s, struct diag *diag)
{
	struct file_sig after;
	struct stat st;
	int fd, copy;

	/* O_NONBLOCK: a FIFO must not hold us up */
	if ((fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)) < 0)
		return diag_set(diag, errno == ENOENT ? PT_ENOENT : PT_EPERM, "cannot open %s: %s", s->path,
			strerror(errno));
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return diag_set(diag, PT_EINVAL, "%s is not a file", s->path);
	}
	if (st.st_size > CRED_OCTETS_MAX) {
		close(fd);
		return diag_set(diag, PT_EINVAL, "%s is larger than %d MiB", s->path,
			CRED_OCTETS_MAX / 1024 / 1024);
	}
	s->sig = sig_from(&st);
	wait_for_tick(&s->sig);
	copy = copy_sealed(fd, &st);
	if (copy < 0) {
		s->fd = fd;
		return 0;
	}
	s->fd = copy;
	after = fstat(fd, &st) == 0 ? sig_from(&st) : (struct file_sig){ 0 };
	close(fd);
	if (file_sig_same(&after, &s->sig))
		return 0;
	close(s->fd);
	s->fd = -1;
	return diag_set(diag, PT_EAGAIN, "%s is being written", s->path);
}

static int
open_source(struct cred_source *s, struct diag *diag)
{
	int i, rc = PT_EAGAIN;

	for (i = 0; i < TRIES && rc == PT_EAGAIN; i++)
		rc = open_once(s, diag);
	return rc;
}

/* The same file in another set, unchanged: its copy. */
static bool
share_source(struct cred_source *s, const struct cred_set *prev)
{
	struct file_sig now;
	size_t i;

	for (i = 0; prev != NULL && i < prev->nsources; i++) {
		const struct cred_source *old = &prev->sources[i];

		if (strcmp(old->path, s->path) != 0 || old->fd < 0)
			continue;
		file_sig_of(s->path, &now);
		if (!file_sig_same(&now, &old->sig) || (s->fd = fcntl(old->fd, F_DUPFD_CLOEXEC, 0)) < 0)
			return false;
		s->sig = old->sig;
		return true;
	}
	return false;
}

int
cred_set_source(struct cred_set *set, const struct cred_set *prev, const char *path, bool private, int *fd_out,
		struct diag *diag)
{
	struct cred_source *more, *s;
	size_t i;
	int rc;

	*fd_out = -1;
	for (i = 0; i < set->nsources; i++)
		if (strcmp(set->sources[i].path, path) == 0) {
			set->sources[i].private = set->sources[i].private && private;
			*fd_out = set->sources[i].fd;
			return 0;
		}
	if ((more = reallocarray(set->sources, set->nsources + 1, sizeof *more)) == NULL)
		return PT_ENOMEM;
	set->sources = more;
	s = &more[set->nsources];
	*s = (struct cred_source){ .path = strdup(path), .fd = -1, .private = private };
	if (s->path == NULL)
		return PT_ENOMEM;
	set->nsources++;
	if (!share_source(s, prev) && (rc = open_source(s, diag)) != 0)
		return rc;
	*fd_out = s->fd;
	return 0;
}

/* --- the end ---------------------------------------------------------------------------------- */

static void
close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void
cred_set_retire(struct cred_set *set)
{
	size_t i;

	for (i = 0; i < set->nfiles; i++)
		free(set->files[i].path);
	set->nfiles = 0;
	for (i = 0; i < set->nsources; i++)
		if (!set->sources[i].private)
			close_fd(&set->sources[i].fd);
}

void
cred_set_free(struct cred_set **sp)
{
	struct cred_set *set = *sp;
	size_t i;

	if (set == NULL)
		return;
	for (i = 0; i < set->nsources; i++) {
		close_fd(&set->sources[i].fd);
		free(set->sources[i].path);
	}
	for (i = 0; i < set->ncerts; i++) {
		close_fd(&set->certs[i].chain_fd);
		free(set->certs[i].certificate);
		free(set->certs[i].key);
		free(set->certs[i].passphrase);
	}
	for (i = 0; i < set->nfiles; i++)
		free(set->files[i].path);
	free(set->sources);
	free(set->certs);
	free(set->files);
	free(set);
	*sp = NULL;
}

/* --- who needs its keys ----------------------------------------------------------------------- */

void
cred_set_hold(struct cred_set *set, uint32_t slot)
{
	PT_ASSERT(slot < TABLE_SLOTS_MAX);
	set->holders[slot / 64] |= 1ull << slot % 64;
}

void
cred_set_let_go(struct cred_set *set, uint32_t slot)
{
	PT_ASSERT(slot < TABLE_SLOTS_MAX);
	set->holders[slot / 64] &= ~(1ull << slot % 64);
}

bool
cred_set_is_held(const struct cred_set *set)
{
	return (set->holders[0] | set->holders[1] | set->holders[2] | set->holders[3]) != 0;
}
