/* store/local_file.c - the files of <mail>/.tmp: large bodies that workers write into, and what is left over there.
 *
 * Who writes into a file may go on writing after it has said that it is done. So a body is accepted only when nobody has it
 * open for writing any more, and nobody but us can open it: a read lease (fcntl(2), F_SETLEASE) is given for exactly
 * that, descriptors in sockets and mappings included. Where a file system has no leases the body is copied. */
#include "store/local.h"

#include "store/hex.h"
#include "store/maildir.h"
#include "util/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SWEEP_AGE_S 3600 /* a body under way is younger */
#define COPY_CHUNK (1u << 20)

struct file_job {
	struct crew_job job;
	struct local *l;
	store_file_cb *made;
	store_fd_cb *synced;
	void *arg;
	int rc, fd;
	uint64_t octets;
	bool copied;
	char name[LOCAL_TMP_NAME];
};

static struct file_job *
job_new(struct local *l, void (*run)(struct crew_job *), void (*done)(struct crew_job *), void *arg)
{
	struct file_job *f = calloc(1, sizeof *f);

	if (f == NULL)
		return NULL;
	f->job = (struct crew_job){ .run = run, .done = done, .lane = CREW_READ };
	f->l = l;
	f->arg = arg;
	f->fd = -1;
	return f;
}

/* --- made ------------------------------------------------------------------------------------------------ */

int
local_tmp_open(struct local *l, const char *prefix, char name[LOCAL_TMP_NAME])
{
	uint64_t w[2];
	size_t n = strlen(prefix);
	struct nursery_file f;
	int rc, fd;

	PT_ASSERT(n + 33 <= LOCAL_TMP_NAME);
	if (getrandom(w, sizeof w, 0) != sizeof w)
		return PT_EUNAVAIL;
	memcpy(name, prefix, n);
	hex_put((uint8_t *)name + n, 16, w[0]);
	hex_put((uint8_t *)name + n + 16, 16, w[1]);
	name[n + 32] = '\0';
	if ((rc = nursery_make(l->nursery, name, &f)) != 0)
		return rc;
	if (renameat(f.folder, name, l->tmp_fd, name) != 0)
		rc = maildir_error(errno);
	fd = rc == 0 ? f.fd : -1;
	if (rc == 0)
		f.fd = -1; /* the caller's */
	nursery_done(l->nursery, &f, rc == 0 ? NULL : name);
	return rc == 0 ? fd : rc;
}

static void
new_run(struct crew_job *j)
{
	struct file_job *f = (struct file_job *)j;

	f->fd = local_tmp_open(f->l, "body-", f->name);
	f->rc = f->fd < 0 ? f->fd : 0;
}

static void
new_done(struct crew_job *j)
{
	struct file_job *f = (struct file_job *)j;

	f->made(f->arg, local_rc(f->rc), f->rc == 0 ? f->fd : -1, f->name);
	free(f);
}

void
local_file_new(struct store_backend *be, store_file_cb *cb, void *arg)
{
	struct local *l = (struct local *)be;
	struct file_job *f = job_new(l, new_run, new_done, arg);

	if (f == NULL) {
		cb(arg, STORE_TEMP, -1, "");
		return;
	}
	f->made = cb;
	crew_submit(l->crew, &f->job, NULL, 0);
}

/* --- made durable, and nobody else's ----------------------------------------------------------------------- */

/* fd only reads. 0; PT_EPERM: somebody has it open for writing; PT_EUNAVAIL: there are no leases here. */
static int
only_ours(int fd)
{
	if (fcntl(fd, F_SETLEASE, F_RDLCK) != 0)
		return errno == EAGAIN ? PT_EPERM : PT_EUNAVAIL;
	(void)fcntl(fd, F_SETLEASE, F_UNLCK);
	return 0;
}

