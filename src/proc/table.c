/* proc/table.c - see table.h. */
#include "proc/table.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_TRIES 64

int
table_create(int *fd_out)
{
	int fd = memfd_create("postern-table", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	*fd_out = -1;
	if (fd < 0)
		return PT_EIO;
	if (ftruncate(fd, sizeof(struct table)) != 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
		close(fd);
		return PT_EIO;
	}
	*fd_out = fd;
	return 0;
}

int
table_reader_fd(int fd, int *fd_out)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	*fd_out = open(path, O_RDONLY | O_CLOEXEC);
	return *fd_out >= 0 ? 0 : PT_EIO;
}

struct table *
table_map(int fd, bool writable)
{
	struct stat st;
	void *p;

	if (fstat(fd, &st) != 0 || st.st_size != (off_t)sizeof(struct table))
		return NULL;
	p = mmap(NULL, sizeof(struct table), writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED,
		fd, 0);
	return p == MAP_FAILED ? NULL : p;
}

void
table_unmap(struct table **t)
{
	if (*t != NULL)
		munmap(*t, sizeof **t);
	*t = NULL;
}

void
table_clear(struct table *t)
{
	memset(t, 0, sizeof *t);
}

static struct table_service *
service_of(struct table *past, const char *name)
{
	uint32_t n = atomic_load(&past->nservices), i;

	for (i = 0; i < n; i++)
		if (strncmp(past->services[i].name, name, TABLE_SERVICE_NAME_MAX) == 0)
			return &past->services[i];
	if (n == TABLE_SERVICES_MAX)
		return NULL;
	memcpy(past->services[n].name, name, TABLE_SERVICE_NAME_MAX);
	atomic_store_explicit(&past->nservices, n + 1, memory_order_release);
	return &past->services[n];
}

