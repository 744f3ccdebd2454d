/* fuzz/fuzz_names.c - any octets as a user, as a mailbox's name and its key, as a file in a Maildir, as a set of UIDs. */
#include "store/maildir.h"
#include "store/uidset.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span s = { data, size };
	char key[STORE_BOX_MAX + 1], again[STORE_BOX_MAX + 1], name[STORE_BOX_MAX * 3 + 1], guid[33];
	char text[STORE_BOX_MAX + 1];
	struct uidset_range r;
	struct maildir_name n;

	if (maildir_user_ok(s))
		PT_ASSERT(memchr(data, '/', size) == NULL && data[0] != '.' && memchr(data, '\0', size) == NULL);
	if (maildir_key(s, key)) {
		PT_ASSERT(strchr(key, '/') == NULL && key[0] != '.' && strstr(key, "..") == NULL && key[0] != '\0');
		PT_ASSERT(maildir_key_name(key, name) && maildir_key(span_str(name), again));
		PT_ASSERT(strcmp(key, again) == 0);
	}
	if (size <= STORE_BOX_MAX && memchr(data, '\0', size) == NULL) {
		memcpy(text, data, size);
		text[size] = '\0';
		if (maildir_key_name(text, name))
			PT_ASSERT(maildir_key(span_str(name), key) && strcmp(key, text) == 0);
	}
	if (maildir_name_parse(s, &n)) {
		PT_ASSERT(n.base > 0 && n.base <= MAILDIR_BASE_MAX && n.base <= size);
		maildir_guid((struct span){ data, n.base }, guid);
		PT_ASSERT(strlen(guid) == 32);
	}
	while (uidset_next(&s, &r))
		PT_ASSERT(r.first > 0 && r.first <= r.last);
	return 0;
}
