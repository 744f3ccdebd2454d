/* unit/rec/test_ring.c - who has to make room for whom; what a reader sees of a record that is being written, and of one
 * that a broken writer has left behind. */
#include "test.h"

#include "rec/rec_ring.h"
#include "rec/why.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct rec_mem *m;
static int fd;

static void
test_begin(void)
{
	CU_ASSERT_EQUAL_FATAL(rec_mem_create(&fd), 0);
	m = rec_mem_map(fd, true);
	CU_ASSERT_PTR_NOT_NULL_FATAL(m);
	CU_ASSERT_PTR_NULL(rec_mem_map(STDERR_FILENO, false));
}

static void
test_end(void)
{
	rec_mem_unmap(&m);
	rec_mem_unmap(&m);
	close(fd);
}

static struct rec_writer *
fresh(unsigned recent)
{
	struct rec_writer *w;

	rec_mem_clear(fd);
	w = rec_writer_new(m, 5, recent);
	CU_ASSERT_PTR_NOT_NULL_FATAL(w);
	return w;
}

static bool
is_there(uint64_t id)
{
	struct rec r;
	unsigned i;

	for (i = 0; i < REC_SLOTS; i++)
		if (rec_read(m, i, &r) && r.id == id)
			return true;
	return false;
}

static unsigned
count(unsigned from, unsigned to)
{
	struct rec r;
	unsigned n = 0;

	for (; from < to; from++)
		n += rec_read(m, from, &r);
	return n;
}

/* Ended ones make room before open ones, the oldest first; an open one that had to go is told so. */
static void
test_recent(void)
{
	struct rec_writer *w = fresh(REC_RECENT);
	struct rec_ref refs[REC_RECENT + 3];
	unsigned i;

	CU_ASSERT_EQUAL(rec_mem_end(m), 0);
	for (i = 0; i < REC_RECENT; i++) {
		refs[i] = rec_writer_open(w);
		CU_ASSERT_EQUAL(rec_mem_end(m), i + 1);
	}
	rec_writer_close(w, refs[9]);
	rec_writer_close(w, refs[4]);
	rec_writer_close(w, refs[4]); /* twice is once */
	refs[i] = rec_writer_open(w);
	CU_ASSERT_PTR_NULL(rec_writer_begin(w, refs[9]));
	CU_ASSERT_TRUE(is_there(refs[4].id));
	refs[i + 1] = rec_writer_open(w);
	CU_ASSERT_PTR_NULL(rec_writer_begin(w, refs[4]));
	refs[i + 2] = rec_writer_open(w); /* none has ended: the first that was opened */
	CU_ASSERT_PTR_NULL(rec_writer_begin(w, refs[0]));
	CU_ASSERT_PTR_NOT_NULL_FATAL(rec_writer_begin(w, refs[1]));
	rec_writer_commit(w, refs[1]);
	rec_writer_close(w, refs[0]); /* not its own any more: nothing happens */
	CU_ASSERT_PTR_NOT_NULL_FATAL(rec_writer_begin(w, refs[i + 2]));
	rec_writer_commit(w, refs[i + 2]);
	CU_ASSERT_EQUAL(rec_mem_end(m), REC_RECENT);
	CU_ASSERT_EQUAL(count(0, REC_RECENT), REC_RECENT);
	CU_ASSERT_EQUAL(count(REC_RECENT, REC_SLOTS), 0);
	CU_ASSERT_PTR_NULL(rec_writer_begin(w, (struct rec_ref){ 0 }));
	rec_writer_free(&w);
	CU_ASSERT_PTR_NULL(w);
}

static struct rec
failed(struct rec_writer *w, uint32_t host, enum why_code code)
{
	struct rec r = { .id = rec_writer_id(w), .code = (uint16_t)code, .peer.family = REC_IPV4 };

	memcpy(r.peer.octets, &host, sizeof host);
	r.start_us = r.id & 0xffffffff;
	return r;
}

