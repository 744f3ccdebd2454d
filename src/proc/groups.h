/* proc/groups.h - the process groups of the programs that the spawn process has started, in memory that it shares with
 * the parent.
 *
 * When the spawn process dies, nobody is left who knows them: the parent ends them by this table. A group stays in it
 * until its last process is known to have gone. One writer, the spawn process; the parent reads when that is
 * dead. */
#ifndef PROC_GROUPS_H
#define PROC_GROUPS_H

#include "util/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define GROUPS_MAX 4096 /* programs of all services at a time */

struct groups {
	_Atomic int32_t pgid[GROUPS_MAX]; /* 0: free */
};

/* A new sealed memfd of the right size. */
int groups_create(int *fd_out) PT_MUST_USE;

/* Maps it; NULL when that fails or the size is wrong. fd is borrowed. */
struct groups *groups_map(int fd);

void groups_unmap(struct groups **g); /* NULL inside is fine */

/* A free place, -1: none. */
int groups_find_free(const struct groups *g);

/* SIGKILL to all of them. */
void groups_kill(const struct groups *g);

#endif
