/* unit/store/test_pace.c - what is let into a journal, against a model of it: segments, files that are written more slowly,
 * checkpoints that take their time. The clock is ours. */
#include "store/pace.h"

#include "test.h"

#include "util/err.h"

#define SEGMENT (64ull << 20)
#define SEGMENTS 4
#define ALL (SEGMENTS * SEGMENT)
#define STEP_US 1000
#define SECOND 1000000ull

/* What a machine can do. Octets a microsecond are megabytes a second. */
struct machine {
	const char *name;
	double asked, files;     /* what clients would give; what is written into files */
	uint64_t checkpoint_us;  /* and what a checkpoint takes */
	uint64_t record;
	double least;            /* of what would be written without pacing */
};

struct model {
	const struct machine *m;
	uint64_t now_us, given, applied, synced, freed; /* given and the like: octets since the beginning */
	uint64_t ends_us, covers;                       /* a checkpoint; 0: there is none */
	double asked, written;
	uint64_t last_us, stop_us;                      /* somebody was let in; the longest time in which nobody was */
	bool unpaced;
};

static uint64_t
room(const struct model *s)
{
	return ALL - (s->given - s->freed);
}

static void
checkpoint(struct model *s)
{
	if (s->ends_us != 0 && s->now_us >= s->ends_us) {
		s->synced = s->covers;
		s->freed = s->synced / SEGMENT * SEGMENT;
		s->ends_us = 0;
	}
	if (s->ends_us == 0 && room(s) < ALL / 2 && s->applied / SEGMENT > s->freed / SEGMENT) {
		s->covers = s->applied;
		s->ends_us = s->now_us + s->m->checkpoint_us;
	}
}

/* A millisecond, in which so much is asked. */
static void
step(struct model *s, struct pace *p)
{
	bool in = false;

	s->now_us += STEP_US;
	s->written = s->written + s->m->files * STEP_US > (double)s->given ? (double)s->given : s->written + s->m->files * STEP_US;
	s->applied = (uint64_t)s->written;
	checkpoint(s);
	for (s->asked += s->m->asked * STEP_US; s->asked >= (double)s->m->record; s->asked -= (double)s->m->record) {
		if (room(s) < s->m->record || (!s->unpaced && !pace_may(p, s->now_us, room(s), ALL)))
			break;
		pace_took(p, s->now_us, s->m->record, ALL);
		s->given += s->m->record;
		in = true;
	}
	if (s->asked > s->m->asked * 20 * STEP_US)
		s->asked = s->m->asked * 20 * STEP_US; /* who waits asks for nothing more */
	if (!in && s->asked >= (double)s->m->record && s->now_us - s->last_us > s->stop_us)
		s->stop_us = s->now_us - s->last_us;
	else if (in || s->asked < (double)s->m->record)
		s->last_us = s->now_us;
}

/* Where a checkpoint takes long whatever it has to write, what is left of the room at its end is missing: the price. */
static const struct machine machines[] = {
	{ "quick files", 120, 33, SECOND / 2, 4300, 0.99 },
	{ "a checkpoint of some seconds", 120, 33, 3 * SECOND, 4300, 0.98 },
	{ "slow files", 120, 7, 2 * SECOND, 4300, 0.99 },
	{ "very slow files", 120, 1.5, SECOND, 4300, 0.99 },
	{ "nothing but checkpoints", 120, 90, 4 * SECOND, 4300, 0.75 },
	{ "large records", 200, 33, SECOND, 64 * 1024, 0.99 },
};

static void
run(struct model *s, struct pace *p, const struct machine *m, uint64_t us)
{
	uint64_t end;

	if (s->m == NULL)
		*p = (struct pace){ .on = false };
	s->m = m;
	for (end = s->now_us + us; s->now_us < end;)
		step(s, p);
}

/* A minute of more than can be written: all of it is used, and nobody stands still. */
static void
test_overload(void)
{
	struct model s, before;
	struct pace p;
	size_t i;

	for (i = 0; i < PT_COUNT(machines); i++) {
		s = (struct model){ .now_us = 7 * SECOND };
		before = (struct model){ .now_us = 7 * SECOND, .unpaced = true };
		run(&s, &p, &machines[i], 60 * SECOND);
		run(&before, &p, &machines[i], 60 * SECOND);
		CU_ASSERT(s.stop_us <= PACE_LATE_US + 2 * STEP_US);
		CU_ASSERT(before.stop_us > 1 * SECOND); /* or it would be for nothing */
		CU_ASSERT(s.written >= machines[i].least * before.written);
	}
}

