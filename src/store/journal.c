/* store/journal.c - segments, batches and the scan; see journal.h. Knows nothing of what records mean. */
#include "store/journal.h"

#include "store/crc32c.h"
#include "store/hex.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NAME_MAX_LEN 32
#define ZERO_CHUNK (1u << 20)
#define FIELDS_CRC 14 /* where the header's fields begin */
#define FIELDS_LSN 23
#define FIELDS_EPOCH 40

struct segment {
	int fd; /* -1: no such segment */
	bool used;
	bool durable;     /* has a record that was flushed */
	uint64_t first;   /* LSN it is named after */
	uint64_t last;    /* of its last record; first - 1: none */
	uint32_t number;  /* while free */
};

/* Records on their way to the disk, all of one segment. */
struct batch {
	uint8_t *p;
	size_t len, cap;
	uint32_t segment;
	uint64_t off;  /* in it */
	char from[NAME_MAX_LEN], to[NAME_MAX_LEN]; /* the segment was free, and gets its name first; "": it has it */
};

struct journal_flight {
	struct batch b;
	int fd;     /* of the current segment, for this flight alone; of the first it is the segment's own */
	int dir_fd; /* for the one that gives a segment its name: there is but one at a time */
	int error;  /* errno of what went wrong; NOT_RUN */
};

#define NOT_RUN (-1)
#define MEMORY_KEPT (2 * (size_t)JOURNAL_BATCH_MAX) /* of all batches together, when they have ended */

struct journal {
	int dir_fd; /* borrowed */
	int flight_dir_fd; /* the same folder: nobody else may be told of the flights' errors */
	int lock_fd;
	struct journal_conf conf;
	struct segment seg[JOURNAL_SEGMENTS_MAX];
	unsigned used;         /* segments with records */
	uint32_t spare_number; /* next name of a free one */
	uint32_t current;
	bool begun;    /* current takes records */
	bool replayed;
	bool failed;
	uint64_t off;  /* in current: where the next record goes */
	uint64_t next;
	uint32_t epoch;
	struct batch batch;
	struct journal_flight flight[JOURNAL_FLIGHTS]; /* a ring; those under way belong to who writes them */
	unsigned nflights, first, flying; /* with descriptors; the oldest, and how many are under way */
	size_t flying_octets, memory;     /* memory: of all batches */
	int error;                        /* errno, once failed */
	uint64_t flushes;
};

/* --- records ----------------------------------------------------------------------------------------- */

static uint32_t
record_crc(const uint8_t *header, const void *payload, size_t n)
{
	uint32_t crc = crc32c(0, header, FIELDS_CRC - 1);

	crc = crc32c(crc, header + FIELDS_LSN - 1, JOURNAL_HEADER - FIELDS_LSN + 1);
	return crc32c(crc, payload, n);
}

static void
header_write(uint8_t *h, size_t len, uint64_t lsn, uint32_t epoch)
{
	memcpy(h, "PJ01 ", 5);
	hex_put(h + 5, 8, len);
	h[13] = ' ';
	h[22] = ' ';
	hex_put(h + FIELDS_LSN, 16, lsn);
	h[39] = ' ';
	hex_put(h + FIELDS_EPOCH, 8, epoch);
	h[48] = '\n';
}

/* The text ends with the first empty line. */
static bool
split(struct span payload, struct journal_record *r)
{
	const uint8_t *end = payload.n > 0 && payload.p[0] == '\n' ? payload.p
		: memmem(payload.p, payload.n, "\n\n", 2);
	size_t n;

	if (end == NULL)
		return false;
	n = (size_t)(end - payload.p) + (end == payload.p && payload.p[0] == '\n' ? 0 : 1);
	r->text = (struct span){ payload.p, n };
	r->body = (struct span){ payload.p + n + 1, payload.n - n - 1 };
	return true;
}

