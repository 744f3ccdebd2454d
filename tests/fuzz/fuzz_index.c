/* fuzz/fuzz_index.c - any text as a mailbox's index, whole and in two pieces: the same messages. CRCs would stop every input at
 * the first line, so lines get the right one first. */
#include "crc_lines.h"
#include "store/index.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
feed(struct index *x, const uint8_t *p, size_t n)
{
	bool bad;
	int rc;

	(void)index_feed(x, (struct span){ p, n }, UINT32_MAX, NULL, NULL, &bad, &rc);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct index a, b;
	struct buf out;
	uint8_t *text;
	size_t n;

	if (size < 1 || size > 65536 || (text = malloc(size * 12)) == NULL)
		return 0;
	n = crc_lines(data + 1, size - 1, text);
	index_init(&a);
	index_init(&b);
	feed(&a, text, n);
	feed(&b, text, n * data[0] / 255);
	feed(&b, text + b.end, n - b.end);
	PT_ASSERT(a.n == b.n && a.end == b.end && a.modseq == b.modseq && a.octets == b.octets);
	PT_ASSERT(a.n == 0 || memcmp(a.msgs, b.msgs, a.n * sizeof *a.msgs) == 0);
	buf_init(&out, 1u << 24);
	if (a.uidvalidity != 0)
		PT_ASSERT(index_compact(&a, (struct span){ text, n }, &out) == 0);
	buf_fini(&out);
	index_fini(&a);
	index_fini(&b);
	feed(&a, data, size); /* and as it is */
	index_fini(&a);
	free(text);
	return 0;
}