/* Half the journal is anybody's at once. */
static void
test_burst(void)
{
	uint64_t given = 0, now = 0;
	struct pace p = { .on = false };

	for (; given + 4300 <= ALL / 2; given += 4300) {
		CU_ASSERT_TRUE(pace_may(&p, now, ALL - given, ALL));
		pace_took(&p, now, 4300, ALL);
	}
	CU_ASSERT_FALSE(p.on);
}

/* Who brings less than the files take never waits, however full it is in between. */
static void
test_alone(void)
{
	static const struct machine alone = { "alone", 20, 33, SECOND, 4300, 1 };
	struct model s = { .now_us = SECOND };
	struct pace p;

	run(&s, &p, &alone, 120 * SECOND);
	CU_ASSERT_EQUAL(s.stop_us, 0);
	/* nor when others have just had it full, and left */
	s = (struct model){ .now_us = SECOND };
	run(&s, &p, &machines[0], 20 * SECOND);
	run(&s, &p, &alone, 5 * SECOND);
	s.stop_us = 0;
	run(&s, &p, &alone, 60 * SECOND);
	CU_ASSERT_EQUAL(s.stop_us, 0);
}

/* Little room and a large record: the next one waits, but not for ever; and more room opens the gate at once. */
static void
test_gate(void)
{
	struct pace p = { .on = false };
	uint64_t now = 10 * SECOND;

	CU_ASSERT_TRUE(pace_may(&p, now, ALL / 2 - 1, ALL));
	CU_ASSERT_TRUE(p.on);
	CU_ASSERT_TRUE(pace_may(&p, now, 1, ALL));
	pace_took(&p, now, SEGMENT, ALL);
	CU_ASSERT_FALSE(pace_may(&p, now + PACE_LATE_US - PACE_SAVED_US - 1, 1, ALL));
	CU_ASSERT_TRUE(pace_may(&p, now + PACE_LATE_US, 1, ALL));
	pace_took(&p, now + PACE_LATE_US, SEGMENT, ALL);
	CU_ASSERT_FALSE(pace_may(&p, now + PACE_LATE_US + 1, 1, ALL));
	CU_ASSERT_TRUE(pace_may(&p, now + PACE_LATE_US + 2, 2, ALL));
	pace_took(&p, now + PACE_LATE_US + 2, SEGMENT, ALL);
	CU_ASSERT_FALSE(pace_may(&p, now + PACE_LATE_US + 3, 2, ALL));
	CU_ASSERT_TRUE(pace_may(&p, now + PACE_LATE_US + 4, ALL / 2, ALL));
	CU_ASSERT_FALSE(p.on);
	pace_took(&p, now + PACE_LATE_US + 4, ALL, ALL); /* nobody pays here */
	CU_ASSERT_TRUE(pace_may(&p, now + PACE_LATE_US + 5, ALL / 2 - 1, ALL));
}

/* Who is held back comes in slices, of several records; and who was away for long has saved little. */
static void
test_slices(void)
{
	struct pace p = { .on = false };
	uint64_t now = 10 * SECOND, room = ALL / 8, least = UINT64_MAX, taken, first = 0;
	unsigned i;

	CU_ASSERT_TRUE(pace_may(&p, now, room, ALL));
	for (i = 0; i < 20; i++) {
		for (taken = 0; pace_may(&p, now, room - taken, ALL); taken += 4300)
			pace_took(&p, now, 4300, ALL);
		room -= taken;
		if (i == 0)
			first = taken;
		else if (taken < least)
			least = taken;
		now = p.shut_us;
	}
	CU_ASSERT(least >= 5 * 4300);
	now += 10 * SECOND;
	for (taken = 0; pace_may(&p, now, room - taken, ALL); taken += 4300)
		pace_took(&p, now, 4300, ALL);
	CU_ASSERT(taken <= 2 * first);
}

static const struct test_row rows[] = {
	{ "half the journal at once", test_burst },
	{ "more than can be written", test_overload },
	{ "less than can be written", test_alone },
	{ "a large record", test_gate },
	{ "slices", test_slices },
};

TEST_MAIN("store/pace", rows)
