/* store/server.h - the store process's side of its clients' channels: frames to requests, requests to answers.
 *
 * Every octet of a frame is hostile. What a client may ask at all is a table of its class (server_rules.c), what it may read and
 * write of keys another; a frame that no row allows, that cannot be decoded, or that breaks a limit ends its
 * channel, and nobody else notices. A request that is only wrong gets STORE_INVALID.
 *
 * Knows no event loop: watch server_fd() for reading, then server_dispatch(). */
#ifndef STORE_SERVER_H
#define STORE_SERVER_H

#include "store/mailbox.h"

/* Who a channel leads to. */
enum store_class {
	STORE_CLASS_WORKER, /* mailboxes and their keys */
	STORE_CLASS_RELAY,  /* the queue, and mailboxes for what comes back. No process is one yet */
	STORE_CLASS_CONTROL, /* what an operator asks, nothing else */
	STORE_CLASSES
};

struct server;

/* be and mbs are borrowed. NULL when out of memory or descriptors. */
struct server *server_new(struct store_backend *be, struct mailboxes *mbs, struct kv *kv);

/* Closes all channels; what was asked and is not answered is not answered. Before the engine is closed. */
void server_free(struct server **s);

/* A channel (taken). who: whatever the caller knows the client by; 0: nothing. 0, PT_ENOMEM. */
int server_peer(struct server *s, int fd, enum store_class class, uint32_t who) PT_MUST_USE;

/* Whoever did what no client does, and whose channel is being closed, is told to f: as a process it goes on. who is not 0. */
typedef void server_condemned_f(void *arg, uint32_t who, const char *what);
void server_on_condemned(struct server *s, server_condemned_f *f, void *arg);

int server_fd(const struct server *s);

/* Takes what is there, makes it durable with one flush, answers. */
void server_dispatch(struct server *s);

struct server_count {
	size_t peers;     /* channels */
	size_t requests;  /* that are not answered */
	size_t condemned; /* channels that were ended for what came from them */
	size_t waits;     /* how often a client was not read from for a while, because it had too much under way */
	size_t refused;   /* requests that got STORE_TEMP, because it had too many views or files */
};
struct server_count server_count(const struct server *s);

/* Answers what it has but takes nothing new: true when all is answered. */
bool server_quiet(struct server *s);

#endif
