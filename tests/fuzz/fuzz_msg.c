/* fuzz/fuzz_msg.c - any payload to the decoder of every message.
 *
 * The first octet says whether a descriptor came along. What a decoder takes, its encoder must give
 * back octet for octet, as there is one way to write a message. */
#include "ipc/msg.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was read and is written again is what came: but for what a newer sender has behind the fields, and for fields that an
 * older one does not know. */
static void
same_fields(unsigned type, struct span came, struct span again)
{
	size_t n = came.n < again.n ? came.n : again.n;

	PT_ASSERT(memcmp(came.p, again.p, n) == 0);
	PT_ASSERT(came.n <= n || msg_may_be_longer(type));
	PT_ASSERT(again.n <= n || msg_fields_min(type) != UINT_MAX);
}

#define TRY(number, upper, lower, with_fd)                                                         \
	{                                                                                          \
		struct msg_##lower m;                                                              \
		f->type = (number);                                                                \
		if (msg_##lower##_decode(f, &m) == 0) {                                            \
			PT_ASSERT((f->fd >= 0) == (with_fd));                                      \
			PT_ASSERT(msg_##lower##_encode(&m, 1, &again) == 0);                       \
			same_fields(number, frame_payload(f), frame_payload(&again));              \
		}                                                                                  \
	}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct frame again;
	struct frame *f;

	if (size == 0 || size - 1 > FRAME_PAYLOAD_MAX)
		return 0;
	/* as long as the payload: a sanitizer sees the first octet read behind it */
	if ((f = malloc(offsetof(struct frame, octets) + FRAME_HEADER + size - 1)) == NULL)
		return 0;
	f->id = 1;
	f->len = (uint32_t)(size - 1);
	f->fd = data[0] & 1 ? 1000 : -1; /* a number only: nothing is read from it or closed */
	memcpy(f->octets + FRAME_HEADER, data + 1, size - 1);
	MSG_LIST(TRY)
	free(f);
	return 0;
}
