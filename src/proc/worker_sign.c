/* proc/worker_sign.c - asking the keyholder for a signature, in the middle of a handshake.
 *
 * GnuTLS wants the signature from the callback itself, so this is the one place where a worker waits
 * for somebody else: at most SIGN_TIMEOUT_MS, then the keyholder counts as away. */
#include "proc/worker.h"

#include "util/log.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#define SIGN_TIMEOUT_MS 3000
#define SIGN_SICK_MS 5000 /* not asked again after a time-out, so that one wait is not many */

static void
signer_drop(struct signer *s)
{
	if (s->chan == NULL)
		return;
	ev_io_fini(&s->io);
	chan_free(&s->chan);
}

/* Between signatures the keyholder has nothing to say but answers that came too late; otherwise
 * readable means that it has ended. */
static void
signer_ended(void *arg, unsigned what)
{
	struct signer *s = arg;
	struct frame f;
	int rc;

	(void)what;
	while ((rc = chan_recv(s->chan, &f)) == 0) {
		frame_fini(&f);
		s->sick_until_ms = 0; /* late, but it lives */
	}
	if (rc == PT_EAGAIN)
		return;
	signer_drop(s);
	log_msg(LOG_L_WARNING, "the keyholder is away: STARTTLS is refused until it is back");
}

void
signer_init(struct signer *s, struct worker *w)
{
	*s = (struct signer){ .worker = w, .next_id = 1 };
}

void
signer_set(struct signer *s, int fd)
{
	bool was_away = s->chan == NULL && s->next_id > 1;

	signer_drop(s);
	s->sick_until_ms = 0;
	if ((s->chan = chan_new(fd)) == NULL)
		return;
	ev_io_init(&s->io, s->worker->child.loop, fd, signer_ended, s);
	ev_io_want(&s->io, EV_IO_READ);
	if (was_away)
		log_msg(LOG_L_NOTICE, "the keyholder is back");
}

bool
signer_available(const struct signer *s)
{
	return s->chan != NULL && ev_now_ms() >= s->sick_until_ms;
}

/* Waits for the frame that answers id. */
static int
await(struct signer *s, uint32_t id, struct frame *f)
{
	struct pollfd p = { .fd = chan_fd(s->chan), .events = POLLIN };
	uint64_t now = ev_now_ms(), end = now + SIGN_TIMEOUT_MS;
	int rc;

	for (; now < end; now = ev_now_ms()) {
		/* waiting first: a signature takes longer than the way to this line */
		if (poll(&p, 1, (int)(end - now)) < 0 && errno != EINTR)
			return PT_EIO;
		if ((rc = chan_recv(s->chan, f)) == 0) {
			if (f->id == id)
				return 0;
			frame_fini(f); /* a late answer to a question we gave up */
			continue;
		}
		if (rc != PT_EAGAIN)
			return rc;
	}
	return PT_ETIMEDOUT;
}

int
signer_sign(void *arg, uint64_t generation, uint32_t key, uint32_t algorithm, bool hashed,
	    struct span data, uint8_t *sig, size_t *len)
{
	struct signer *s = arg;
	struct msg_sign m = { .generation = generation, .key = key, .algorithm = algorithm,
		.hashed = hashed, .data = data };
	struct msg_signed r;
	struct frame f;
	uint32_t id = s->next_id++;
	int rc;

	if (!signer_available(s))
		return PT_EUNAVAIL;
	if ((rc = msg_sign_encode(&m, id, &f)) != 0)
		return rc;
	if ((rc = frame_send(chan_fd(s->chan), &f, -1)) == 0)
		rc = await(s, id, &f);
	if (rc != 0) {
		log_msg(LOG_L_ERROR, "the keyholder does not answer: %s", pt_strerror(rc));
		if (rc == PT_ETIMEDOUT)
			s->sick_until_ms = ev_now_ms() + SIGN_SICK_MS;
		else
			signer_drop(s);
		return rc;
	}
	rc = msg_signed_decode(&f, &r);
	frame_fini(&f);
	if (rc != 0 || !r.ok || r.signature.n > TLS_SIGNATURE_MAX)
		return PT_EPERM;
	memcpy(sig, r.signature.p, r.signature.n);
	*len = r.signature.n;
	return 0;
}
