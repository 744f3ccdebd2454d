/* rec/rec_ring.c - see rec_ring.h. */
#include "rec/rec_ring.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_TRIES 8
#define NO_ONE UINT64_MAX

/* --- memory ------------------------------------------------------------------------------------ */

int
rec_mem_create(int *fd_out)
{
	int fd = memfd_create("postern-recorder", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	*fd_out = -1;
	if (fd < 0)
		return PT_EIO;
	if (ftruncate(fd, sizeof(struct rec_mem)) != 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
		close(fd);
		return PT_EIO;
	}
	*fd_out = fd;
	return 0;
}

struct rec_mem *
rec_mem_map(int fd, bool writable)
{
	struct stat st;
	void *p;

	if (fstat(fd, &st) != 0 || st.st_size != (off_t)sizeof(struct rec_mem))
		return NULL;
	p = mmap(NULL, sizeof(struct rec_mem), writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED,
		fd, 0);
	return p == MAP_FAILED ? NULL : p;
}

void
rec_mem_unmap(struct rec_mem **m)
{
	if (*m != NULL)
		munmap(*m, sizeof **m);
	*m = NULL;
}

void
rec_mem_clear(int fd)
{
	struct rec_mem *m = rec_mem_map(fd, true);
	const off_t head = offsetof(struct rec_mem, slots);

	if (m == NULL)
		return;
	atomic_store(&m->touched, 0);
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, head, (off_t)sizeof *m - head) != 0)
		memset(m->slots, 0, sizeof m->slots);
	rec_mem_unmap(&m);
}

/* --- writing ----------------------------------------------------------------------------------- */

/* What the writer knows of a slot; the memory itself is never asked. */
struct own {
	TAILQ_ENTRY(own) link;
	uint64_t id;   /* whose it is; NO_ONE */
	uint64_t age;  /* of a failed one: when it was put there */
	struct rec_addr peer;
	uint64_t likeness; /* of a failed one: which others it may stand for */
	uint16_t code;
	bool open;
};

TAILQ_HEAD(owns, own);

struct rec_writer {
	struct rec_mem *mem;
	uint32_t slot;
	unsigned recent;
	unsigned used;     /* slots of the recent part that were ever used */
	uint64_t ages;
	struct owns open, ended; /* the first is the oldest */
	struct own slots[REC_SLOTS];
};

