/* unit/store/test_journal.c - the journal against what disks and people do to it: torn records, segments that are exchanged, lost
 * or old, failed flushes, no room. */
#include "store/crc32c.h"
#include "store/journal.h"

#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEGMENT 8192

static char dir[64];
static int dir_fd;

/* --- faults ---------------------------------------------------------------------------------------------------- */

static int fail_write, fail_flush; /* errno for the next one, 0: none */
static unsigned flushes;
static int flushed_fd[16]; /* by the last flushes */

ssize_t __real_pwrite(int fd, const void *p, size_t n, off_t off);
ssize_t __wrap_pwrite(int fd, const void *p, size_t n, off_t off);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

ssize_t
__wrap_pwrite(int fd, const void *p, size_t n, off_t off)
{
	if (fail_write != 0) {
		errno = fail_write;
		fail_write = 0;
		return -1;
	}
	/* never more than a piece: the caller must go on */
	return __real_pwrite(fd, p, n > 1000 ? 1000 : n, off);
}

int
__wrap_fdatasync(int fd)
{
	flushed_fd[flushes++ % PT_COUNT(flushed_fd)] = fd;
	if (fail_flush != 0) {
		errno = fail_flush;
		fail_flush = 0;
		return -1;
	}
	return __real_fdatasync(fd);
}

/* --- helpers --------------------------------------------------------------------------------------------------- */