void
table_certs_put(struct table_service *s, const struct table_certs *certs)
{
	uint32_t seq = atomic_load_explicit(&s->certs_seq, memory_order_relaxed);

	atomic_store_explicit(&s->certs_seq, seq + 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	s->certs = *certs;
	atomic_store_explicit(&s->certs_seq, seq + 2, memory_order_release);
}

bool
table_certs_get(const struct table_service *s, struct table_certs *out)
{
	uint32_t seq, i;
	int tries;

	for (tries = 0; tries < READ_TRIES; tries++) {
		if (((seq = atomic_load_explicit(&s->certs_seq, memory_order_acquire)) & 1) != 0)
			continue;
		*out = s->certs;
		atomic_thread_fence(memory_order_acquire);
		if (atomic_load_explicit(&s->certs_seq, memory_order_relaxed) != seq)
			continue;
		/* another process's memory: it may hold anything */
		if (out->n > TABLE_CERTS_MAX)
			return false;
		for (i = 0; i < out->n; i++)
			out->list[i].file[TABLE_CERT_FILE_MAX - 1] = '\0';
		return true;
	}
	return false;
}

void
table_certs_add(struct table_certs *certs, const char *file, uint64_t not_after)
{
	size_t n = strlen(file);
	uint32_t i, at = 0;

	if (certs->n < TABLE_CERTS_MAX) {
		at = certs->n++;
	} else {
		for (i = 1; i < certs->n; i++)
			if (certs->list[i].not_after > certs->list[at].not_after)
				at = i;
		if (certs->list[at].not_after <= not_after)
			return;
	}
	if (n >= TABLE_CERT_FILE_MAX)
		file += n - (TABLE_CERT_FILE_MAX - 1);
	while ((*file & 0xc0) == 0x80) /* not in the middle of a letter (UTF-8) */
		file++;
	strlcpy(certs->list[at].file, file, TABLE_CERT_FILE_MAX);
	certs->list[at].not_after = not_after;
}

void
table_service_add(struct table_service *to, const struct table_service *from)
{
	size_t i, k;

#define ADD(name, help) atomic_fetch_add(&to->name, atomic_load(&from->name));
	TABLE_COUNTERS(ADD)
#undef ADD
	for (i = 0; i < TABLE_FAILURE_COUNT; i++)
		atomic_fetch_add(&to->failures[i], atomic_load(&from->failures[i]));
	for (i = 0; i < TLS_VERDICT_COUNT; i++)
		atomic_fetch_add(&to->verdicts[i], atomic_load(&from->verdicts[i]));
	for (k = 0; k < TABLE_KIND_COUNT; k++) {
		for (i = 0; i < TABLE_BUCKETS; i++)
			atomic_fetch_add(&to->handshake_us[k].buckets[i],
				atomic_load(&from->handshake_us[k].buckets[i]));
		atomic_fetch_add(&to->handshake_us[k].sum_us,
			atomic_load(&from->handshake_us[k].sum_us));
	}
}

void
table_histogram_add(struct table_histogram *h, uint64_t us)
{
	static const uint64_t ends[] = TABLE_BUCKETS_US;
	size_t i;

	_Static_assert(PT_COUNT(ends) == TABLE_BUCKETS - 1, "one bucket has no end");
	for (i = 0; i < TABLE_BUCKETS - 1 && us > ends[i]; i++)
		;
	atomic_fetch_add_explicit(&h->buckets[i], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->sum_us, us, memory_order_relaxed);
}

const char *
table_failure_name(enum table_failure f)
{
	static const char *const names[TABLE_FAILURE_COUNT] = {
#define FAILURE_NAME(name, word) [TABLE_FAILURE_##name] = word,
		TABLE_FAILURES(FAILURE_NAME)
#undef FAILURE_NAME
	};

	PT_ASSERT((unsigned)f < TABLE_FAILURE_COUNT);
	return names[f];
}

const char *
table_kind_name(enum table_kind k)
{
	static const char *const names[TABLE_KIND_COUNT] = {
#define KIND_NAME(name, word) [TABLE_KIND_##name] = word,
		TABLE_KINDS(KIND_NAME)
#undef KIND_NAME
	};

	PT_ASSERT((unsigned)k < TABLE_KIND_COUNT);
	return names[k];
}

void
table_retire(struct table *past, const struct table *t)
{
	uint32_t n = atomic_load(&t->nservices), i;
	const struct table_service *from;
	struct table_service *to;

	atomic_fetch_add(&past->accepted, atomic_load(&t->accepted));
	for (i = 0; i < n && i < TABLE_SERVICES_MAX; i++) {
		from = &t->services[i];
		if ((to = service_of(past, from->name)) == NULL)
			continue;
		table_service_add(to, from);
		atomic_store(&to->connections, 0);
		atomic_store(&to->tls_sessions, 0);
	}
}

static size_t
home(uint64_t key)
{
	return (size_t)(key & (TABLE_ADDR_SLOTS - 1));
}

/* Linear probing: the slot of the key, or the free one where it belongs; TABLE_ADDR_SLOTS when the
 * table is full. */
static size_t
find(const struct table *t, uint64_t key)
{
	size_t i, at;

	for (i = 0; i < TABLE_ADDR_SLOTS; i++) {
		at = (home(key) + i) & (TABLE_ADDR_SLOTS - 1);
		if (t->addrs[at].key == key || t->addrs[at].key == 0)
			return at;
	}
	return TABLE_ADDR_SLOTS;
}

int
table_addr_add(struct table *t, uint64_t key)
{
	size_t at = find(t, key);

	if (at == TABLE_ADDR_SLOTS)
		return PT_EFULL;
	atomic_fetch_add_explicit(&t->addr_seq, 1, memory_order_acq_rel);
	t->addrs[at].key = key;
	t->addrs[at].count++;
	atomic_fetch_add_explicit(&t->addr_seq, 1, memory_order_release);
	return 0;
}

/* Closes the gap at "at": entries behind it that were pushed there by a collision move up. */
static void
close_gap(struct table *t, size_t at)
{
	size_t next = at, mask = TABLE_ADDR_SLOTS - 1;

	/* the gap is free at any time: in a full table it is where the way round ends */
	t->addrs[at] = (struct table_addr){ 0 };
	for (;;) {
		next = (next + 1) & mask;
		if (t->addrs[next].key == 0)
			break;
		/* may it stay? yes if its home lies cyclically in (at, next] */
		if (((next - home(t->addrs[next].key)) & mask) < ((next - at) & mask))
			continue;
		t->addrs[at] = t->addrs[next];
		t->addrs[next] = (struct table_addr){ 0 };
		at = next;
	}
}

void
table_addr_sub(struct table *t, uint64_t key)
{
	size_t at = find(t, key);

	PT_ASSERT(at < TABLE_ADDR_SLOTS && t->addrs[at].key == key && t->addrs[at].count > 0);
	atomic_fetch_add_explicit(&t->addr_seq, 1, memory_order_acq_rel);
	if (--t->addrs[at].count == 0)
		close_gap(t, at);
	atomic_fetch_add_explicit(&t->addr_seq, 1, memory_order_release);
}

uint32_t
table_addr_count(const struct table *t, uint64_t key)
{
	uint32_t seq, count;
	size_t at;
	int i;

	for (i = 0; i < READ_TRIES; i++) {
		seq = atomic_load_explicit(&t->addr_seq, memory_order_acquire);
		if (seq & 1)
			continue;
		at = find(t, key);
		count = at < TABLE_ADDR_SLOTS && t->addrs[at].key == key ? t->addrs[at].count : 0;
		atomic_thread_fence(memory_order_acquire);
		if (atomic_load_explicit(&t->addr_seq, memory_order_relaxed) == seq)
			return count;
	}
	return 0;
}

/* FNV-1a with the seed in front and a finaliser: spread, not secrecy; the seed keeps a stranger from
 * choosing addresses that collide. */
static uint64_t
mix(uint64_t h, const void *p, size_t n)
{
	const uint8_t *o = p;

	while (n-- > 0)
		h = (h ^ *o++) * 0x100000001b3u;
	return h;
}

uint64_t
table_addr_key(uint64_t seed, const char *service, const uint8_t addr[16])
{
	uint64_t h = mix(0xcbf29ce484222325u, &seed, sizeof seed);

	h = mix(h, service, strlen(service) + 1);
	h = mix(h, addr, 16);
	h ^= h >> 33;
	h *= (0xff51afd7ed558ccdu ^ seed) | 1; /* odd: nothing is lost */
	h ^= h >> 29;
	return h != 0 ? h : 1;
}
