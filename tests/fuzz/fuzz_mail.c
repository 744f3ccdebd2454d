/* fuzz/fuzz_mail.c - the pure parsers of mail: addresses, From fields, headers, lines, message data, base64. Each is fed all of
 * the input, and those that take pieces also in two and octet by octet; all must say the same. */
#include "mail/mail_from.h"
#include "mail/mail_header.h"
#include "proto/smtp/smtp_cmd.h"
#include "proto/smtp/smtp_data.h"
#include "util/base64.h"
#include "util/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
lies_in(struct span inner, struct span outer)
{
	return inner.n == 0 || (inner.p >= outer.p && inner.p + inner.n <= outer.p + outer.n);
}

/* An address that was read is its own canonical form. */
static void
check_addr(const struct mail_addr *a)
{
	struct mail_addr again;
	char path[MAIL_ADDR_MAX + 3];
	size_t used;

	PT_ASSERT(a->n <= MAIL_ADDR_MAX && a->text[a->n] == '\0' && strlen(a->text) == a->n);
	PT_ASSERT(utf8_printable(mail_addr_text(a)) && a->local <= a->n);
	snprintf(path, sizeof(path), "<%s>", a->text);
	PT_ASSERT(mail_path_read(span_str(path), MAIL_ADDR_NULL | MAIL_ADDR_POSTMASTER | MAIL_ADDR_ALLOW_UTF8,
				 &again, &used) == MAIL_ADDR_OK);
	PT_ASSERT(used == a->n + 2u && strcmp(again.text, a->text) == 0);
}

static void
addresses(struct span in)
{
	struct mail_addr a;
	struct span rest = in;
	enum mail_from rc;
	size_t used;

	if (mail_path_read(in, MAIL_ADDR_NULL | MAIL_ADDR_POSTMASTER | MAIL_ADDR_ALLOW_UTF8, &a, &used) ==
	    MAIL_ADDR_OK) {
		PT_ASSERT(used <= in.n && in.p[used - 1] == '>');
		check_addr(&a);
	}
	if (mail_addr_read(in, &a) == MAIL_ADDR_OK)
		check_addr(&a);
	while ((rc = mail_from_next(&rest, &a)) == MAIL_FROM_ADDR) {
		PT_ASSERT(lies_in(rest, in));
		check_addr(&a);
	}
	PT_ASSERT(rc == MAIL_FROM_BAD || rest.n == 0);
}

static void
commands(struct span in)
{
	struct span rest = in, key, value, mechanism, initial;
	struct smtp_cmd cmd;
	uint64_t octets;
	size_t used;
	bool last;

	switch (smtp_cmd_parse(in.p, in.n, &cmd, &used)) {
	case SMTP_PARSE_MORE:
		PT_ASSERT(used == 0 && in.n < SMTP_AUTH_LINE_MAX);
		rest.n = 0;
		break;
	case SMTP_PARSE_OK:
		PT_ASSERT(used > 2 && used <= in.n && lies_in(cmd.word, in) && lies_in(cmd.arg, in));
		rest = cmd.arg;
		(void)smtp_bdat_read(cmd.arg, &octets, &last);
		(void)smtp_helo_valid(cmd.arg);
		(void)smtp_auth_read(cmd.arg, &mechanism, &initial);
		break;
	case SMTP_PARSE_BAD:
		PT_ASSERT(used > 0 && used <= in.n);
		rest.n = 0;
		break;
	}
	while (smtp_param_next(&rest, &key, &value) == SMTP_PARAM_OK)
		PT_ASSERT(lies_in(key, in) && lies_in(value, in) && lies_in(rest, in) && key.n > 0);
}

/* A message through data and header walk, in pieces of first and then size octets. */
struct result {
	struct buf text;
	uint32_t count[MAIL_FIELD_COUNT];
	enum smtp_data_step end;
	size_t used, nkept;
	uint8_t spoilt;
};

