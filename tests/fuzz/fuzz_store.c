/* fuzz/fuzz_store.c - any frames to the store's server, as a hostile worker, relay or control sends them: it may be shown the door, and that is all.
 *
 * The input is an octet that says which, and a sequence of frames: type, id, whether a descriptor goes along (1; none may) and
 * whether it waits to share a packet with the next (2), length, payload; over a real channel, in front of the engine in memory. */
#include "ipc/chan.h"
#include "store/server.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int
body(void)
{
	int fd = memfd_create("body", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	PT_ASSERT(fd >= 0 && write(fd, "hello", 5) == 5);
	PT_ASSERT(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0);
	return fd;
}

static void
send_frames(struct chan *c, struct server *s, const uint8_t *p, size_t n)
{
	static struct frame f;
	int fd;

	while (n >= 4) {
		f.type = (uint16_t)(150 + p[0] % 49);
		f.id = p[1] % 4;
		f.len = p[3];
		if (f.len > n - 4)
			f.len = (uint32_t)(n - 4);
		memcpy(f.octets + FRAME_HEADER, p + 4, f.len);
		if (p[2] & 2)
			chan_hold(c);
		else if (chan_flush(c) != 0)
			break;
		fd = p[2] & 1 ? body() : -1;
		if (chan_send(c, &f, fd) != 0)
			n = 4 + f.len;
		if (fd >= 0)
			close(fd);
		p += 4 + f.len;
		n -= 4 + f.len;
		server_dispatch(s);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct queue *queue = queue_new();
	struct mailboxes_conf mc = { .host = "fuzz", .queue = queue };
	struct store_backend *be = memory_open();
	struct kv *kv = kv_new();
	struct mailboxes *mbs = mailboxes_new(be, kv, &mc);
	struct server *s = server_new(be, mbs, kv);
	enum store_class class = size == 0 ? STORE_CLASS_WORKER : data[0] & 2 ? STORE_CLASS_CONTROL
		: data[0] & 1 ? STORE_CLASS_RELAY : STORE_CLASS_WORKER;
	struct chan *c;
	int fds[2];

	PT_ASSERT(s != NULL && chan_pair(fds) == 0 && server_peer(s, fds[0], class, 0) == 0);
	PT_ASSERT((c = chan_new(fds[1])) != NULL);
	if (class != STORE_CLASS_CONTROL)
		chan_bundle(c);
	if (size > 0)
		send_frames(c, s, data + 1, size - 1);
	if (chan_flush(c) != 0) {
		/* the server has had enough */
	}
	server_dispatch(s);
	chan_free(&c);
	server_dispatch(s);
	server_free(&s);
	be->ops->close(be);
	mailboxes_free(&mbs);
	kv_free(&kv);
	queue_free(&queue);
	return 0;
}