static int
copy_octets(int from, int to)
{
	uint8_t *p;
	ssize_t n;
	int rc = 0;

	while ((n = copy_file_range(from, NULL, to, NULL, SIZE_MAX / 2 - COPY_CHUNK, 0)) > 0)
		continue;
	if (n == 0)
		return 0;
	if (errno != EXDEV && errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
		return maildir_error(errno);
	if ((p = malloc(COPY_CHUNK)) == NULL)
		return PT_ENOMEM;
	while (rc == 0 && (n = read(from, p, COPY_CHUNK)) != 0)
		rc = n < 0 ? PT_EIO : maildir_write(to, p, (size_t)n);
	free(p);
	return rc;
}

/* Another file takes its name: who still writes, writes into one that nobody reads. *fd becomes the new one's. */
static int
replace(struct file_job *f, int *fd)
{
	char name[LOCAL_TMP_NAME];
	int to, own, rc;

	if ((to = local_tmp_open(f->l, "copy-", name)) < 0)
		return to;
	rc = copy_octets(*fd, to);
	close(to);
	if (rc == 0 && (own = maildir_open(f->l->tmp_fd, name, O_RDONLY)) < 0)
		rc = own;
	if (rc == 0) {
		close(*fd);
		*fd = own;
		f->copied = true;
		if (renameat(f->l->tmp_fd, name, f->l->tmp_fd, f->name) != 0)
			rc = maildir_error(errno);
	}
	if (rc != 0)
		(void)unlinkat(f->l->tmp_fd, name, 0);
	return rc;
}

/* Its octets and its name are durable before a record names it, and will be the same when the record is carried out. */
static void
sync_run(struct crew_job *j)
{
	struct file_job *f = (struct file_job *)j;
	struct stat st;
	int fd = maildir_open(f->l->tmp_fd, f->name, O_RDONLY);

	if (fd < 0) {
		f->rc = fd;
		return;
	}
	if (fstat(fd, &st) != 0)
		f->rc = PT_EIO;
	else if ((uint64_t)st.st_size > STORE_MESSAGE_MAX)
		f->rc = PT_ETOOBIG;
	else if ((f->rc = only_ours(fd)) == PT_EUNAVAIL)
		f->rc = replace(f, &fd);
	if (f->rc == 0 && (fstat(fd, &st) != 0 || fdatasync(fd) != 0 || fsync(f->l->tmp_fd) != 0))
		f->rc = PT_EIO;
	f->octets = (uint64_t)st.st_size;
	close(fd);
}

static void
sync_done(struct crew_job *j)
{
	struct file_job *f = (struct file_job *)j;

	if (f->copied && !f->l->said_copies)
		log_msg(LOG_L_NOTICE, "the mail folder's file system has no leases: messages above %u KiB are copied "
			"before they are accepted", STORE_BODY_MAX / 1024);
	f->l->said_copies |= f->copied;
	f->synced(f->arg, f->rc == PT_EPERM ? STORE_DENIED : local_rc(f->rc), -1, f->octets);
	free(f);
}

void
local_file_sync(struct store_backend *be, const char *name, store_fd_cb *cb, void *arg)
{
	struct local *l = (struct local *)be;
	struct file_job *f = job_new(l, sync_run, sync_done, arg);

	if (f == NULL) {
		cb(arg, STORE_TEMP, -1, 0);
		return;
	}
	snprintf(f->name, sizeof f->name, "%s", name);
	f->synced = cb;
	crew_submit(l->crew, &f->job, NULL, 0);
}

/* --- before it is whole -------------------------------------------------------------------------------------- */

static void
written_run(struct crew_job *j)
{
	struct file_job *f = (struct file_job *)j;
	int fd = maildir_open(f->l->tmp_fd, f->name, O_RDONLY);

	if (fd < 0)
		return;
	/* an error is nobody's until it is flushed: this does not look at it, so that one will (errseq in the kernel) */
	(void)sync_file_range(fd, 0, (off_t)f->octets, SYNC_FILE_RANGE_WRITE);
	close(fd);
}

static void
written_done(struct crew_job *j)
{
	struct file_job *f = (struct file_job *)j;

	f->l->writing_out = false;
	free(f);
}

/* The disk works while the rest is on its way. One at a time, because it may wait for the disk: the threads that read are for others. Who
 * is passed over has more to write next time. */
void
local_file_written(struct store_backend *be, const char *name, uint64_t octets)
{
	struct local *l = (struct local *)be;
	struct file_job *f;

	if (l->writing_out || l->failed || octets > STORE_MESSAGE_MAX || (f = job_new(l, written_run, written_done, NULL)) == NULL)
		return;
	snprintf(f->name, sizeof f->name, "%s", name);
	f->octets = octets;
	l->writing_out = true;
	crew_submit(l->crew, &f->job, NULL, 0);
}

/* --- gone -------------------------------------------------------------------------------------------------- */

void
local_file_drop(struct store_backend *be, const char *name)
{
	struct local *l = (struct local *)be;
	size_t cap = l->drops_cap;

	/* at the next checkpoint: until then a record that was just written may need it */
	if (l->ndrops == cap) {
		void *grown = reallocarray(l->drops, cap == 0 ? 64 : cap * 2, sizeof *l->drops);

		if (grown == NULL)
			return; /* swept at the next start */
		l->drops = grown;
		l->drops_cap = cap == 0 ? 64 : cap * 2;
	}
	l->drops[l->ndrops].lsn = journal_next(l->journal);
	snprintf(l->drops[l->ndrops++].name, sizeof l->drops->name, "%s", name);
}

bool
local_is_leftover(const char *name)
{
	static const char *const prefixes[] = { "body-", "new-", "copy-", "crlf-" };
	size_t i;

	for (i = 0; i < PT_COUNT(prefixes); i++)
		if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	return false;
}

void
local_sweep(struct local *l)
{
	struct dirent *e;
	struct stat st;
	time_t old = time(NULL) - SWEEP_AGE_S;
	DIR *dir;
	int fd = openat(l->tmp_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || (dir = fdopendir(fd)) == NULL) {
		if (fd >= 0)
			close(fd);
		return;
	}
	/* what the journal names is applied again in a moment, and the file is a link by then or soon: only those that
	 * have been linked already or were never finished may be gone, and those are old */
	while ((e = readdir(dir)) != NULL)
		if (local_is_leftover(e->d_name) &&
		    fstatat(l->tmp_fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_mtime < old)
			local_file_drop(&l->be, e->d_name);
	closedir(dir);
}