static void
test_repeats(void)
{
	struct rec_writer *w = fresh(REC_RECENT);
	struct rec r = failed(w, 1, WHY_HTTP_ON_TLS), first = r, got;
	unsigned i;

	rec_writer_fail(w, &r);
	rec_writer_fail(w, &r); /* the same connection again: its last state */
	CU_ASSERT_TRUE_FATAL(rec_read(m, REC_RECENT, &got));
	CU_ASSERT_EQUAL(got.repeats, 0);
	for (i = 0; i < 5; i++) {
		r = failed(w, 1, WHY_HTTP_ON_TLS);
		rec_writer_fail(w, &r);
	}
	CU_ASSERT_EQUAL(count(REC_RECENT, REC_SLOTS), 1);
	CU_ASSERT_TRUE_FATAL(rec_read(m, REC_RECENT, &got));
	CU_ASSERT_EQUAL(got.id, r.id);
	CU_ASSERT_EQUAL(got.repeats, 5);
	CU_ASSERT_EQUAL(got.first_us, first.start_us);
	rec_writer_fail(w, &r);
	CU_ASSERT_TRUE_FATAL(rec_read(m, REC_RECENT, &got));
	CU_ASSERT_EQUAL(got.repeats, 5);
	rec_writer_fail_again(w, &first); /* its place has gone to others */
	CU_ASSERT_TRUE_FATAL(rec_read(m, REC_RECENT, &got));
	CU_ASSERT_EQUAL(got.id, r.id);
	CU_ASSERT_EQUAL(got.repeats, 5);
	r.octets_in = 7;
	rec_writer_fail_again(w, &r);
	CU_ASSERT_TRUE_FATAL(rec_read(m, REC_RECENT, &got));
	CU_ASSERT_EQUAL(got.octets_in, 7);
	CU_ASSERT_EQUAL(got.repeats, 5);
	/* another code, another certificate, another service, another address: none of them is the same */
	r = failed(w, 1, WHY_NOT_TLS);
	rec_writer_fail(w, &r);
	r = failed(w, 1, WHY_HTTP_ON_TLS);
	strcpy(r.subject, "CN=x");
	rec_writer_fail(w, &r);
	r = failed(w, 1, WHY_HTTP_ON_TLS);
	strcpy(r.service, "x");
	rec_writer_fail(w, &r);
	r = failed(w, 2, WHY_HTTP_ON_TLS);
	rec_writer_fail(w, &r);
	CU_ASSERT_EQUAL(count(REC_RECENT, REC_SLOTS), 5);
	rec_writer_free(&w);
}

/* One address, one kind: neither pushes out what others have. */
static void
test_floods(void)
{
	struct rec_writer *w = fresh(REC_RECENT);
	struct rec rare = failed(w, 1, WHY_CERT_EXPIRED), r;
	unsigned i;

	rec_writer_fail(w, &rare);
	for (i = 0; i < 1000; i++) { /* one address, many certificates */
		r = failed(w, 2, WHY_CERT_UNKNOWN_CA);
		snprintf(r.subject, sizeof r.subject, "CN=%u", i);
		rec_writer_fail(w, &r);
	}
	CU_ASSERT_EQUAL(count(REC_RECENT, REC_SLOTS), 1 + REC_FAILED_PER_ADDR);
	CU_ASSERT_TRUE(is_there(r.id));
	for (i = 0; i < 2000; i++) { /* many addresses, one kind */
		r = failed(w, 100 + i, WHY_HTTP_ON_TLS);
		rec_writer_fail(w, &r);
	}
	CU_ASSERT_EQUAL(count(REC_RECENT, REC_SLOTS), REC_FAILED);
	CU_ASSERT_TRUE(is_there(rare.id));
	CU_ASSERT_TRUE(is_there(r.id));
	for (i = 0; i < 2000; i++) { /* and another kind: they share what there is */
		r = failed(w, 5000 + i, WHY_NOT_TLS);
		rec_writer_fail(w, &r);
	}
	CU_ASSERT_TRUE(is_there(rare.id));
	rec_writer_free(&w);
}

/* An IPv6 customer has a whole /64. */
static void
test_ipv6(void)
{
	struct rec_writer *w = fresh(REC_RECENT);
	struct rec r;
	unsigned i;

	for (i = 0; i < 50; i++) {
		r = failed(w, 0x20010db8, WHY_NOT_TLS);
		r.peer.family = REC_IPV6;
		memcpy(r.peer.octets + 8, &i, sizeof i);
		rec_writer_fail(w, &r);
	}
	CU_ASSERT_EQUAL(count(REC_RECENT, REC_SLOTS), 1);
	rec_writer_free(&w);
}

