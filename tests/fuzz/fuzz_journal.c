/* fuzz/fuzz_journal.c - any octets as a journal record, as they are and with the right CRC; and a record's text, line by line. */
#include "store/crc32c.h"
#include "store/hex.h"
#include "store/journal.h"
#include "store/record.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
lines(struct span text)
{
	struct record_line l;
	char word[512];
	uint64_t v;
	bool bad;
	unsigned i;

	while (record_next(&text, &l, &bad))
		for (i = 0; i < l.nwords; i++) {
			(void)record_word(l.word[i], word, sizeof word);
			(void)record_number(l.word[i], &v);
		}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct journal_record r;
	uint8_t *copy;
	size_t n;

	lines((struct span){ data, size });
	(void)journal_record_decode((struct span){ data, size }, &r);
	if (size > 1u << 20 || (copy = malloc(JOURNAL_HEADER + size)) == NULL)
		return 0;
	memcpy(copy, "PJ01 00000000 00000000 0000000000000001 00000001\n", JOURNAL_HEADER);
	if (size > 0)
		memcpy(copy + JOURNAL_HEADER, data, size);
	hex_put(copy + 5, 8, size);
	hex_put(copy + 14, 8, crc32c(crc32c(crc32c(0, copy, 13), copy + 22, JOURNAL_HEADER - 22),
		copy + JOURNAL_HEADER, size));
	n = journal_record_decode((struct span){ copy, JOURNAL_HEADER + size }, &r);
	PT_ASSERT(n == 0 || (n == JOURNAL_HEADER + size && r.text.n + 1 + r.body.n == size));
	if (n > 0)
		lines(r.text);
	free(copy);
	return 0;
}
