/* unit/proc/test_conn_state.c - every sequence of events, from every beginning, until no new pair of state and
 * flags appears: what must never be true is looked for in all of them.
 *
 * The function under test is the server's own; what it has the caller drop is followed by serial numbers:
 * each thing that is made has one, so a thing that outlives its session is seen even when another of
 * its kind has taken the same flag. */
#include "proc/conn_state.h"

#include "test.h"
#include "util/err.h"

#include <string.h>

#define PAIRS_MAX 256
#define HAS_BITS 4 /* CONN_F_HAS */

static const struct {
	bool implicit_tls, starttls;
} begins[] = { { false, true }, { false, false }, { true, false } };

static struct conn_at pairs[PAIRS_MAX];
static size_t npairs;

static void
add(struct conn_at at)
{
	size_t i;

	for (i = 0; i < npairs; i++)
		if (pairs[i].state == at.state && pairs[i].flags == at.flags)
			return;
	CU_ASSERT_FATAL(npairs < PAIRS_MAX);
	pairs[npairs++] = at;
}

/* All pairs that can be reached from this beginning. */
static void
reach(size_t begin)
{
	struct conn_at to;
	unsigned ev, drops;
	size_t i;

	npairs = 0;
	add(conn_state_start(begins[begin].implicit_tls, begins[begin].starttls));
	for (i = 0; i < npairs; i++)
		for (ev = 0; ev < CONN_EVENT_COUNT; ev++)
			if (conn_state_next(pairs[i], ev, &to, &drops))
				add(to);
}

static bool
has(struct conn_at at, unsigned flags)
{
	return (at.flags & flags) == flags;
}

/* Plaintext reaches only engines that were never told of a TLS session, and what TLS decrypts only those that
 * were; a state has exactly what it is meant to have. */
static void
check_pair(struct conn_at at)
{
	static const struct {
		unsigned has, may;
	} want[CONN_STATE_COUNT] = {
		[CONN_PLAIN] = { CONN_F_ENGINE, 0 },
		[CONN_HANDSHAKE] = { CONN_F_TLS, 0 },
		[CONN_SECURE] = { CONN_F_HAS, 0 },
		[CONN_REHANDSHAKE] = { CONN_F_HAS, 0 },
		[CONN_ENDING] = { CONN_F_ENGINE, CONN_F_HAS },
		[CONN_CLOSING] = { 0, 0 },
		[CONN_ENDED] = { 0, 0 },
	};
	unsigned is = at.flags & CONN_F_HAS;

	CU_ASSERT((is & want[at.state].has) == want[at.state].has);
	CU_ASSERT((is & ~(want[at.state].has | want[at.state].may)) == 0);
	switch (conn_state_input(at.state)) {
	case CONN_IN_ENGINE:
		CU_ASSERT_EQUAL(at.flags & (CONN_F_TLS | CONN_F_IDENTITY | CONN_F_INSIDE), 0);
		CU_ASSERT_EQUAL(at.flags & (CONN_F_CLEAN | CONN_F_BYE), 0);
		break;
	case CONN_IN_TLS:
		CU_ASSERT(has(at, CONN_F_TLS));
		CU_ASSERT_EQUAL(has(at, CONN_F_ENGINE), has(at, CONN_F_INSIDE));
		CU_ASSERT_EQUAL(at.flags & (CONN_F_CLEAN | CONN_F_BYE), 0);
		break;
	case CONN_IN_DISCARD:
	case CONN_IN_NOT:
		break;
	}
	/* an identity only beside the session that proved it and the engine that was told */
	CU_ASSERT_EQUAL(has(at, CONN_F_IDENTITY), has(at, CONN_F_INSIDE));
	if (has(at, CONN_F_IDENTITY))
		CU_ASSERT(has(at, CONN_F_TLS | CONN_F_ENGINE));
	if (has(at, CONN_F_BYE))
		CU_ASSERT(has(at, CONN_F_CLEAN));
}

static void
test_pairs(void)
{
	size_t b, i, n = 0;

	for (b = 0; b < PT_COUNT(begins); b++) {
		reach(b);
		for (i = 0; i < npairs; i++)
			check_pair(pairs[i]);
		n += npairs;
	}
	CU_ASSERT(n > 20); /* the search has found what there is: each state at least */
}

