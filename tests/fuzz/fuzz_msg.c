/* fuzz/fuzz_msg.c - any payload to the decoder of every message.
 *
 * The first octet says whether a descriptor came along. What a decoder takes, its encoder must give
 * back octet for octet, as there is one way to write a message. */
#include "ipc/msg.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TRY(number, upper, lower, with_fd)                                                         \
	{                                                                                          \
		struct msg_##lower m;                                                              \
		f->type = (number);                                                                \
		if (msg_##lower##_decode(f, &m) == 0) {                                            \
			PT_ASSERT((f->fd >= 0) == (with_fd));                                      \
			PT_ASSERT(msg_##lower##_encode(&m, 1, &again) == 0);                       \
			PT_ASSERT(span_equal(frame_payload(f), frame_payload(&again)));            \
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
