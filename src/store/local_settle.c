/* store/local_settle.c - what must be on the disk before a mailbox goes or gets another name, or a file takes the place of another.
 *
 * A replay finds a mailbox by its name and its id. What the journal has of one that is gone from its name cannot be done again
 * there; nor can others copy from it again. So all that was accepted before is on the disk first: the mail folder is flushed.
 *
 * That takes as long as everything takes that anybody writes there, so no thread that carries something out waits for it. The job
 * leaves its thread and keeps its turn; one flush is for all who wait when it begins, and for those who come to it later and are
 * older than what it has covered: the store knows the LSN below which all was carried out when the last flush began.
 *
 * A file that is written anew and takes the place of one that was flushed long ago (subscriptions) must be there first, too: of what it
 * says the journal has only the last change. It waits in the same way, for the same thread. Where nobody needs more, only
 * such files are flushed, one after the other: the first takes most of the rest with it. */
#include "store/local.h"

#include "util/log.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

void
settle_below(struct local *l, uint64_t lsn)
{
	if (lsn > l->settled)
		l->settled = lsn;
}

/* --- in threads -------------------------------------------------------------------------------------------- */

bool
settle_may(struct apply_job *aj)
{
	if (!aj->granted)
		return !aj->l->moved && aj->a->lsn <= aj->l->settled;
	aj->granted = false; /* for one line */
	return true;
}

void
settle_file(struct apply_job *aj, int fd)
{
	PT_ASSERT(aj->file_fd < 0);
	aj->file_fd = fd;
	aj->file_error = 0;
}

int
settle_file_end(struct apply_job *aj)
{
	bool flushed = aj->granted && aj->file_error == 0;

	if (aj->file_fd < 0)
		return PT_EAGAIN;
	close(aj->file_fd);
	aj->file_fd = -1;
	aj->granted = false;
	return flushed ? 0 : PT_EIO;
}

static bool
needs_all(const struct local *l)
{
	const struct apply_job *aj;

	TAILQ_FOREACH(aj, &l->settle_now, retry)
		if (aj->file_fd < 0)
			return true;
	return false;
}

/* The list is this thread's until it is done. */
static void
settle_run(struct crew_job *j)
{
	struct local *l = (struct local *)((char *)j - offsetof(struct local, settle_job));
	struct apply_job *aj;

	if (l->settle_lsn > 0 && syncfs(l->conf.mail_fd) != 0)
		l->settle_error = errno;
	TAILQ_FOREACH(aj, &l->settle_now, retry)
		if (aj->file_fd >= 0 && fdatasync(aj->file_fd) != 0)
			aj->file_error = errno;
}

/* --- main thread ------------------------------------------------------------------------------------------- */

static void begin(struct local *l);

/* A flush that failed is not tried again: who waited for it must not go on. */
static void
refuse(struct local *l, struct apply_job *aj)
{
	aj->settling = false;
	aj->begun = 0;
	aj->rc = PT_EIO;
	l->retrying -= aj->tries > 0;
	aj->tries += aj->tries == 0; /* nor is it said to be */
	local_apply_failed(l, aj);
}

static void
settle_done(struct crew_job *j)
{
	struct local *l = (struct local *)((char *)j - offsetof(struct local, settle_job));
	struct apply_job *aj;

	l->is_settling = false;
	if (l->settle_error != 0) {
		log_msg(LOG_L_ERROR, "the mail file system cannot be flushed: %s", strerror(l->settle_error));
		if (!l->failed)
			local_fail(l);
	} else {
		settle_below(l, l->settle_lsn);
	}
	while ((aj = TAILQ_FIRST(&l->settle_now)) != NULL) {
		TAILQ_REMOVE(&l->settle_now, aj, retry);
		if (l->settle_error != 0) {
			refuse(l, aj);
			continue;
		}
		aj->settling = false;
		aj->granted = true;
		crew_again(l->crew, &aj->job);
	}
	if (!TAILQ_EMPTY(&l->settle_next))
		begin(l);
}

static void
begin(struct local *l)
{
	struct apply_job *aj;

	if (l->settle_error != 0) {
		while ((aj = TAILQ_FIRST(&l->settle_next)) != NULL) {
			TAILQ_REMOVE(&l->settle_next, aj, retry);
			refuse(l, aj);
		}
		return;
	}
	TAILQ_CONCAT(&l->settle_now, &l->settle_next, retry);
	l->settle_lsn = needs_all(l) ? local_oldest(l) : 0;
	l->settle_job = (struct crew_job){ .run = settle_run, .done = settle_done, .lane = CREW_READ };
	l->is_settling = true;
	crew_submit(l->crew, &l->settle_job, NULL, 0);
}

void
settle_wait(struct local *l, struct apply_job *aj)
{
	TAILQ_INSERT_TAIL(&l->settle_next, aj, retry);
	if (!l->is_settling)
		begin(l);
}