static void
test_states_reached(void)
{
	unsigned seen[PT_COUNT(begins)] = { 0 };
	size_t b, i;

	for (b = 0; b < PT_COUNT(begins); b++) {
		reach(b);
		for (i = 0; i < npairs; i++)
			seen[b] |= 1u << pairs[i].state;
	}
	CU_ASSERT_EQUAL(seen[0], (1u << CONN_STATE_COUNT) - 1);
	/* a plain port never sees TLS, a port with implicit TLS never plaintext */
	CU_ASSERT_EQUAL(seen[1], 1u << CONN_PLAIN | 1u << CONN_ENDING | 1u << CONN_CLOSING | 1u << CONN_ENDED);
	CU_ASSERT_EQUAL(seen[2], ((1u << CONN_STATE_COUNT) - 1) & ~(1u << CONN_PLAIN));
}

/* Who speaks last is read no more, and has the time that the peer takes to read; a handshake has its own. */
static void
test_inputs(void)
{
	static const struct {
		enum conn_input input;
		enum conn_clock clock;
	} want[CONN_STATE_COUNT] = {
		[CONN_PLAIN] = { CONN_IN_ENGINE, CONN_CLOCK_ENGINE },
		[CONN_HANDSHAKE] = { CONN_IN_TLS, CONN_CLOCK_HANDSHAKE },
		[CONN_SECURE] = { CONN_IN_TLS, CONN_CLOCK_ENGINE },
		[CONN_REHANDSHAKE] = { CONN_IN_TLS, CONN_CLOCK_HANDSHAKE },
		[CONN_ENDING] = { CONN_IN_NOT, CONN_CLOCK_LINGER },
		[CONN_CLOSING] = { CONN_IN_DISCARD, CONN_CLOCK_LINGER },
		[CONN_ENDED] = { CONN_IN_NOT, CONN_CLOCK_NONE },
	};
	unsigned state;

	for (state = 0; state < CONN_STATE_COUNT; state++) {
		CU_ASSERT_EQUAL(conn_state_input(state), want[state].input);
		CU_ASSERT_EQUAL(conn_state_clock(state), want[state].clock);
	}
}

/* Every state but the last has a clock, and every pair but the last has a way to the end when it runs out. */
static void
test_deadlines(void)
{
	struct conn_at to;
	unsigned drops;
	size_t b, i;

	for (b = 0; b < PT_COUNT(begins); b++) {
		reach(b);
		for (i = 0; i < npairs; i++) {
			CU_ASSERT_EQUAL(conn_state_clock(pairs[i].state) == CONN_CLOCK_NONE,
				pairs[i].state == CONN_ENDED);
			CU_ASSERT_EQUAL(conn_state_next(pairs[i], CONN_EV_ABORT, &to, &drops),
				pairs[i].state != CONN_ENDED);
			/* an engine's deadline needs an engine, a handshake's a session */
			if (conn_state_clock(pairs[i].state) == CONN_CLOCK_ENGINE)
				CU_ASSERT(has(pairs[i], CONN_F_ENGINE));
			if (conn_state_clock(pairs[i].state) == CONN_CLOCK_HANDSHAKE)
				CU_ASSERT(has(pairs[i], CONN_F_TLS));
		}
	}
}

/* The figure of a connection, whole: where each event leads from each state, and from where it leads nowhere. */
static void
test_edges(void)
{
#define AT(name) (1u << CONN_##name)
	static const unsigned want[CONN_STATE_COUNT][CONN_EVENT_COUNT] = { /* to; 0: not allowed */
		[CONN_PLAIN] = { [CONN_EV_UPGRADE] = AT(HANDSHAKE), [CONN_EV_END_OF_FILE] = AT(ENDING),
			[CONN_EV_CLOSE] = AT(CLOSING), [CONN_EV_ABORT] = AT(ENDED) },
		[CONN_HANDSHAKE] = { [CONN_EV_ESTABLISHED] = AT(SECURE), [CONN_EV_CLOSE] = AT(CLOSING),
			[CONN_EV_ABORT] = AT(ENDED) },
		[CONN_SECURE] = { [CONN_EV_RENEGOTIATE] = AT(REHANDSHAKE), [CONN_EV_CLOSE_NOTIFY] = AT(ENDING),
			[CONN_EV_CLOSE] = AT(CLOSING), [CONN_EV_ABORT] = AT(ENDED) },
		[CONN_REHANDSHAKE] = { [CONN_EV_ESTABLISHED] = AT(SECURE), [CONN_EV_CLOSE] = AT(CLOSING),
			[CONN_EV_ABORT] = AT(ENDED) },
		[CONN_ENDING] = { [CONN_EV_BYE] = AT(ENDING), [CONN_EV_RESTART] = AT(PLAIN),
			[CONN_EV_CLOSE] = AT(CLOSING), [CONN_EV_ABORT] = AT(ENDED) },
		[CONN_CLOSING] = { [CONN_EV_ABORT] = AT(ENDED) },
	};
#undef AT
	unsigned got[CONN_STATE_COUNT][CONN_EVENT_COUNT] = { { 0 } }, ev, state, drops;
	struct conn_at to;
	size_t b, i;

	for (b = 0; b < PT_COUNT(begins); b++) {
		reach(b);
		for (i = 0; i < npairs; i++)
			for (ev = 0; ev < CONN_EVENT_COUNT; ev++)
				if (conn_state_next(pairs[i], ev, &to, &drops))
					got[pairs[i].state][ev] |= 1u << to.state;
	}
	for (state = 0; state < CONN_STATE_COUNT; state++)
		for (ev = 0; ev < CONN_EVENT_COUNT; ev++)
			CU_ASSERT_EQUAL(got[state][ev], want[state][ev]);
}

