/* proc/child.h - what keyholder, workers and control have in common: the way from exec to a confined
 * process with an event loop, a channel to the parent and a log. */
#ifndef PROC_CHILD_H
#define PROC_CHILD_H

#include "ev/ev.h"
#include "ipc/chan.h"
#include "ipc/rules.h"
#include "proc/role.h"

#include <sys/types.h>

struct child {
	enum role role;
	enum proc_state state; /* rules are looked up by it */
	struct ev_loop *loop;
	struct chan *parent;
	struct ev_io parent_io;
	const struct ipc_rule *rules; /* for frames from the parent */
	size_t nrules;
	void *self; /* given to the handlers */
	void (*orphaned)(void *self); /* NULL, or what is done when the parent is gone, before the end */
	struct chan *log;  /* what control does not take at once waits in it: no account of a message is lost for being one of many */
	struct ev_io log_io;
	bool log_watched;
	unsigned log_lost; /* messages that it did not take */
};

/* A channel to another process, watched: frames go to a rule table, the end of it to a callback. */
struct link;
typedef void link_gone_f(void *self, struct link *link, int rc);

struct link {
	struct child *child;
	struct chan *chan; /* owned; NULL: gone */
	struct ev_io io;
	const struct ipc_rule *rules;
	size_t nrules;
	unsigned peer_role;
	bool paused;
	void *self;
	link_gone_f *gone; /* rc: PT_EEOF, PT_EPROTO (the peer is condemned), PT_EIO */
};

/* Reads -u uid -g gid from argv (as the parent gives them), makes the loop, the channel and the log,
 * ignores SIGINT and SIGPIPE, confines the process and tells the parent what was missing. Ends the
 * process when anything fails: an unconfined child must not run. */
void child_init(struct child *c, enum role role, int argc, char **argv, const struct ipc_rule *rules,
		size_t nrules, void *self);

/* Sends a frame to the parent; the end of the parent is our end. */
void child_send(struct child *c, struct frame *f, int fd);

/* Tells the parent that this process is confined; called by child_init() for all. */
void child_ack_cred(struct child *c, uint64_t generation, bool ok, const char *text);

/* A new log end came from the parent (MSG_LOG_END): rows of every child's table point here. */
int child_on_log_end(void *self, void *peer, struct frame *f);

/* Answers MSG_PROBE; PT_EPROTO in builds without --enable-probe. */
int child_on_probe(void *self, void *peer, struct frame *f);

/* Watches fd (taken). Returns an owned link, NULL when out of memory. */
struct link *link_new(struct child *c, int fd, unsigned peer_role, const struct ipc_rule *rules,
		      size_t nrules, void *self, link_gone_f *gone);
void link_free(struct link **link);

/* Sends a frame to the peer, or queues it. As chan_send(): what it returns other than 0 means that the channel is of no
 * use any more. */
int link_send(struct link *link, struct frame *f, int fd) PT_MUST_USE;
/* Sends or queues; fd (-1: none) is borrowed. A peer that has gone, or does not take what is sent, is met by the link's
 * callback, later. l NULL is fine. */
void link_tell(struct link *l, struct frame *f, int fd);

/* Reads nothing from the peer, and is not woken by what it sends, until it is called again with false. */
void link_pause(struct link *link, bool paused);

/* Runs the loop until the process ends. */
__attribute__((noreturn)) void child_run(struct child *c);

#endif
