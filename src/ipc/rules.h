/* ipc/rules.h - who may send what, in which state: the table that each receiver has.
 *
 * A frame that no row allows is a protocol violation of the sender, like one that cannot be decoded. */
#ifndef IPC_RULES_H
#define IPC_RULES_H

#include "ipc/msg.h"

#define IPC_IN(state) (1u << (state))
#define IPC_ANY_STATE (~0u)

/* Handles one frame: 0, or PT_EPROTO when the sender is at fault; other codes are the receiver's own
 * business. May take the frame's descriptor. */
typedef int ipc_handler_f(void *self, void *peer, struct frame *f);

struct ipc_rule {
	enum msg_type type;
	unsigned from;   /* bit set of senders' roles */
	unsigned states; /* bit set of the receiver's states */
	ipc_handler_f *handler;
};

/* Looks the frame up and calls its handler. PT_EPROTO when no row allows it, or when the descriptor is
 * missing or too much; the frame's descriptor is closed unless the handler took it. */
int ipc_dispatch(const struct ipc_rule *rules, size_t n, unsigned from_role, unsigned state, void *self,
		 void *peer, struct frame *f) PT_MUST_USE;

#endif