/* What one writer has left the next one knows: all of it failed. */
static void
test_adopt(void)
{
	struct rec_writer *w = fresh(0);
	struct rec r;
	unsigned i;

	for (i = 0; i < REC_SLOTS + 10; i++) {
		r = failed(w, i, i % 2 ? WHY_KILLED : WHY_NOT_TLS);
		rec_writer_fail(w, &r);
	}
	CU_ASSERT_EQUAL(count(0, REC_SLOTS), REC_SLOTS);
	rec_writer_free(&w);
	atomic_fetch_or(&m->slots[7].seq, 1); /* the writer died while it wrote */
	m->slots[8].rec.nsteps = UINT8_MAX;   /* or it was not itself any more */
	CU_ASSERT_EQUAL(count(0, REC_SLOTS), REC_SLOTS - 2);
	w = rec_writer_new(m, 5, 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(w);
	for (i = 0; i < 2; i++) { /* these two places are free */
		r = failed(w, 90000 + i, WHY_KILLED);
		rec_writer_fail(w, &r);
	}
	CU_ASSERT_EQUAL(count(0, REC_SLOTS), REC_SLOTS);
	r = failed(w, REC_SLOTS + 9, WHY_KILLED); /* one that is there already */
	rec_writer_fail(w, &r);
	CU_ASSERT_EQUAL(count(0, REC_SLOTS), REC_SLOTS);
	rec_writer_free(&w);
}

static void
test_clear(void)
{
	struct rec_writer *w = fresh(REC_RECENT);
	uint64_t id = rec_writer_open(w).id;

	rec_writer_free(&w);
	rec_mem_clear(fd);
	CU_ASSERT_EQUAL(rec_mem_end(m), 0);
	CU_ASSERT_EQUAL(count(0, REC_SLOTS), 0);
	w = rec_writer_new(m, 5, REC_RECENT);
	CU_ASSERT_EQUAL(rec_writer_id(w), id + 1); /* numbers go on */
	rec_writer_free(&w);
}

/* One that is being written, and memory that says nonsense. */
static void
test_torn(void)
{
	struct rec_writer *w = fresh(REC_RECENT);
	struct rec_ref ref = rec_writer_open(w);
	struct rec_peek peek;
	struct rec r;

	CU_ASSERT_TRUE(rec_peek(m, ref.index, &peek));
	CU_ASSERT_EQUAL(peek.id, ref.id);
	CU_ASSERT_PTR_NOT_NULL_FATAL(rec_writer_begin(w, ref));
	CU_ASSERT_FALSE(rec_peek(m, ref.index, &peek));
	CU_ASSERT_FALSE(rec_read(m, ref.index, &r));
	rec_writer_commit(w, ref);
	CU_ASSERT_TRUE(rec_read(m, ref.index, &r));
	/* the number goes round without ever being "never written" */
	atomic_store(&m->slots[ref.index].seq, UINT32_MAX - 1);
	CU_ASSERT_PTR_NOT_NULL_FATAL(rec_writer_begin(w, ref));
	rec_writer_commit(w, ref);
	CU_ASSERT_TRUE(rec_read(m, ref.index, &r));
	atomic_store(&m->touched, UINT32_MAX);
	CU_ASSERT_EQUAL(rec_mem_end(m), REC_RECENT);
	rec_writer_free(&w);
}

#define ROUNDS 200000

static void *
write_all_the_time(void *arg)
{
	struct rec_writer *w = arg;
	struct rec_ref ref = rec_writer_open(w);
	struct rec *r;
	uint64_t i;

	for (i = 1; i <= ROUNDS; i++) {
		r = rec_writer_begin(w, ref);
		r->octets_in = i;
		r->number = i * 3;
		r->octets_out = i * 7;
		rec_writer_commit(w, ref);
	}
	return NULL;
}

/* What a reader gets is of one time. */
static void
test_reader(void)
{
	struct rec_writer *w = fresh(REC_RECENT);
	const struct rec_mem *other = rec_mem_map(fd, false);
	unsigned good = 0, bad = 0;
	struct rec r = { 0 };
	pthread_t t;

	CU_ASSERT_PTR_NOT_NULL_FATAL(other);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&t, NULL, write_all_the_time, w), 0);
	do {
		if (!rec_read(other, 0, &r))
			continue;
		good++;
		bad += r.number != r.octets_in * 3 || r.octets_out != r.octets_in * 7;
	} while (r.octets_in < ROUNDS || good == 0);
	pthread_join(t, NULL);
	CU_ASSERT(good > 0);
	CU_ASSERT_EQUAL(bad, 0);
	rec_mem_unmap((struct rec_mem **)(uintptr_t)&other);
	rec_writer_free(&w);
}

static const struct test_row rows[] = {
	{ "memory", test_begin },
	{ "recent ones", test_recent },
	{ "repeats", test_repeats },
	{ "floods", test_floods },
	{ "a /64", test_ipv6 },
	{ "what a writer left", test_adopt },
	{ "cleared", test_clear },
	{ "torn", test_torn },
	{ "read while it is written", test_reader },
	{ "unmapped", test_end },
};
TEST_MAIN("rec/rec_ring", rows)
