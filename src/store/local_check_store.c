/* store/local_check_store.c - whether what belongs to no mailbox is as it should be: journal, keys, and the mail root's .tmp. In a
 * thread, beside a store that goes on: what may be half written at any moment is no finding. */
#include "store/local.h"

#include "store/hex.h"
#include "store/maildir.h"
#include "store/record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define OLD_S 3600 /* of .tmp: a body under way is younger */

typedef void entry_f(struct local *l, struct checking *c, int dir_fd, const char *name, void *arg);

static void
each_entry(struct local *l, struct checking *c, int folder, entry_f *f, void *arg)
{
	int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *e;
	DIR *dir;

	if (fd < 0 || (dir = fdopendir(fd)) == NULL) {
		c->rc = PT_EIO;
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((errno = 0, e = readdir(dir)) != NULL)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			f(l, c, fd, e->d_name, arg);
	if (errno != 0)
		c->rc = PT_EIO;
	closedir(dir);
}

/* --- .tmp -------------------------------------------------------------------------------------------------- */

static void
drop(struct check_drops *d, struct store_finding *f, const char *name)
{
	void *grown = f == NULL ? NULL : reallocarray(d->names, d->n + 1, sizeof *d->names);

	if (grown == NULL || strlen(name) >= sizeof *d->names)
		return;
	d->names = grown;
	snprintf(d->names[d->n++], sizeof *d->names, "%s", name);
	f->mended = true; /* at the next checkpoint: until then the journal may need it */
}

static void
look_tmp(struct local *l, struct checking *c, int dir_fd, const char *name, void *arg)
{
	struct store_finding *f;
	struct stat st;

	(void)l;
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || time(NULL) - st.st_mtime < OLD_S ||
	    time(NULL) - st.st_ctime < OLD_S)
		return;
	if (!local_is_leftover(name)) {
		/* these go with the checkpoint behind their journal, and those are made in just now, or swept at the next start */
		if (strncmp(name, "gone-", 5) != 0 && strncmp(name, NURSERY_PREFIX, strlen(NURSERY_PREFIX)) != 0)
			check_found(c, "stranger", STORE_FIX_NONE, ".tmp/%s in the mail folder is not of the store: somebody put it there", name);
		return;
	}
	f = check_found(c, "leftover", STORE_FIX_TIDY, ".tmp/%s in the mail folder (%llu octets) is older than an hour: a message that "
		"was never accepted", name, (unsigned long long)st.st_size);
	if (c->tidy)
		drop(arg, f, name);
}

/* --- keys -------------------------------------------------------------------------------------------------- */

static void
look_keys(struct local *l, struct checking *c, int dir_fd, const char *name, void *arg)
{
	struct record_line line;
	uint64_t lines = 0, wrong = 0;
	const uint8_t *nl;
	uint8_t *text;
	struct span s;
	size_t n = strlen(name);
	bool bad;
	int fd, rc;

	(void)l;
	(void)arg;
	if (n <= 4 || strcmp(name + n - 4, ".log") != 0)
		return;
	if ((fd = maildir_open(dir_fd, name, O_RDONLY)) < 0) {
		if (fd != PT_ENOENT)
			check_found(c, "keys", STORE_FIX_NONE, "the keys in kv/%s cannot be read: %s", name, pt_strerror(fd));
		return;
	}
	rc = read_whole(fd, &text, &s.n);
	close(fd);
	if (rc != 0) {
		check_found(c, "keys", STORE_FIX_NONE, "the keys in kv/%s cannot be read: %s", name, pt_strerror(rc));
		return;
	}
	c->out.files++;
	c->out.octets += s.n;
	for (s.p = text; s.n > 0;) {
		if (record_next(&s, &line, &bad)) {
			lines++;
			wrong += line.kind != 'V' && line.kind != 'v';
			continue;
		}
		if ((nl = memchr(s.p, '\n', s.n)) == NULL)
			break; /* being written; a torn one is in the journal */
		lines++;
		wrong++;
		s.n -= (size_t)(nl - s.p) + 1;
		s.p = nl + 1;
	}
	free(text);
	if (wrong > 0)
		check_found(c, "keys", STORE_FIX_NONE, "%llu of %llu lines in kv/%s are no keys: they are passed over, and go when the file is "
			"next written anew", (unsigned long long)wrong, (unsigned long long)lines, name);
}

/* --- the journal ------------------------------------------------------------------------------------------- */

struct segments {
	uint64_t first[JOURNAL_SEGMENTS_MAX];
	size_t n;
};

static void
list_segment(struct local *l, struct checking *c, int dir_fd, const char *name, void *arg)
{
	struct segments *s = arg;

	(void)l;
	(void)c;
	(void)dir_fd;
	if (strlen(name) == 19 && strcmp(name + 16, ".pj") == 0 && s->n < JOURNAL_SEGMENTS_MAX &&
	    hex_get((const uint8_t *)name, 16, &s->first[s->n]))
		s->n++;
}

static int
by_number(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Its records; returns the LSN behind the last. 0: it cannot be read, or was recycled meanwhile. */
static uint64_t
read_segment(struct local *l, struct checking *c, uint64_t first, bool last)
{
	struct journal_record r;
	uint64_t next = first;
	uint8_t *text;
	char name[32];
	struct span s;
	size_t n;
	int fd, rc;

	snprintf(name, sizeof name, "%016llx.pj", (unsigned long long)first);
	if ((fd = maildir_open(l->conf.journal_fd, name, O_RDONLY)) < 0)
		return 0;
	rc = read_whole(fd, &text, &s.n);
	close(fd);
	if (rc != 0) {
		check_found(c, "journal", STORE_FIX_NONE, "segment %s of the journal cannot be read: %s", name, pt_strerror(rc));
		return 0;
	}
	s.p = text;
	while ((n = journal_record_decode(s, &r)) > 0 && r.lsn == next) {
		next++;
		s.p += n;
		s.n -= n;
	}
	c->out.files++;
	c->out.octets += (uint64_t)(s.p - text);
	free(text);
	if (faccessat(l->conf.journal_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) != 0)
		return 0;
	if (next == first && !last)
		check_found(c, "journal", STORE_FIX_NONE, "segment %s of the journal begins with no record that can be read", name);
	return next;
}

static void
look_journal(struct local *l, struct checking *c)
{
	uint64_t next = 0, behind;
	struct segments s = { .n = 0 };
	size_t i;

	each_entry(l, c, l->conf.journal_fd, list_segment, &s);
	qsort(s.first, s.n, sizeof *s.first, by_number);
	for (i = 0; i < s.n; i++) {
		behind = read_segment(l, c, s.first[i], i + 1 == s.n);
		if (next != 0 && behind != 0 && s.first[i] > next)
			check_found(c, "journal-gap", STORE_FIX_NONE, "records %llu to %llu are missing in the journal: if the disk failed before, "
				"nobody was told that they were accepted; otherwise its files were changed",
				(unsigned long long)next, (unsigned long long)s.first[i] - 1);
		next = behind;
	}
}

void
check_store(struct local *l, struct checking *c, struct check_drops *drops)
{
	each_entry(l, c, l->tmp_fd, look_tmp, drops);
	each_entry(l, c, l->conf.kv_fd, look_keys, NULL);
	look_journal(l, c);
}
