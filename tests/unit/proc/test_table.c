/* unit/proc/test_table.c - the shared table against a simple model, full, from two mappings, and read while it
 * changes. */
#include "test.h"

#include "proc/table.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define KEYS 512
#define STEPS 200000

static struct table *t;
static int fd;

static void
test_begin(void)
{
	CU_ASSERT_EQUAL_FATAL(table_create(&fd), 0);
	CU_ASSERT_EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
	t = table_map(fd, true);
	CU_ASSERT_PTR_NOT_NULL_FATAL(t);
}

static void
test_end(void)
{
	table_unmap(&t);
	CU_ASSERT_PTR_NULL(t);
	table_unmap(&t);
	close(fd);
}

/* Where keys may stand so that they meet: few homes, near the end so that they go round. */
static uint64_t
key_of(unsigned i)
{
	return ((uint64_t)(i + 1) << 32) | ((TABLE_ADDR_SLOTS - 8 + i % 12) & (TABLE_ADDR_SLOTS - 1));
}

static uint64_t
next_random(void)
{
	static uint64_t x = 88172645463325252u; /* the same in every run */

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x;
}

static size_t
used(void)
{
	size_t i, n = 0;

	for (i = 0; i < TABLE_ADDR_SLOTS; i++)
		n += t->addrs[i].key != 0;
	return n;
}

static void
test_model(void)
{
	static uint32_t model[KEYS];
	unsigned i, k, n, distinct;
	bool same = true;

	table_clear(t);
	for (i = 0; i < STEPS; i++) {
		k = (unsigned)(next_random() % KEYS);
		/* waves: mostly more, then mostly fewer, so that gaps of all shapes open and close */
		if ((i / 4000) % 2 == 0 ? next_random() % 4 != 0 : next_random() % 4 == 0) {
			if (table_addr_add(t, key_of(k)) != 0)
				CU_FAIL("full");
			model[k]++;
		} else if (model[k] > 0) {
			table_addr_sub(t, key_of(k));
			model[k]--;
		}
		if (i % 1000 != 0 && i % 16 != 0)
			continue;
		for (k = 0; k < KEYS; k += i % 1000 == 0 ? 1 : 37)
			same = same && table_addr_count(t, key_of(k)) == model[k];
	}
	CU_ASSERT_TRUE(same);
	for (k = n = distinct = 0; k < KEYS; k++) {
		distinct += model[k] > 0;
		for (; model[k] > 0; model[k]--, n++)
			table_addr_sub(t, key_of(k));
	}
	CU_ASSERT_TRUE(n > 0 && distinct > 0);
	CU_ASSERT_EQUAL(used(), 0); /* nothing is left behind */
	CU_ASSERT_EQUAL(atomic_load(&t->addr_seq) % 2, 0);
}

static void
test_full(void)
{
	uint64_t i;
	int rc = 0;

	table_clear(t);
	for (i = 1; i <= TABLE_ADDR_SLOTS; i++)
		rc |= table_addr_add(t, i);
	CU_ASSERT_EQUAL(rc, 0);
	CU_ASSERT_EQUAL(table_addr_add(t, TABLE_ADDR_SLOTS + 1), PT_EFULL);
	CU_ASSERT_EQUAL(table_addr_count(t, TABLE_ADDR_SLOTS + 1), 0);
	CU_ASSERT_EQUAL(table_addr_add(t, 1), 0); /* one that is there counts on */
	CU_ASSERT_EQUAL(table_addr_count(t, 1), 2);
	table_addr_sub(t, 1);
	for (i = TABLE_ADDR_SLOTS / 2; i < TABLE_ADDR_SLOTS / 2 + 5; i++)
		table_addr_sub(t, i); /* must end, though there is no free slot to stop at */
	CU_ASSERT_EQUAL(used(), TABLE_ADDR_SLOTS - 5);
	CU_ASSERT_EQUAL(table_addr_count(t, TABLE_ADDR_SLOTS), 1);
	CU_ASSERT_EQUAL(table_addr_count(t, TABLE_ADDR_SLOTS / 2), 0);
	CU_ASSERT_EQUAL(table_addr_add(t, TABLE_ADDR_SLOTS + 1), 0);
	table_clear(t);
	/* all with one home: the longest way round */
	for (i = 1; i <= TABLE_ADDR_SLOTS; i += 64)
		rc |= table_addr_add(t, i << 32 | 5);
	for (i = 1; i <= TABLE_ADDR_SLOTS; i += 64)
		table_addr_sub(t, i << 32 | 5);
	CU_ASSERT_EQUAL(rc, 0);
	CU_ASSERT_EQUAL(used(), 0);
}