/* A flag of what has happened comes by its own event, once, and goes by a restart. */
static bool
remembered(unsigned was, unsigned is, unsigned flag, enum conn_event ev, enum conn_event by)
{
	bool had = (was & flag) != 0, has_now = (is & flag) != 0;

	if (ev == by)
		return !had && has_now;
	return ev == CONN_EV_RESTART ? !has_now : had == has_now;
}

/* Only the go-ahead, the end of a first handshake and a restart make anything; only the go-ahead, a restart and
 * the two ends take anything away, the ends all of it. */
static bool
kept(struct conn_at at, unsigned is, unsigned drops, enum conn_event ev)
{
	const unsigned was = at.flags & CONN_F_HAS;

	if (ev == CONN_EV_UPGRADE || ev == CONN_EV_RESTART)
		return (drops & ~was) == 0;
	if (ev == CONN_EV_CLOSE || ev == CONN_EV_ABORT)
		return drops == was && (is & CONN_F_HAS) == 0;
	return drops == 0 && ((is & CONN_F_HAS & ~was) == 0 ||
		(ev == CONN_EV_ESTABLISHED && at.state == CONN_HANDSHAKE));
}

static void
test_flags(void)
{
	struct conn_at to, at;
	unsigned ev, drops;
	size_t b, i;

	for (b = 0; b < PT_COUNT(begins); b++) {
		reach(b);
		for (i = 0; i < npairs; i++)
			for (ev = 0; ev < CONN_EVENT_COUNT; ev++) {
				at = pairs[i];
				if (!conn_state_next(at, ev, &to, &drops))
					continue;
				CU_ASSERT_EQUAL(at.flags & CONN_F_STARTTLS, to.flags & CONN_F_STARTTLS);
				CU_ASSERT(remembered(at.flags, to.flags, CONN_F_CLEAN, ev, CONN_EV_CLOSE_NOTIFY));
				CU_ASSERT(remembered(at.flags, to.flags, CONN_F_BYE, ev, CONN_EV_BYE));
				CU_ASSERT(kept(at, to.flags, drops, ev));
			}
	}
}

/* Nothing leads out of the end, and nothing but the end out of closing. */
static void
test_no_way_back(void)
{
	struct conn_at to;
	unsigned ev, drops;
	size_t b, i;

	for (b = 0; b < PT_COUNT(begins); b++) {
		reach(b);
		for (i = 0; i < npairs; i++)
			for (ev = 0; ev < CONN_EVENT_COUNT; ev++) {
				if (!conn_state_next(pairs[i], ev, &to, &drops))
					continue;
				CU_ASSERT_NOT_EQUAL(pairs[i].state, CONN_ENDED);
				if (pairs[i].state == CONN_CLOSING)
					CU_ASSERT_EQUAL(to.state, CONN_ENDED);
			}
	}
}

/* What each thing is: the session (counted by handshakes) that it belongs to. */
struct world {
	struct conn_at at;
	unsigned of[HAS_BITS]; /* 0: plaintext */
	unsigned sessions;
};

#define OF(w, flag) ((w)->of[__builtin_ctz(flag)])

/* Follows every sequence of that many events. The session that an engine, its facts and its identity
 * belong to must be the one whose TLS is up. */