static void
folder_new(void)
{
	snprintf(dir, sizeof dir, "/tmp/postern-journal-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void
folder_end(void)
{
	char command[128];

	close(dir_fd);
	snprintf(command, sizeof command, "rm -rf %s", dir);
	CU_ASSERT_EQUAL(system(command), 0);
}

struct seen {
	unsigned n;
	uint64_t first, last;
	uint32_t crc; /* of all texts and bodies */
};

static int
see(void *arg, const struct journal_record *r, const struct journal_place *at)
{
	struct seen *s = arg;

	(void)at;
	if (s->n++ == 0)
		s->first = r->lsn;
	s->last = r->lsn;
	s->crc = crc32c(s->crc, r->text.p, r->text.n);
	s->crc = crc32c(s->crc, r->body.p, r->body.n);
	return 0;
}

static struct journal *
open_journal(unsigned segments, struct seen *s, uint64_t *gaps)
{
	struct journal_conf conf = { .segment_octets = SEGMENT, .segments = segments };
	struct journal *j;
	struct diag diag = { "" };

	memset(s, 0, sizeof *s);
	if (journal_open(dir_fd, &conf, &j, &diag) != 0) {
		fprintf(stderr, "%s\n", diag.text);
		CU_FAIL_FATAL("cannot open");
	}
	CU_ASSERT_EQUAL_FATAL(journal_replay(j, see, s, gaps, &diag), 0);
	return j;
}

static int
put(struct journal *j, const char *text, size_t body)
{
	static uint8_t octets[SEGMENT];
	struct span s = { octets, body };
	struct journal_place at;
	unsigned used, spare, max;
	uint32_t number;
	size_t i;
	int rc, fd;

	for (i = 0; i < body; i++)
		octets[i] = (uint8_t)(i * 7 + body);
	while ((rc = journal_append(j, span_str(text), &s, 1, &at)) == PT_EBUSY)
		CU_ASSERT_EQUAL_FATAL(journal_flush(j), 0);
	journal_segments(j, &used, &spare, &max);
	if (rc != PT_EFULL || used == max)
		return rc;
	number = journal_spare_number(j);
	CU_ASSERT_EQUAL_FATAL(journal_spare_make(j, number, &fd), 0);
	CU_ASSERT_EQUAL_FATAL(journal_spare_add(j, number, fd), 0);
	return journal_append(j, span_str(text), &s, 1, &at);
}

static void
damage(const char *name, off_t off, const void *p, size_t n)
{
	int fd = openat(dir_fd, name, O_WRONLY);

	CU_ASSERT_FATAL(fd >= 0 && __real_pwrite(fd, p, n, off) == (ssize_t)n);
	close(fd);
}

#define FIRST "0000000000000001.pj"

/* --- tests ----------------------------------------------------------------------------------------------------- */

static void
test_crc(void)
{
	uint8_t b[300];
	size_t i;

	CU_ASSERT_EQUAL(crc32c(0, "123456789", 9), 0xe3069283); /* RFC 3720 appendix B.4's polynomial */
	CU_ASSERT_EQUAL(crc32c_table(0, "123456789", 9), 0xe3069283);
	for (i = 0; i < sizeof b; i++)
		b[i] = (uint8_t)(i * i);
	for (i = 0; i < sizeof b; i++) {
		CU_ASSERT_EQUAL(crc32c(0, b, i), crc32c_table(0, b, i));
		CU_ASSERT_EQUAL(crc32c(crc32c(0, b, i), b + i, sizeof b - i), crc32c(0, b, sizeof b));
	}
}

static void
test_records(void)
{
	struct journal_place at;
	struct seen s;
	struct journal *j;
	uint64_t gaps;
	uint8_t back[100];
	unsigned i;

	folder_new();
	j = open_journal(3, &s, &gaps);
	CU_ASSERT_EQUAL(s.n, 0);
	CU_ASSERT_EQUAL(journal_next(j), 1);
	flushes = 0;
	for (i = 0; i < 10; i++)
		CU_ASSERT_EQUAL(put(j, "a line\nanother\n", 500), 0);
	CU_ASSERT_EQUAL(flushes, 0);
	CU_ASSERT_EQUAL(journal_flush(j), 0);
	CU_ASSERT_EQUAL(flushes, 1); /* all of them with one */
	CU_ASSERT_EQUAL(journal_flush(j), 0);
	CU_ASSERT_EQUAL(flushes, 1);
	CU_ASSERT_EQUAL(journal_append(j, span_str("T x\n"), (struct span[]){ span_str("body"), span_str("parts") }, 2,
		&at), 0);
	CU_ASSERT_EQUAL(journal_flush(j), 0);
	CU_ASSERT_EQUAL(at.body_len, 9);
	CU_ASSERT_EQUAL(journal_read(j, at.segment, at.body, back, 9), 0);
	CU_ASSERT_EQUAL(memcmp(back, "bodyparts", 9), 0);
	journal_close(&j);
	j = open_journal(3, &s, &gaps);
	CU_ASSERT_EQUAL(s.n, 11);
	CU_ASSERT_EQUAL(s.last, 11);
	CU_ASSERT_EQUAL(gaps, 0);
	CU_ASSERT_EQUAL(journal_next(j), 12);
	/* not flushed: not there */
	CU_ASSERT_EQUAL(put(j, "x\n", 1), 0);
	journal_close(&j);
	j = open_journal(3, &s, &gaps);
	CU_ASSERT_EQUAL(s.n, 11);
	journal_close(&j);
	folder_end();
}

/* At the maximum and one beyond; full, and free again. */
static void
test_room(void)
{
	struct seen s;
	struct journal *j;
	uint64_t gaps;
	struct diag diag;
	unsigned used, spare, max;

	folder_new();
	j = open_journal(3, &s, &gaps);
	CU_ASSERT_EQUAL(journal_all(j), 3 * SEGMENT);
	CU_ASSERT_EQUAL(journal_room(j), 3 * SEGMENT); /* most of it is not made yet */
	CU_ASSERT_EQUAL(put(j, "x\n", SEGMENT - JOURNAL_HEADER - 3 + 1), PT_ETOOBIG);
	CU_ASSERT_EQUAL(put(j, "x\n", SEGMENT - JOURNAL_HEADER - 3), 0);
	CU_ASSERT_EQUAL(journal_room(j), 2 * SEGMENT);
	CU_ASSERT_EQUAL(put(j, "x\n", 10), 0);
	CU_ASSERT_EQUAL(journal_room(j), 2 * SEGMENT - JOURNAL_HEADER - 13);
	CU_ASSERT_EQUAL(put(j, "x\n", SEGMENT - JOURNAL_HEADER - 3), 0);
	CU_ASSERT_EQUAL(journal_room(j), 0);
	CU_ASSERT_EQUAL(put(j, "x\n", 0), PT_EFULL);
	CU_ASSERT_EQUAL(journal_flush(j), 0);
	journal_segments(j, &used, &spare, &max);
	CU_ASSERT_EQUAL(used, 3);
	CU_ASSERT_EQUAL(journal_recyclable(j, 1), 0);
	CU_ASSERT_EQUAL(journal_recyclable(j, 2), 1);
	CU_ASSERT_EQUAL(journal_recyclable(j, 3), 2);
	CU_ASSERT_EQUAL(journal_recyclable(j, 4), 2); /* never the newest */
	CU_ASSERT_EQUAL(journal_recycle(j, 2, 9, &diag), 0);
	CU_ASSERT_EQUAL(journal_room(j), SEGMENT);
	CU_ASSERT_EQUAL(put(j, "x\n", 10), 0);
	CU_ASSERT_EQUAL(journal_flush(j), 0);
	CU_ASSERT_EQUAL(put(j, "y\n", SEGMENT), PT_ETOOBIG);
	journal_close(&j);
	j = open_journal(3, &s, &gaps); /* what the recycled one held before is behind the new record, and not taken */
	CU_ASSERT_EQUAL(s.n, 3);
	CU_ASSERT_EQUAL(s.first, 2);
	CU_ASSERT_EQUAL(s.last, 4);
	journal_close(&j);
	folder_end();
}

/* Freed one at a time, in the order of the records and not of the slots: what a kill leaves has no hole. */
static void
test_recycled_in_order(void)
{
	struct seen s;
	struct journal *j;
	uint64_t gaps, lsn = 1, first;
	struct diag diag;
	int i;

	folder_new();
	j = open_journal(4, &s, &gaps);
	for (i = 0; i < 11; i++, lsn++) { /* each goes into a segment of its own */
		if (lsn > 3)
			CU_ASSERT_EQUAL(journal_recycle(j, lsn - 2, 1, &diag), 0);
		CU_ASSERT_EQUAL_FATAL(put(j, "x\n", SEGMENT - JOURNAL_HEADER - 3), 0);
		CU_ASSERT_EQUAL(journal_flush(j), 0);
	}
	first = lsn - 3;
	for (i = 0; i < 2; i++, first++) {
		journal_close(&j);
		j = open_journal(4, &s, &gaps);
		CU_ASSERT_EQUAL(gaps, 0);
		CU_ASSERT_EQUAL(s.first, first);
		CU_ASSERT_EQUAL(s.last, lsn - 1);
		CU_ASSERT_EQUAL(journal_recycle(j, lsn, 1, &diag), 0);
	}
	journal_close(&j);
	folder_end();
}

/* The last record cut or changed at every octet: all before it are there, it is not. */
static void
test_torn(void)
{
	static const uint8_t junk[SEGMENT] = { 0x55 };
	struct seen s;
	struct journal *j;
	uint64_t gaps;
	uint32_t crc;
	off_t off, start = 3 * (JOURNAL_HEADER + 2 + 1 + 40), end = start + JOURNAL_HEADER + 2 + 1 + 40;
	uint8_t was, is;
	unsigned i;
	int fd;

	folder_new();
	j = open_journal(4, &s, &gaps);
	for (i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(put(j, "x\n", 40), 0);
	CU_ASSERT_EQUAL(journal_flush(j), 0);
	journal_close(&j);
	j = open_journal(4, &s, &gaps);
	crc = s.crc;
	journal_close(&j);
	folder_end();
	for (i = 0; i < 2; i++)
		for (off = start; off < end; off++) {
			folder_new();
			j = open_journal(4, &s, &gaps);
			CU_ASSERT_EQUAL(put(j, "x\n", 40) | put(j, "x\n", 40) | put(j, "x\n", 40) | put(j, "x\n", 40), 0);
			CU_ASSERT_EQUAL(journal_flush(j), 0);
			journal_close(&j);
			if (i == 0) {
				damage(FIRST, off, junk, (size_t)(end - off));
			} else {
				fd = openat(dir_fd, FIRST, O_RDONLY);
				CU_ASSERT_EQUAL(pread(fd, &was, 1, off), 1);
				close(fd);
				is = was ^ 0x20;
				damage(FIRST, off, &is, 1);
			}
			j = open_journal(4, &s, &gaps);
			CU_ASSERT_EQUAL(s.n, 3);
			CU_ASSERT_EQUAL(s.crc, crc);
			/* and goes on: what comes now is found, and nothing that lay behind */
			CU_ASSERT_EQUAL(put(j, "y\n", 40), 0);
			CU_ASSERT_EQUAL(journal_flush(j), 0);
			journal_close(&j);
			j = open_journal(4, &s, &gaps);
			CU_ASSERT_EQUAL(s.n, 4);
			CU_ASSERT_EQUAL(s.last, 4);
			CU_ASSERT_EQUAL(gaps, 0);
			journal_close(&j);
			folder_end();
		}
}

static void
fill(unsigned records)
{
	struct seen s;
	struct journal *j;
	uint64_t gaps;

	j = open_journal(6, &s, &gaps);
	while (records-- > 0) {
		CU_ASSERT_EQUAL(put(j, "x\n", 3000), 0); /* two in a segment */
		CU_ASSERT_EQUAL(journal_flush(j), 0);
	}
	journal_close(&j);
}

static void
test_segments(void)
{
	struct seen s;
	struct journal *j;
	uint64_t gaps;
	uint32_t crc;

	folder_new();
	fill(8);
	j = open_journal(6, &s, &gaps);
	CU_ASSERT_EQUAL(s.n, 8);
	crc = s.crc;
	journal_close(&j);
	/* two exchanged: their contents say which they are */
	CU_ASSERT_EQUAL(renameat(dir_fd, FIRST, dir_fd, "x"), 0);
	CU_ASSERT_EQUAL(renameat(dir_fd, "0000000000000003.pj", dir_fd, FIRST), 0);
	CU_ASSERT_EQUAL(renameat(dir_fd, "x", dir_fd, "0000000000000003.pj"), 0);
	j = open_journal(6, &s, &gaps);
	CU_ASSERT_EQUAL(s.n, 8);
	CU_ASSERT_EQUAL(s.crc, crc);
	CU_ASSERT_EQUAL(gaps, 0);
	journal_close(&j);
	/* one lost in the middle: the others count, and it is said */
	CU_ASSERT_EQUAL(unlinkat(dir_fd, "0000000000000005.pj", 0), 0);
	j = open_journal(6, &s, &gaps);
	CU_ASSERT_EQUAL(s.n, 6);
	CU_ASSERT_EQUAL(gaps, 2);
	CU_ASSERT_EQUAL(journal_next(j), 9);
	journal_close(&j);
	folder_end();
}

/* A failed flush is final; the next start has what is on the disk. */
static void
test_failed(void)
{
	struct seen s;
	struct journal *j;
	uint64_t gaps;
	unsigned i;

	for (i = 0; i < 2; i++) {
		folder_new();
		j = open_journal(3, &s, &gaps);
		CU_ASSERT_EQUAL(put(j, "x\n", 10), 0);
		CU_ASSERT_EQUAL(journal_flush(j), 0);
		CU_ASSERT_EQUAL(put(j, "x\n", 10), 0);
		*(i == 0 ? &fail_flush : &fail_write) = EIO;
		CU_ASSERT_EQUAL(journal_flush(j), PT_EIO);
		flushes = 0;
		CU_ASSERT_EQUAL(journal_flush(j), PT_EIO);
		CU_ASSERT_EQUAL(put(j, "x\n", 10), PT_EIO);
		CU_ASSERT_EQUAL(flushes, 0);
		journal_close(&j);
		j = open_journal(3, &s, &gaps);
		CU_ASSERT(s.n == 1 || s.n == 2);
		CU_ASSERT_EQUAL(put(j, "y\n", 10), 0);
		CU_ASSERT_EQUAL(journal_flush(j), 0);
		journal_close(&j);
		folder_end();
	}
}

/* So that there are free ones. */
static void
spare(struct journal *j, unsigned n)
{
	uint32_t number;
	int fd;

	while (n-- > 0) {
		number = journal_spare_number(j);
		CU_ASSERT_EQUAL_FATAL(journal_spare_make(j, number, &fd), 0);
		CU_ASSERT_EQUAL_FATAL(journal_spare_add(j, number, fd), 0);
	}
}

/* While a batch is on its way the next one gathers, into the next segment too, which waits for the end of the older one. */
static void
test_gathers(void)
{
	struct journal_place at;
	struct span body = { (const uint8_t[3000]){ 7 }, 3000 };
	struct journal_flight *f;
	struct seen s;
	struct journal *j;
	uint64_t gaps;
	unsigned i;

	folder_new();
	j = open_journal(4, &s, &gaps);
	spare(j, 3);
	CU_ASSERT_PTR_NULL(journal_flush_begin(j));
	for (i = 0; i < 6; i += 2) { /* two records fill a segment */
		CU_ASSERT_EQUAL(journal_append(j, span_str("x\n"), &body, 1, &at), 0);
		CU_ASSERT_PTR_NOT_NULL_FATAL(f = journal_flush_begin(j));
		CU_ASSERT_EQUAL(journal_batch(j), 0);
		CU_ASSERT_EQUAL(journal_append(j, span_str("y\n"), &body, 1, &at), 0);
		CU_ASSERT_EQUAL(journal_append(j, span_str("z\n"), &body, 1, &at), PT_EBUSY);
		journal_flush_run(f);
		CU_ASSERT_EQUAL(journal_flush_end(j, f), 0);
		CU_ASSERT_EQUAL(journal_flush(j), 0);
	}
	CU_ASSERT_EQUAL(journal_append(j, span_str("x\n"), &body, 1, &at), 0);
	CU_ASSERT_PTR_NOT_NULL(journal_flush_begin(j)); /* never run: as if killed */
	journal_close(&j);
	j = open_journal(4, &s, &gaps);
	CU_ASSERT_EQUAL(s.n, 6);
	CU_ASSERT_EQUAL(s.last, 6);
	CU_ASSERT_EQUAL(gaps, 0);
	journal_close(&j);
	folder_end();
}

/* Begins flights of one record each, with so many octets beside. */
static void
begin(struct journal *j, struct journal_flight **f, unsigned n, size_t octets)
{
	while (n-- > 0) {
		CU_ASSERT_EQUAL_FATAL(put(j, "x\n", octets), 0);
		CU_ASSERT_PTR_NOT_NULL_FATAL(*f++ = journal_flush_begin(j));
	}
}

/* Several flushes at once: none more than there are flights, each through a description of its own, and they end in order. */
static void
test_flights(void)
{
	struct journal_flight *f[JOURNAL_FLIGHTS];
	struct seen s;
	struct journal *j;
	uint64_t gaps;
	unsigned i, k;

	folder_new();
	j = open_journal(3, &s, &gaps);
	for (k = 0; k < 3; k++) { /* the ring goes round */
		begin(j, f, JOURNAL_FLIGHTS - (k == 1), 100);
		CU_ASSERT_EQUAL(put(j, "x\n", 100), 0);
		if (k != 1)
			CU_ASSERT_PTR_NULL(journal_flush_begin(j)); /* it gathers */
		flushes = 0;
		for (i = JOURNAL_FLIGHTS - (k == 1); i-- > 0;) /* the disk takes them in whatever order */
			journal_flush_run(f[i]);
		for (i = 0; i + 1 < flushes; i++) { /* dup() would share the place */
			CU_ASSERT_NOT_EQUAL(flushed_fd[i], flushed_fd[i + 1]);
			CU_ASSERT_EQUAL(lseek(flushed_fd[i], 7 + i, SEEK_SET), 7 + i);
			CU_ASSERT_EQUAL(lseek(flushed_fd[i + 1], 0, SEEK_CUR), 0);
			CU_ASSERT_EQUAL(lseek(flushed_fd[i], 0, SEEK_SET), 0);
		}
		for (i = 0; i < JOURNAL_FLIGHTS - (k == 1); i++)
			CU_ASSERT_EQUAL(journal_flush_end(j, f[i]), 0);
		CU_ASSERT_EQUAL(journal_flush(j), 0);
	}
	CU_ASSERT_EQUAL(journal_flushes(j), 3 * JOURNAL_FLIGHTS + 2);
	journal_close(&j);
	j = open_journal(3, &s, &gaps);
	CU_ASSERT_EQUAL(s.n, 3 * JOURNAL_FLIGHTS + 2);
	CU_ASSERT_EQUAL(gaps, 0);
	journal_close(&j);
	folder_end();
}

/* One in the middle fails, to be flushed or to be written: what began before it is done, and nothing that began later, although that
 * is on the disk. The next start has all up to the gap, and never what lies behind it. */
static void
test_flight_fails(void)
{
	struct journal_flight *f[3];
	struct seen s;
	struct journal *j;
	uint64_t gaps, next;
	unsigned i;

	for (i = 0; i < 2; i++) {
		folder_new();
		j = open_journal(3, &s, &gaps);
		begin(j, f, 3, 100);
		*(i == 0 ? &fail_flush : &fail_write) = EIO;
		journal_flush_run(f[1]);
		journal_flush_run(f[2]);
		journal_flush_run(f[0]);
		CU_ASSERT_EQUAL(journal_flush_end(j, f[0]), 0);
		errno = 0;
		CU_ASSERT_EQUAL(journal_flush_end(j, f[1]), PT_EIO);
		CU_ASSERT_EQUAL(errno, EIO);
		CU_ASSERT_EQUAL(put(j, "x\n", 10), PT_EIO);
		errno = 0;
		CU_ASSERT_EQUAL(journal_flush_end(j, f[2]), PT_EIO);
		CU_ASSERT_EQUAL(errno, EIO);
		CU_ASSERT_PTR_NULL(journal_flush_begin(j));
		CU_ASSERT_EQUAL(journal_flushes(j), 1);
		journal_close(&j);
		j = open_journal(3, &s, &gaps);
		CU_ASSERT_EQUAL(s.n, i == 0 ? 3 : 1); /* what was written can still be read here */
		next = journal_next(j);
		CU_ASSERT_EQUAL(next, s.n + 1);
		CU_ASSERT_EQUAL(put(j, "y\n", 100), 0); /* as long as the one that is missing */
		CU_ASSERT_EQUAL(journal_flush(j), 0);
		journal_close(&j);
		j = open_journal(3, &s, &gaps);
		CU_ASSERT_EQUAL(s.last, next);
		CU_ASSERT_EQUAL(s.n, next);
		CU_ASSERT_EQUAL(gaps, 0);
		journal_close(&j);
		folder_end();
	}
}

/* Killed when only later flights had reached the disk, in the segment that they began, which may have no record then: they never
 * were. What comes afterwards has their numbers, and may lie in the same segment. */
static void
test_flights_killed(void)
{
	struct journal_flight *f[3];
	struct seen s;
	struct journal *j;
	uint64_t gaps;
	unsigned lost;

	for (lost = 0; lost < 3; lost++) {
		folder_new();
		j = open_journal(2, &s, &gaps);
		begin(j, f, 3, 100);
		if (lost != 0)
			journal_flush_run(f[0]);
		if (lost != 1)
			journal_flush_run(f[1]);
		if (lost != 2)
			journal_flush_run(f[2]);
		journal_close(&j);
		j = open_journal(2, &s, &gaps);
		CU_ASSERT_EQUAL(s.n, lost);
		CU_ASSERT_EQUAL(gaps, 0);
		CU_ASSERT_EQUAL(put(j, "y\n", 100), 0);
		CU_ASSERT_EQUAL(journal_flush(j), 0);
		journal_close(&j);
		j = open_journal(2, &s, &gaps);
		CU_ASSERT_EQUAL(s.n, lost + 1);
		CU_ASSERT_EQUAL(s.last, lost + 1);
		CU_ASSERT_EQUAL(gaps, 0);
		journal_close(&j);
		folder_end();
	}
}

/* A new segment begins when all flights of the older one have ended: a scan goes on behind a gap between segments. Its own
 * then begin at once, beside the one that gives it its name. */
static void
test_flights_segment(void)
{
	struct journal_flight *f[3];
	struct seen s;
	struct journal *j;
	struct stat st;
	uint64_t gaps;
	unsigned i;

	folder_new();
	j = open_journal(3, &s, &gaps);
	spare(j, 2);
	begin(j, f, 2, 3000); /* two fill it */
	CU_ASSERT_EQUAL(put(j, "x\n", 3000), 0);
	CU_ASSERT_PTR_NULL(journal_flush_begin(j));
	for (i = 0; i < 2; i++) {
		journal_flush_run(f[i]);
		CU_ASSERT_PTR_NULL(journal_flush_begin(j));
		CU_ASSERT_EQUAL(journal_flush_end(j, f[i]), 0);
	}
	CU_ASSERT_PTR_NOT_NULL_FATAL(f[0] = journal_flush_begin(j));
	begin(j, f + 1, 1, 100);
	journal_flush_run(f[1]);
	CU_ASSERT_NOT_EQUAL(fstatat(dir_fd, "0000000000000003.pj", &st, 0), 0);
	CU_ASSERT_FALSE(journal_recyclable(j, 5)); /* nothing of the new one is there for good */
	journal_flush_run(f[0]);
	CU_ASSERT_EQUAL(fstatat(dir_fd, "0000000000000003.pj", &st, 0), 0);
	CU_ASSERT_EQUAL(journal_flush_end(j, f[0]), 0);
	CU_ASSERT_TRUE(journal_recyclable(j, 5));
	CU_ASSERT_EQUAL(journal_flush_end(j, f[1]), 0);
	journal_close(&j);
	j = open_journal(3, &s, &gaps);
	CU_ASSERT_EQUAL(s.n, 4);
	CU_ASSERT_EQUAL(gaps, 0);
	journal_close(&j);
	folder_end();
}

/* Without descriptors for more there is one at a time, and the next segment has them again. */
static void
test_flights_descriptors(void)
{
	struct journal_flight *f[2];
	struct rlimit was, none;
	struct seen s;
	struct journal *j;
	uint64_t gaps;

	folder_new();
	j = open_journal(3, &s, &gaps);
	spare(j, 2);
	CU_ASSERT_EQUAL(getrlimit(RLIMIT_NOFILE, &was), 0);
	none = was;
	none.rlim_cur = 3;
	CU_ASSERT_EQUAL(put(j, "x\n", 3000), 0);
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &none), 0);
	f[0] = journal_flush_begin(j);
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &was), 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(f[0]);
	CU_ASSERT_EQUAL(put(j, "x\n", 3000), 0);
	CU_ASSERT_PTR_NULL(journal_flush_begin(j));
	journal_flush_run(f[0]);
	CU_ASSERT_EQUAL(journal_flush_end(j, f[0]), 0);
	CU_ASSERT_EQUAL(journal_flush(j), 0);
	begin(j, f, 2, 3000); /* two fill a segment */
	journal_flush_run(f[0]);
	journal_flush_run(f[1]);
	CU_ASSERT_EQUAL(journal_flush_end(j, f[0]), 0);
	CU_ASSERT_EQUAL(journal_flush_end(j, f[1]), 0);
	journal_close(&j);
	j = open_journal(3, &s, &gaps);
	CU_ASSERT_EQUAL(s.n, 4);
	journal_close(&j);
	folder_end();
}