static void
test_mappings(void)
{
	unsigned before = test_open_fds();
	struct table *reader;
	int rfd, small;

	table_clear(t);
	CU_ASSERT_EQUAL_FATAL(table_reader_fd(fd, &rfd), 0);
	CU_ASSERT_EQUAL(fcntl(rfd, F_GETFD), FD_CLOEXEC);
	CU_ASSERT_EQUAL(fcntl(rfd, F_GETFL) & O_ACCMODE, O_RDONLY);
	CU_ASSERT_PTR_NULL(table_map(rfd, true)); /* a reader cannot write */
	reader = table_map(rfd, false);
	CU_ASSERT_PTR_NOT_NULL_FATAL(reader);
	CU_ASSERT_EQUAL(table_addr_add(t, 77), 0);
	CU_ASSERT_EQUAL(table_addr_count(reader, 77), 1);
	CU_ASSERT_EQUAL(table_addr_count(reader, 78), 0);
	atomic_store(&t->services[3].accepted, 9);
	CU_ASSERT_EQUAL(atomic_load(&reader->services[3].accepted), 9);
	table_unmap(&reader);
	close(rfd);
	/* sealed in size: a reader cannot be made to fault */
	CU_ASSERT_EQUAL(ftruncate(fd, 0), -1);
	CU_ASSERT_EQUAL(ftruncate(fd, 2 * (off_t)sizeof *t), -1);
	CU_ASSERT_EQUAL(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	/* another size is not taken */
	small = memfd_create("small", MFD_CLOEXEC);
	CU_ASSERT_EQUAL(ftruncate(small, (off_t)sizeof *t - 1), 0);
	CU_ASSERT_PTR_NULL(table_map(small, true));
	close(small);
	CU_ASSERT_PTR_NULL(table_map(-1, false));
	CU_ASSERT_EQUAL(table_reader_fd(small, &rfd), PT_EIO);
	CU_ASSERT_EQUAL(test_open_fds(), before);
}

static _Atomic bool writer_ends, writer_failed;

static void *
write_on(void *arg)
{
	unsigned i;

	(void)arg;
	/* key_of(0) and (1) are counted all along; the others come and go in front of and behind them */
	for (i = 0; !atomic_load(&writer_ends); i++) {
		if (table_addr_add(t, key_of(2 + i % 40)) != 0)
			atomic_store(&writer_failed, true);
		if (i >= 20)
			table_addr_sub(t, key_of(2 + (i - 20) % 40));
	}
	return NULL;
}

/* What a reader sees is one of the true counts, whatever moves meanwhile; "it changes all the time" is 0. */
static void
test_reader(void)
{
	unsigned i, zero = 0, wrong = 0;
	pthread_t writer;
	uint32_t n;

	table_clear(t);
	for (i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(table_addr_add(t, key_of(0)), 0);
	CU_ASSERT_EQUAL(table_addr_add(t, key_of(1)), 0);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&writer, NULL, write_on, NULL), 0);
	for (i = 0; i < 300000; i++) {
		n = table_addr_count(t, key_of(0));
		zero += n == 0;
		wrong += n != 0 && n != 3;
		n = table_addr_count(t, key_of(1));
		wrong += n > 1;
		n = table_addr_count(t, key_of(5));
		wrong += n > 1;
	}
	atomic_store(&writer_ends, true);
	CU_ASSERT_EQUAL(pthread_join(writer, NULL), 0);
	CU_ASSERT_FALSE(atomic_load(&writer_failed));
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_TRUE(zero < i);
	/* a writer that was killed in the middle: readers do not hang */
	atomic_fetch_add(&t->addr_seq, 1);
	CU_ASSERT_EQUAL(table_addr_count(t, key_of(0)), 0);
	table_clear(t);
}

static void
test_keys(void)
{
	uint8_t addr[16] = { 4, 192, 0, 2, 1 };
	static const uint64_t seeds[] = { 0, 1, 0xff51afd7ed558ccdu, 0xff51afd7ed558cccu, 0x0123456789abcdefu };
	uint64_t a;
	size_t i;
	static uint8_t homes[TABLE_ADDR_SLOTS];
	unsigned k, n;

	for (i = 0; i < PT_COUNT(seeds); i++) {
		a = table_addr_key(seeds[i], "calc", addr);
		CU_ASSERT_NOT_EQUAL(a, 0);
		CU_ASSERT_EQUAL(table_addr_key(seeds[i], "calc", addr), a);
		CU_ASSERT_NOT_EQUAL(table_addr_key(seeds[i], "calx", addr), a);
		CU_ASSERT_NOT_EQUAL(table_addr_key(seeds[i] + 1, "calc", addr), a);
		/* neighbours are spread: of 4,096 addresses few share a home, whatever the seed is */
		memset(homes, 0, sizeof homes);
		for (k = n = 0; k < 4096; k++) {
			addr[3] = (uint8_t)(k >> 8);
			addr[4] = (uint8_t)k;
			a = table_addr_key(seeds[i], "calc", addr) % TABLE_ADDR_SLOTS;
			n += homes[a];
			homes[a] = 1;
		}
		CU_ASSERT_TRUE(n < 512);
		addr[3] = 2;
		addr[4] = 1;
	}
}

