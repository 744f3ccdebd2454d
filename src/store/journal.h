/* store/journal.h - the journal: what has been flushed here is done, whatever happens next.
 *
 * A folder of segments, preallocated and written with zeros once, so that a flush has no metadata of the
 * file system to write; recycled by renaming. `<16 hex>.pj` begins with the record of that number (LSN),
 * `free-<8 hex>.pj` is waiting. A record is one line, a text and any octets:
 *
 *     PJ01 <len:8> <crc:8> <lsn:16> <epoch:8>\n      numbers in hexadecimal; len: of all that follows
 *     text lines, an empty line, body                 crc: CRC-32C of len, lsn, epoch and what follows
 *
 * LSNs go up by one, also over starts: the newest segment with records is never recycled. The epoch goes up at each start: a record that a torn write left behind, in front of which
 * a new one happens to end, has an old epoch and ends the scan, as do the old records of a recycled
 * segment by their LSN. The last epoch is in the file `lock`, too, because all records of a process may be torn. Each start begins a new segment, and a scan goes on behind a gap: after a failed flush the
 * end of the last segment is only in memory, and what was acknowledged since must not depend on it.
 *
 * Several flushes may be under way at once, of one segment: each is a *flight*, and they end in the order in which they began, so that
 * what is acknowledged is always a prefix. What a later one has put on the disk before an earlier one was lost is behind
 * a gap inside its segment, which ends the scan of it; and none of a new segment begins before all of the older one have ended,
 * because the scan does go on behind a gap between segments. Linux tells of an error in writing once for each open file
 * description: where two threads wait in fdatasync() on the same one, one of them may be told of the other's error, and the other that all
 * is well. So each flight has a description of its own, opened (not duplicated) before anything is written through it.
 *
 * Used by one thread, but journal_read(), journal_spare_make() and journal_flush_run(), which any may call. */
#ifndef STORE_JOURNAL_H
#define STORE_JOURNAL_H

#include "util/diag.h"
#include "util/span.h"

#define JOURNAL_HEADER 49
#define JOURNAL_SEGMENTS_MAX 256
#define JOURNAL_BATCH_MAX (8u << 20) /* octets that wait for a flush; more are refused with PT_EBUSY */
#define JOURNAL_FLIGHTS 4            /* flushes under way at once, with at most JOURNAL_BATCH_MAX octets together */

struct journal;
struct journal_flight; /* a batch on its way to the disk */

struct journal_conf {
	uint64_t segment_octets; /* of each segment; no record is longer */
	unsigned segments;       /* at most, 2 or more */
};

/* Where a record's parts are, for journal_read(). */
struct journal_place {
	uint32_t segment;
	uint32_t text_len;
	uint64_t text; /* offsets */
	uint64_t body;
	uint32_t body_len;
};

struct journal_record {
	uint64_t lsn;
	uint32_t epoch;
	struct span text; /* borrowed, whole lines */
	struct span body;
};

/* The record that buf begins with. Returns its octets, 0 when there is none that is whole and right. Pure. */
size_t journal_record_decode(struct span buf, struct journal_record *r_out);

/* Opens the folder (borrowed). One process at a time: PT_EBUSY. */
int journal_open(int dir_fd, const struct journal_conf *conf, struct journal **j_out,
		 struct diag *diag) PT_MUST_USE;

/* Closes; what was not flushed is lost. NULL is fine; sets the pointer to NULL. */
void journal_close(struct journal **j);

/* Every record that is there, in order; once, before the first append. Makes the first segment where there is none. f's failure
 * ends it and is returned. gaps_out: how many records are missing between others. Returns when all are flushed. */
typedef int journal_record_f(void *arg, const struct journal_record *r, const struct journal_place *at);
int journal_replay(struct journal *j, journal_record_f *f, void *arg, uint64_t *gaps_out,
		   struct diag *diag) PT_MUST_USE;

/* The LSN of the next record. */
uint64_t journal_next(const struct journal *j);

/* Adds a record to the batch. PT_EFULL: no segment is free; PT_EBUSY: flush first (the batch is full, or its segment);
 * PT_ETOOBIG: longer than a segment;
 * PT_EIO after a failure; PT_ENOMEM. Nothing is added then. text consists of whole lines, none empty. */
int journal_append(struct journal *j, struct span text, const struct span *bodies, size_t nbodies,
		   struct journal_place *place_out) PT_MUST_USE;

/* Makes the batch durable, in three steps. begin takes it; NULL: there is none, or it must wait for the end of another flight, because so
 * many are under way or it begins a new segment, or the journal has failed. run writes it and waits for the disk; any thread, once, while others
 * append to the next batch and begin it. end takes the one that began first, after its run, and says how it went: 0; or PT_EIO,
 * errno says why, for it and all that began later, however their own flush went: they may or may not be durable, and
 * nothing will ever be written again, because a second flush may succeed without the data. The process must end
 * and replay. begin and end belong to the journal's own thread. journal_flush() is all three, for who can wait, when none is under way. */
struct journal_flight *journal_flush_begin(struct journal *j) PT_MUST_USE; /* borrowed until its end */
void journal_flush_run(struct journal_flight *f);
int journal_flush_end(struct journal *j, struct journal_flight *f) PT_MUST_USE;
int journal_flush(struct journal *j) PT_MUST_USE;

/* Octets that wait for a flush, without those that are under way. */
size_t journal_batch(const struct journal *j);

/* Reads n octets at off of a record that has not been recycled. Any thread. */
int journal_read(const struct journal *j, uint32_t segment, uint64_t off, void *buf, size_t n) PT_MUST_USE;

/* All records below lsn are elsewhere: at most max segments that hold no others are free again, the oldest first, never the
 * newest. */
int journal_recycle(struct journal *j, uint64_t lsn, unsigned max, struct diag *diag) PT_MUST_USE;

/* How many journal_recycle() would free. */
unsigned journal_recyclable(const struct journal *j, uint64_t lsn);

/* Segments with records, free ones, and how many there may be. */
void journal_segments(const struct journal *j, unsigned *used_out, unsigned *free_out, unsigned *max_out);

/* Octets that records may still take, and all that they may: of segments that are free, or may be made. */
uint64_t journal_room(const struct journal *j);
uint64_t journal_all(const struct journal *j);

/* Writes one more free segment into a file; any thread. Then journal_spare_add() on the journal's own. */
int journal_spare_make(const struct journal *j, uint32_t number, int *fd_out) PT_MUST_USE;
int journal_spare_add(struct journal *j, uint32_t number, int fd) PT_MUST_USE;
uint32_t journal_spare_number(struct journal *j); /* a number for it */

/* Flushes since it was opened. */
uint64_t journal_flushes(const struct journal *j);

#endif