/* What is under way has a maximum, too; one that is larger goes alone. */
static void
test_flights_octets(void)
{
	static uint8_t octets[JOURNAL_BATCH_MAX];
	struct journal_conf conf = { .segment_octets = 4 * JOURNAL_BATCH_MAX, .segments = 2 };
	struct span half = { octets, JOURNAL_BATCH_MAX / 2 - JOURNAL_HEADER - 3 }, more = { octets, half.n + 1 };
	struct journal_flight *f[2];
	struct journal_place at;
	struct seen s = { 0 };
	struct journal *j;
	struct diag diag;
	uint64_t gaps;

	folder_new();
	CU_ASSERT_EQUAL_FATAL(journal_open(dir_fd, &conf, &j, &diag), 0);
	CU_ASSERT_EQUAL_FATAL(journal_replay(j, see, &s, &gaps, &diag), 0);
	CU_ASSERT_EQUAL(journal_append(j, span_str("x\n"), &half, 1, &at), 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(f[0] = journal_flush_begin(j));
	CU_ASSERT_EQUAL(journal_append(j, span_str("x\n"), &half, 1, &at), 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(f[1] = journal_flush_begin(j)); /* the maximum */
	CU_ASSERT_EQUAL(journal_append(j, span_str("x\n"), &more, 1, &at), 0);
	CU_ASSERT_PTR_NULL(journal_flush_begin(j));
	journal_flush_run(f[0]);
	CU_ASSERT_EQUAL(journal_flush_end(j, f[0]), 0);
	CU_ASSERT_PTR_NULL(journal_flush_begin(j)); /* and one more */
	journal_flush_run(f[1]);
	CU_ASSERT_EQUAL(journal_flush_end(j, f[1]), 0);
	CU_ASSERT_EQUAL(journal_flush(j), 0);
	journal_close(&j);
	memset(&s, 0, sizeof s);
	CU_ASSERT_EQUAL_FATAL(journal_open(dir_fd, &conf, &j, &diag), 0);
	CU_ASSERT_EQUAL_FATAL(journal_replay(j, see, &s, &gaps, &diag), 0);
	CU_ASSERT_EQUAL(s.n, 3);
	journal_close(&j);
	folder_end();
}

/* Started and ended with nothing to say, and all that there was is elsewhere: the numbers go on. Beginning again at 1 they
 * would meet old records of recycled segments, which then count as the next ones. */
static void
test_newest_stays(void)
{
	struct seen s;
	struct journal *j;
	struct diag diag;
	uint64_t gaps;
	unsigned i;

	folder_new();
	fill(5);
	for (i = 0; i < 3; i++) {
		j = open_journal(4, &s, &gaps);
		CU_ASSERT_EQUAL(journal_next(j), 6);
		CU_ASSERT_EQUAL(journal_recycle(j, 6, 9, &diag), 0);
		CU_ASSERT_FALSE(journal_recyclable(j, 6));
		journal_close(&j);
	}
	/* begun and not yet flushed is not there for good */
	j = open_journal(4, &s, &gaps);
	CU_ASSERT_EQUAL(put(j, "x\n", 10), 0);
	CU_ASSERT_EQUAL(journal_recycle(j, 6, 9, &diag), 0);
	journal_close(&j);
	j = open_journal(4, &s, &gaps);
	CU_ASSERT_EQUAL(s.last, 5);
	CU_ASSERT_EQUAL(journal_next(j), 6);
	CU_ASSERT_EQUAL(put(j, "x\n", 10), 0);
	CU_ASSERT_EQUAL(journal_flush(j), 0);
	CU_ASSERT_TRUE(journal_recyclable(j, 6));
	journal_close(&j);
	folder_end();
}

/* What a killed process wrote and did not flush is found, and flushed before anybody is told of it. */
static void
test_found_is_flushed(void)
{
	struct journal_conf conf = { .segment_octets = SEGMENT, .segments = 3 };
	struct seen s;
	struct journal *j;
	struct diag diag;
	uint64_t gaps;

	folder_new();
	fill(1);
	flushes = 0;
	j = open_journal(3, &s, &gaps);
	CU_ASSERT_EQUAL(s.n, 1);
	CU_ASSERT_EQUAL(flushes, 2); /* it, and the new epoch */
	journal_close(&j);
	CU_ASSERT_EQUAL_FATAL(journal_open(dir_fd, &conf, &j, &diag), 0);
	fail_flush = EIO;
	CU_ASSERT_EQUAL(journal_replay(j, see, &s, &gaps, &diag), PT_EIO);
	journal_close(&j);
	folder_end();
}

static void
test_locked(void)
{
	struct journal_conf conf = { .segment_octets = SEGMENT, .segments = 2 };
	struct seen s;
	struct journal *j, *other;
	struct diag diag;
	uint64_t gaps;

	folder_new();
	j = open_journal(2, &s, &gaps);
	CU_ASSERT_EQUAL(journal_open(dir_fd, &conf, &other, &diag), PT_EBUSY);
	CU_ASSERT_PTR_NULL(other);
	journal_close(&j);
	CU_ASSERT_EQUAL(journal_open(dir_fd, &conf, &other, &diag), 0);
	journal_close(&other);
	/* another size: free ones are made anew, used ones are read as they are */
	conf.segment_octets = 2 * SEGMENT;
	CU_ASSERT_EQUAL(journal_open(dir_fd, &conf, &other, &diag), 0);
	journal_close(&other);
	folder_end();
}

/* A process whose records were all torn has had an epoch: what is left of them is never the next one's, however quickly that
 * comes. */
static void
test_epochs(void)
{
	char epoch[2][9] = { "", "" };
	struct journal_place at;
	struct journal *j;
	struct seen s;
	uint64_t gaps;
	int i, fd;

	folder_new();
	for (i = 0; i < 2; i++) {
		j = open_journal(2, &s, &gaps);
		CU_ASSERT_EQUAL(s.n, 0);
		CU_ASSERT_EQUAL(journal_append(j, span_str("a\n"), NULL, 0, &at), 0);
		CU_ASSERT_EQUAL(journal_flush(j), 0);
		journal_close(&j);
		fd = openat(dir_fd, "0000000000000001.pj", O_RDONLY);
		CU_ASSERT_EQUAL(pread(fd, epoch[i], 8, JOURNAL_HEADER - 9), 8);
		close(fd);
		fd = openat(dir_fd, "0000000000000001.pj", O_WRONLY);
		CU_ASSERT_EQUAL(write(fd, "torn", 4), 4);
		close(fd);
	}
	CU_ASSERT(strcmp(epoch[0], epoch[1]) < 0);
	folder_end();
}

static const struct test_row rows[] = {
	{ "CRC-32C", test_crc },
	{ "records", test_records },
	{ "room", test_room },
	{ "recycled in order", test_recycled_in_order },
	{ "torn at every octet", test_torn },
	{ "segments exchanged and lost", test_segments },
	{ "a flush that failed", test_failed },
	{ "a batch gathers while another is flushed", test_gathers },
	{ "several flushes at once", test_flights },
	{ "one of several flushes fails", test_flight_fails },
	{ "killed while later flushes were done", test_flights_killed },
	{ "a new segment waits for the older one's flushes", test_flights_segment },
	{ "no descriptors for several flushes", test_flights_descriptors },
	{ "octets of several flushes", test_flights_octets },
	{ "the newest stays", test_newest_stays },
	{ "what is found is flushed", test_found_is_flushed },
	{ "epochs", test_epochs },
	{ "one at a time", test_locked },
};

TEST_MAIN("store/journal", rows)
