/* unit/mail/test_mail_from.c - the addresses of a From field, and what is none of it. */
#include "test.h"

#include "mail/mail_from.h"
#include "util/err.h"

#include <string.h>

/* All addresses of in, with a blank behind each; "BAD" at the end where it is no list. */
static const char *
read_all(const char *in, char *out, size_t cap)
{
	struct span rest = span_str(in);
	struct mail_addr a;
	enum mail_from rc;

	out[0] = '\0';
	while ((rc = mail_from_next(&rest, &a)) == MAIL_FROM_ADDR) {
		strlcat(out, a.text, cap);
		strlcat(out, " ", cap);
	}
	if (rc == MAIL_FROM_BAD)
		strlcat(out, "BAD", cap);
	return out;
}

static void
test_lists(void)
{
	static const struct {
		const char *in, *want;
	} rows[] = {
		{ " alice@example.org", "alice@example.org " },
		{ " Alice <alice@example.org>", "alice@example.org " },
		{ "<alice@EXAMPLE.org>", "alice@example.org " },
		{ "\"Alice, of x\" <a@x>", "a@x " },
		{ "Alice A. Smith <a@x>", "a@x " },
		{ "=?utf-8?q?M=C3=BCller?= <m@x>", "m@x " },
		{ "M\xc3\xbcller <m@x>", "m@x " },
		{ "a@x, b@y", "a@x b@y " },
		{ "a@x,,b@y,", "a@x b@y " },
		{ "A <a@x>, \"B\" <b@y> (the other)", "a@x b@y " },
		{ "(comment (nested)) a@x (who)", "a@x " },
		{ "a(c)@(d)x . (e) y", "a@x.y " },
		{ "\"a b\"@x", "\"a b\"@x " },
		{ "a . b @ x . y", "a.b@x.y " },
		{ "Alice <@one,@two:a@x>", "a@x " },
		{ "<,@one,, @two (c) ,:a@x>", "a@x " },
		{ "Group: a@x, B <b@y>;", "a@x b@y " },
		{ "Nobody:;", "" },
		{ "", "" },
		{ "a@[192.0.2.1]", "a@[192.0.2.1] " },
		{ "\"evil@x\" <a@x>", "a@x " },
		/* a reader that shows only the first, or the last, must not be fooled */
		{ "a@x <b@y>", "BAD" },
		{ "<@evil@y:a@x>", "BAD" },
		{ "<,evil@y>, b:a@x>", "BAD" },
		{ "<@y,evil@y>, \"b\" <c:a@x>", "BAD" },
		{ "<@y(:)a@x>", "BAD" },
		{ "<@:a@x>", "BAD" },
		{ "<@y", "BAD" },
		{ "<@y,", "BAD" },
		{ "alice", "BAD" },
		{ "<>", "BAD" },
		{ "Alice <alice>", "BAD" },
		{ "a@x b@y", "BAD" },
		{ "<a@x> b", "BAD" },
		{ "<a@x", "BAD" },
		{ "\"a", "BAD" },
		{ "(a", "BAD" },
		{ "a@", "BAD" },
		{ "@x", "BAD" },
		{ "a@x, <b", "a@x BAD" },
		{ "a@@x", "BAD" },
		{ "a\\@x", "BAD" },
		{ "((((((((((((((((((((a))))))))))))))))))))a@x", "BAD" },
	};
	char out[1024];
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++)
		CU_ASSERT_STRING_EQUAL(read_all(rows[i].in, out, sizeof(out)), rows[i].want);
}

static const struct test_row rows[] = {
	{ "lists", test_lists },
};
TEST_MAIN("mail_from", rows)
