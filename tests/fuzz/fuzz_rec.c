/* fuzz/fuzz_rec.c - any memory as a worker's flight recorder: everything that "postern" does with it. What the octets
 * make is read the way control reads it, judged, said and written as JSON; and a writer goes on with it. */
#include "rec/rec_json.h"
#include "rec/rec_ring.h"
#include "rec/why.h"
#include "util/err.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct rec_mem mem; /* stays mapped: 1.5 MiB */

static void
say(const struct rec *r)
{
	struct buf b;
	json_t *o;

	PT_ASSERT(why_judge(r) < WHY_COUNT);
	if (r->code != WHY_NOTHING) {
		(void)why_kind(r);
		buf_init(&b, WHY_SENTENCE_MAX);
		PT_ASSERT(why_sentence_put(r, &b) == 0);
		buf_fini(&b);
	}
	PT_ASSERT((o = rec_json(r, 0)) != NULL);
	json_decref(o);
}

static void
write_on(const struct rec *r)
{
	struct rec_writer *w = rec_writer_new(&mem, 1, 0);
	struct rec copy = *r;

	PT_ASSERT(w != NULL);
	copy.code = copy.code != WHY_NOTHING ? copy.code : WHY_KILLED;
	rec_step_add(&copy, REC_STEP_CLOSED, 0, REC_WAY_NONE, 0, copy.end_us);
	PT_ASSERT(rec_check(&copy));
	rec_writer_fail(w, &copy);
	rec_writer_fail(w, &copy);
	rec_writer_free(&w);
}

/* The octets lie over some slots, one after the other, behind the head. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const size_t head = offsetof(struct rec_mem, slots), some = 4 * sizeof(struct rec_slot);
	struct rec_peek peek;
	struct rec r;
	unsigned i;

	memset(&mem, 0, head);
	memset(mem.slots, 0, some);
	memset(&mem.slots[REC_RECENT], 0, some);
	memcpy(mem.slots, data, size < some ? size : some);
	memcpy(&mem.slots[REC_RECENT], data, size < some ? size : some);
	if (size >= 8)
		memcpy((uint8_t *)&mem + 4, data + size - 4, 4); /* how many were touched */
	PT_ASSERT(rec_mem_end(&mem) <= REC_RECENT);
	for (i = 0; i < 4; i++) {
		(void)rec_peek(&mem, i, &peek);
		if (!rec_read(&mem, i, &r))
			continue;
		say(&r);
		write_on(&r);
	}
	memset(&mem.slots[REC_RECENT], 0, some);
	return 0;
}
