/* fuzz/fuzz_uidlist.c - any octets as dovecot-uidlist and as dovecot-keywords. */
#include "store/index.h"
#include "store/maildir.h"
#include "store/uidlist.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
is_within(struct span s, const uint8_t *data, size_t size)
{
	return s.p >= data && s.p + s.n <= data + size;
}

static void
list(const uint8_t *data, size_t size)
{
	struct span s = { data, size };
	struct uidlist_entry e;
	struct uidlist_head h;
	struct maildir_name m;
	size_t before;

	if (uidlist_begin(&s, &h))
		PT_ASSERT(h.uidvalidity < UINT32_MAX && h.uidnext < UINT32_MAX);
	PT_ASSERT(is_within(s, data, size));
	for (before = s.n; uidlist_next(&s, &e); before = s.n) {
		PT_ASSERT(s.n < before && e.uid > 0 && e.uid < UINT32_MAX);
		PT_ASSERT(e.name.n > 0 && is_within(e.name, data, size) && memchr(e.name.p, '\n', e.name.n) == NULL);
		(void)maildir_name_parse(e.name, &m);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char all[STORE_KEYWORDS_MAX][STORE_KEYWORD_MAX + 1] = { "" };
	struct span s = { data, size }, name;
	unsigned n, k = 0;

	list(data, size);
	while (uidlist_keyword(&s, &n, &name)) {
		PT_ASSERT(n < STORE_KEYWORDS_MAX && index_keyword_ok(name) && is_within(name, data, size));
		k++;
	}
	uidlist_keywords((struct span){ data, size }, all);
	for (n = 0; n < STORE_KEYWORDS_MAX; n++)
		PT_ASSERT(all[n][0] == '\0' || (k > 0 && index_keyword_ok(span_str(all[n]))));
	return 0;
}