static void
text(struct mail_header *h, struct result *r, struct span s)
{
	struct span held, run;
	size_t used;

	if (s.n == 0)
		return;
	PT_ASSERT(s.p[s.n - 1] != '\r');
	if (h->over) {
		PT_ASSERT(buf_append(&r->text, s.p, s.n) == 0);
		return;
	}
	mail_header_walk(h, s, &held, &run, &used);
	PT_ASSERT(buf_append(&r->text, held.p, held.n) == 0 && buf_append(&r->text, run.p, run.n) == 0);
	if (!h->over)
		return;
	held = mail_header_rest(h);
	PT_ASSERT(buf_append(&r->text, held.p, held.n) == 0 &&
		  buf_append(&r->text, s.p + used, s.n - used) == 0);
}

static void
message(struct span in, bool dots, size_t first, size_t size, struct result *r)
{
	struct mail_header *h = calloc(1, sizeof(*h));
	size_t piece = first, end, used;
	struct smtp_data d;
	struct span run;

	PT_ASSERT(h != NULL);
	*r = (struct result){ .end = SMTP_DATA_TEXT };
	buf_init(&r->text, in.n + 1);
	smtp_data_init(&d, dots);
	mail_header_init(h, true);
	for (; r->used < in.n && r->end == SMTP_DATA_TEXT; piece = size) {
		end = piece < in.n - r->used ? r->used + piece : in.n;
		while (r->used < end && r->end == SMTP_DATA_TEXT) {
			r->end = smtp_data_next(&d, (struct span){ in.p + r->used, end - r->used }, &run,
						&used);
			PT_ASSERT(used > 0 && used <= end - r->used);
			r->used += used;
			if (d.spoilt == SMTP_SPOILT_NOT)
				text(h, r, run);
		}
	}
	if (!h->over) {
		run = mail_header_rest(h);
		PT_ASSERT(buf_append(&r->text, run.p, run.n) == 0);
	}
	memcpy(r->count, h->count, sizeof(r->count));
	r->nkept = h->nkept;
	r->spoilt = d.spoilt;
	free(h);
}

static void
messages(struct span in, size_t cut)
{
	struct result whole, pieces, octets;
	unsigned dots;

	for (dots = 0; dots < 2; dots++) {
		message(in, dots, in.n, in.n, &whole);
		message(in, dots, cut, in.n, &pieces);
		message(in, dots, 1, 1, &octets);
		PT_ASSERT(whole.end == pieces.end && whole.end == octets.end);
		PT_ASSERT(whole.used == pieces.used && whole.used == octets.used);
		PT_ASSERT(whole.spoilt == pieces.spoilt && whole.spoilt == octets.spoilt);
		if (whole.spoilt == SMTP_SPOILT_NOT) {
			PT_ASSERT(span_equal(buf_span(&whole.text), buf_span(&pieces.text)));
			PT_ASSERT(span_equal(buf_span(&whole.text), buf_span(&octets.text)));
			PT_ASSERT(memcmp(whole.count, pieces.count, sizeof(whole.count)) == 0);
			PT_ASSERT(memcmp(whole.count, octets.count, sizeof(whole.count)) == 0);
			PT_ASSERT(whole.nkept == pieces.nkept && whole.nkept == octets.nkept);
		}
		buf_fini(&whole.text);
		buf_fini(&pieces.text);
		buf_fini(&octets.text);
	}
}

static void
base64(struct span in)
{
	struct buf out;
	uint8_t *plain = malloc(in.n + 1);
	size_t n;

	PT_ASSERT(plain != NULL);
	if (base64_decode(in, plain, in.n, &n)) {
		buf_init(&out, in.n);
		PT_ASSERT(base64_encode(&out, (struct span){ plain, n }) == 0);
		PT_ASSERT(span_equal(buf_span(&out), in)); /* no two texts mean the same */
		buf_fini(&out);
	}
	free(plain);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in;

	if (size < 1)
		return 0;
	in = (struct span){ data + 1, size - 1 };
	addresses(in);
	commands(in);
	base64(in);
	if (in.n > 0)
		messages(in, data[0] % in.n + 1);
	return 0;
}
