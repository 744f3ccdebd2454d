/* proc/recorders.c - the memory of the flight recorders, as the parent keeps it: one memfd for each worker slot, written
 * by its worker and read by control, and one that control writes, with what was worth keeping of workers that have
 * ended. The parent looks into none of them.
 *
 * A worker that has ended: control is told (RETIRE), copies, and says so (RETIRED); only then is the memory
 * cleared and the slot free. Without a control it waits for the next one, but nobody waits long for any. */
#include "proc/parent.h"

#include "rec/rec_ring.h"
#include "util/log.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RETIRE_WAIT_MS 2000 /* for control to copy; then the slot is used again all the same */

static void
close_fds(struct parent_table *t)
{
	if (t->rec_fd >= 0)
		close(t->rec_fd);
	if (t->rec_reader_fd >= 0)
		close(t->rec_reader_fd);
	t->rec_fd = t->rec_reader_fd = -1;
}

/* Control writes to what it keeps itself. */
static void
send_to_control(struct parent *p, uint32_t slot)
{
	const struct parent_table *t = &p->tables[slot];
	const bool own = slot == TABLE_SLOT_PAST;

	if (t->rec_fd >= 0)
		SEND(p->helpers[ROLE_CONTROL], recorder, own ? t->rec_fd : t->rec_reader_fd, .slot = slot,
			.own = own);
}

/* That of another binary may be of another size. */
static bool
fits(int fd)
{
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && st.st_size == (off_t)sizeof(struct rec_mem);
}

void
recorders_prepare(struct parent *p, uint32_t slot)
{
	struct parent_table *t = &p->tables[slot];

	t->retiring = 0;
	if (fits(t->rec_fd)) {
		rec_mem_clear(t->rec_fd);
		return;
	}
	close_fds(t);
	if (rec_mem_create(&t->rec_fd) != 0 || table_reader_fd(t->rec_fd, &t->rec_reader_fd) != 0) {
		close_fds(t);
		log_msg(LOG_L_WARNING, "no memory for a flight recorder: postern trace will not know the "
			"connections of worker %u", slot);
		return;
	}
	send_to_control(p, slot);
}

void
recorders_send_own(struct parent *p, struct proc *worker)
{
	int fd = p->tables[worker->slot].rec_fd;

	if (fd >= 0)
		SEND(worker, recorder, fd, .slot = worker->slot, .own = 1);
}

static void
ask(struct parent *p, uint32_t slot)
{
	SEND(p->helpers[ROLE_CONTROL], retire, -1, .slot = slot, .pid = p->tables[slot].retiring);
}

void
recorders_control_begin(struct parent *p)
{
	uint32_t i;

	if (!fits(p->tables[TABLE_SLOT_PAST].rec_fd))
		recorders_prepare(p, TABLE_SLOT_PAST); /* sends it */
	for (i = 0; i < TABLE_SLOTS_MAX; i++)
		send_to_control(p, i);
	for (i = 0; i < TABLE_SLOTS_MAX; i++)
		if (p->tables[i].retiring != 0)
			ask(p, i);
}

static void
release(struct parent *p, uint32_t slot)
{
	p->tables[slot].retiring = 0;
	p->tables[slot].taken = false;
	if (p->tables[slot].rec_fd >= 0)
		rec_mem_clear(p->tables[slot].rec_fd);
}

void
recorders_retire(struct parent *p, const struct proc *worker)
{
	struct parent_table *t = &p->tables[worker->slot];

	if (t->rec_fd < 0 || p->state >= PROC_STOPPING) {
		t->taken = false;
		return;
	}
	t->retiring = (uint32_t)worker->pid;
	t->retiring_ms = ev_now_ms();
	ask(p, worker->slot);
}

void
recorders_retired(struct parent *p, uint32_t slot, uint32_t pid)
{
	if (p->tables[slot].retiring == pid && pid != 0)
		release(p, slot);
}

bool
recorders_wait(struct parent *p, uint32_t slot)
{
	const struct parent_table *t = &p->tables[slot];

	if (t->retiring == 0)
		return false;
	if (ev_now_ms() - t->retiring_ms < RETIRE_WAIT_MS)
		return true;
	release(p, slot);
	return false;
}
