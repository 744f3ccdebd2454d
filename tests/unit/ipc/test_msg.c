/* unit/ipc/test_msg.c - every message of the table: there and back, and refused when it is cut at any octet,
 * has one too many, the wrong type or the wrong number of descriptors. Made from MSG_LIST, so that a new
 * message is tested the moment it exists. */
#include "test.h"

#include "ipc/msg.h"

#include <stdlib.h>
#include <string.h>

static uint64_t count; /* makes each field's value its own */

static msg_u8 sample_u8(void) { return (msg_u8)(0x81 + count++); }
static msg_u32 sample_u32(void) { return (msg_u32)(0xfedc0000u + count++); }
static msg_u64 sample_u64(void) { return 0xfedcba9800000000u + count++; }
static msg_str sample_str(void) { return count++ % 2 ? span_str("a\n\tb\xc3\xa9") : span_str(""); }
static msg_bytes sample_bytes(void) { return (struct span){ (const uint8_t *)"\0\1\377", 3 }; }

static bool same_u8(msg_u8 a, msg_u8 b) { return a == b; }
static bool same_u32(msg_u32 a, msg_u32 b) { return a == b; }
static bool same_u64(msg_u64 a, msg_u64 b) { return a == b; }
static bool same_str(msg_str a, msg_str b) { return span_equal(a, b); }
static bool same_bytes(msg_bytes a, msg_bytes b) { return span_equal(a, b); }

/* A frame in memory of its own, exactly as long as the payload, so that a sanitizer sees the first octet
 * read behind it. */
static struct frame *
exact(const struct frame *f, size_t len)
{
	struct frame *copy = malloc(offsetof(struct frame, octets) + FRAME_HEADER + len);

	CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
	memcpy(copy, f, offsetof(struct frame, octets) + FRAME_HEADER + len);
	copy->len = (uint32_t)len;
	return copy;
}

/* Whether so much of it is what an older version sends: test_versions() looks at that. */
static bool
is_older(const struct frame *f, size_t len)
{
	struct msg_auth_sasl_answer m;

	return f->type == MSG_T_AUTH_SASL_ANSWER && msg_auth_sasl_answer_decode(f, &m) == 0 &&
		len == f->len - 2 - m.by.n;
}

