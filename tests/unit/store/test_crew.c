/* unit/store/test_crew.c - helper threads: order in a strand, none between strands, jobs of several strands, another try, refusals, turns. */
#include "store/crew.h"

#include "test.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define JOBS 400
#define STRANDS 5

struct job {
	struct crew_job job;
	unsigned number;
	unsigned strands; /* bits */
	unsigned runs, more; /* how often it ran, and is to run again */
	unsigned refusals;
	void (*hook)(struct job *);
};

static struct crew *crew;
static struct crew_strand strands[STRANDS];
static struct job jobs[JOBS];
static unsigned done_count;
static _Atomic unsigned ran[JOBS], nran; /* numbers, in the order in which they began */
static _Atomic unsigned inside[STRANDS], collisions;
static _Atomic bool gate;

static void
run(struct crew_job *j)
{
	struct job *b = (struct job *)j;
	unsigned i;

	for (i = 0; i < STRANDS; i++)
		if ((b->strands & 1u << i) && inside[i]++ != 0)
			collisions++;
	if (b->runs++ == 0)
		ran[nran++] = b->number;
	if (b->hook != NULL)
		b->hook(b);
	for (i = 0; i < STRANDS; i++)
		if (b->strands & 1u << i)
			inside[i]--;
	if (b->more > 0) {
		b->more--;
		j->again = true;
	}
}

static void
done(struct crew_job *j)
{
	if (j->again) {
		crew_again(crew, j);
		return;
	}
	done_count++;
}

static void
begin(unsigned apply, unsigned read)
{
	const unsigned threads[CREW_LANES] = { [CREW_APPLY] = apply, [CREW_READ] = read };

	memset(strands, 0, sizeof strands);
	memset(jobs, 0, sizeof jobs);
	done_count = 0;
	nran = collisions = 0;
	gate = false;
	CU_ASSERT_PTR_NOT_NULL_FATAL(crew = crew_new(threads));
}

static void
submit(unsigned number, unsigned bits, enum crew_lane lane, unsigned more, void (*hook)(struct job *))
{
	struct crew_strand *list[CREW_STRANDS_INLINE];
	struct job *b = &jobs[number];
	unsigned i, n = 0;

	*b = (struct job){ .job = { .run = run, .done = done, .lane = lane }, .number = number, .strands = bits,
		.more = more, .hook = hook };
	for (i = 0; i < STRANDS; i++)
		if (bits & 1u << i)
			list[n++] = &strands[i];
	crew_submit(crew, &b->job, list, n);
}

/* Where in the order a job began. */
static unsigned
place(unsigned number)
{
	unsigned i;

	for (i = 0; i < nran && ran[i] != number; i++)
		continue;
	return i;
}

/* Random strands and lanes: those that share one run in the order in which they were submitted, never at once. */
static void
test_order(void)
{
	unsigned i, k, state = 1, bits[JOBS];

	begin(3, 3);
	for (i = 0; i < JOBS; i++) {
		state = state * 1664525 + 1013904223;
		bits[i] = (state >> 10) & 0xf;
		submit(i, bits[i], (state >> 20) & 1 ? CREW_APPLY : CREW_READ, (state >> 24) % 8 == 0 ? 2 : 0, NULL);
	}
	crew_drain(crew);
	CU_ASSERT_EQUAL(done_count, JOBS);
	CU_ASSERT_EQUAL(nran, JOBS);
	CU_ASSERT_EQUAL(collisions, 0);
	for (i = 0; i < JOBS; i++)
		for (k = i + 1; k < JOBS; k++)
			if (bits[i] & bits[k])
				CU_ASSERT_TRUE_FATAL(place(i) < place(k));
	for (i = 0; i < STRANDS; i++)
		CU_ASSERT_TRUE(crew_strand_idle(crew, &strands[i]));
	crew_free(&crew);
	CU_ASSERT_PTR_NULL(crew);
}

static void
wait_gate(struct job *b)
{
	(void)b;
	while (!gate)
		usleep(100);
}

static void
until(unsigned n)
{
	struct pollfd p = { .fd = crew_fd(crew), .events = POLLIN };
	int i;

	for (i = 0; i < 12000 && done_count < n; i++) { /* for hangs */
		(void)poll(&p, 1, 10);
		crew_dispatch(crew);
	}
	CU_ASSERT_TRUE_FATAL(done_count >= n);
}

/* A strand that hangs holds up nobody else, and a lane that is full not the other one. */
static void
test_slow(void)
{
	begin(2, 1);
	submit(0, 1, CREW_APPLY, 0, wait_gate);
	submit(1, 1, CREW_APPLY, 0, NULL);
	submit(2, 2, CREW_APPLY, 0, NULL);
	submit(3, 4, CREW_READ, 0, NULL);
	submit(4, 0, CREW_APPLY, 0, NULL);
	until(3);
	CU_ASSERT_EQUAL(jobs[1].runs, 0);
	CU_ASSERT_FALSE(crew_strand_idle(crew, &strands[0]));
	CU_ASSERT_TRUE(crew_strand_idle(crew, &strands[1]));
	submit(5, 1 | 2, CREW_APPLY, 0, NULL); /* waits in both */
	submit(6, 2, CREW_APPLY, 0, NULL);
	CU_ASSERT_EQUAL(jobs[6].runs, 0);
	gate = true;
	crew_drain(crew);
	CU_ASSERT_EQUAL(done_count, 7);
	CU_ASSERT_TRUE(place(1) < place(5) && place(5) < place(6));
	crew_free(&crew);
}