size_t
journal_record_decode(struct span buf, struct journal_record *r)
{
	uint64_t len, crc, lsn, epoch;
	const uint8_t *h = buf.p;

	if (buf.n < JOURNAL_HEADER || memcmp(h, "PJ01 ", 5) != 0 || h[13] != ' ' || h[22] != ' ' ||
	    h[39] != ' ' || h[48] != '\n')
		return 0;
	if (!hex_get(h + 5, 8, &len) || !hex_get(h + FIELDS_CRC, 8, &crc) ||
	    !hex_get(h + FIELDS_LSN, 16, &lsn) || !hex_get(h + FIELDS_EPOCH, 8, &epoch))
		return 0;
	if (len > buf.n - JOURNAL_HEADER || record_crc(h, h + JOURNAL_HEADER, len) != crc)
		return 0;
	r->lsn = lsn;
	r->epoch = (uint32_t)epoch;
	if (!split((struct span){ h + JOURNAL_HEADER, len }, r))
		return 0;
	return JOURNAL_HEADER + len;
}

/* --- segments ---------------------------------------------------------------------------------------- */

static void
name_used(char *out, uint64_t first)
{
	snprintf(out, NAME_MAX_LEN, "%016llx.pj", (unsigned long long)first);
}

static void
name_free(char *out, uint32_t number)
{
	snprintf(out, NAME_MAX_LEN, "free-%08x.pj", number);
}

static int
slot_free(const struct journal *j)
{
	unsigned i;

	for (i = 0; i < JOURNAL_SEGMENTS_MAX; i++)
		if (j->seg[i].fd < 0)
			return (int)i;
	return -1;
}