#define SET(type, name) in.name = sample_##type();
#define SAME(type, name) CU_ASSERT_TRUE(same_##type(in.name, out.name));
#define REFUSED(call)                                                                              \
	if ((call) != PT_EPROTO)                                                                   \
		CU_FAIL(#call);
#define DEFINE_TEST(number, upper, lower, with_fd)                                                 \
	static void test_##lower(void)                                                             \
	{                                                                                          \
		static struct frame f, *x;                                                         \
		struct msg_##lower in, out;                                                        \
		bool fd;                                                                           \
		size_t i;                                                                          \
		int round;                                                                         \
                                                                                                   \
		for (round = 0; round < 2; round++) {                                              \
			MSG_##upper(SET);                                                          \
			f.fd = 5;                                                                  \
			CU_ASSERT_EQUAL_FATAL(msg_##lower##_encode(&in, 0x01020304, &f), 0);       \
			CU_ASSERT_EQUAL(f.type, (number));                                         \
			CU_ASSERT_EQUAL(f.id, 0x01020304);                                         \
			CU_ASSERT_EQUAL(f.fd, -1); /* the frame has none; it is given to send */   \
			f.fd = (with_fd) ? 9 : -1;                                                 \
			x = exact(&f, f.len);                                                      \
			CU_ASSERT_EQUAL_FATAL(msg_##lower##_decode(x, &out), 0);                   \
			MSG_##upper(SAME);                                                         \
			x->type ^= 1;                                                              \
			REFUSED(msg_##lower##_decode(x, &out));                                    \
			x->type ^= 1;                                                              \
			x->fd = (with_fd) ? -1 : 9;                                                \
			REFUSED(msg_##lower##_decode(x, &out));                                    \
			free(x);                                                                   \
			for (i = 0; i < f.len; i++) {                                              \
				if (is_older(&f, i))                           \
					continue;                                                  \
				x = exact(&f, i);                                                  \
				REFUSED(msg_##lower##_decode(x, &out));                            \
				free(x);                                                           \
			}                                                                          \
			f.octets[FRAME_HEADER + f.len] = 0;                                        \
			x = exact(&f, f.len + 1);                                                  \
			CU_ASSERT_EQUAL(msg_##lower##_decode(x, &out),                             \
				msg_may_be_longer(number) ? 0 : PT_EPROTO);                        \
			free(x);                                                                   \
		}                                                                                  \
		CU_ASSERT_TRUE(msg_known(number, &fd));                                            \
		CU_ASSERT_EQUAL(fd, (with_fd) != 0);                                               \
		CU_ASSERT_STRING_EQUAL(msg_name(number), #upper);                                  \
	}
MSG_LIST(DEFINE_TEST)

/* The layout is a promise between versions: one message octet for octet. */
static void
test_layout(void)
{
	static const uint8_t want[] = { 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 1, 0, 2, 'h', 'i' };
	struct msg_sign m = { 1, 2, 3, 1, span_str("hi") };
	static struct frame f;

	CU_ASSERT_EQUAL(msg_sign_encode(&m, 0, &f), 0);
	CU_ASSERT_EQUAL_FATAL(f.len, sizeof want);
	CU_ASSERT_EQUAL(memcmp(frame_payload(&f).p, want, sizeof want), 0);
}

/* Across an upgrade: an older sender has fewer fields, a newer one more. */
static void
test_versions(void)
{
	static const uint8_t older[] = { 1, 0, 2, 'h', 'i', 0, 1, 'x' };
	static const uint8_t newer[] = { 1, 0, 2, 'h', 'i', 0, 1, 'x', 0, 1, 'y', 0, 0, 0, 9 };
	static struct frame f;
	struct msg_auth_sasl_answer m;
	struct msg_auth_sasl_begin b = { .identity = span_str("a"), .binding = span_str("b"), .initial = span_str("c") };
	size_t n;

	f.type = MSG_T_AUTH_SASL_ANSWER;
	f.fd = -1;
	memcpy(f.octets + FRAME_HEADER, older, f.len = sizeof older);
	memset(&m, 0xff, sizeof m);
	CU_ASSERT_EQUAL_FATAL(msg_auth_sasl_answer_decode(&f, &m), 0);
	CU_ASSERT(m.result == 1 && span_equal(m.user, span_str("hi")) && span_equal(m.data, span_str("x")));
	CU_ASSERT(m.by.n == 0 && m.by.p == NULL);
	memcpy(f.octets + FRAME_HEADER, newer, sizeof newer);
	for (n = 0; n <= sizeof newer; n++) {
		f.len = (uint32_t)n; /* half a field is no older version's */
		CU_ASSERT_EQUAL(msg_auth_sasl_answer_decode(&f, &m), n == sizeof older || n >= sizeof older + 3 ? 0 : PT_EPROTO);
	}
	CU_ASSERT(span_equal(m.by, span_str("y")));
	/* what a worker sends is for who is as new, or newer */
	CU_ASSERT_EQUAL(msg_auth_sasl_begin_encode(&b, 1, &f), 0);
	CU_ASSERT_EQUAL(msg_auth_sasl_begin_decode(&f, &b), 0);
	f.len++;
	CU_ASSERT_EQUAL(msg_auth_sasl_begin_decode(&f, &b), PT_EPROTO);
}

static void
test_too_big(void)
{
	static uint8_t text[0x10000];
	struct msg_ready in, out;
	static struct frame f;
	size_t n;

	memset(text, 'a', sizeof text);
	n = FRAME_PAYLOAD_MAX - 2; /* behind the length */
	in.limitations = (struct span){ text, n };
	CU_ASSERT_EQUAL(msg_ready_encode(&in, 0, &f), 0);
	CU_ASSERT_EQUAL(f.len, FRAME_PAYLOAD_MAX);
	CU_ASSERT_EQUAL(msg_ready_decode(&f, &out), 0);
	CU_ASSERT_EQUAL(out.limitations.n, n);
	in.limitations.n = n + 1;
	CU_ASSERT_EQUAL(msg_ready_encode(&in, 0, &f), PT_ETOOBIG);
	in.limitations.n = 0xffff;
	CU_ASSERT_EQUAL(msg_ready_encode(&in, 0, &f), PT_ETOOBIG);
	in.limitations.n = 0x10000; /* more than its length field holds */
	CU_ASSERT_EQUAL(msg_ready_encode(&in, 0, &f), PT_ETOOBIG);
}

static void
test_control_characters(void)
{
	uint8_t text[3] = { 'a', 0, 'b' };
	struct msg_signed s = { 1, { text, sizeof text } }, s2;
	struct msg_ready m = { { text, sizeof text } }, out;
	static struct frame f;
	int c;

	for (c = 0; c < 256; c++) {
		text[1] = (uint8_t)c;
		CU_ASSERT_EQUAL(msg_ready_encode(&m, 0, &f), 0);
		CU_ASSERT_EQUAL(msg_ready_decode(&f, &out),
			(c < 0x20 && c != '\n' && c != '\t') || c == 0x7f ? PT_EPROTO : 0);
		/* bytes may be anything */
		CU_ASSERT_EQUAL(msg_signed_encode(&s, 0, &f), 0);
		CU_ASSERT_EQUAL(msg_signed_decode(&f, &s2), 0);
	}
}

/* A length that points behind the payload, however far. */
static void
test_lengths(void)
{
	struct msg_ready m = { span_str("abc") }, out;
	static struct frame f;
	unsigned n;

	CU_ASSERT_EQUAL(msg_ready_encode(&m, 0, &f), 0);
	for (n = 0; n < 0x10000; n++) {
		f.octets[FRAME_HEADER] = (uint8_t)(n >> 8);
		f.octets[FRAME_HEADER + 1] = (uint8_t)n;
		if (msg_ready_decode(&f, &out) != (n == 3 ? 0 : PT_EPROTO))
			CU_FAIL("a wrong length is taken");
	}
}

static void
test_names(void)
{
	static const unsigned unknown[] = { 0, 999, 0xffff, 0x10001 };
	bool fd;
	size_t i;

	for (i = 0; i < PT_COUNT(unknown); i++) {
		CU_ASSERT_FALSE(msg_known(unknown[i], &fd));
		CU_ASSERT_STRING_EQUAL(msg_name(unknown[i]), "unknown");
	}
}

#define ROW(number, upper, lower, fd) { #upper, test_##lower },
static const struct test_row rows[] = {
	MSG_LIST(ROW)
	{ "layout", test_layout },
	{ "other versions", test_versions },
	{ "the largest payload, and one octet more", test_too_big },
	{ "control characters", test_control_characters },
	{ "every length", test_lengths },
	{ "names", test_names },
};
TEST_MAIN("ipc/msg", rows)
