/* ipc/msg.c - encoders and decoders, made from the field lists of msg.h. */
#include "ipc/msg.h"

#include <limits.h>
#include <string.h>

struct cursor {
	uint8_t *p; /* where the next field goes to or comes from */
	size_t left;
	bool bad;
};

static bool
claim(struct cursor *c, size_t n, uint8_t **at)
{
	if (c->bad || c->left < n) {
		c->bad = true;
		return false;
	}
	*at = c->p;
	c->p += n;
	c->left -= n;
	return true;
}

static void
put_uint(struct cursor *c, uint64_t v, size_t n)
{
	uint8_t *p;

	if (!claim(c, n, &p))
		return;
	while (n-- > 0) {
		p[n] = (uint8_t)v;
		v >>= 8;
	}
}

static uint64_t
get_uint(struct cursor *c, size_t n)
{
	uint64_t v = 0;
	uint8_t *p;
	size_t i;

	if (!claim(c, n, &p))
		return 0;
	for (i = 0; i < n; i++)
		v = v << 8 | p[i];
	return v;
}

static void
put_u8(struct cursor *c, uint8_t v)
{
	put_uint(c, v, 1);
}

static void
put_u32(struct cursor *c, uint32_t v)
{
	put_uint(c, v, 4);
}

static void
put_u64(struct cursor *c, uint64_t v)
{
	put_uint(c, v, 8);
}

static void
put_bytes(struct cursor *c, struct span s)
{
	uint8_t *p;

	if (s.n > UINT16_MAX) {
		c->bad = true;
		return;
	}
	put_uint(c, s.n, 2);
	if (claim(c, s.n, &p) && s.n > 0)
		memcpy(p, s.p, s.n);
}

static void
put_str(struct cursor *c, struct span s)
{
	put_bytes(c, s);
}

static uint8_t
get_u8(struct cursor *c)
{
	return (uint8_t)get_uint(c, 1);
}

static uint32_t
get_u32(struct cursor *c)
{
	return (uint32_t)get_uint(c, 4);
}

static uint64_t
get_u64(struct cursor *c)
{
	return get_uint(c, 8);
}

static struct span
get_bytes(struct cursor *c)
{
	struct span s = { NULL, (size_t)get_uint(c, 2) };
	uint8_t *p;

	if (!claim(c, s.n, &p))
		return (struct span){ NULL, 0 };
	s.p = p;
	return s;
}

/* Text from another process may end in a log or on a terminal: no control characters but the
 * line ends and tabs that a report of several lines has. */
static struct span
get_str(struct cursor *c)
{
	struct span s = get_bytes(c);
	size_t i;

	for (i = 0; i < s.n; i++)
		if ((s.p[i] < 0x20 && s.p[i] != '\n' && s.p[i] != '\t') || s.p[i] == 0x7f)
			c->bad = true;
	return s;
}

bool
msg_may_be_longer(unsigned type)
{
	switch (type) {
	case MSG_T_SIGNED:
	case MSG_T_PROGRAM_INPUT:
	case MSG_T_PROGRAM_OUTPUT:
	case MSG_T_PROGRAM_REFUSED:
	case MSG_T_PROGRAM_ENDED:
	case MSG_T_AUTH_IDENTITY:
	case MSG_T_AUTH_RECIPIENTS:
	case MSG_T_AUTH_SENDER_IS:
	case MSG_T_AUTH_SASL_ANSWER:
	case MSG_T_AUTH_CHANGED:
	case MSG_T_AUTH_OUSTED:
	case MSG_T_STORE_FILE_FD:
	case MSG_T_STORE_REPLY:
	case MSG_T_STORE_VIEW:
	case MSG_T_STORE_EVENT:
	case MSG_T_STORE_MESSAGE:
	case MSG_T_STORE_BOX_STATUS:
	case MSG_T_STORE_VALUE:
	case MSG_T_STORE_ROOM_IS:
	case MSG_T_STORE_WATCHED:
		return true;
	default:
		return false;
	}
}

unsigned
msg_fields_min(unsigned type)
{
	switch (type) {
#define MSG_AT_FIRST(upper, fields)                                                                \
	case MSG_T_##upper:                                                                        \
		return fields;
		MSG_GROWN(MSG_AT_FIRST)
#undef MSG_AT_FIRST
	default:
		return UINT_MAX;
	}
}

#define MSG_PUT(type, name) put_##type(&c, m->name);
#define MSG_GET(type, name)                                                                        \
	if (fields++ < at_first || c.left > 0)                                                     \
		m->name = get_##type(&c);                                                          \
	else                                                                                       \
		memset(&m->name, 0, sizeof m->name); /* from an older sender */
#define MSG_DEFINE(number, upper, lower, with_fd)                                                  \
	int msg_##lower##_encode(const struct msg_##lower *m, uint32_t id, struct frame *f)        \
	{                                                                                          \
		struct cursor c = { f->octets + FRAME_HEADER, FRAME_PAYLOAD_MAX, false };          \
                                                                                                   \
		MSG_##upper(MSG_PUT);                                                              \
		f->type = (number);                                                                \
		f->id = id;                                                                        \
		f->len = (uint32_t)(FRAME_PAYLOAD_MAX - c.left);                                   \
		f->fd = -1;                                                                        \
		return c.bad ? PT_ETOOBIG : 0;                                                     \
	}                                                                                          \
	int msg_##lower##_decode(const struct frame *f, struct msg_##lower *m)                     \
	{                                                                                          \
		/* the decoder only reads through the cursor */                                    \
		struct cursor c = { (uint8_t *)(uintptr_t)(f->octets + FRAME_HEADER), f->len,      \
			false };                                                                   \
		unsigned fields = 0, at_first = msg_fields_min(number);                            \
                                                                                                   \
		MSG_##upper(MSG_GET);                                                              \
		if (c.bad || (c.left > 0 && !msg_may_be_longer(number)) || f->type != (number) || (f->fd >= 0) != (with_fd))       \
			return PT_EPROTO;                                                          \
		return 0;                                                                          \
	}
MSG_LIST(MSG_DEFINE)

const char *
msg_name(unsigned type)
{
	switch (type) {
#define MSG_NAME(number, upper, lower, fd)                                                         \
	case number:                                                                               \
		return #upper;
		MSG_LIST(MSG_NAME)
#undef MSG_NAME
	}
	return "unknown";
}

bool
msg_known(unsigned type, bool *with_fd)
{
	switch (type) {
#define MSG_KNOWN(number, upper, lower, fd)                                                        \
	case number:                                                                               \
		*with_fd = (fd);                                                                   \
		return true;
		MSG_LIST(MSG_KNOWN)
#undef MSG_KNOWN
	}
	return false;
}