/* The folder once more: an error in flushing it is told to one of those who have the same description. */
static int
folder_open(int dir_fd)
{
	return openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Octets in the file, so that later flushes write data only. */
static int
write_zeros(int fd, uint64_t octets)
{
	uint8_t *zeros = calloc(1, ZERO_CHUNK);
	uint64_t off = 0;
	ssize_t n;
	int rc = 0;

	if (zeros == NULL)
		return PT_ENOMEM;
	while (off < octets && rc == 0) {
		n = pwrite(fd, zeros, octets - off < ZERO_CHUNK ? octets - off : ZERO_CHUNK, (off_t)off);
		if (n > 0)
			off += (uint64_t)n;
		else if (n == 0 || errno != EINTR)
			rc = n < 0 && (errno == ENOSPC || errno == EDQUOT) ? PT_EFULL : PT_EIO;
	}
	free(zeros);
	if (rc == 0 && fsync(fd) != 0)
		rc = PT_EIO;
	return rc;
}

int
journal_spare_make(const struct journal *j, uint32_t number, int *fd_out)
{
	char name[NAME_MAX_LEN], tmp[NAME_MAX_LEN + 4];
	int fd, dir_fd, rc;

	*fd_out = -1;
	name_free(name, number);
	snprintf(tmp, sizeof tmp, "%s.new", name);
	if ((dir_fd = folder_open(j->dir_fd)) < 0)
		return PT_EIO;
	fd = openat(j->dir_fd, tmp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		rc = errno == ENOSPC ? PT_EFULL : PT_EIO;
		close(dir_fd);
		return rc;
	}
	if ((rc = write_zeros(fd, j->conf.segment_octets)) == 0 &&
	    (renameat(j->dir_fd, tmp, j->dir_fd, name) != 0 || fsync(dir_fd) != 0))
		rc = PT_EIO;
	close(dir_fd);
	if (rc != 0) {
		close(fd);
		unlinkat(j->dir_fd, tmp, 0);
		return rc;
	}
	*fd_out = fd;
	return 0;
}

int
journal_spare_add(struct journal *j, uint32_t number, int fd)
{
	int i = slot_free(j);

	if (i < 0) {
		close(fd);
		return PT_EFULL;
	}
	j->seg[i] = (struct segment){ .fd = fd, .number = number };
	return 0;
}

uint32_t
journal_spare_number(struct journal *j)
{
	return j->spare_number++;
}

void
journal_segments(const struct journal *j, unsigned *used, unsigned *spare, unsigned *max)
{
	unsigned i;

	*used = *spare = 0;
	for (i = 0; i < JOURNAL_SEGMENTS_MAX; i++)
		if (j->seg[i].fd >= 0)
			*(j->seg[i].used ? used : spare) += 1;
	*max = j->conf.segments;
}

uint64_t
journal_all(const struct journal *j)
{
	return j->conf.segments * j->conf.segment_octets;
}

uint64_t
journal_room(const struct journal *j)
{
	unsigned left = j->used < j->conf.segments ? j->conf.segments - j->used : 0;

	return left * j->conf.segment_octets + (j->begun && j->off < j->conf.segment_octets ? j->conf.segment_octets - j->off : 0);
}

/* A free segment becomes the current one. It gets the name of its first record before that record is written:
 * the name must be durable before anything in it is acknowledged. */
static int
choose_segment(struct journal *j)
{
	unsigned i;

	for (i = 0; i < JOURNAL_SEGMENTS_MAX; i++)
		if (j->seg[i].fd >= 0 && !j->seg[i].used)
			break;
	if (i == JOURNAL_SEGMENTS_MAX)
		return PT_EFULL;
	name_free(j->batch.from, j->seg[i].number);
	name_used(j->batch.to, j->next);
	j->seg[i].used = true;
	j->used++;
	j->seg[i].durable = false;
	j->seg[i].first = j->next;
	j->seg[i].last = j->next - 1;
	j->current = i;
	j->off = 0;
	j->begun = true;
	return 0;
}

static int
segment_free(struct journal *j, unsigned i, struct diag *diag)
{
	char from[NAME_MAX_LEN], to[NAME_MAX_LEN];
	struct segment *s = &j->seg[i];

	name_used(from, s->first);
	name_free(to, s->number = journal_spare_number(j));
	if (renameat(j->dir_fd, from, j->dir_fd, to) != 0 || fsync(j->dir_fd) != 0)
		return diag_set(diag, PT_EIO, "cannot recycle journal segment %s: %s", from, strerror(errno));
	s->used = false;
	j->used--;
	return 0;
}

/* The newest one that has records for good. It stays: the next start takes LSN and epoch from it. -1: none. */
static int
newest(const struct journal *j)
{
	int i, found = -1;

	for (i = 0; i < JOURNAL_SEGMENTS_MAX; i++)
		if (j->seg[i].fd >= 0 && j->seg[i].used && j->seg[i].durable &&
		    (found < 0 || j->seg[i].first > j->seg[found].first))
			found = i;
	return found;
}

/* How many may go, and the oldest of them; -1: none. */
static unsigned
recyclable(const struct journal *j, uint64_t lsn, int *oldest)
{
	int i, keep = newest(j);
	unsigned n = 0;

	*oldest = -1;
	for (i = 0; i < JOURNAL_SEGMENTS_MAX; i++) {
		if (j->seg[i].fd < 0 || !j->seg[i].used || (j->begun && (uint32_t)i == j->current) || i == keep ||
		    j->seg[i].last >= lsn)
			continue;
		n++;
		if (*oldest < 0 || j->seg[i].first < j->seg[*oldest].first)
			*oldest = i;
	}
	return n;
}

unsigned
journal_recyclable(const struct journal *j, uint64_t lsn)
{
	int oldest;

	return recyclable(j, lsn, &oldest);
}

/* The oldest first, each for good before the next: what is left must be the journal's end without a hole. A message
 * that was made in one segment and removed in the next would come back otherwise. */
int
journal_recycle(struct journal *j, uint64_t lsn, unsigned max, struct diag *diag)
{
	int i, rc = 0;

	while (max-- > 0 && rc == 0 && recyclable(j, lsn, &i) > 0)
		rc = segment_free(j, (unsigned)i, diag);
	return rc;
}

/* --- open and close -------------------------------------------------------------------------------- */

static int
open_one(struct journal *j, const char *name, struct diag *diag)
{
	struct segment s = { .fd = -1 };
	struct stat st;
	uint64_t number;
	size_t n = strlen(name);
	int i;

	if (n == 19 && strcmp(name + 16, ".pj") == 0 && hex_get((const uint8_t *)name, 16, &s.first))
		s.used = true;
	else if (n == 16 && strncmp(name, "free-", 5) == 0 && strcmp(name + 13, ".pj") == 0 &&
		 hex_get((const uint8_t *)name + 5, 8, &number))
		s.number = (uint32_t)number;
	else if (n > 4 && strcmp(name + n - 4, ".new") == 0)
		return unlinkat(j->dir_fd, name, 0) == 0 ? 0 : PT_EIO; /* a start that did not finish */
	else
		return 0;
	if ((i = slot_free(j)) < 0)
		return diag_set(diag, PT_EFULL, "more than %d journal segments", JOURNAL_SEGMENTS_MAX);
	s.fd = openat(j->dir_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (s.fd < 0 || fstat(s.fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		if (s.fd >= 0)
			close(s.fd);
		return diag_set(diag, PT_EIO, "cannot open journal segment %s: %s", name, strerror(errno));
	}
	if (!s.used && (uint64_t)st.st_size != j->conf.segment_octets) {
		close(s.fd); /* another size is configured now */
		return unlinkat(j->dir_fd, name, 0) == 0 ? 0 : PT_EIO;
	}
	if (!s.used && s.number >= j->spare_number)
		j->spare_number = s.number + 1;
	j->seg[i] = s;
	j->used += s.used;
	return 0;
}

static int
open_all(struct journal *j, struct diag *diag)
{
	struct dirent *e;
	DIR *dir;
	int fd, rc = 0;

	if ((fd = folder_open(j->dir_fd)) < 0)
		return diag_set(diag, PT_EIO, "cannot read the journal's folder: %s", strerror(errno));
	if ((dir = fdopendir(fd)) == NULL) {
		close(fd);
		return PT_ENOMEM;
	}
	while (rc == 0 && (errno = 0, e = readdir(dir)) != NULL)
		rc = open_one(j, e->d_name, diag);
	if (rc == 0 && errno != 0) /* segments may be missing */
		rc = diag_set(diag, PT_EIO, "cannot read the journal's folder: %s", strerror(errno));
	closedir(dir);
	return rc;
}

/* Descriptors that only flights have. */
static void
flights_close(struct journal *j)
{
	while (j->nflights > 1)
		close(j->flight[--j->nflights].fd);
}

int
journal_open(int dir_fd, const struct journal_conf *conf, struct journal **j_out, struct diag *diag)
{
	struct journal *j;
	unsigned i;
	int rc;

	*j_out = NULL;
	PT_ASSERT(conf->segments >= 2 && conf->segments <= JOURNAL_SEGMENTS_MAX);
	if ((j = calloc(1, sizeof *j)) == NULL)
		return PT_ENOMEM;
	j->dir_fd = dir_fd;
	j->conf = *conf;
	j->next = 1;
	for (i = 0; i < JOURNAL_SEGMENTS_MAX; i++)
		j->seg[i].fd = -1;
	j->flight_dir_fd = folder_open(dir_fd);
	j->lock_fd = openat(dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (j->flight_dir_fd < 0)
		rc = diag_set(diag, PT_EIO, "cannot open the journal's folder: %s", strerror(errno));
	else if (j->lock_fd < 0)
		rc = diag_set(diag, PT_EIO, "cannot open the journal's lock: %s", strerror(errno));
	else if (flock(j->lock_fd, LOCK_EX | LOCK_NB) != 0)
		rc = diag_set(diag, PT_EBUSY, "another store process holds the journal");
	else
		rc = open_all(j, diag);
	if (rc != 0)
		journal_close(&j);
	*j_out = j;
	return rc;
}

void
journal_close(struct journal **jp)
{
	struct journal *j = *jp;
	unsigned i;

	if (j == NULL)
		return;
	flights_close(j);
	for (i = 0; i < JOURNAL_SEGMENTS_MAX; i++)
		if (j->seg[i].fd >= 0)
			close(j->seg[i].fd);
	if (j->flight_dir_fd >= 0)
		close(j->flight_dir_fd);
	if (j->lock_fd >= 0)
		close(j->lock_fd);
	free(j->batch.p);
	for (i = 0; i < JOURNAL_FLIGHTS; i++)
		free(j->flight[i].b.p);
	free(j);
	*jp = NULL;
}

/* --- the scan ---------------------------------------------------------------------------------------- */

struct scan {
	uint8_t *buf; /* one segment */
	size_t cap;
	uint32_t epoch; /* of the last record taken */
	uint64_t gaps;
	journal_record_f *f;
	void *arg;
};

static int
segment_load(const struct segment *s, struct scan *scan, size_t *len_out)
{
	struct stat st;
	uint8_t *grown;
	size_t have = 0;
	ssize_t n;

	if (fstat(s->fd, &st) != 0 || st.st_size < 0 || st.st_size > UINT32_MAX)
		return PT_EIO;
	if ((size_t)st.st_size > scan->cap) {
		if ((grown = realloc(scan->buf, (size_t)st.st_size)) == NULL)
			return PT_ENOMEM;
		scan->buf = grown;
		scan->cap = (size_t)st.st_size;
	}
	while (have < (size_t)st.st_size) {
		n = pread(s->fd, scan->buf + have, (size_t)st.st_size - have, (off_t)have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return PT_EIO;
		if (n == 0)
			break;
		have += (size_t)n;
	}
	*len_out = have;
	return 0;
}

/* The LSN of the first record, by content; 0: none. Only the header and that record are looked at. */
static int
segment_first(const struct segment *s, struct scan *scan, uint64_t *first_out)
{
	struct journal_record r;
	size_t len;
	int rc = segment_load(s, scan, &len);

	if (rc == 0)
		*first_out = journal_record_decode((struct span){ scan->buf, len }, &r) == 0 ? 0 : r.lsn;
	return rc;
}

static int
segment_records(struct journal *j, uint32_t i, struct scan *scan)
{
	struct segment *s = &j->seg[i];
	struct journal_record r;
	struct journal_place at;
	size_t len, off = 0, n;
	int rc;

	if ((rc = segment_load(s, scan, &len)) != 0)
		return rc;
	j->next = s->first;
	while ((n = journal_record_decode((struct span){ scan->buf + off, len - off }, &r)) > 0) {
		if (r.lsn != j->next || r.epoch < scan->epoch)
			break;
		at = (struct journal_place){ .segment = i, .text = off + JOURNAL_HEADER,
			.text_len = (uint32_t)r.text.n, .body_len = (uint32_t)r.body.n };
		at.body = at.text + r.text.n + 1;
		if ((rc = scan->f(scan->arg, &r, &at)) != 0)
			return rc;
		scan->epoch = r.epoch;
		s->last = j->next++;
		off += n;
	}
	return 0;
}

/* Names may lie (a copy that was put back, two files exchanged): the first record says which segment it is,
 * if some segment has that name. An older one is what a recycled segment held before. One
 * that cannot be read now may be one of two that were exchanged: under its name it would look empty, and be recycled. */
static int
names_by_content(struct journal *j, struct scan *scan)
{
	uint64_t content[JOURNAL_SEGMENTS_MAX] = { 0 };
	unsigned i, k;
	int rc;

	for (i = 0; i < JOURNAL_SEGMENTS_MAX; i++)
		if (j->seg[i].fd >= 0 && j->seg[i].used && (rc = segment_first(&j->seg[i], scan, &content[i])) != 0)
			return rc;
	for (i = 0; i < JOURNAL_SEGMENTS_MAX; i++) {
		if (content[i] == 0 || content[i] == j->seg[i].first)
			continue;
		for (k = 0; k < JOURNAL_SEGMENTS_MAX; k++)
			if (k != i && j->seg[k].fd >= 0 && j->seg[k].used &&
			    j->seg[k].first == content[i] && content[k] == j->seg[i].first) {
				j->seg[k].first = content[k];
				j->seg[i].first = content[i];
				content[k] = content[i] = 0;
				break;
			}
	}
	return 0;
}

static int
by_first(const void *a, const void *b, void *arg)
{
	const struct journal *j = arg;
	uint64_t x = j->seg[*(const uint32_t *)a].first, y = j->seg[*(const uint32_t *)b].first;

	return x < y ? -1 : x > y;
}

/* A segment without a record has the name that the next one will need. */
static int
recycle_empty(struct journal *j, struct diag *diag)
{
	unsigned i;
	int rc = 0;

	for (i = 0; i < JOURNAL_SEGMENTS_MAX && rc == 0; i++)
		if (j->seg[i].fd >= 0 && j->seg[i].used && j->seg[i].last < j->seg[i].first)
			rc = segment_free(j, i, diag);
	return rc;
}

static int
first_segment(struct journal *j, struct diag *diag)
{
	unsigned used, spare, max;
	uint32_t number = j->spare_number;
	int fd, rc;

	journal_segments(j, &used, &spare, &max);
	if (used + spare > 0)
		return 0;
	j->spare_number++;
	if ((rc = journal_spare_make(j, number, &fd)) == 0)
		rc = journal_spare_add(j, number, fd);
	return rc == 0 ? 0 : diag_set(diag, rc, "cannot make the journal's first segment: %s", pt_strerror(rc));
}

/* What was found may never have been flushed: the last process was killed in between, and the kernel had it. From now on
 * others build on it, and who asks again is told that it was done. */
static int
flush_all(struct journal *j, struct diag *diag)
{
	unsigned i;

	for (i = 0; i < JOURNAL_SEGMENTS_MAX; i++) {
		if (j->seg[i].fd < 0 || !j->seg[i].used)
			continue;
		if (fdatasync(j->seg[i].fd) != 0)
			return diag_set(diag, PT_EIO, "cannot flush journal segment %016llx: %s",
				(unsigned long long)j->seg[i].first, strerror(errno));
		j->seg[i].durable = j->seg[i].last >= j->seg[i].first;
	}
	return 0;
}

#define EPOCH_SLOT 512 /* octets of the lock file between two epochs: sectors of their own */

/* The epoch of the last process, from the lock file; 0: it does not say. */
static uint32_t
epoch_read(const struct journal *j)
{
	uint8_t text[9];
	uint64_t v, last = 0;
	unsigned i;

	for (i = 0; i < 2; i++)
		if (pread(j->lock_fd, text, sizeof text, (off_t)i * EPOCH_SLOT) == sizeof text && text[8] == '\n' &&
		    hex_get(text, 8, &v) && v > last)
			last = v;
	return (uint32_t)last;
}

/* Above that of every process, also of one whose records were all torn, in the same second: what is left of those must never be
 * taken for what this one wrote. It is on the disk before the first record is. */
static int
epoch_take(struct journal *j, uint32_t last, struct diag *diag)
{
	uint32_t held = epoch_read(j);
	time_t now = time(NULL);
	uint8_t text[9];

	last = held > last ? held : last;
	j->epoch = now > (time_t)last && now < UINT32_MAX ? (uint32_t)now : last + 1;
	hex_put(text, 8, j->epoch);
	text[8] = '\n';
	/* in turns: one of them is whole whenever the power goes */
	if (pwrite(j->lock_fd, text, sizeof text, (off_t)(j->epoch & 1) * EPOCH_SLOT) != sizeof text ||
	    fdatasync(j->lock_fd) != 0)
		return diag_set(diag, PT_EIO, "cannot write the journal's lock: %s", strerror(errno));
	return 0;
}

int
journal_replay(struct journal *j, journal_record_f *f, void *arg, uint64_t *gaps_out, struct diag *diag)
{
	struct scan scan = { .f = f, .arg = arg };
	uint32_t order[JOURNAL_SEGMENTS_MAX];
	uint64_t expected = 0;
	unsigned i, n = 0;
	int rc = 0;

	PT_ASSERT(!j->replayed);
	if ((rc = names_by_content(j, &scan)) != 0)
		diag_set(diag, rc, "the journal's segments: %s", pt_strerror(rc));
	for (i = 0; i < JOURNAL_SEGMENTS_MAX; i++)
		if (j->seg[i].fd >= 0 && j->seg[i].used)
			order[n++] = i;
	qsort_r(order, n, sizeof *order, by_first, j);
	for (i = 0; i < n && rc == 0; i++) {
		struct segment *s = &j->seg[order[i]];

		s->last = s->first - 1;
		if (i > 0 && s->first > expected)
			scan.gaps += s->first - expected;
		if ((rc = segment_records(j, order[i], &scan)) != 0)
			diag_set(diag, rc, "journal segment %016llx: %s", (unsigned long long)s->first,
				pt_strerror(rc));
		expected = j->next;
	}
	free(scan.buf);
	if (rc == 0)
		rc = flush_all(j, diag);
	if (rc == 0)
		rc = recycle_empty(j, diag);
	if (rc == 0)
		rc = first_segment(j, diag);
	*gaps_out = scan.gaps;
	if (rc == 0)
		rc = epoch_take(j, scan.epoch, diag);
	j->replayed = true;
	return rc;
}

/* --- writing ---------------------------------------------------------------------------------------- */

uint64_t
journal_next(const struct journal *j)
{
	return j->next;
}

size_t
journal_batch(const struct journal *j)
{
	return j->batch.len;
}

uint64_t
journal_flushes(const struct journal *j)
{
	return j->flushes;
}

static int
batch_room(struct journal *j, size_t n)
{
	struct batch *b = &j->batch;
	size_t cap = b->cap == 0 ? 256 * 1024 : b->cap;
	uint8_t *grown;

	if (b->len > 0 && n > JOURNAL_BATCH_MAX - b->len)
		return PT_EBUSY;
	while (cap < b->len + n)
		cap *= 2;
	if (cap == b->cap)
		return 0;
	if ((grown = realloc(b->p, cap)) == NULL)
		return PT_ENOMEM;
	j->memory += cap - b->cap;
	b->p = grown;
	b->cap = cap;
	return 0;
}

/* The same segment once more, by the name that it still has. */
static int
reopen(const struct journal *j, const char *name, int segment_fd)
{
	int fd = openat(j->dir_fd, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat a, b;

	if (fd >= 0 && (fstat(fd, &a) != 0 || fstat(segment_fd, &b) != 0 || a.st_dev != b.st_dev || a.st_ino != b.st_ino)) {
		close(fd); /* somebody has put another file in its place */
		fd = -1;
	}
	return fd;
}

/* Descriptors for flights of the segment that the batch begins. Where the process has too few of them, fewer flights
 * are under way at once. */
static void
flights_open(struct journal *j)
{
	unsigned n;

	PT_ASSERT(j->flying == 0);
	flights_close(j);
	j->flight[0].fd = j->seg[j->batch.segment].fd;
	for (n = 1; n < JOURNAL_FLIGHTS; n++)
		if ((j->flight[n].fd = reopen(j, j->batch.from, j->flight[0].fd)) < 0)
			break;
	j->nflights = n;
	j->first = 0;
}

/* Whether the batch may begin beside those that are under way. */
static bool
may_join(const struct journal *j)
{
	return j->flying < j->nflights && j->batch.from[0] == '\0' &&
		j->flying_octets + j->batch.len <= JOURNAL_BATCH_MAX;
}

struct journal_flight *
journal_flush_begin(struct journal *j)
{
	struct journal_flight *f;
	struct batch taken = j->batch;

	if (j->failed || taken.len == 0 || (j->flying > 0 && !may_join(j)))
		return NULL;
	if (taken.from[0] != '\0')
		flights_open(j);
	f = &j->flight[(j->first + j->flying++) % j->nflights];
	j->batch = f->b; /* its memory */
	j->batch.len = 0;
	j->batch.from[0] = '\0';
	f->b = taken;
	f->dir_fd = j->flight_dir_fd;
	f->error = NOT_RUN;
	j->flying_octets += taken.len;
	return f;
}

static int
flight_write(const struct journal_flight *f)
{
	const struct batch *b = &f->b;
	size_t done = 0;
	ssize_t n;

	if (b->from[0] != '\0' &&
	    (renameat(f->dir_fd, b->from, f->dir_fd, b->to) != 0 || fsync(f->dir_fd) != 0))
		return errno;
	while (done < b->len) {
		n = pwrite(f->fd, b->p + done, b->len - done, (off_t)(b->off + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? errno : ENOSPC;
		done += (size_t)n;
	}
	return fdatasync(f->fd) != 0 ? errno : 0;
}

void
journal_flush_run(struct journal_flight *f)
{
	f->error = flight_write(f);
}

/* What one burst of large records needed is not kept for all flights. */
static void
batch_forget(struct journal *j, struct batch *b)
{
	if (j->memory <= MEMORY_KEPT)
		return;
	free(b->p);
	j->memory -= b->cap;
	b->p = NULL;
	b->cap = 0;
}

int
journal_flush_end(struct journal *j, struct journal_flight *f)
{
	PT_ASSERT(j->flying > 0 && f == &j->flight[j->first] && f->error != NOT_RUN);
	j->first = (j->first + 1) % j->nflights;
	j->flying--;
	j->flying_octets -= f->b.len;
	f->b.len = 0;
	batch_forget(j, &f->b);
	if (!j->failed && f->error != 0) {
		j->failed = true;
		j->error = f->error;
	}
	if (j->failed) {
		errno = j->error;
		return PT_EIO;
	}
	j->seg[f->b.segment].durable = true;
	j->flushes++;
	return 0;
}

int
journal_flush(struct journal *j)
{
	struct journal_flight *f;

	PT_ASSERT(j->flying == 0);
	if (j->failed)
		return PT_EIO;
	if ((f = journal_flush_begin(j)) == NULL)
		return 0;
	journal_flush_run(f);
	return journal_flush_end(j, f);
}

int
journal_append(struct journal *j, struct span text, const struct span *bodies, size_t nbodies,
	       struct journal_place *at)
{
	size_t len = text.n + 1, i, body = 0;
	struct batch *b = &j->batch;
	uint8_t *p;
	int rc;

	PT_ASSERT(j->replayed);
	if (j->failed)
		return PT_EIO;
	for (i = 0; i < nbodies; i++)
		body += bodies[i].n;
	len += body;
	if (len > j->conf.segment_octets - JOURNAL_HEADER)
		return PT_ETOOBIG;
	if ((rc = batch_room(j, JOURNAL_HEADER + len)) != 0)
		return rc;
	if (!j->begun || j->off + JOURNAL_HEADER + len > j->conf.segment_octets) {
		if (b->len > 0)
			return PT_EBUSY; /* it is of one segment */
		if ((rc = choose_segment(j)) != 0)
			return rc;
	}
	if (b->len == 0) {
		b->segment = j->current;
		b->off = j->off;
	}
	p = b->p + b->len;
	header_write(p, len, j->next, j->epoch);
	*at = (struct journal_place){ .segment = j->current, .text = j->off + JOURNAL_HEADER,
		.text_len = (uint32_t)text.n, .body_len = (uint32_t)body };
	at->body = at->text + text.n + 1;
	memcpy(p + JOURNAL_HEADER, text.p, text.n);
	p[JOURNAL_HEADER + text.n] = '\n';
	for (i = 0, body = JOURNAL_HEADER + text.n + 1; i < nbodies; body += bodies[i++].n)
		memcpy(p + body, bodies[i].p, bodies[i].n);
	hex_put(p + FIELDS_CRC, 8, record_crc(p, p + JOURNAL_HEADER, len));
	b->len += JOURNAL_HEADER + len;
	j->off += JOURNAL_HEADER + len;
	j->seg[j->current].last = j->next++;
	return 0;
}

int
journal_read(const struct journal *j, uint32_t segment, uint64_t off, void *buf, size_t n)
{
	size_t done = 0;
	ssize_t got;

	while (done < n) {
		got = pread(j->seg[segment].fd, (uint8_t *)buf + done, n - done, (off_t)(off + done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return PT_EIO;
		done += (size_t)got;
	}
	return 0;
}
