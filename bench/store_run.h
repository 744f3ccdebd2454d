/* bench/store_run.h - the real postern-store, started, fed with channels and killed by us in its parent's place. */
#ifndef BENCH_STORE_RUN_H
#define BENCH_STORE_RUN_H

#include "ipc/chan.h"
#include "store/store.h"

#include <sys/types.h>

struct store_run {
	pid_t pid;
	struct chan *chan; /* the parent's */
	int log_fd;        /* our end of its log */
	uint64_t started_ns;
	uint64_t ready_ns; /* when it had opened its folders */
};

/* Starts the program with the folders state and mail below dir, made where they are missing, and waits until it is
 * open. Ends the program when that fails. */
void store_run_start(struct store_run *r, const char *program, const char *dir);

/* One more channel, as a worker's. */
int store_run_channel(struct store_run *r);

/* kill -9; or the polite way, which waits for all that is under way. */
void store_run_kill(struct store_run *r);
void store_run_stop(struct store_run *r);

/* Its processor time so far: of all threads, and of those that do not carry out what is acknowledged ("apply"). */
struct store_cpu {
	uint64_t all_ns, front_ns;
};
struct store_cpu store_run_cpu(const struct store_run *r);

/* PSS of a process, in KiB. */
uint64_t pss_kib(pid_t pid);

/* Runs the callbacks of s until *flag is set. */
void store_await(struct store *s, const bool *flag);

#endif
