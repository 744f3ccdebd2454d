/* fuzz/fuzz_queue.c - any text as lines about the queue: of a record, and as an .env (with the right CRCs, and as it is). What was taken
 * is written and read again, and is the same. */
#include "crc_lines.h"
#include "store/queue.h"

#include "util/err.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
same(const struct queue_entry *a, const struct queue_entry *b)
{
	uint32_t i;

	if (a->nrcpts != b->nrcpts || a->left != b->left || a->octets != b->octets || a->received != b->received ||
	    strcmp(a->sender, b->sender) != 0 || strcmp(a->params, b->params) != 0 ||
	    strcmp(a->identity, b->identity) != 0 || strcmp(a->service, b->service) != 0)
		return false;
	for (i = 0; i < a->nrcpts; i++) {
		const struct queue_rcpt *x = &a->rcpts[i], *y = &b->rcpts[i];

		if (strcmp(x->address, y->address) != 0 || strcmp(x->params, y->params) != 0 ||
		    strcmp(x->reply, y->reply) != 0 || x->state != y->state || x->attempts != y->attempts ||
		    (x->attempts > 0 && x->next != y->next))
			return false;
	}
	return true;
}

/* All that is there, saved and read again. */
static void
round_trip(struct queue *q)
{
	struct queue *other = queue_new();
	const struct queue_entry *e, *copy;
	struct buf text;
	size_t taken;
	bool all;

	PT_ASSERT(other != NULL);
	queue_save_begin(q);
	buf_init(&text, QUEUE_ENV_MAX);
	while ((e = queue_save_next(q, &text, &all)) != NULL) {
		if (all) {
			PT_ASSERT(queue_load(other, e->qid, buf_span(&text), &taken) == 0 && taken == buf_size(&text));
			PT_ASSERT((copy = queue_find(other, e->qid)) != NULL && same(e, copy));
		}
		queue_saved(q, e->qid, true, all, buf_size(&text));
		buf_fini(&text);
		buf_init(&text, QUEUE_ENV_MAX);
	}
	buf_fini(&text);
	queue_free(&other);
}

static void
use(struct queue *q)
{
	static const char holder[1];
	struct queue_entry *e;

	while ((e = queue_claim(q, INT64_MAX - 1, holder, 10)) != NULL)
		PT_ASSERT(e->left > 0);
	queue_tick(q, 5);
	queue_release(q, holder);
	PT_ASSERT(queue_lease_next(q) == UINT64_MAX);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct queue *q = queue_new();
	uint8_t *text = malloc(size * 12 + 1);
	size_t n, taken;
	int rc;

	if (q == NULL || text == NULL || size > 65536) {
		queue_free(&q);
		free(text);
		return 0;
	}
	/* an .env, then the same as the journal's, some of it again */
	n = crc_lines(data, size, text);
	rc = queue_load(q, 7, (struct span){ text, n }, &taken);
	PT_ASSERT(taken <= n && (rc == 0 || queue_count(q) == 0));
	queue_replaying(q, size % 2 == 0);
	(void)!queue_take(q, (struct span){ data, size }, 1, 2);
	(void)!queue_take(q, (struct span){ data, size / 2 }, 1, 2);
	queue_replaying(q, false);
	(void)queue_replayed_gone(q, 7);
	round_trip(q);
	use(q);
	queue_free(&q);
	PT_ASSERT((q = queue_new()) != NULL);
	(void)!queue_load(q, 7, (struct span){ data, size }, &taken);
	PT_ASSERT(taken <= size);
	queue_free(&q);
	free(text);
	return 0;
}
