/* unit/ipc/test_rules.c - the receiver's table: who, what, when; and whose the descriptor is. */
#include "test.h"

#include "ipc/rules.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { ANN, BOB, CAROL };
enum { IDLE, BUSY };

static int calls, answer;
static bool takes;
static void *got_self, *got_peer;

static int
handler(void *self, void *peer, struct frame *f)
{
	calls++;
	got_self = self;
	got_peer = peer;
	if (takes)
		close(frame_take_fd(f));
	return answer;
}

static int
other(void *self, void *peer, struct frame *f)
{
	(void)self;
	(void)peer;
	(void)f;
	CU_FAIL("the wrong handler");
	return 0;
}

static const struct ipc_rule table[] = {
	{ MSG_T_STOP, 1u << ANN, IPC_IN(BUSY), handler },
	{ MSG_T_STOP, 1u << BOB, IPC_ANY_STATE, other },
	{ MSG_T_CONFIG, 1u << ANN | 1u << BOB, IPC_IN(IDLE) | IPC_IN(BUSY), handler },
	{ MSG_T_START, 1u << ANN, IPC_ANY_STATE, other },
};

static void
test_table(void)
{
	static const struct {
		const char *name;
		unsigned type, from, state;
		bool fd;
		int calls;
	} rows[] = {
		{ "allowed", MSG_T_STOP, ANN, BUSY, false, 1 },
		{ "wrong state", MSG_T_STOP, ANN, IDLE, false, 0 },
		{ "wrong sender", MSG_T_STOP, CAROL, BUSY, false, 0 },
		{ "no row", MSG_T_DRAIN, ANN, BUSY, false, 0 },
		{ "no such message", 999, ANN, BUSY, false, 0 },
		{ "message 0", 0, ANN, BUSY, false, 0 },
		{ "the highest number", 0xffff, ANN, BUSY, true, 0 },
		{ "a descriptor too much", MSG_T_STOP, ANN, BUSY, true, 0 },
		{ "a descriptor", MSG_T_CONFIG, BOB, IDLE, true, 1 },
		{ "a descriptor, other state", MSG_T_CONFIG, ANN, BUSY, true, 1 },
		{ "a state that the row does not name", MSG_T_CONFIG, ANN, 2, true, 0 },
		{ "a descriptor that is missing", MSG_T_CONFIG, ANN, BUSY, false, 0 },
	};
	static struct frame f;
	unsigned before = test_open_fds();
	int self, peer, rc, want, k;
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++) {
		for (k = 0; k < 3; k++) { /* the handler's answers */
			calls = 0;
			answer = k == 0 ? 0 : k == 1 ? PT_EPROTO : PT_EBUSY;
			takes = rows[i].fd && k != 1;
			f = (struct frame){ .type = (uint16_t)rows[i].type,
				.fd = rows[i].fd ? fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3) : -1 };
			rc = ipc_dispatch(table, PT_COUNT(table), rows[i].from, rows[i].state, &self, &peer,
				&f);
			want = rows[i].calls > 0 ? answer : PT_EPROTO;
			if (calls != rows[i].calls || rc != want || f.fd != -1)
				CU_FAIL(rows[i].name);
			if (calls > 0)
				CU_ASSERT_TRUE(got_self == &self && got_peer == &peer);
			if (test_open_fds() != before)
				CU_FAIL(rows[i].name);
		}
	}
	CU_ASSERT_EQUAL(ipc_dispatch(NULL, 0, ANN, IDLE, NULL, NULL, &f), PT_EPROTO);
}

static const struct test_row rows[] = {
	{ "senders, states, descriptors", test_table },
};
TEST_MAIN("ipc/rules", rows)
