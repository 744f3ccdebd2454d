/* bench/store_load.h - clients that give a message and wait until it is durable, again and again: of the store, or of one file
 * for each message as Postfix writes it. */
#ifndef BENCH_STORE_LOAD_H
#define BENCH_STORE_LOAD_H

#include "store_run.h"

struct load {
	unsigned clients;     /* messages under way at a time */
	unsigned processes;   /* that the clients are spread over; each has one channel */
	double seconds;       /* at most */
	uint64_t count;       /* messages at most, of all; 0: any number */
	size_t octets;        /* of a message */
	const char *dir;
};

struct load_result {
	uint64_t ops, max_us;
	double seconds;
	uint64_t p50_us, p99_us;
	uint64_t client_ns; /* processor time of the clients' processes */
};

/* The clients of client n are those of the user user_name(n). run NULL: one file for each message, in dir/incoming, renamed to
 * dir/active. */
void load_run(const struct load *l, struct store_run *run, struct load_result *out);

/* The user of that client. Borrowed until the next call. */
const char *user_name(unsigned client);

/* Makes the folders of the peer. */
void peer_prepare(const char *dir);

/* n files are made and removed where the peer makes its own; or where the store does: made in mail/.tmp, moved to the
 * mailboxes' new. */
void churn_peer(const char *dir, unsigned n);
void churn_store(const char *dir, unsigned users, unsigned n);

/* A message of that many octets: a header, and lines. */
void message_fill(uint8_t *p, size_t n);

#endif