/* Who tries again keeps its turn: those behind it wait. */
static void
test_again(void)
{
	begin(2, 2);
	submit(0, 1, CREW_APPLY, 5, NULL);
	submit(1, 1, CREW_READ, 0, NULL);
	crew_drain(crew);
	CU_ASSERT_EQUAL(jobs[0].runs, 6);
	CU_ASSERT_EQUAL(place(1), 1);
	CU_ASSERT_EQUAL(done_count, 2);
	crew_free(&crew);
}

static void
refused(struct crew_job *j)
{
	((struct job *)j)->refusals++;
}

/* Who may be refused and waits in that strand alone never runs; all others have their turn, and who comes later, too. */
static void
test_refuse(void)
{
	unsigned i;

	begin(2, 2);
	submit(0, 1, CREW_APPLY, 0, wait_gate);
	jobs[0].job.refused = refused; /* it has its turn */
	for (i = 1; i < 8; i++) {
		submit(i, i == 2 ? 1 | 2 : 1, CREW_READ, 0, NULL);
		jobs[i].job.refused = i == 4 ? NULL : refused;
	}
	crew_refuse(crew, &strands[1]); /* nobody is there for whom it is the only one */
	crew_refuse(crew, &strands[0]);
	crew_refuse(crew, &strands[0]);
	crew_refuse(crew, &strands[3]);
	until(5);
	submit(8, 1, CREW_READ, 0, NULL);
	gate = true;
	crew_drain(crew);
	CU_ASSERT_EQUAL(done_count, 9);
	CU_ASSERT_EQUAL(nran, 4);
	for (i = 0; i < 9; i++) {
		CU_ASSERT_EQUAL(jobs[i].runs, i == 0 || i == 2 || i == 4 || i == 8);
		CU_ASSERT_EQUAL(jobs[i].refusals, !jobs[i].runs);
	}
	CU_ASSERT_TRUE(place(2) < place(4) && place(4) < place(8));
	CU_ASSERT_TRUE(crew_strand_idle(crew, &strands[0]));
	crew_free(&crew);
}

static void
submit_unhurried(unsigned number, unsigned more, void (*hook)(struct job *))
{
	struct crew_strand *strand = &strands[0];

	jobs[number] = (struct job){ .job = { .run = run, .done = done, .lane = CREW_APPLY, .unhurried = true },
		.number = number, .strands = 1, .more = more, .hook = hook };
	crew_submit(crew, &jobs[number].job, &strand, 1);
}

static bool
is_told(void)
{
	struct pollfd p = { .fd = crew_fd(crew), .events = POLLIN };

	return poll(&p, 1, 60000) == 1;
}

/* Who ends without being told is collected at the end of a turn; told when there is none for a while, and before anything else
 * is begun that may take long; at once where it is to run again. */
static void
test_unhurried(void)
{
	unsigned i;

	begin(1, 1);
	submit_unhurried(0, 0, NULL);
	for (i = 0; i < 100000 && done_count == 0; i++) {
		usleep(100);
		crew_turn_begin(crew);
		crew_turn_end(crew);
	}
	CU_ASSERT_EQUAL(done_count, 1);
	crew_dispatch(crew);
	submit_unhurried(1, 0, NULL);
	CU_ASSERT_TRUE(is_told());
	crew_dispatch(crew);
	CU_ASSERT_EQUAL(done_count, 2);
	submit_unhurried(2, 0, NULL);
	submit_unhurried(3, 0, wait_gate);
	CU_ASSERT_TRUE_FATAL(is_told());
	crew_dispatch(crew);
	CU_ASSERT_EQUAL(done_count, 3);
	gate = true;
	submit_unhurried(4, 3, NULL);
	crew_drain(crew);
	CU_ASSERT_EQUAL(jobs[4].runs, 4);
	CU_ASSERT_EQUAL(done_count, 5);
	crew_free(&crew);
}

/* What is submitted in a turn runs after it, or when the turn takes longer; other lanes do not wait. */
static void
test_turn(void)
{
	begin(1, 1);
	submit_unhurried(0, 0, NULL);
	until(1);
	usleep(3000 * CREW_LATE_MS); /* it sleeps until it is woken */
	crew_turn_begin(crew);
	submit_unhurried(1, 0, NULL);
	submit(2, 2, CREW_READ, 0, NULL);
	until(2);
	CU_ASSERT_EQUAL(jobs[2].runs, 1);
	crew_turn_end(crew);
	until(3);
	crew_turn_begin(crew);
	submit_unhurried(3, 0, NULL);
	crew_wake(crew);
	until(4);
	submit_unhurried(4, 0, NULL);
	crew_drain(crew); /* who waits for all must not wait for the end of the turn */
	CU_ASSERT_EQUAL(done_count, 5);
	crew_turn_end(crew);
	crew_free(&crew);
}

/* The end waits for what runs and drops the rest. */
static void
test_end(void)
{
	unsigned before = test_open_fds(), i;

	begin(1, 1);
	gate = true;
	for (i = 0; i < 50; i++)
		submit(i, 1, CREW_APPLY, 0, wait_gate);
	crew_free(&crew);
	CU_ASSERT_EQUAL(done_count, 0);
	CU_ASSERT_EQUAL(test_open_fds(), before);
	crew_free(&crew);
}

static const struct test_row rows[] = {
	{ "order", test_order },
	{ "one that hangs", test_slow },
	{ "another try", test_again },
	{ "refused instead of waiting", test_refuse },
	{ "unhurried", test_unhurried },
	{ "turns", test_turn },
	{ "the end", test_end },
};

TEST_MAIN("store/crew", rows)
