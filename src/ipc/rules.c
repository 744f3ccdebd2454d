/* ipc/rules.c - see rules.h. */
#include "ipc/rules.h"

int
ipc_dispatch(const struct ipc_rule *rules, size_t n, unsigned from_role, unsigned state, void *self,
	     void *peer, struct frame *f)
{
	const struct ipc_rule *r;
	bool with_fd;
	int rc = PT_EPROTO;

	if (msg_known(f->type, &with_fd) && with_fd == (f->fd >= 0)) {
		for (r = rules; r < rules + n; r++) {
			if ((unsigned)r->type != f->type || (r->from & 1u << from_role) == 0 ||
			    (r->states & IPC_IN(state)) == 0)
				continue;
			rc = r->handler(self, peer, f);
			break;
		}
	}
	frame_fini(f);
	return rc;
}
