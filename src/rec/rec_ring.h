/* rec/rec_ring.h - the memory of the flight recorder: one writer, any number of readers.
 *
 * Slots of one record each, in a memfd that is sealed in size: the first REC_RECENT for connections that are open or
 * ended well, the others for those that failed, so that a flood of good ones pushes out no failed one. Memory is
 * touched as it fills. A record carries a number that is odd while it is written; who meets an odd one, or
 * another than before, leaves it out.
 *
 * Of failed ones a new one takes the place of an earlier one of the same address, service and certificate with the same
 * code (repeats counts), then a free slot, then the oldest of that address once it has REC_FAILED_PER_ADDR, then the oldest of the code that
 * most of the slots have: neither one address nor one kind of failure pushes out all others.
 *
 * The writer keeps which slot is whose in memory of its own: what a reader could change or a broken process has
 * left behind is never followed. Not thread safe. */
#ifndef REC_REC_RING_H
#define REC_REC_RING_H

#include "rec/rec.h"
#include "util/err.h"

#include <stdatomic.h>

#define REC_RECENT 768u
#define REC_FAILED 256u
#define REC_SLOTS (REC_RECENT + REC_FAILED)
#define REC_FAILED_PER_ADDR 16u
#define REC_LAYOUT 1u /* changes with struct rec */

struct rec_slot {
	_Atomic uint32_t seq; /* odd while it is written; 0: never */
	uint32_t unused;
	struct rec rec;
};

struct rec_mem {
	_Atomic uint32_t layout;   /* REC_LAYOUT */
	_Atomic uint32_t touched;  /* slots of the recent part that were ever used: no reader looks further */
	_Atomic uint64_t last;     /* number of the last id; outlives what rec_mem_clear() clears */
	uint64_t unused[6];
	struct rec_slot slots[REC_SLOTS];
};

/* A new sealed memfd of the right size, empty. */
int rec_mem_create(int *fd_out) PT_MUST_USE;

/* Maps it; NULL when that fails or the size is wrong. fd is borrowed. */
struct rec_mem *rec_mem_map(int fd, bool writable);
void rec_mem_unmap(struct rec_mem **m);

/* Forgets all records and gives their memory back; only while nobody writes. */
void rec_mem_clear(int fd);

/* --- writing ----------------------------------------------------------------------------------- */

struct rec_writer;

/* Which record is a connection's; all zero: none. */
struct rec_ref {
	uint64_t id;
	uint32_t index;
};

/* slot: of the ids. recent: REC_RECENT, or 0 for a writer that keeps nothing but failed ones; then what is
 * there already stays. mem is borrowed. NULL when out of memory. */
struct rec_writer *rec_writer_new(struct rec_mem *mem, uint32_t slot, unsigned recent);
void rec_writer_free(struct rec_writer **w);

/* A new record, empty but for its id, open: written to by begin and commit. Takes a slot that is free, else that of
 * the connection that ended first, else of the one that was opened first. */
struct rec_ref rec_writer_open(struct rec_writer *w);

/* The record for writing, until rec_writer_commit(); one at a time. NULL: its slot has gone to another. */
struct rec *rec_writer_begin(struct rec_writer *w, struct rec_ref ref);
void rec_writer_commit(struct rec_writer *w, struct rec_ref ref);

/* The connection is over; its record stays until its slot is needed. */
void rec_writer_close(struct rec_writer *w, struct rec_ref ref);

/* A number for a record that has no slot in the recent part. */
uint64_t rec_writer_id(struct rec_writer *w);

/* Puts a copy of a failed one among the failed, or in place of its earlier copy; its code is not 0. */
void rec_writer_fail(struct rec_writer *w, const struct rec *r);

/* The last state of one that was put there: its copy is renewed, unless another has taken its place since. */
void rec_writer_fail_again(struct rec_writer *w, const struct rec *r);

/* --- reading ----------------------------------------------------------------------------------- */

/* What a search needs, before all of it is copied and checked: it may be nonsense. */
struct rec_peek {
	uint32_t seq;
	uint64_t id, start_us, end_us;
	uint32_t flags;
	uint16_t code;
};

/* Slots worth looking at are those below rec_mem_end(mem, false), and from REC_RECENT on. */
unsigned rec_mem_end(const struct rec_mem *m);

/* False: nothing is there, or it is being written. */
bool rec_peek(const struct rec_mem *m, unsigned index, struct rec_peek *out);

/* A whole record, copied and then checked; false: nothing, being written all the time, or no record. */
bool rec_read(const struct rec_mem *m, unsigned index, struct rec *out);

#endif
