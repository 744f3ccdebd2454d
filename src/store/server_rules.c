/* store/server_rules.c - the two tables that say what a client may ask. */
#include "store/server_impl.h"

#define WORKER (1u << STORE_CLASS_WORKER)
#define RELAY (1u << STORE_CLASS_RELAY)
#define CONTROL (1u << STORE_CLASS_CONTROL)

const struct ipc_rule server_rules[] = {
	{ MSG_T_STORE_BODY, WORKER | RELAY, IPC_ANY_STATE, on_body },
	{ MSG_T_STORE_FILE, WORKER | RELAY, IPC_ANY_STATE, on_file },
	{ MSG_T_STORE_DROP, WORKER | RELAY, IPC_ANY_STATE, on_drop },
	{ MSG_T_STORE_WRITTEN, WORKER | RELAY, IPC_ANY_STATE, on_written },
	{ MSG_T_STORE_ADD, WORKER | RELAY, IPC_ANY_STATE, on_add },
	{ MSG_T_STORE_COPY, WORKER, IPC_ANY_STATE, on_copy },
	{ MSG_T_STORE_FLAGS, WORKER, IPC_ANY_STATE, on_flags },
	{ MSG_T_STORE_EXPUNGE, WORKER, IPC_ANY_STATE, on_expunge },
	{ MSG_T_STORE_BOX, WORKER, IPC_ANY_STATE, on_box },
	{ MSG_T_STORE_PUT, WORKER, IPC_ANY_STATE, on_put },
	{ MSG_T_STORE_COMMIT, WORKER | RELAY, IPC_ANY_STATE, on_commit },
	{ MSG_T_STORE_VIEW_OPEN, WORKER, IPC_ANY_STATE, on_view_open },
	{ MSG_T_STORE_VIEW_CLOSE, WORKER, IPC_ANY_STATE, on_view_close },
	{ MSG_T_STORE_FETCH, WORKER, IPC_ANY_STATE, on_fetch },
	{ MSG_T_STORE_BOXES, WORKER, IPC_ANY_STATE, on_boxes },
	{ MSG_T_STORE_ROOM, WORKER, IPC_ANY_STATE, on_room },
	{ MSG_T_STORE_GET, WORKER, IPC_ANY_STATE, on_get },
	{ MSG_T_STORE_QUEUE, RELAY, IPC_ANY_STATE, on_queue },
	{ MSG_T_STORE_QUEUE_RCPT, RELAY, IPC_ANY_STATE, on_queue_rcpt },
	{ MSG_T_STORE_OUTCOME, RELAY, IPC_ANY_STATE, on_outcome },
	{ MSG_T_STORE_CLAIM, RELAY, IPC_ANY_STATE, on_claim },
	{ MSG_T_STORE_HOLD, RELAY, IPC_ANY_STATE, on_hold },
	{ MSG_T_STORE_WATCH, WORKER | RELAY, IPC_ANY_STATE, on_watch },
	{ MSG_T_STORE_WATCH_END, WORKER | RELAY, IPC_ANY_STATE, on_watch_end },
	{ MSG_T_STORE_ADMIN, CONTROL, IPC_ANY_STATE, on_admin },
};
const size_t server_nrules = PT_COUNT(server_rules);

static const struct {
	const char *space;
	unsigned read, write; /* classes */
} spaces[] = {
	{ "greylist", WORKER, WORKER },
	{ "pop3-lock", WORKER, WORKER }, /* one session of a maildrop at a time (RFC 1939 §3) */
	{ "sieve", WORKER, WORKER },     /* scripts, and which is active */
	{ "vacation", WORKER, WORKER },  /* who has had an answer (RFC 5230 §4.6) */
};

bool
server_space(enum store_class class, struct span space, bool write)
{
	size_t i;

	for (i = 0; i < PT_COUNT(spaces); i++)
		if (span_equal(space, span_str(spaces[i].space)))
			return ((write ? spaces[i].write : spaces[i].read) & (1u << class)) != 0;
	return false;
}