static void
seq_begin(struct rec_slot *s)
{
	uint32_t seq = atomic_load_explicit(&s->seq, memory_order_relaxed);

	atomic_store_explicit(&s->seq, seq | 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
}

static void
seq_end(struct rec_slot *s)
{
	uint32_t seq = atomic_load_explicit(&s->seq, memory_order_relaxed) + 1;

	atomic_store_explicit(&s->seq, seq != 0 ? seq : 2, memory_order_release); /* 0: never written */
}

/* One customer has a whole /64 of IPv6. */
static bool
same_host(const struct rec_addr *a, const struct rec_addr *b)
{
	return a->family == b->family &&
		memcmp(a->octets, b->octets, a->family == REC_IPV6 ? 8 : sizeof a->octets) == 0;
}

static uint64_t
mix(uint64_t h, const char *text)
{
	while (*text != '\0')
		h = (h ^ (uint8_t)*text++) * 0x100000001b3u; /* FNV-1a */
	return h * 0x100000001b3u;
}

/* Behind one address there may be many people: of one certificate only, at one service. */
static uint64_t
likeness(const struct rec *r)
{
	return mix(mix(0xcbf29ce484222325u, r->service), r->subject);
}

/* What an earlier writer has left among the failed. */
static void
adopt(struct rec_writer *w)
{
	struct rec r;
	unsigned i;

	for (i = w->recent; i < REC_SLOTS; i++) {
		w->slots[i].id = NO_ONE;
		if (!rec_read(w->mem, i, &r))
			continue;
		w->slots[i].id = r.id;
		w->slots[i].code = r.code;
		w->slots[i].peer = r.peer;
		w->slots[i].likeness = likeness(&r);
		w->slots[i].age = r.start_us;
		if (w->ages <= r.start_us)
			w->ages = r.start_us + 1;
	}
}

struct rec_writer *
rec_writer_new(struct rec_mem *mem, uint32_t slot, unsigned recent)
{
	struct rec_writer *w = calloc(1, sizeof *w);
	unsigned i;

	PT_ASSERT(recent <= REC_SLOTS);
	if (w == NULL)
		return NULL;
	w->mem = mem;
	w->slot = slot;
	w->recent = recent;
	TAILQ_INIT(&w->open);
	TAILQ_INIT(&w->ended);
	for (i = 0; i < recent; i++)
		w->slots[i].id = NO_ONE;
	adopt(w);
	atomic_store(&mem->touched, 0);
	atomic_store(&mem->layout, REC_LAYOUT);
	return w;
}

void
rec_writer_free(struct rec_writer **w)
{
	free(*w);
	*w = NULL;
}

uint64_t
rec_writer_id(struct rec_writer *w)
{
	uint64_t n = atomic_load_explicit(&w->mem->last, memory_order_relaxed) + 1;

	n &= (1ull << REC_ID_SHIFT) - 1;
	n = n != 0 ? n : 1;
	atomic_store_explicit(&w->mem->last, n, memory_order_relaxed);
	return REC_ID(w->slot, n);
}

static struct own *
take_slot(struct rec_writer *w)
{
	struct own *o;

	if (w->used < w->recent) {
		o = &w->slots[w->used++];
		atomic_store_explicit(&w->mem->touched, w->used, memory_order_release);
		return o;
	}
	if ((o = TAILQ_FIRST(&w->ended)) != NULL) {
		TAILQ_REMOVE(&w->ended, o, link);
		return o;
	}
	o = TAILQ_FIRST(&w->open);
	TAILQ_REMOVE(&w->open, o, link);
	return o;
}

struct rec_ref
rec_writer_open(struct rec_writer *w)
{
	struct own *o;
	struct rec_slot *s;
	struct rec_ref ref;

	PT_ASSERT(w->recent > 0);
	o = take_slot(w);
	ref = (struct rec_ref){ rec_writer_id(w), (uint32_t)(o - w->slots) };
	o->id = ref.id;
	o->open = true;
	TAILQ_INSERT_TAIL(&w->open, o, link);
	s = &w->mem->slots[ref.index];
	seq_begin(s);
	/* the steps behind nsteps mean nothing */
	memset(&s->rec, 0, offsetof(struct rec, steps));
	s->rec.id = ref.id;
	s->rec.flags = REC_F_OPEN;
	seq_end(s);
	return ref;
}

struct rec *
rec_writer_begin(struct rec_writer *w, struct rec_ref ref)
{
	if (ref.id == 0 || w->slots[ref.index].id != ref.id)
		return NULL;
	seq_begin(&w->mem->slots[ref.index]);
	return &w->mem->slots[ref.index].rec;
}

void
rec_writer_commit(struct rec_writer *w, struct rec_ref ref)
{
	seq_end(&w->mem->slots[ref.index]);
}

void
rec_writer_close(struct rec_writer *w, struct rec_ref ref)
{
	struct own *o = &w->slots[ref.index];

	if (ref.id == 0 || o->id != ref.id || !o->open)
		return;
	o->open = false;
	TAILQ_REMOVE(&w->open, o, link);
	TAILQ_INSERT_TAIL(&w->ended, o, link);
}

/* --- the failed -------------------------------------------------------------------------------- */

/* Which codes have how many, and what of each is the oldest. */
struct tally {
	unsigned free, itself, same, oldest_of_addr; /* slots; REC_SLOTS: none */
	unsigned of_addr;
	unsigned counts[UINT8_MAX + 1];
	unsigned oldest[UINT8_MAX + 1];
};

static void
count(const struct rec_writer *w, const struct rec *r, struct tally *t)
{
	const uint64_t like = likeness(r);
	const struct own *o;
	unsigned i;

	*t = (struct tally){ .free = REC_SLOTS, .itself = REC_SLOTS, .same = REC_SLOTS, .oldest_of_addr = REC_SLOTS };
	for (i = w->recent; i < REC_SLOTS; i++) {
		o = &w->slots[i];
		if (o->id == NO_ONE) {
			t->free = t->free < REC_SLOTS ? t->free : i;
			continue;
		}
		PT_ASSERT(o->code < PT_COUNT(t->counts));
		if (t->counts[o->code]++ == 0 || o->age < w->slots[t->oldest[o->code]].age)
			t->oldest[o->code] = i;
		if (o->id == r->id)
			t->itself = i;
		if (!same_host(&o->peer, &r->peer))
			continue;
		t->of_addr++;
		if (t->oldest_of_addr == REC_SLOTS || o->age < w->slots[t->oldest_of_addr].age)
			t->oldest_of_addr = i;
		if (o->code == r->code && o->likeness == like)
			t->same = i;
	}
}

static unsigned
oldest_of_most(const struct tally *t)
{
	unsigned most = 0, i;

	for (i = 1; i < PT_COUNT(t->counts); i++)
		if (t->counts[i] > t->counts[most])
			most = i;
	return t->oldest[most];
}

static unsigned
place(const struct rec_writer *w, const struct rec *r, bool *merges)
{
	struct tally t;

	count(w, r, &t);
	*merges = t.itself == REC_SLOTS && t.same < REC_SLOTS;
	if (t.itself < REC_SLOTS)
		return t.itself;
	if (*merges)
		return t.same;
	if (t.of_addr >= REC_FAILED_PER_ADDR)
		return t.oldest_of_addr;
	return t.free < REC_SLOTS ? t.free : oldest_of_most(&t);
}

void
rec_writer_fail(struct rec_writer *w, const struct rec *r)
{
	bool merges;
	unsigned at = place(w, r, &merges);
	struct rec_slot *s = &w->mem->slots[at];
	const bool itself = w->slots[at].id == r->id; /* told of again: what it stands for stays */
	uint64_t first = s->rec.repeats > 0 ? s->rec.first_us : s->rec.start_us;
	uint32_t repeats = s->rec.repeats + !itself;

	w->slots[at].id = r->id;
	w->slots[at].code = r->code;
	w->slots[at].peer = r->peer;
	w->slots[at].likeness = likeness(r);
	w->slots[at].age = w->ages++;
	seq_begin(s);
	s->rec = *r;
	if (merges || itself) {
		s->rec.repeats = r->repeats + repeats;
		s->rec.first_us = first;
	}
	seq_end(s);
}

void
rec_writer_fail_again(struct rec_writer *w, const struct rec *r)
{
	unsigned i;

	for (i = w->recent; i < REC_SLOTS; i++)
		if (w->slots[i].id == r->id) {
			rec_writer_fail(w, r);
			return;
		}
}

/* --- reading ----------------------------------------------------------------------------------- */

unsigned
rec_mem_end(const struct rec_mem *m)
{
	unsigned n = atomic_load_explicit(&m->touched, memory_order_acquire);

	return n < REC_RECENT ? n : REC_RECENT;
}

static bool
seq_same(const struct rec_slot *s, uint32_t seq)
{
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&s->seq, memory_order_relaxed) == seq;
}

bool
rec_peek(const struct rec_mem *m, unsigned index, struct rec_peek *out)
{
	const struct rec_slot *s = &m->slots[index];

	out->seq = atomic_load_explicit(&s->seq, memory_order_acquire);
	out->id = s->rec.id;
	out->start_us = s->rec.start_us;
	out->end_us = s->rec.end_us;
	out->flags = s->rec.flags;
	out->code = s->rec.code;
	return out->seq != 0 && (out->seq & 1) == 0 && seq_same(s, out->seq);
}

bool
rec_read(const struct rec_mem *m, unsigned index, struct rec *out)
{
	const struct rec_slot *s = &m->slots[index];
	uint32_t seq;
	int i;

	for (i = 0; i < READ_TRIES; i++) {
		seq = atomic_load_explicit(&s->seq, memory_order_acquire);
		if (seq == 0)
			return false;
		if (seq & 1)
			continue;
		memcpy(out, &s->rec, sizeof *out);
		if (seq_same(s, seq))
			return rec_check(out);
	}
	return false;
}