static void
test_retire(void)
{
	static struct table past, gone;
	uint32_t i;

	/* the same service in other places, and a gauge that the dead one left high */
	atomic_store(&past.nservices, 1);
	strcpy(past.services[0].name, "b");
	atomic_store(&past.services[0].accepted, 10);
	atomic_store(&gone.nservices, 2);
	strcpy(gone.services[0].name, "a");
	strcpy(gone.services[1].name, "b");
	atomic_store(&gone.accepted, 5);
	atomic_store(&gone.connections, 4);
	atomic_store(&gone.services[0].octets_in, 7);
	atomic_store(&gone.services[1].accepted, 5);
	atomic_store(&gone.services[1].connections, 4);
	atomic_store(&gone.services[1].tls_sessions, 3);
	table_retire(&past, &gone);
	CU_ASSERT_EQUAL(atomic_load(&past.nservices), 2);
	CU_ASSERT_EQUAL(atomic_load(&past.accepted), 5);
	CU_ASSERT_EQUAL(atomic_load(&past.connections), 0);
	CU_ASSERT_STRING_EQUAL(past.services[1].name, "a");
	CU_ASSERT_EQUAL(atomic_load(&past.services[1].octets_in), 7);
	CU_ASSERT_EQUAL(atomic_load(&past.services[0].accepted), 15);
	CU_ASSERT_EQUAL(atomic_load(&past.services[0].connections), 0);
	CU_ASSERT_EQUAL(atomic_load(&past.services[0].tls_sessions), 0);
	/* one that lies about its services: nothing is read or written outside */
	atomic_store(&gone.nservices, UINT32_MAX);
	for (i = 0; i < TABLE_SERVICES_MAX; i++)
		memset(gone.services[i].name, (int)('A' + i), TABLE_SERVICE_NAME_MAX); /* no NUL */
	table_retire(&past, &gone);
	CU_ASSERT_EQUAL(atomic_load(&past.nservices), TABLE_SERVICES_MAX);
	table_retire(&past, &gone);
	CU_ASSERT_EQUAL(atomic_load(&past.nservices), TABLE_SERVICES_MAX);
}

/* The certificates of a service: those that end first where there are too many; long paths by their end. */
static void
test_certs(void)
{
	struct table_service *s = calloc(1, sizeof *s);
	struct table_certs certs = { .n = 0 }, got;
	char path[300];
	uint32_t i;

	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	CU_ASSERT_TRUE(table_certs_get(s, &got));
	CU_ASSERT_EQUAL(got.n, 0);
	for (i = 0; i < 2 * TABLE_CERTS_MAX; i++) { /* 1000, 999, ..., each other one late */
		snprintf(path, sizeof path, "/f/%u", i);
		table_certs_add(&certs, path, i % 2 == 0 ? 1000 - i : 5000 + i);
	}
	CU_ASSERT_EQUAL(certs.n, TABLE_CERTS_MAX);
	for (i = 0; i < certs.n; i++)
		CU_ASSERT_TRUE(certs.list[i].not_after <= 1000);
	certs.n = 0;
	memset(path, 'x', sizeof path);
	path[sizeof path - 1] = '\0';
	memcpy(path + sizeof path - TABLE_CERT_FILE_MAX - 1, "\xc3\xa4", 2); /* would be cut in the middle */
	table_certs_add(&certs, path, 1);
	CU_ASSERT_EQUAL(strlen(certs.list[0].file), TABLE_CERT_FILE_MAX - 2);
	CU_ASSERT_EQUAL(certs.list[0].file[0], 'x');
	path[TABLE_CERT_FILE_MAX - 1] = '\0'; /* as long as it may be */
	table_certs_add(&certs, path, 2);
	CU_ASSERT_STRING_EQUAL(certs.list[1].file, path);
	table_certs_put(s, &certs);
	CU_ASSERT_TRUE(table_certs_get(s, &got));
	CU_ASSERT_EQUAL(got.n, 2);
	CU_ASSERT_EQUAL(got.list[1].not_after, 2);
	/* what a worker that has gone wrong may leave */
	atomic_fetch_add(&s->certs_seq, 1);
	CU_ASSERT_FALSE(table_certs_get(s, &got));
	atomic_fetch_add(&s->certs_seq, 1);
	s->certs.n = TABLE_CERTS_MAX + 1;
	CU_ASSERT_FALSE(table_certs_get(s, &got));
	s->certs.n = 1;
	memset(s->certs.list[0].file, 'y', TABLE_CERT_FILE_MAX);
	CU_ASSERT_TRUE(table_certs_get(s, &got));
	CU_ASSERT_EQUAL(strlen(got.list[0].file), TABLE_CERT_FILE_MAX - 1);
	free(s);
}

static const struct test_row rows[] = {
	{ "certificates", test_certs },
	{ "a table", test_begin },
	{ "against a model", test_model },
	{ "full", test_full },
	{ "two mappings", test_mappings },
	{ "read while it changes", test_reader },
	{ "keys", test_keys },
	{ "a worker that has ended", test_retire },
	{ "unmapped", test_end },
};
TEST_MAIN("proc/table", rows)