static void
follow(const struct world *w, unsigned depth)
{
	struct world next;
	unsigned ev, drops, bit, made;

	if (has(w->at, CONN_F_IDENTITY))
		CU_ASSERT(has(w->at, CONN_F_TLS | CONN_F_ENGINE));
	if (has(w->at, CONN_F_TLS | CONN_F_ENGINE)) {
		CU_ASSERT_EQUAL(OF(w, CONN_F_ENGINE), OF(w, CONN_F_TLS));
		CU_ASSERT_EQUAL(OF(w, CONN_F_IDENTITY), OF(w, CONN_F_TLS));
		CU_ASSERT(OF(w, CONN_F_TLS) > 0);
	}
	if (conn_state_input(w->at.state) == CONN_IN_ENGINE)
		CU_ASSERT_EQUAL(OF(w, CONN_F_ENGINE), 0);
	for (ev = 0; ev < CONN_EVENT_COUNT && depth > 0; ev++) {
		next = *w;
		if (!conn_state_next(w->at, ev, &next.at, &drops))
			continue;
		if (ev == CONN_EV_UPGRADE)
			next.sessions++;
		for (bit = 1; bit < 1u << HAS_BITS; bit <<= 1) {
			/* what is dropped was there; what is there now was kept or is new */
			CU_ASSERT((drops & bit) == 0 || (w->at.flags & bit) != 0);
			made = (next.at.flags & bit) != 0 && ((w->at.flags & bit) == 0 || (drops & bit) != 0);
			if ((w->at.flags & bit) != 0 && (next.at.flags & bit) == 0)
				CU_ASSERT((drops & bit) != 0); /* nothing is forgotten without being freed */
			if (made)
				OF(&next, bit) = next.at.state == CONN_PLAIN ? 0 : next.sessions;
		}
		follow(&next, depth - 1);
	}
}

static void
test_sessions(void)
{
	struct world w;
	size_t b;

	for (b = 0; b < PT_COUNT(begins); b++) {
		memset(&w, 0, sizeof w);
		w.at = conn_state_start(begins[b].implicit_tls, begins[b].starttls);
		if (begins[b].implicit_tls)
			OF(&w, CONN_F_TLS) = w.sessions = 1;
		follow(&w, 14); /* two whole rounds of STARTTLS and restart, and a part of the third */
	}
}

/* A restart: only behind both close_notify on a port with STARTTLS, and all of the session is dropped, the
 * engine too, whose place another takes. */
static void
test_restart(void)
{
	const unsigned session = CONN_F_TLS | CONN_F_ENGINE | CONN_F_IDENTITY | CONN_F_INSIDE;
	unsigned drops, restarts[PT_COUNT(begins)] = { 0 };
	struct conn_at to;
	size_t b, i;

	for (b = 0; b < PT_COUNT(begins); b++) {
		reach(b);
		for (i = 0; i < npairs; i++) {
			if (!conn_state_next(pairs[i], CONN_EV_RESTART, &to, &drops))
				continue;
			restarts[b]++;
			CU_ASSERT_EQUAL(pairs[i].state, CONN_ENDING);
			CU_ASSERT(has(pairs[i], CONN_F_CLEAN | CONN_F_BYE | CONN_F_STARTTLS));
			CU_ASSERT_EQUAL(drops, session);
			/* exactly as the connection began */
			CU_ASSERT_EQUAL(to.state, conn_state_start(false, true).state);
			CU_ASSERT_EQUAL(to.flags, conn_state_start(false, true).flags);
		}
	}
	CU_ASSERT_EQUAL(restarts[0], 1);
	CU_ASSERT_EQUAL(restarts[1] + restarts[2], 0);
}

static void
test_names(void)
{
	CU_ASSERT_STRING_EQUAL(conn_state_name(CONN_PLAIN), "PLAIN");
	CU_ASSERT_STRING_EQUAL(conn_state_name(CONN_ENDED), "ENDED");
}

static const struct test_row rows[] = {
	{ "every pair has what it may have", test_pairs },
	{ "which states each port reaches", test_states_reached },
	{ "where octets go and whose clock runs", test_inputs },
	{ "where each event leads", test_edges },
	{ "what is remembered", test_flags },
	{ "every connection has a deadline", test_deadlines },
	{ "no way back from the end", test_no_way_back },
	{ "what belongs to a session ends with it", test_sessions },
	{ "restart", test_restart },
	{ "names", test_names },
};

TEST_MAIN("proc/conn_state", rows)
