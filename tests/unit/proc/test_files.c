/* unit/proc/test_files.c - small files by descriptor, and memory that nobody can change any more. */
#include "test.h"

#include "proc/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int
file_of(size_t n)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	uint8_t *p = malloc(n + 1);
	size_t i;

	for (i = 0; i < n; i++)
		p[i] = (uint8_t)(i * 13 + i / 256);
	CU_ASSERT_EQUAL_FATAL(write(fd, p, n), (ssize_t)n);
	free(p);
	return fd;
}

static void
test_slurp(void)
{
	static const size_t sizes[] = { 0, 1, 8191, 8192, 8193, 65535, 65536 };
	struct diag diag = { "" };
	struct buf b;
	size_t i, k;
	int fd, p[2];

	for (i = 0; i < PT_COUNT(sizes); i++) {
		fd = file_of(sizes[i]);
		buf_init(&b, 65536);
		/* from the beginning, wherever the offset stands (here: at the end) */
		CU_ASSERT_EQUAL(file_slurp(fd, &b, &diag), 0);
		CU_ASSERT_EQUAL_FATAL(buf_size(&b), sizes[i]);
		for (k = 0; k < sizes[i]; k++)
			if (buf_span(&b).p[k] != (uint8_t)(k * 13 + k / 256))
				break;
		CU_ASSERT_EQUAL(k, sizes[i]);
		CU_ASSERT_EQUAL(lseek(fd, 0, SEEK_CUR), (off_t)sizes[i]); /* and does not move it */
		buf_fini(&b);
		close(fd);
	}
	fd = file_of(65537);
	buf_init(&b, 65536);
	CU_ASSERT_EQUAL(file_slurp(fd, &b, &diag), PT_ETOOBIG);
	CU_ASSERT_STRING_EQUAL(diag.text, "it is larger than 65536 octets");
	buf_fini(&b);
	CU_ASSERT_EQUAL(file_slurp(fd, &b, NULL), PT_ETOOBIG);
	buf_fini(&b);
	close(fd);
	CU_ASSERT_EQUAL(file_slurp(fd, &b, &diag), PT_EIO);
	CU_ASSERT_EQUAL_FATAL(pipe2(p, O_CLOEXEC), 0);
	CU_ASSERT_EQUAL(file_slurp(p[0], &b, &diag), PT_EIO); /* and does not wait */
	CU_ASSERT_PTR_NOT_NULL(strstr(diag.text, "cannot read it"));
	close(p[0]);
	close(p[1]);
}

static void
test_sealed(void)
{
	const struct span text = span_str("certificates");
	struct buf b;
	int fd;

	CU_ASSERT_EQUAL_FATAL(memfd_sealed("test", text, &fd), 0);
	CU_ASSERT_EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
	CU_ASSERT_EQUAL(fcntl(fd, F_GET_SEALS),
		F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
	CU_ASSERT_EQUAL(pwrite(fd, "X", 1, 0), -1);
	CU_ASSERT_EQUAL(errno, EPERM);
	CU_ASSERT_EQUAL(ftruncate(fd, 0), -1);
	CU_ASSERT_EQUAL(ftruncate(fd, 100), -1);
	CU_ASSERT_EQUAL(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), -1);
	CU_ASSERT_PTR_EQUAL(mmap(NULL, text.n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	buf_init(&b, 100);
	CU_ASSERT_EQUAL(file_slurp(fd, &b, NULL), 0);
	CU_ASSERT_TRUE(span_equal(buf_span(&b), text));
	buf_fini(&b);
	close(fd);
	CU_ASSERT_EQUAL(memfd_sealed("test", (struct span){ NULL, 0 }, &fd), 0);
	CU_ASSERT_EQUAL(lseek(fd, 0, SEEK_END), 0);
	close(fd);
}

static void
test_mode(void)
{
	static const struct {
		mode_t mode;
		const char *says; /* NULL: nothing */
	} rows[] = {
		{ 0600, NULL }, { 0400, NULL }, { 0700, NULL }, { 0610, NULL },
		{ 0640, "its group" }, { 0620, "its group" }, { 0604, "everybody" }, { 0602, "everybody" },
		{ 0666, "everybody" },
	};
	int fd = memfd_create("key", MFD_CLOEXEC);
	const char *said;
	size_t i;

	for (i = 0; i < PT_COUNT(rows); i++) {
		CU_ASSERT_EQUAL(fchmod(fd, rows[i].mode), 0);
		said = file_mode_warning(fd);
		CU_ASSERT_EQUAL(said != NULL, rows[i].says != NULL);
		CU_ASSERT(said == NULL || rows[i].says == NULL || strstr(said, rows[i].says) != NULL);
	}
	close(fd);
	CU_ASSERT_PTR_NULL(file_mode_warning(-1));
}

static const struct test_row rows[] = {
	{ "modes of key files", test_mode },
	{ "reading, up to the limit", test_slurp },
	{ "sealed is sealed", test_sealed },
};
TEST_MAIN("proc/files", rows)
